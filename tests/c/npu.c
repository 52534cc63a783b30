/*
 * An edit on Qualcomm's NPU, by a library of the feature `qnn`: MOBIEDIT_QNN_LIB names the vendor's, on a PC that of the emulator.
 * Without one, or where it does not open, the same model runs on the CPU.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mobiedit.h"
#include "problem.h"

extern const uint8_t model_start[], model_end[], calibration_start[], calibration_end[]; /* of model.S */

static uint64_t backend_memory[400 * 1024 / 8], editor_memory[160 * 1024 / 8];
static mobiedit_cpu cpu;
static mobiedit editor;

#define EXPECT(what)                                                  \
    do {                                                              \
        if (!(what)) {                                                \
            printf("%s:%d: not %s\n", __FILE__, __LINE__, #what);     \
            return 1;                                                 \
        }                                                             \
    } while (0)

/* What is asked for wrongly, and a library that is not there. */
static int refusals(void) {
    mobiedit_qnn *npu = NULL;
    char message[64] = "", tiny[4] = "";
    mobiedit_qnn_config config = {.abi = MOBIEDIT_ABI, .library = "nowhere/libQnnHtp.so"};
    EXPECT(mobiedit_qnn_open(&config, &npu, message, sizeof message) == MOBIEDIT_ERR_DEVICE && npu == NULL);
    EXPECT(strncmp(message, "the QNN library does not open: ", 31) == 0 && strlen(message) < sizeof message);
    EXPECT(mobiedit_qnn_open(&config, &npu, tiny, sizeof tiny) == MOBIEDIT_ERR_DEVICE && strcmp(tiny, "the") == 0);
    EXPECT(mobiedit_qnn_open(&config, &npu, NULL, 0) == MOBIEDIT_ERR_DEVICE);
    EXPECT(mobiedit_qnn_open(NULL, &npu, NULL, 0) == MOBIEDIT_ERR_NULL);
    EXPECT(mobiedit_qnn_open(&config, NULL, NULL, 0) == MOBIEDIT_ERR_NULL);
    config.abi = 0;
    EXPECT(mobiedit_qnn_open(&config, &npu, NULL, 0) == MOBIEDIT_ERR_VERSION);
    mobiedit_qnn_close(NULL);
    EXPECT(mobiedit_qnn_burst(NULL, 1) == MOBIEDIT_ERR_NULL && mobiedit_qnn_get_counters(NULL, NULL) == MOBIEDIT_ERR_NULL);
    return 0;
}

static int evaluate_on_cpu(mobiedit_cpu_config model, mobiedit_loss *loss) {
    static uint64_t memory[400 * 1024 / 8];
    static mobiedit_cpu other;
    mobiedit_backend backend;
    model.memory = memory, model.memory_len = sizeof memory;
    EXPECT(mobiedit_cpu_init(&other, &model, &backend) == MOBIEDIT_OK);
    EXPECT(backend.evaluate(backend.context, &edit, loss) == 0);
    return 0;
}

int main(void) {
    if (refusals()) return 1;
    const mobiedit_cpu_config model = {
        .abi = MOBIEDIT_ABI, .activations = MOBIEDIT_STATIC, .model = model_start,
        .model_len = (size_t)(model_end - model_start), .rows = 64, .patches = 1, .context = 16,
        .calibration = calibration_start, .calibration_len = (size_t)(calibration_end - calibration_start),
        .memory = backend_memory, .memory_len = sizeof backend_memory};

    /* The NPU if there is one, else the CPU. */
    const char *library = getenv("MOBIEDIT_QNN_LIB");
    const mobiedit_qnn_config config = {.abi = MOBIEDIT_ABI, .soc = 57, .library = library};
    mobiedit_qnn *npu = NULL;
    mobiedit_backend backend;
    char message[160];
    int32_t code = mobiedit_qnn_open(&config, &npu, message, sizeof message);
    if (code == MOBIEDIT_OK) {
        size_t bytes = 0;
        EXPECT(mobiedit_qnn_footprint(&model, &bytes) == MOBIEDIT_OK && bytes <= sizeof backend_memory);
        mobiedit_cpu_config broken = model;
        broken.model_len = 100;
        EXPECT(mobiedit_qnn_init(npu, &broken, &backend) == MOBIEDIT_ERR_MODEL);
        EXPECT(mobiedit_qnn_init(npu, &model, &backend) == MOBIEDIT_OK);
        EXPECT(mobiedit_qnn_init(npu, &model, &backend) == MOBIEDIT_OK); /* anew, in the same memory */
        code = mobiedit_qnn_burst(npu, 1);
        printf("clocks: %s\n", mobiedit_strerror(code));
    } else {
        EXPECT(library == NULL); /* it was said to be there */
        printf("on the CPU: %s\n", message);
        EXPECT(mobiedit_cpu_init(&cpu, &model, &backend) == MOBIEDIT_OK);
    }

    /* Two steps of an edit, which are an edit but for its success, and the answers around it. */
    const mobiedit_config settings = {.abi = MOBIEDIT_ABI, .batch = 2, .max_steps = 2, .backend = &backend,
                                      .memory = editor_memory, .memory_len = sizeof editor_memory};
    mobiedit_loss on_cpu, loss;
    EXPECT(backend.evaluate(backend.context, &edit, &loss) == 0 && isfinite(loss.nll));
    EXPECT(evaluate_on_cpu(model, &on_cpu) == 0);
    printf("-log P(target) is %.3f, on the CPU %.3f\n", loss.nll, on_cpu.nll);
    EXPECT(fabsf(loss.nll - on_cpu.nll) < 0.05f);
    EXPECT(mobiedit_init(&editor, &settings) == MOBIEDIT_OK);
    uint32_t before[2], undone[2], id;
    size_t count = 0, text = sizeof edit_text / sizeof *edit_text;
    EXPECT(mobiedit_generate(&editor, edit_text, text, NULL, 0, before, 2, &count) == MOBIEDIT_OK && count == 2);
    EXPECT(mobiedit_edit(&editor, &edit) == MOBIEDIT_OK);
    while ((code = mobiedit_step(&editor)) == MOBIEDIT_OK) {
    }
    mobiedit_progress progress;
    EXPECT(code == MOBIEDIT_ENDED && mobiedit_get_progress(&editor, &progress) == MOBIEDIT_OK);
    printf("%u steps, %u forward passes\n", (unsigned)progress.step, (unsigned)progress.forward_passes);
    EXPECT(progress.step == 2 && isfinite(progress.nll));
    EXPECT(mobiedit_apply(&editor, &id) == MOBIEDIT_OK && mobiedit_undo(&editor, id) == MOBIEDIT_OK);
    EXPECT(mobiedit_generate(&editor, edit_text, text, NULL, 0, undone, 2, &count) == MOBIEDIT_OK && count == 2);
    EXPECT(memcmp(before, undone, sizeof before) == 0);

    if (npu) {
        mobiedit_qnn_counters counters;
        EXPECT(mobiedit_qnn_get_counters(npu, &counters) == MOBIEDIT_OK && mobiedit_qnn_burst(npu, 0) == MOBIEDIT_OK);
        printf("on the NPU: %u graphs finalised, %u executions\n", (unsigned)counters.finalized,
               (unsigned)counters.executed);
        EXPECT(counters.finalized > 0 && counters.executed > counters.finalized);
        mobiedit_qnn_close(npu);
    }
    return 0;
}
