/*
 * How much stack mobiedit_step takes, or opening a journal and appending to it, on a Cortex-M: link a program with -Wl,--wrap=...
 * for each of the functions below and this file. Before each call the free stack is painted; what is not the paint any more
 * behind it was used. The largest of all calls is printed at the end, with what the callbacks take and without this file's own
 * frame.
 */
#include <stdio.h>

#include "mobiedit.h"

enum { WORDS = 16 * 1024 };
#define PAINT 0xa5c35a3cu

static size_t most;

#define MEASURED(call) \
    uint32_t *top, *word; \
    __asm__ volatile("mov %0, sp" : "=r"(top)); \
    for (word = top - WORDS; word < top; word++) *(volatile uint32_t *)word = PAINT; \
    int32_t code = call; \
    for (word = top - WORDS; word < top && *(volatile uint32_t *)word == PAINT; word++) {} \
    size_t used = (size_t)(top - word) * sizeof *word; \
    if (used > most) most = used; \
    return code

int32_t __real_mobiedit_step(mobiedit *state);
int32_t __wrap_mobiedit_step(mobiedit *state);
int32_t __wrap_mobiedit_step(mobiedit *state) { MEASURED(__real_mobiedit_step(state)); }

int32_t __real_mobiedit_journal_open(mobiedit_journal *journal, const mobiedit_flash *flash);
int32_t __wrap_mobiedit_journal_open(mobiedit_journal *journal, const mobiedit_flash *flash);
int32_t __wrap_mobiedit_journal_open(mobiedit_journal *journal, const mobiedit_flash *flash) {
    MEASURED(__real_mobiedit_journal_open(journal, flash));
}

int32_t __real_mobiedit_journal_append(mobiedit_journal *journal, const mobiedit_backend *backend, const mobiedit_patch *patch,
                                       const uint8_t *note, size_t note_len, uint32_t *id);
int32_t __wrap_mobiedit_journal_append(mobiedit_journal *journal, const mobiedit_backend *backend, const mobiedit_patch *patch,
                                       const uint8_t *note, size_t note_len, uint32_t *id);
int32_t __wrap_mobiedit_journal_append(mobiedit_journal *journal, const mobiedit_backend *backend, const mobiedit_patch *patch,
                                       const uint8_t *note, size_t note_len, uint32_t *id) {
    MEASURED(__real_mobiedit_journal_append(journal, backend, patch, note, note_len, id));
}

__attribute__((destructor)) static void tell(void) { printf("stack %u\n", (unsigned)most); }
