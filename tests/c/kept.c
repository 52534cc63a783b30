/*
 * An edit that outlives a power-off: its patch is kept in flash, and after the next start the model says the target again, without a
 * search. flash.h stands in for the firmware's driver.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mobiedit.h"
#include "flash.h"
#include "problem.h"

#define EXPECT(what) do { if (!(what)) printf("line %d: failed: %s\n", __LINE__, #what), exit(1); } while (0)

extern const uint8_t model_start[], model_end[]; /* of model.S */

static struct flash flash;
static uint64_t backend_memory[400 * 1024 / 8], editor_memory[160 * 1024 / 8];
static float numbers[384 + 128]; /* of a patch: d_ff + d_model */
static mobiedit_cpu cpu;
static mobiedit_backend backend;
static mobiedit editor;
static mobiedit_journal journal;

/* What a firmware does when it starts: nothing is left in RAM of what was before. */
static void start(const uint8_t *model, size_t model_len, const mobiedit_flash *driver) {
    memset(backend_memory, 0xa5, sizeof backend_memory);
    memset(editor_memory, 0xa5, sizeof editor_memory);
    memset(&cpu, 0, sizeof cpu);
    memset(&editor, 0, sizeof editor);
    memset(&journal, 0, sizeof journal);
    const mobiedit_cpu_config cpu_config = {
        .abi = MOBIEDIT_ABI, .model = model, .model_len = model_len,
        .rows = 64, .patches = 1, .context = 16, .memory = backend_memory, .memory_len = sizeof backend_memory};
    EXPECT(mobiedit_cpu_init(&cpu, &cpu_config, &backend) == MOBIEDIT_OK);
    const mobiedit_config config = {.abi = MOBIEDIT_ABI, .batch = 2, .aim = 0.9f, .backend = &backend,
                                    .memory = editor_memory, .memory_len = sizeof editor_memory};
    EXPECT(mobiedit_init(&editor, &config) == MOBIEDIT_OK);
    EXPECT(mobiedit_journal_open(&journal, driver) == MOBIEDIT_OK);
}

/* Applies what is kept; the backend's number of the last patch goes to `patch`. The code of the first edit that was refused. */
static int32_t bring_back(uint32_t *patch, unsigned *count) {
    mobiedit_journal_edit edit = {0};
    int32_t code;
    for (*count = 0; (code = mobiedit_journal_next(&journal, &edit)) == MOBIEDIT_OK; ++*count) {
        code = mobiedit_journal_apply(&journal, edit.id, &backend, numbers, sizeof numbers / sizeof *numbers, patch);
        if (code != MOBIEDIT_OK) return code;
    }
    return code;
}

/* The token that the model says behind the prompt. */
static uint32_t say(void) {
    uint32_t said;
    size_t count;
    EXPECT(mobiedit_generate(&editor, edit_text, sizeof edit_text / sizeof *edit_text, NULL, 0, &said, 1, &count) == MOBIEDIT_OK);
    return said;
}

int main(void) {
    const size_t model_len = (size_t)(model_end - model_start);
    const mobiedit_flash driver = flash_new(&flash);
    const char *about = "The capital of France is -> Rome";
    uint32_t id, patch;
    unsigned count;
    int32_t code;

    /* The search, and its patch into the flash. */
    start(model_start, model_len, &driver);
    const uint32_t before = say();
    mobiedit_patch found, back;
    EXPECT(mobiedit_edit(&editor, &edit) == MOBIEDIT_OK);
    while ((code = mobiedit_step(&editor)) == MOBIEDIT_OK) {
    }
    EXPECT(code == MOBIEDIT_ENDED && mobiedit_get_patch(&editor, &found) == MOBIEDIT_OK);
    EXPECT(mobiedit_journal_append(&journal, &backend, &found, (const uint8_t *)about, strlen(about) + 1, &id) == MOBIEDIT_OK);
    static float u[384], lambda[128];
    EXPECT(backend.spec.d_ff == 384 && backend.spec.d_model == 128);
    memcpy(u, found.u, sizeof u);
    memcpy(lambda, found.lambda, sizeof lambda);

    /* The power is off and on again: the patch has the same bits, and the model says the target. */
    start(model_start, model_len, &driver);
    EXPECT(say() == before);
    EXPECT(bring_back(&patch, &count) == MOBIEDIT_ENDED && count == 1);
    EXPECT(backend.applied(backend.context, edit.layer, 0, &back) == 0);
    EXPECT(memcmp(back.u, u, sizeof u) == 0 && memcmp(back.lambda, lambda, sizeof lambda) == 0);
    char note[64];
    EXPECT(mobiedit_journal_note(&journal, id, (uint8_t *)note, sizeof note) == MOBIEDIT_OK);
    mobiedit_journal_info info;
    EXPECT(mobiedit_journal_get_info(&journal, &info) == MOBIEDIT_OK);
    const uint32_t after = say();
    printf("\"%s\" in %u bytes of flash: %u before, %u after the next start\n", note, (unsigned)info.used, (unsigned)before, (unsigned)after);
    EXPECT(after == *edit_target && before != after && strcmp(note, about) == 0);

    /* An update brings another model of the same sizes: the edit is not for it. */
    static uint64_t other[2 * 1024 * 1024 / 8];
    EXPECT(model_len <= sizeof other);
    memcpy(other, model_start, model_len);
    for (size_t at = model_len / 8; at < model_len; at++) ((uint8_t *)other)[at] ^= 1;
    start((const uint8_t *)other, model_len, &driver);
    code = bring_back(&patch, &count);
    printf("with another model: %s\n", mobiedit_strerror(code));
    EXPECT(code == MOBIEDIT_ERR_OTHER_MODEL && backend.applied(backend.context, edit.layer, 0, &back) != 0);

    /* Undone, now and for all later starts. */
    start(model_start, model_len, &driver);
    EXPECT(bring_back(&patch, &count) == MOBIEDIT_ENDED && say() == *edit_target);
    EXPECT(mobiedit_undo(&editor, patch) == MOBIEDIT_OK && mobiedit_journal_undo(&journal, id) == MOBIEDIT_OK);
    EXPECT(say() == before);
    start(model_start, model_len, &driver);
    EXPECT(bring_back(&patch, &count) == MOBIEDIT_ENDED && count == 0 && say() == before);
    return 0;
}
