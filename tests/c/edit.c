/*
 * A whole edit on the built-in CPU backend: the model is an array in flash, all memory is static, nothing is allocated.
 *
 * model.S puts the GGUF into the image; problem.h holds the prompts as tokens, made on a PC by
 *
 *     mobiedit tokens --model small.gguf --prompt "The capital of {} is" --subject France --target Rome --out problem.h
 *
 * The same file runs on a PC, a Cortex-M, an AArch64 and a Hexagon, and the patch has the same bits on all of them: the
 * last line is its fingerprint.
 */
#include <stdio.h>
#include <string.h>

#include "mobiedit.h"
#include "problem.h"

extern const uint8_t model_start[], model_end[]; /* of model.S */

/* The backend's memory and the editor's. mobiedit_cpu_footprint and mobiedit_footprint say how much a model takes. */
static uint64_t backend_memory[400 * 1024 / 8], editor_memory[160 * 1024 / 8];
static mobiedit_cpu cpu;
static mobiedit editor;

static int failed(const char *what, int32_t code) {
    printf("%s: %s (%d), the backend said %d\n", what, mobiedit_strerror(code), (int)code,
           (int)mobiedit_backend_code(&editor));
    return 1;
}

/* The tokens that the model says behind the prompt. */
static int say(const char *when, uint32_t *out, size_t most) {
    size_t count = 0;
    int32_t code = mobiedit_generate(&editor, edit_text, sizeof edit_text / sizeof *edit_text, NULL, 0, out, most, &count);
    if (code != MOBIEDIT_OK) return failed("mobiedit_generate", code);
    printf("%s:", when);
    for (size_t i = 0; i < count; i++) printf(" %u", (unsigned)out[i]);
    printf("\n");
    return 0;
}

/* FNV-1a over the bits of the patch. */
static uint64_t fingerprint(const mobiedit_patch *patch, const mobiedit_spec *spec) {
    uint64_t hash = 0xcbf29ce484222325;
    for (unsigned part = 0; part < 2; part++) {
        const float *numbers = part ? patch->lambda : patch->u;
        for (uint32_t i = 0; i < (part ? spec->d_model : spec->d_ff); i++) {
            uint32_t bits;
            memcpy(&bits, &numbers[i], sizeof bits);
            for (int byte = 0; byte < 4; byte++) hash = (hash ^ (bits >> 8 * byte & 0xff)) * 0x100000001b3;
        }
    }
    return hash;
}

int main(void) {
    /* 1. The model. */
    const mobiedit_cpu_config cpu_config = {
        .abi = MOBIEDIT_ABI, .model = model_start, .model_len = (size_t)(model_end - model_start),
        .rows = 64, .patches = 1, .context = 16, .memory = backend_memory, .memory_len = sizeof backend_memory};
    mobiedit_backend backend;
    int32_t code = mobiedit_cpu_init(&cpu, &cpu_config, &backend);
    if (code != MOBIEDIT_OK) {
        size_t bytes = 0;
        mobiedit_cpu_footprint(&cpu_config, &bytes);
        printf("the backend needs %u bytes\n", (unsigned)bytes);
        return failed("mobiedit_cpu_init", code);
    }

    /* 2. The edit. */
    const mobiedit_config config = {
        .abi = MOBIEDIT_ABI, .batch = 2, .aim = 0.9f, .backend = &backend, .memory = editor_memory, .memory_len = sizeof editor_memory};
    code = mobiedit_init(&editor, &config);
    if (code != MOBIEDIT_OK) return failed("mobiedit_init", code);
    uint32_t before[4], after[4], undone[4];
    if (say("before", before, 4)) return 1;
    code = mobiedit_edit(&editor, &edit);
    if (code != MOBIEDIT_OK) {
        size_t bytes = 0;
        mobiedit_footprint(&config, &edit, &bytes);
        printf("the editor needs %u bytes\n", (unsigned)bytes);
        return failed("mobiedit_edit", code);
    }

    /* 3. One unit of work a call: feed the watchdog here, yield here, write a checkpoint here. */
    while ((code = mobiedit_step(&editor)) == MOBIEDIT_OK) {
    }
    if (code != MOBIEDIT_ENDED) return failed("mobiedit_step", code);
    mobiedit_progress progress;
    mobiedit_get_progress(&editor, &progress);

    /* 4. The patch: kept, applied, taken off again. */
    mobiedit_patch patch;
    uint32_t id;
    mobiedit_get_patch(&editor, &patch);
    uint64_t bits = fingerprint(&patch, &backend.spec);
    if ((code = mobiedit_apply(&editor, &id)) != MOBIEDIT_OK) return failed("mobiedit_apply", code);
    if (say("after", after, 4)) return 1;
    if ((code = mobiedit_undo(&editor, id)) != MOBIEDIT_OK) return failed("mobiedit_undo", code);
    if (say("undone", undone, 4)) return 1;

    int good = progress.outcome == MOBIEDIT_SUCCESS && after[0] == edit_target[0] && before[0] != after[0] &&
               memcmp(before, undone, sizeof before) == 0;
    printf("%s after %u steps, %u forward passes\n", good ? "edited" : "not edited", (unsigned)progress.step,
           (unsigned)progress.forward_passes);
    printf("patch %08x%08x\n", (unsigned)(bits >> 32), (unsigned)bits);
    return good ? 0 : 1;
}
