/*
 * An edit that outlives power cuts. The device loses its memory again and again; all that it finds afterwards is in flash: the
 * model, its calibration, and the checkpoint that was written last. It goes on from there, and ends in the same patch, bit for
 * bit, as a device that was never switched off.
 *
 * The edit uses what is known beforehand: sample keys and values to start from, by the calibration; static scales, by the same;
 * and the readers. A checkpoint knows all of these, and is refused where one of them is another.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mobiedit.h"
#include "problem.h"

#define EXPECT(what) do { if (!(what)) printf("failed: %s\n", #what), exit(1); } while (0)

enum { D_MODEL = 128, READERS = 128 }; /* of small.gguf */

extern const uint8_t model_start[], model_end[], calibration_start[], calibration_end[]; /* of model.S */

/* All that a power cut wipes. */
static struct {
    uint64_t backend_memory[400 * 1024 / 8], editor_memory[200 * 1024 / 8];
    uint16_t readers[READERS * D_MODEL];
    mobiedit_cpu cpu;
    mobiedit_backend backend;
    mobiedit_statistics statistics;
    mobiedit editor;
} ram;

/* What stays: one checkpoint. A real device has room for two, and writes the older one over. */
static struct { uint8_t bytes[2048]; size_t len; } flash;

/* From reset to an editor without an edit. The memory holds anything. `batch` is memory against speed, and changes no result. */
static void boot(uint32_t batch, float aim) {
    const size_t calibration_len = (size_t)(calibration_end - calibration_start);
    const mobiedit_cpu_config cpu_config = {
        .abi = MOBIEDIT_ABI, .activations = MOBIEDIT_STATIC, .model = model_start, .model_len = (size_t)(model_end - model_start),
        .rows = 64, .patches = 1, .calibration = calibration_start, .calibration_len = calibration_len,
        .memory = ram.backend_memory, .memory_len = sizeof ram.backend_memory};
    memset(&ram, rand(), sizeof ram);
    EXPECT(mobiedit_cpu_init(&ram.cpu, &cpu_config, &ram.backend) == MOBIEDIT_OK);
    EXPECT(ram.backend.spec.d_model == D_MODEL);

    mobiedit_statistics *statistics = &ram.statistics;
    EXPECT(mobiedit_open_calibration(calibration_start, calibration_len, &ram.backend.spec, edit.layer, statistics) == MOBIEDIT_OK);
    EXPECT(mobiedit_cpu_readers(&ram.cpu, edit.layer, ram.readers, READERS * D_MODEL) == MOBIEDIT_OK);
    statistics->readers = ram.readers, statistics->readers_len = READERS * D_MODEL;

    const mobiedit_config config = {
        .abi = MOBIEDIT_ABI, .batch = batch, .aim = aim, .backend = &ram.backend, .statistics = statistics,
        .memory = ram.editor_memory, .memory_len = sizeof ram.editor_memory};
    EXPECT(mobiedit_init(&ram.editor, &config) == MOBIEDIT_OK);
}

/* FNV-1a over the bits of the patch. */
static uint64_t fingerprint(void) {
    mobiedit_patch patch;
    uint64_t hash = 0xcbf29ce484222325;
    EXPECT(mobiedit_get_patch(&ram.editor, &patch) == MOBIEDIT_OK);
    for (unsigned part = 0; part < 2; part++) {
        const float *numbers = part ? patch.lambda : patch.u;
        for (uint32_t i = 0; i < (part ? ram.backend.spec.d_model : ram.backend.spec.d_ff); i++) {
            uint32_t bits;
            memcpy(&bits, &numbers[i], sizeof bits);
            for (int byte = 0; byte < 4; byte++) hash = (hash ^ (bits >> 8 * byte & 0xff)) * 0x100000001b3;
        }
    }
    return hash;
}

/* The whole edit with a power cut behind every so many units of work; returns how many there were. */
static int edit_with_cuts(int units, mobiedit_progress *progress) {
    int cuts = 0;
    boot(2, 0.9f);
    EXPECT(mobiedit_edit(&ram.editor, &edit) == MOBIEDIT_OK);
    for (int unit = 1;; unit++) {
        int32_t code = mobiedit_step(&ram.editor);
        if (code == MOBIEDIT_ENDED) break;
        EXPECT(code == MOBIEDIT_OK);
        if (unit % units) continue;
        EXPECT(mobiedit_checkpoint(&ram.editor, flash.bytes, sizeof flash.bytes, &flash.len) == MOBIEDIT_OK);
        boot(++cuts % 2 ? 5 : 2, 0.9f);
        EXPECT(mobiedit_resume(&ram.editor, &edit, flash.bytes, flash.len) == MOBIEDIT_OK);
    }
    EXPECT(mobiedit_get_progress(&ram.editor, progress) == MOBIEDIT_OK);
    return cuts;
}

/* What is in flash, as the checkpoint of this problem: the code says what is wrong with it, and no edit is begun. */
static void refuse(const mobiedit_problem *problem, size_t len, int32_t expected) {
    int32_t code = mobiedit_resume(&ram.editor, problem, flash.bytes, len);
    if (code != expected) printf("%s, not %s\n", mobiedit_strerror(code), mobiedit_strerror(expected)), exit(1);
    EXPECT(mobiedit_step(&ram.editor) == MOBIEDIT_ERR_STATE);
}

int main(void) {
    mobiedit_progress whole, cut;
    EXPECT(edit_with_cuts(100000, &whole) == 0 && whole.outcome == MOBIEDIT_SUCCESS);
    uint64_t bits = fingerprint();

    /* The first unit behind a cut fills the cache again, and is not counted: two units at least have to fit between cuts. */
    for (int units = 2; units <= 8; units += 6) {
        int cuts = edit_with_cuts(units, &cut);
        EXPECT(cuts > 1 && fingerprint() == bits && memcmp(&whole, &cut, sizeof cut) == 0);
        printf("%d cuts, each after %d units\n", cuts, units);
    }

    /* A checkpoint with a flipped bit, or cut off; then one of another problem, with other settings, with other statistics. */
    boot(2, 0.9f);
    for (size_t at = 0; at < flash.len; at += 61) {
        flash.bytes[at] ^= 4;
        refuse(&edit, flash.len, MOBIEDIT_ERR_CHECKPOINT);
        flash.bytes[at] ^= 4;
    }
    refuse(&edit, flash.len - 1, MOBIEDIT_ERR_CHECKPOINT);
    mobiedit_problem other = edit;
    other.prompts_len -= 1;
    refuse(&other, flash.len, MOBIEDIT_ERR_OTHER_EDIT);
    boot(2, 0.95f);
    refuse(&edit, flash.len, MOBIEDIT_ERR_OTHER_EDIT);
    boot(2, 0.9f);
    ram.readers[7] ^= 1;
    refuse(&edit, flash.len, MOBIEDIT_ERR_OTHER_EDIT);

    /* None of that harmed it. */
    boot(2, 0.9f);
    EXPECT(mobiedit_resume(&ram.editor, &edit, flash.bytes, flash.len) == MOBIEDIT_OK);
    while (mobiedit_step(&ram.editor) == MOBIEDIT_OK) {
    }
    EXPECT(fingerprint() == bits);
    printf("%u steps, %u forward passes\npatch %08x%08x\n", (unsigned)whole.step, (unsigned)whole.forward_passes,
           (unsigned)(bits >> 32), (unsigned)bits);
    return 0;
}
