/*
 * Two edits on top of each other: while the second is searched, the first is applied, and the second keeps off it.
 *
 * A backend that has the callback `applied` names the patches that it holds, so that the editor can make the new one's u
 * orthogonal to theirs: what the first looks for, the second does not see. Without the callback the two meet.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mobiedit.h"
#include "problem.h"
#include "second.h"

#define EXPECT(what) do { if (!(what)) printf("failed: %s\n", #what), exit(1); } while (0)

extern const uint8_t model_start[], model_end[]; /* of model.S */

static uint64_t backend_memory[400 * 1024 / 8], editor_memory[160 * 1024 / 8];
static mobiedit_cpu cpu;
static mobiedit editor;

/* Searches the patch of an edit to its end; it is not applied. Returns its outcome. */
static uint32_t search(const mobiedit_backend *backend, const mobiedit_problem *problem, uint32_t max_steps,
                       mobiedit_patch *patch) {
    const mobiedit_config config = {.abi = MOBIEDIT_ABI, .batch = 2, .aim = 0.9f, .max_steps = max_steps, .backend = backend,
                                    .memory = editor_memory, .memory_len = sizeof editor_memory};
    mobiedit_progress progress;
    int32_t code;
    EXPECT(mobiedit_init(&editor, &config) == MOBIEDIT_OK && mobiedit_edit(&editor, problem) == MOBIEDIT_OK);
    while ((code = mobiedit_step(&editor)) == MOBIEDIT_OK) {
    }
    EXPECT(code == MOBIEDIT_ENDED && mobiedit_get_progress(&editor, &progress) == MOBIEDIT_OK);
    EXPECT(mobiedit_get_patch(&editor, patch) == MOBIEDIT_OK);
    return progress.outcome;
}

/* P(target) of the model as it stands, over an edit's prompts; 0 where it does not say the target at each of them. */
static float holds(const mobiedit_backend *backend, const mobiedit_problem *problem) {
    mobiedit_loss loss;
    if (backend->evaluate(backend->context, problem, &loss) != 0 || loss.hits != loss.targets) return 0;
    return expf(-loss.nll);
}

/* Whether the model goes on with this token. */
static int says(const uint32_t *text, size_t len, uint32_t token) {
    uint32_t said;
    size_t count;
    return mobiedit_generate(&editor, text, len, NULL, 0, &said, 1, &count) == MOBIEDIT_OK && said == token;
}

/* The cosine between what two patches of a layer look for. */
static float cosine(const float *a, const float *b, uint32_t len) {
    double ab = 0, aa = 0, bb = 0;
    for (uint32_t i = 0; i < len; i++) ab += a[i] * b[i], aa += a[i] * a[i], bb += b[i] * b[i];
    return (float)(ab / sqrt(aa * bb));
}

int main(void) {
    const mobiedit_cpu_config cpu_config = {
        .abi = MOBIEDIT_ABI, .model = model_start, .model_len = (size_t)(model_end - model_start),
        .rows = 64, .patches = 3, .context = 8, .memory = backend_memory, .memory_len = sizeof backend_memory};
    mobiedit_backend backend;
    mobiedit_patch first, second, named;
    uint32_t id[2];
    EXPECT(mobiedit_cpu_init(&cpu, &cpu_config, &backend) == MOBIEDIT_OK);

    /* The first edit is applied, and named from then on. */
    EXPECT(search(&backend, &edit, 0, &first) == MOBIEDIT_SUCCESS);
    EXPECT(backend.applied(&cpu, edit.layer, 0, &named) != 0);
    EXPECT(mobiedit_apply(&editor, &id[0]) == MOBIEDIT_OK && backend.applied(&cpu, edit.layer, 0, &named) == 0);
    EXPECT(named.layer == edit.layer && memcmp(named.u, first.u, backend.spec.d_ff * sizeof *first.u) == 0);
    EXPECT(backend.applied(&cpu, edit.layer, 1, &named) != 0 && backend.applied(&cpu, edit.layer + 1, 0, &named) != 0);
    backend.applied(&cpu, edit.layer, 0, &first); /* the editor's memory is about to be used again */

    /* The second one by a backend that names no patches would see what the first looks for. One step tells: u is there before. */
    mobiedit_backend silent = backend;
    silent.applied = NULL;
    EXPECT(search(&silent, &other, 1, &second) == MOBIEDIT_EXHAUSTED);
    float meeting = cosine(first.u, second.u, backend.spec.d_ff);

    /* By one that names them it does not, and both hold. */
    float alone = holds(&backend, &edit);
    EXPECT(search(&backend, &other, 0, &second) == MOBIEDIT_SUCCESS);
    float apart = cosine(first.u, second.u, backend.spec.d_ff);
    EXPECT(mobiedit_apply(&editor, &id[1]) == MOBIEDIT_OK);
    float kept = holds(&backend, &edit), added = holds(&backend, &other);
    EXPECT(says(edit_text, sizeof edit_text / sizeof *edit_text, *edit_target));
    EXPECT(says(other_text, sizeof other_text / sizeof *other_text, *other_target));
    printf("P of the first %.3f, with the second on top %.3f; of the second %.3f; cosine %.6f instead of %.3f\n",
           (double)alone, (double)kept, (double)added, (double)apart, (double)meeting);
    EXPECT(fabsf(apart) < 1e-5f && fabsf(meeting) > 0.05f && kept > 0 && added > 0);

    /* Taken off in any order, without a trace. */
    EXPECT(mobiedit_undo(&editor, id[0]) == MOBIEDIT_OK && holds(&backend, &edit) == 0);
    EXPECT(mobiedit_undo(&editor, id[1]) == MOBIEDIT_OK && backend.applied(&cpu, edit.layer, 0, &named) != 0);
    return 0;
}
