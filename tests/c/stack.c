/*
 * How much stack mobiedit_step takes, on a Cortex-M: link a program with -Wl,--wrap=mobiedit_step and this file. Before each
 * step the free stack is painted; what is not the paint any more behind it was used. The largest of all steps is printed at the
 * end, with what the callbacks take and without this file's own frame.
 */
#include <stdio.h>

#include "mobiedit.h"

enum { WORDS = 16 * 1024 };
#define PAINT 0xa5c35a3cu

int32_t __real_mobiedit_step(mobiedit *state);
int32_t __wrap_mobiedit_step(mobiedit *state);

static size_t most;

int32_t __wrap_mobiedit_step(mobiedit *state) {
    uint32_t *top, *word;
    __asm__ volatile("mov %0, sp" : "=r"(top));
    for (word = top - WORDS; word < top; word++) *(volatile uint32_t *)word = PAINT;
    int32_t code = __real_mobiedit_step(state);
    for (word = top - WORDS; word < top && *(volatile uint32_t *)word == PAINT; word++) {}
    size_t used = (size_t)(top - word) * sizeof *word;
    if (used > most) most = used;
    return code;
}

__attribute__((destructor)) static void tell(void) { printf("stack %u\n", (unsigned)most); }
