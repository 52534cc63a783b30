/*
 * What a journal in flash keeps, wherever the power gives out, and what it refuses. The model is a toy that only remembers what is
 * applied; kept.c brings back an edit of a real one.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define FLASH_AREA 512
#include "mobiedit.h"
#include "flash.h"

enum { D_FF = 5, D_MODEL = 3, NUMBERS = D_FF + D_MODEL, MOST = 16, RECORD = 16 + 36 + 4 * NUMBERS + 8 };

#define EXPECT(what) do { if (!(what)) printf("line %d: failed: %s\n", __LINE__, #what), exit(1); } while (0)
#define GIVES(call, code) do { \
        int32_t got = (call); \
        if (got != (code)) printf("line %d: %s gave %d (%s)\n", __LINE__, #call, (int)got, mobiedit_strerror(got)), exit(1); \
    } while (0)

/* The toy: which model it is, and the numbers of what was applied. */
static struct toy {
    uint64_t model;
    unsigned count;
    uint32_t layer[MOST];
    float numbers[MOST][NUMBERS];
} toy = {.model = 0x1234567890abcdef};

static int32_t apply(void *context, const mobiedit_patch *patch, uint32_t *id) {
    struct toy *to = context;
    if (to->count == MOST) return MOBIEDIT_ERR_PATCH;
    to->layer[to->count] = patch->layer;
    memcpy(to->numbers[to->count], patch->u, D_FF * sizeof(float));
    memcpy(to->numbers[to->count] + D_FF, patch->lambda, D_MODEL * sizeof(float));
    return *id = to->count++, 0;
}

static int32_t identity(void *context, uint32_t layer, uint64_t *out) {
    return *out = ((struct toy *)context)->model + layer, 0;
}

static const mobiedit_backend backend = {.spec = {.d_model = D_MODEL, .d_ff = D_FF, .layers = 4}, .context = &toy, .apply = apply,
                                         .identity = identity};
static struct flash flash;
static mobiedit_flash driver;
static mobiedit_journal journal;

/* The numbers of the edit made of a seed: nothing else has their bits. */
static const float *numbers(uint32_t seed) {
    static float made[NUMBERS];
    for (int i = 0; i < NUMBERS; i++) made[i] = -0.37f * (float)(seed * NUMBERS + (unsigned)i) + 1e-30f;
    return made;
}

static int32_t keep(uint32_t seed, uint32_t *id) {
    const mobiedit_patch patch = {seed % 4, numbers(seed), numbers(seed) + D_FF};
    const uint8_t note[] = {(uint8_t)seed, 'n', 'o', 't', 'e'};
    return mobiedit_journal_append(&journal, &backend, &patch, note, sizeof note, id);
}

/* Everything is forgotten but the flash; then the power is back. */
static int32_t power_on(void) {
    memset(&journal, 0xa5, sizeof journal);
    memset(toy.numbers, 0, sizeof toy.numbers);
    toy.count = 0;
    flash.power = 1000000000;
    return mobiedit_journal_open(&journal, &driver);
}

/* What the journal brings back are these edits, by their seeds, bit by bit, and no others. */
static int holds(const uint32_t *seeds, unsigned count) {
    mobiedit_journal_edit edit = {0};
    float buffer[NUMBERS];
    uint8_t note[5];
    uint32_t patch;
    int32_t code;
    toy.count = 0;
    for (unsigned i = 0; (code = mobiedit_journal_next(&journal, &edit)) == MOBIEDIT_OK; i++) {
        if (i == count || edit.note_len != sizeof note || edit.d_ff != D_FF || edit.d_model != D_MODEL) return 0;
        GIVES(mobiedit_journal_note(&journal, edit.id, note, sizeof note), MOBIEDIT_OK);
        GIVES(mobiedit_journal_apply(&journal, edit.id, &backend, buffer, NUMBERS, &patch), MOBIEDIT_OK);
        if (note[0] != (uint8_t)seeds[i] || memcmp(note + 1, "note", 4) != 0 || edit.layer != seeds[i] % 4) return 0;
        if (toy.layer[i] != seeds[i] % 4 || memcmp(toy.numbers[i], numbers(seeds[i]), sizeof buffer) != 0) return 0;
    }
    GIVES(code, MOBIEDIT_ENDED);
    return toy.count == count;
}

static int32_t append_third(void) { uint32_t id; return keep(13, &id); }
static int32_t undo_first(void) { return mobiedit_journal_undo(&journal, 1); }
static int32_t compact(void) { return mobiedit_journal_compact(&journal); }

/* The power gives out at each byte of a change of the edits 11 and 12: they are there, or what the change would have made of them,
 * and the change can be made then. How many cuts that were. */
static long cut(int32_t (*change)(void), const uint32_t *after, unsigned count) {
    static const uint32_t before[] = {11, 12};
    mobiedit_journal_info info;
    uint32_t id;
    for (long bytes = 0;; bytes++) {
        driver = flash_new(&flash);
        GIVES(power_on(), MOBIEDIT_OK);
        GIVES(keep(11, &id), MOBIEDIT_OK);
        GIVES(keep(12, &id), MOBIEDIT_OK);
        flash.power = bytes;
        int32_t code = change();
        if (code == MOBIEDIT_OK) return bytes;
        GIVES(code, MOBIEDIT_ERR_FLASH);
        GIVES(mobiedit_journal_get_info(&journal, &info), MOBIEDIT_OK);
        EXPECT(info.callback_code == POWER_IS_GONE);
        GIVES(power_on(), MOBIEDIT_OK);
        if (!holds(before, 2)) {
            EXPECT(holds(after, count));
        } else {
            GIVES(change(), MOBIEDIT_OK);
        }
        GIVES(power_on(), MOBIEDIT_OK);
        EXPECT(holds(after, count));
    }
}

/* A flash that is full says so, and has room for undos, and for what they free. */
static unsigned fill(void) {
    uint32_t seeds[MOST], id, count = 0;
    int32_t code;
    mobiedit_journal_info info;
    driver = flash_new(&flash);
    GIVES(power_on(), MOBIEDIT_OK);
    while ((code = keep(count, &id)) == MOBIEDIT_OK) seeds[count++] = id - 1;
    GIVES(code, MOBIEDIT_ERR_FULL);
    EXPECT(holds(seeds, count));
    GIVES(mobiedit_journal_undo(&journal, 1), MOBIEDIT_OK);
    GIVES(mobiedit_journal_undo(&journal, 1), MOBIEDIT_ERR_UNKNOWN);
    memmove(seeds, seeds + 1, (count - 1) * sizeof *seeds);
    seeds[count - 1] = 40;
    GIVES(keep(40, &id), MOBIEDIT_OK);
    EXPECT(id == count + 1 && holds(seeds, count));
    for (uint32_t i = 2; i <= count + 1; i++) GIVES(mobiedit_journal_undo(&journal, i), MOBIEDIT_OK);
    GIVES(power_on(), MOBIEDIT_OK);
    GIVES(mobiedit_journal_get_info(&journal, &info), MOBIEDIT_OK);
    EXPECT(holds(NULL, 0) && info.edits == 0);
    return count;
}

/* A byte that has changed is named by its record, or changes nothing: a mark whose checksum agrees. How many were named. */
static unsigned damage(void) {
    static const uint32_t both[] = {11, 12};
    unsigned named = 0;
    for (uint32_t at = 32; at < 32 + 2 * RECORD; at++) {
        uint32_t id;
        mobiedit_journal_info info;
        driver = flash_new(&flash);
        GIVES(power_on(), MOBIEDIT_OK);
        GIVES(keep(11, &id), MOBIEDIT_OK);
        GIVES(keep(12, &id), MOBIEDIT_OK);
        flash.bytes[0][at] ^= 0x10;
        int32_t code = power_on();
        if (code == MOBIEDIT_OK) {
            EXPECT((at - 32) % RECORD >= RECORD - 4 && holds(both, 2));
            continue;
        }
        GIVES(code, MOBIEDIT_ERR_JOURNAL);
        GIVES(mobiedit_journal_get_info(&journal, &info), MOBIEDIT_OK);
        EXPECT(info.record == 2 + (at - 32) / RECORD); /* the first is the area's own */
        GIVES(keep(13, &id), MOBIEDIT_ERR_STATE);
        named++;
    }
    return named;
}

/* What is refused, and that the journal stays as it is. */
static void refuse(void) {
    static const uint32_t one[] = {11};
    float buffer[NUMBERS], wrong[NUMBERS];
    uint32_t id = 77, patch = 77;
    mobiedit_journal_edit edit = {0};
    mobiedit_backend other = backend;
    mobiedit_flash broken;
    driver = broken = flash_new(&flash);
    memset(&journal, 0, sizeof journal);
    GIVES(mobiedit_journal_next(&journal, &edit), MOBIEDIT_ERR_STATE);
    GIVES(mobiedit_journal_open(NULL, &driver), MOBIEDIT_ERR_NULL);
    GIVES(mobiedit_journal_open(&journal, NULL), MOBIEDIT_ERR_NULL);
    broken.write = NULL;
    GIVES(mobiedit_journal_open(&journal, &broken), MOBIEDIT_ERR_NULL);
    broken = driver, broken.abi++;
    GIVES(mobiedit_journal_open(&journal, &broken), MOBIEDIT_ERR_VERSION);
    GIVES(mobiedit_journal_undo(&journal, 1), MOBIEDIT_ERR_STATE);
    GIVES(power_on(), MOBIEDIT_OK);
    for (int i = 0; i < NUMBERS; i++) {
        memcpy(wrong, numbers(1), sizeof wrong);
        wrong[i] = i % 2 ? NAN : INFINITY;
        GIVES(mobiedit_journal_append(&journal, &backend, &(mobiedit_patch){0, wrong, wrong + D_FF}, NULL, 0, &id), MOBIEDIT_ERR_NOT_FINITE);
    }
    GIVES(mobiedit_journal_append(&journal, &backend, &(mobiedit_patch){4, buffer, buffer}, NULL, 0, &id), MOBIEDIT_ERR_RANGE);
    GIVES(mobiedit_journal_append(&journal, &backend, &(mobiedit_patch){0, buffer, NULL}, NULL, 0, &id), MOBIEDIT_ERR_NULL);
    EXPECT(id == 77 && holds(NULL, 0));
    GIVES(keep(11, &id), MOBIEDIT_OK);

    /* Another model, of the same sizes and of others. */
    toy.model++;
    GIVES(mobiedit_journal_apply(&journal, id, &backend, buffer, NUMBERS, &patch), MOBIEDIT_ERR_OTHER_MODEL);
    toy.model--;
    other.spec.d_ff++;
    GIVES(mobiedit_journal_apply(&journal, id, &other, buffer, NUMBERS, &patch), MOBIEDIT_ERR_OTHER_MODEL);
    other = backend, other.spec.layers = 3;
    GIVES(mobiedit_journal_apply(&journal, id, &other, buffer, NUMBERS, &patch), MOBIEDIT_ERR_OTHER_MODEL);
    other = backend, other.identity = NULL;
    GIVES(mobiedit_journal_apply(&journal, id, &other, buffer, NUMBERS, &patch), MOBIEDIT_ERR_OTHER_MODEL);
    GIVES(mobiedit_journal_apply(&journal, id, &backend, buffer, NUMBERS - 1, &patch), MOBIEDIT_ERR_TOO_SMALL);
    GIVES(mobiedit_journal_apply(&journal, id + 1, &backend, buffer, NUMBERS, &patch), MOBIEDIT_ERR_UNKNOWN);
    GIVES(mobiedit_journal_apply(&journal, 0, &backend, buffer, NUMBERS, &patch), MOBIEDIT_ERR_UNKNOWN);
    GIVES(mobiedit_journal_note(&journal, id, (uint8_t *)buffer, 4), MOBIEDIT_ERR_TOO_SMALL);
    EXPECT(toy.count == 0 && patch == 77 && holds(one, 1));
    toy.count = MOST;
    GIVES(mobiedit_journal_apply(&journal, id, &backend, buffer, NUMBERS, &patch), MOBIEDIT_ERR_BACKEND);
    EXPECT(holds(one, 1));

    /* Areas that hold no edit. */
    for (uint32_t len = 0; len < 32 + RECORD + 28; len += 4) {
        driver = flash_new(&flash);
        driver.area_len = len;
        GIVES(power_on(), MOBIEDIT_OK);
        GIVES(keep(11, &id), MOBIEDIT_ERR_FULL);
        EXPECT(holds(NULL, 0));
    }

    /* Something else is in the flash. */
    memset(flash.bytes, 'x', sizeof flash.bytes);
    GIVES(power_on(), MOBIEDIT_ERR_JOURNAL);
}

int main(void) {
    static const uint32_t appended[] = {11, 12, 13}, both[] = {11, 12}, last[] = {12};
    refuse();
    long append = cut(append_third, appended, 3), undo = cut(undo_first, last, 1), compaction = cut(compact, both, 2);
    printf("power cut at %ld bytes of an append, %ld of an undo and %ld of a compaction\n", append, undo, compaction);
    EXPECT(append == RECORD && undo == 28 && compaction > 2 * FLASH_AREA);
    printf("%u edits in %d bytes\n", fill(), FLASH_AREA);
    printf("%u changed bytes named\n", damage());
    return 0;
}
