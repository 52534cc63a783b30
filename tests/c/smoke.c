/*
 * What the library refuses, and that it writes nothing then: NULL, misaligned, too small, another version, no edit.
 */
#include <stdio.h>
#include <string.h>

#include "mobiedit.h"

#define EXPECT(call, code) do { \
        int32_t got = (call); \
        if (got != (code)) return printf("%s gave %d (%s), not " #code "\n", #call, (int)got, mobiedit_strerror(got)), 1; \
    } while (0)

static int all(const uint8_t *bytes, size_t len, uint8_t value) {
    while (len--) if (bytes[len] != value) return 0;
    return 1;
}

int main(void) {
    static mobiedit state, zero;
    static uint64_t memory[512];
    static const uint32_t tokens[] = {1, 2}, target[] = {3}, outside[] = {1, 99};
    mobiedit_backend backend = {.spec = {8, 12, 2, 4, 6, 8}};
    mobiedit_prompt prompt = {tokens, 2, 0, MOBIEDIT_REWRITE};
    mobiedit_problem problem = {&prompt, 1, target, 1, 0, 0};
    mobiedit_config config = {.abi = MOBIEDIT_ABI, .backend = &backend, .memory = memory, .memory_len = sizeof memory};
    mobiedit_progress progress;
    mobiedit_patch patch;
    uint8_t bytes[512];
    size_t size = 77;
    uint32_t id = 77;

    /* The versions, and a text for every code. */
    if (mobiedit_version() == 0 || mobiedit_checkpoint_version() == 0) return printf("no version\n"), 1;
    for (int32_t code = 1; code >= -40; code--) if (!*mobiedit_strerror(code)) return printf("no text for %d\n", (int)code), 1;

    /* A state that nobody initialised has no edit, and stays as it is. */
    EXPECT(mobiedit_step(NULL), MOBIEDIT_ERR_NULL);
    EXPECT(mobiedit_step(&state), MOBIEDIT_ERR_STATE);
    EXPECT(mobiedit_edit(&state, &problem), MOBIEDIT_ERR_STATE);
    EXPECT(mobiedit_get_progress(&state, &progress), MOBIEDIT_ERR_STATE);
    EXPECT(mobiedit_apply(&state, &id), MOBIEDIT_ERR_STATE);
    EXPECT(mobiedit_undo(&state, 0), MOBIEDIT_ERR_STATE);
    EXPECT(mobiedit_checkpoint(&state, bytes, sizeof bytes, &size), MOBIEDIT_ERR_STATE);

    /* A config with one thing wrong. */
    EXPECT(mobiedit_init(NULL, &config), MOBIEDIT_ERR_NULL);
    EXPECT(mobiedit_init(&state, NULL), MOBIEDIT_ERR_NULL);
    mobiedit_config wrong = config;
    wrong.abi = MOBIEDIT_ABI + 1;
    EXPECT(mobiedit_init(&state, &wrong), MOBIEDIT_ERR_VERSION);
    EXPECT(mobiedit_footprint(&wrong, &problem, &size), MOBIEDIT_ERR_VERSION);
    wrong = config, wrong.backend = NULL;
    EXPECT(mobiedit_init(&state, &wrong), MOBIEDIT_ERR_NULL);
    wrong = config, wrong.memory = NULL;
    EXPECT(mobiedit_init(&state, &wrong), MOBIEDIT_ERR_NULL);
    wrong = config, wrong.memory = (uint8_t *)memory + 4;
    EXPECT(mobiedit_init(&state, &wrong), MOBIEDIT_ERR_ALIGNMENT);
    wrong = config, wrong.preset = 9;
    EXPECT(mobiedit_init(&state, &wrong), MOBIEDIT_ERR_CONFIG);
    wrong = config, wrong.aim = 2.0f;
    EXPECT(mobiedit_init(&state, &wrong), MOBIEDIT_ERR_CONFIG);
    if (memcmp(&state, &zero, sizeof state) || size != 77 || id != 77) return printf("something was written\n"), 1;

    /* A problem with one thing wrong, and too little memory. */
    EXPECT(mobiedit_init(&state, &config), MOBIEDIT_OK);
    EXPECT(mobiedit_step(&state), MOBIEDIT_ERR_STATE);
    EXPECT(mobiedit_edit(&state, NULL), MOBIEDIT_ERR_NULL);
    mobiedit_problem bad = problem;
    bad.layer = 1; /* the last one */
    EXPECT(mobiedit_edit(&state, &bad), MOBIEDIT_ERR_PROBLEM);
    bad = problem, bad.target_len = 0;
    EXPECT(mobiedit_edit(&state, &bad), MOBIEDIT_ERR_PROBLEM);
    bad = problem, bad.prompts_len = MOBIEDIT_MAX_PROMPTS + 1;
    EXPECT(mobiedit_edit(&state, &bad), MOBIEDIT_ERR_PROBLEM);
    bad = problem, bad.prompts = NULL;
    EXPECT(mobiedit_edit(&state, &bad), MOBIEDIT_ERR_NULL);
    prompt.tokens = outside;
    EXPECT(mobiedit_edit(&state, &problem), MOBIEDIT_ERR_PROBLEM);
    prompt.tokens = tokens, prompt.role = 5;
    EXPECT(mobiedit_edit(&state, &problem), MOBIEDIT_ERR_PROBLEM);
    prompt.role = MOBIEDIT_REWRITE;
    EXPECT(mobiedit_footprint(&config, &problem, &size), MOBIEDIT_OK);
    wrong = config, wrong.memory_len = size - 1;
    memset(memory, 0xaa, sizeof memory);
    EXPECT(mobiedit_init(&state, &wrong), MOBIEDIT_OK);
    EXPECT(mobiedit_edit(&state, &problem), MOBIEDIT_ERR_TOO_SMALL);
    if (!all((uint8_t *)memory, sizeof memory, 0xaa)) return printf("memory was written\n"), 1;

    /* Just enough memory; a backend without callbacks, and an edit that has not ended. */
    wrong.memory_len = size;
    EXPECT(mobiedit_init(&state, &wrong), MOBIEDIT_OK);
    EXPECT(mobiedit_edit(&state, &problem), MOBIEDIT_OK);
    if (!all((uint8_t *)memory + size, sizeof memory - size, 0xaa)) return printf("written behind the memory\n"), 1;
    EXPECT(mobiedit_step(&state), MOBIEDIT_ERR_BACKEND);
    EXPECT(mobiedit_backend_code(&state), MOBIEDIT_ERR_UNSUPPORTED);
    EXPECT(mobiedit_get_patch(&state, &patch), MOBIEDIT_ERR_STATE);
    EXPECT(mobiedit_generate(&state, tokens, 2, NULL, 0, &id, 1, &size), MOBIEDIT_ERR_UNSUPPORTED);

    /* Checkpoints: too short a buffer, and bytes that are none. */
    size_t need = mobiedit_checkpoint_len(8);
    EXPECT(mobiedit_checkpoint(&state, bytes, need - 1, &size), MOBIEDIT_ERR_TOO_SMALL);
    EXPECT(mobiedit_checkpoint(&state, bytes, sizeof bytes, &size), MOBIEDIT_OK);
    if (size != need) return printf("a checkpoint of %u bytes\n", (unsigned)size), 1;
    EXPECT(mobiedit_resume(&state, &problem, bytes, size), MOBIEDIT_OK);
    bytes[20] ^= 1;
    EXPECT(mobiedit_resume(&state, &problem, bytes, size), MOBIEDIT_ERR_CHECKPOINT);
    EXPECT(mobiedit_resume(&state, &problem, NULL, size), MOBIEDIT_ERR_NULL);

    /* The built-in backend: no model, bytes that are none. */
    static mobiedit_cpu cpu;
    mobiedit_cpu_config cpu_config = {.abi = MOBIEDIT_ABI, .rows = 8, .patches = 1};
    EXPECT(mobiedit_cpu_footprint(&cpu_config, &size), MOBIEDIT_ERR_NULL);
    cpu_config.model = (const uint8_t *)memory, cpu_config.model_len = sizeof memory;
    EXPECT(mobiedit_cpu_init(&cpu, &cpu_config, &backend), MOBIEDIT_ERR_MODEL);
    cpu_config.activations = 9;
    EXPECT(mobiedit_cpu_init(&cpu, &cpu_config, &backend), MOBIEDIT_ERR_CONFIG);
    cpu_config.activations = MOBIEDIT_STATIC; /* scales without a calibration */
    EXPECT(mobiedit_cpu_init(&cpu, &cpu_config, &backend), MOBIEDIT_ERR_NULL);
    cpu_config.abi = 0;
    EXPECT(mobiedit_cpu_init(&cpu, &cpu_config, &backend), MOBIEDIT_ERR_VERSION);

    EXPECT(mobiedit_cpu_readers(NULL, 0, NULL, 0), MOBIEDIT_ERR_NULL);
    EXPECT(mobiedit_cpu_readers(&cpu, 0, NULL, 0), MOBIEDIT_ERR_STATE);

    /* Calibrations: none, bytes that are none, nowhere to write to. */
    mobiedit_statistics statistics = {.bank_len = 77};
    EXPECT(mobiedit_open_calibration(NULL, 9, &backend.spec, 0, &statistics), MOBIEDIT_ERR_NULL);
    EXPECT(mobiedit_open_calibration(bytes, sizeof bytes, &backend.spec, 0, &statistics), MOBIEDIT_ERR_CALIBRATION);
    EXPECT(mobiedit_open_calibration(bytes, 0, &backend.spec, 0, &statistics), MOBIEDIT_ERR_CALIBRATION);
    if (statistics.bank_len != 77 || statistics.samples) return printf("statistics were written\n"), 1;
    printf("all refused as documented\n");
    return 0;
}
