/*
 * What is known beforehand: a calibration in flash, the static scales that the built-in backend takes from it, what it lends to an
 * edit, and the readers, which need no file. And what of all that is refused.
 *
 * model.S puts the model and its calibration into the image; on a PC, once,
 *
 *     mobiedit calibrate --model small.gguf --max-tokens 100
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mobiedit.h"
#include "problem.h"

#define EXPECT(what) do { if (!(what)) printf("failed: %s\n", #what), exit(1); } while (0)

extern const uint8_t model_start[], model_end[], calibration_start[], calibration_end[]; /* of model.S */

static uint64_t backend_memory[400 * 1024 / 8];
static mobiedit_cpu cpu;
/* A copy to be damaged, with a byte before it to be misaligned. */
static _Alignas(8) uint8_t place[100 * 1024];

/* The file's checksum: CRC-32 of all before its last four bytes. */
static void seal(uint8_t *bytes, size_t len) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i + 4 < len; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    for (int i = 0; i < 4; i++) bytes[len - 4 + i] = (uint8_t)(~crc >> 8 * i);
}

static mobiedit_cpu_config config(uint32_t activations, const uint8_t *calibration, size_t len) {
    return (mobiedit_cpu_config){
        .abi = MOBIEDIT_ABI, .activations = activations, .model = model_start, .model_len = (size_t)(model_end - model_start),
        .rows = 32, .patches = 1, .calibration = calibration, .calibration_len = len,
        .memory = backend_memory, .memory_len = sizeof backend_memory};
}

/* Opens bytes that are no calibration of this model, both ways: the code is told and nothing is written. */
static void refuse(const uint8_t *bytes, size_t len, const mobiedit_spec *spec, int32_t of_edit, int32_t of_backend) {
    mobiedit_statistics out, untouched;
    mobiedit_backend backend, same;
    static mobiedit_cpu other, zero;
    memset(&out, 0x5a, sizeof out), memset(&untouched, 0x5a, sizeof untouched);
    memset(&backend, 0x5a, sizeof backend), memset(&same, 0x5a, sizeof same);
    const mobiedit_cpu_config cpu_config = config(MOBIEDIT_STATIC, bytes, len);
    int32_t code = mobiedit_open_calibration(bytes, len, spec, edit.layer, &out);
    if (code != of_edit) printf("%s, not %s\n", mobiedit_strerror(code), mobiedit_strerror(of_edit)), exit(1);
    code = mobiedit_cpu_init(&other, &cpu_config, &backend);
    if (code != of_backend) printf("%s, not %s\n", mobiedit_strerror(code), mobiedit_strerror(of_backend)), exit(1);
    EXPECT(memcmp(&out, &untouched, sizeof out) == 0 && memcmp(&backend, &same, sizeof backend) == 0);
    EXPECT(memcmp(&other, &zero, sizeof other) == 0);
}

/* -log P(target) with these activations, before any edit. */
static double nll(uint32_t activations, size_t *bytes) {
    const mobiedit_cpu_config cpu_config =
        config(activations, calibration_start, (size_t)(calibration_end - calibration_start));
    mobiedit_backend backend;
    mobiedit_loss loss;
    EXPECT(mobiedit_cpu_footprint(&cpu_config, bytes) == MOBIEDIT_OK);
    EXPECT(mobiedit_cpu_init(&cpu, &cpu_config, &backend) == MOBIEDIT_OK);
    EXPECT(backend.evaluate(&cpu, &edit, &loss) == 0 && loss.targets == 3);
    return (double)loss.nll;
}

int main(void) {
    const size_t len = (size_t)(calibration_end - calibration_start);
    mobiedit_cpu_config plain = config(MOBIEDIT_W8A16, NULL, 0);
    mobiedit_backend backend;
    mobiedit_statistics lent;
    EXPECT(len <= sizeof place - 1 && mobiedit_cpu_init(&cpu, &plain, &backend) == MOBIEDIT_OK);

    /* Lent where it lies: keys and values of whole rows, in the file's bytes. */
    EXPECT(mobiedit_open_calibration(calibration_start, len, &backend.spec, edit.layer, &lent) == MOBIEDIT_OK);
    EXPECT(lent.samples_len == 100u * backend.spec.d_ff && lent.bank_len == 6u * backend.spec.d_model && !lent.readers_len);
    EXPECT((const uint8_t *)(lent.bank + lent.bank_len) == calibration_end - 4);

    /* What changed since it was written, or is of something else. */
    const int32_t damaged = MOBIEDIT_ERR_CALIBRATION, other = MOBIEDIT_ERR_OTHER_MODEL;
    memcpy(place, calibration_start, len);
    for (size_t at = 0; at < len; at += 9973) {
        place[at] ^= 0x10;
        refuse(place, len, &backend.spec, damaged, damaged);
        place[at] ^= 0x10;
    }
    refuse(place, len - 1, &backend.spec, damaged, damaged);
    refuse(place, 0, &backend.spec, damaged, damaged);
    refuse(NULL, len, &backend.spec, MOBIEDIT_ERR_NULL, MOBIEDIT_ERR_NULL);
    place[8] += 1, seal(place, len); /* the version */
    refuse(place, len, &backend.spec, damaged, damaged);
    place[8] -= 1, place[24] = 1, seal(place, len); /* the layer: its scales are good for all */
    EXPECT(mobiedit_open_calibration(place, len, &backend.spec, edit.layer, &lent) == other);
    place[24] = 0, place[44] ^= 1, seal(place, len); /* the model: of the same sizes, which is all that an editor can tell */
    EXPECT(mobiedit_open_calibration(place, len, &backend.spec, edit.layer, &lent) == MOBIEDIT_OK);
    mobiedit_spec wider = backend.spec;
    wider.d_model += 1;
    refuse(place, len, &wider, other, other);
    memcpy(place + 1, calibration_start, len);
    EXPECT(mobiedit_open_calibration(place + 1, len, &backend.spec, edit.layer, &lent) == MOBIEDIT_ERR_ALIGNMENT);

    /* What the layers above read: from the weights, whole rows, the same ones every time. */
    const size_t width = backend.spec.d_model;
    static uint16_t readers[128 * 128], again[128 * 128];
    EXPECT(mobiedit_cpu_readers(&cpu, edit.layer, readers, width * width) == MOBIEDIT_OK && width == 128);
    EXPECT(mobiedit_cpu_readers(&cpu, edit.layer, again, width * width) == MOBIEDIT_OK);
    EXPECT(memcmp(readers, again, sizeof readers) == 0 && readers[0] && readers[width * width - 1]);
    EXPECT(mobiedit_cpu_readers(&cpu, edit.layer, again, width - 1) == MOBIEDIT_ERR_STATISTICS);
    EXPECT(mobiedit_cpu_readers(&cpu, backend.spec.layers, again, width) == MOBIEDIT_ERR_RANGE);
    EXPECT(mobiedit_cpu_readers(&cpu, edit.layer, NULL, width) == MOBIEDIT_ERR_NULL);
    EXPECT(memcmp(readers, again, sizeof readers) == 0);

    /* Static scales: other numbers, near to the dynamic ones, for 4 bytes each. */
    size_t bytes, with_scales;
    double dynamic = nll(MOBIEDIT_W8A16, &bytes), fixed = nll(MOBIEDIT_STATIC, &with_scales);
    double clipped = nll(MOBIEDIT_STATIC_CLIPPED, &with_scales), real = nll(MOBIEDIT_FLOAT, &bytes);
    printf("-log P: %.6f float, %.6f dynamic, %.6f static, %.6f clipped\n", real, dynamic, fixed, clipped);
    EXPECT(with_scales - bytes == 4 * (11 * backend.spec.layers + 2));
    EXPECT(fixed != dynamic && clipped != fixed && dynamic - real < 1e-3 && fixed - dynamic < 0.1 && dynamic - fixed < 0.1);
    return 0;
}
