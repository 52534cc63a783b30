/*
 * Two edits at once: two states, each with a device, memory and a seed of its own, that take turns unit by unit. Each ends in the
 * patch that it ends in alone, bit for bit: the library has no state but what it is lent.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mobiedit.h"
#include "problem.h"

#define EXPECT(what) do { if (!(what)) printf("failed: %s\n", #what), exit(1); } while (0)

extern const uint8_t model_start[], model_end[]; /* of model.S */

/* All that one edit has. */
struct place {
    uint64_t backend_memory[400 * 1024 / 8], editor_memory[200 * 1024 / 8];
    mobiedit_cpu cpu;
    mobiedit_backend backend;
    mobiedit editor;
    mobiedit_problem problem;
};

static struct place places[2];

/* The second has other prompts, another target's probability to reach, and another seed. */
static void begin(struct place *place, int second) {
    const mobiedit_cpu_config cpu_config = {
        .abi = MOBIEDIT_ABI, .model = model_start, .model_len = (size_t)(model_end - model_start), .rows = 64, .patches = 1,
        .memory = place->backend_memory, .memory_len = sizeof place->backend_memory};
    memset(place, second ? 0x5a : 0xa5, sizeof *place);
    EXPECT(mobiedit_cpu_init(&place->cpu, &cpu_config, &place->backend) == MOBIEDIT_OK);
    const mobiedit_config config = {
        .abi = MOBIEDIT_ABI, .aim = second ? 0.92f : 0.9f, .backend = &place->backend, .memory = place->editor_memory,
        .memory_len = sizeof place->editor_memory};
    EXPECT(mobiedit_init(&place->editor, &config) == MOBIEDIT_OK);
    place->problem = edit;
    place->problem.seed += (uint64_t)second;
    place->problem.prompts_len -= (size_t)second;
    EXPECT(mobiedit_edit(&place->editor, &place->problem) == MOBIEDIT_OK);
}

/* One unit; 0 after the end. */
static int step(struct place *place) {
    int32_t code = mobiedit_step(&place->editor);
    EXPECT(code == MOBIEDIT_OK || code == MOBIEDIT_ENDED);
    return code == MOBIEDIT_OK;
}

/* FNV-1a over the bits of the patch, and over what it took. */
static uint64_t fingerprint(struct place *place) {
    mobiedit_patch patch;
    mobiedit_progress progress;
    uint64_t hash = 0xcbf29ce484222325;
    EXPECT(mobiedit_get_patch(&place->editor, &patch) == MOBIEDIT_OK);
    EXPECT(mobiedit_get_progress(&place->editor, &progress) == MOBIEDIT_OK && progress.outcome == MOBIEDIT_SUCCESS);
    for (unsigned part = 0; part < 2; part++) {
        const uint8_t *bytes = (const uint8_t *)(part ? patch.lambda : patch.u);
        const size_t len = sizeof(float) * (part ? place->backend.spec.d_model : place->backend.spec.d_ff);
        for (size_t i = 0; i < len; i++) hash = (hash ^ bytes[i]) * 0x100000001b3;
    }
    return (hash ^ progress.rows) * 0x100000001b3;
}

int main(void) {
    uint64_t alone[2];
    int units = 0;
    for (int second = 0; second < 2; second++) {
        begin(&places[second], second);
        while (step(&places[second])) {
        }
        alone[second] = fingerprint(&places[second]);
    }
    EXPECT(alone[0] != alone[1]);
    for (int second = 0; second < 2; second++) begin(&places[second], second);
    for (int first = 1, other = 1; first | other; units++) {
        first = first && step(&places[0]);
        other = other && step(&places[1]);
    }
    EXPECT(fingerprint(&places[0]) == alone[0] && fingerprint(&places[1]) == alone[1]);
    printf("%d units in turns\n", units);
    return 0;
}
