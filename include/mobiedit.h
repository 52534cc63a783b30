/*
 * MobiEdit: edits what a language model knows, with forward passes alone, in memory that the caller gives.
 *
 * Made from src/capi by `cargo xtask header`: do not change it by hand.
 *
 *   1. Fill a mobiedit_backend: your own callbacks, or mobiedit_cpu_init for a GGUF in memory or flash, or mobiedit_qnn_open and
 *      mobiedit_qnn_init for one on Qualcomm's NPU.
 *   2. mobiedit_open_calibration and mobiedit_cpu_readers, for searches of fewer forward passes.
 *   3. mobiedit_footprint, mobiedit_init, mobiedit_edit.
 *   4. mobiedit_step until it returns no MOBIEDIT_OK: MOBIEDIT_ENDED, or an error.
 *   5. mobiedit_get_patch, mobiedit_apply, mobiedit_undo, mobiedit_generate.
 *   6. mobiedit_journal_open and mobiedit_journal_append keep the patch in flash; after the next start mobiedit_journal_next and
 *      mobiedit_journal_apply bring it back, without a search.
 *
 * Functions return MOBIEDIT_OK, MOBIEDIT_ENDED, or a negative MOBIEDIT_ERR_...; after an error nothing was written.
 * One state must not be used by two threads at a time; different states are independent. Nothing is allocated, but by the
 * functions of mobiedit_qnn: they are in libraries of the feature `qnn` alone, which use the C library and its heap.
 */

#ifndef MOBIEDIT_H
#define MOBIEDIT_H

#include <stddef.h>
#include <stdint.h>

// All went well.
#define MOBIEDIT_OK 0

// The edit has an outcome: `mobiedit_get_progress` says which, `mobiedit_get_patch` and `mobiedit_apply` can be called. Or the
// journal has no edit behind the one that was given.
#define MOBIEDIT_ENDED 1

// A pointer that is needed is NULL.
#define MOBIEDIT_ERR_NULL -1

// A pointer has not the alignment of what it points to; `memory` needs `MOBIEDIT_ALIGNMENT`.
#define MOBIEDIT_ERR_ALIGNMENT -2

// A lent buffer is too small: `mobiedit_footprint`, `mobiedit_cpu_footprint` and `mobiedit_checkpoint_len` say how much is needed.
#define MOBIEDIT_ERR_TOO_SMALL -3

// `abi` of a config is not the library's `MOBIEDIT_ABI`: header and library are of different versions.
#define MOBIEDIT_ERR_VERSION -4

// A setting is outside its range.
#define MOBIEDIT_ERR_CONFIG -5

// The problem does not fit the model: prompts, subject positions, target or layer.
#define MOBIEDIT_ERR_PROBLEM -6

// Sample keys, bank or readers are no whole rows, or not finite.
#define MOBIEDIT_ERR_STATISTICS -7

// The state was not initialised, has no edit, or its edit has not ended.
#define MOBIEDIT_ERR_STATE -8

// The checkpoint is damaged, or of another version of the library.
#define MOBIEDIT_ERR_CHECKPOINT -9

// The checkpoint belongs to another edit: other problem, settings, statistics or model.
#define MOBIEDIT_ERR_OTHER_EDIT -10

// The model gave a NaN or an infinity, or a patch holds one.
#define MOBIEDIT_ERR_NOT_FINITE -11

// The key or the value at the subject is zero, or the prompts' keys cancel each other.
#define MOBIEDIT_ERR_DEGENERATE -12

// A callback failed: the edit is where it was, and the same call tries again. `mobiedit_backend_code` is what it returned.
#define MOBIEDIT_ERR_BACKEND -13

// The bytes are no GGUF of a model that is supported.
#define MOBIEDIT_ERR_MODEL -14

// No room for another patch, or a patch that is not applied.
#define MOBIEDIT_ERR_PATCH -15

// A token outside the vocabulary, or a layer outside the model.
#define MOBIEDIT_ERR_RANGE -16

// The text is longer than the context.
#define MOBIEDIT_ERR_CONTEXT -17

// The backend cannot do this.
#define MOBIEDIT_ERR_UNSUPPORTED -18

// The bytes are no calibration, damaged, cut off, or of another version of the file.
#define MOBIEDIT_ERR_CALIBRATION -19

// The calibration or the kept edit was made of another model, or the calibration's statistics are of another layer.
#define MOBIEDIT_ERR_OTHER_MODEL -20

// The NPU's library does not open, or gives no device.
#define MOBIEDIT_ERR_DEVICE -21

// A callback of the flash failed: `mobiedit_journal_get_info` says what it returned.
#define MOBIEDIT_ERR_FLASH -22

// What is in the flash is no journal, or is damaged, or a newer version of the library wrote it: `mobiedit_journal_get_info` says
// which record.
#define MOBIEDIT_ERR_JOURNAL -23

// The flash has no room for the edit, and a compaction would not make any.
#define MOBIEDIT_ERR_FULL -24

// The journal has no edit of this id, or it was undone.
#define MOBIEDIT_ERR_UNKNOWN -25

// The version of structs and functions. A config's `abi` has to be this.
#define MOBIEDIT_ABI 1

// What `memory` has to be aligned to, in bytes.
#define MOBIEDIT_ALIGNMENT 8

// Most prompts of a problem, essence prompts included.
#define MOBIEDIT_MAX_PROMPTS 16

// Longest target in tokens.
#define MOBIEDIT_MAX_TARGET_TOKENS 32

// A prompt that should end in the target.
#define MOBIEDIT_REWRITE 0

// A prompt about the subject, "{subject} is a", whose last row's distribution should stay as it was.
#define MOBIEDIT_ESSENCE 1

// This project's settings.
#define MOBIEDIT_DEFAULT 0

// The published settings, at their published cost.
#define MOBIEDIT_PAPER 1

// The last unit was the clean pass.
#define MOBIEDIT_PHASE_PREFILL 0

// The last unit tried values of the bank as starts.
#define MOBIEDIT_PHASE_BANK 1

// The last unit was an optimiser step.
#define MOBIEDIT_PHASE_SEARCH 2

// The last unit tested the model as it will be written.
#define MOBIEDIT_PHASE_VERIFY 3

// The edit has ended.
#define MOBIEDIT_PHASE_DONE 4

// The edit goes on.
#define MOBIEDIT_RUNNING 0

// The model with the patch says the target.
#define MOBIEDIT_SUCCESS 1

// The search has ended without success; its best patch can be had all the same.
#define MOBIEDIT_EXHAUSTED 2

// 8-byte words of a `mobiedit` state.
#define MOBIEDIT_STATE_WORDS 160

// 8-byte words of a `mobiedit_journal`.
#define MOBIEDIT_JOURNAL_WORDS 112

// Most edits at a time that are not undone.
#define MOBIEDIT_JOURNAL_EDITS 128

// 8-byte words of a `mobiedit_cpu`.
#define MOBIEDIT_CPU_WORDS 448

// Activations are int16 with a scale per row.
#define MOBIEDIT_W8A16 0

// Activations are float: slower, for comparison.
#define MOBIEDIT_FLOAT 1

// Activations are int16 with one scale per input, over the largest magnitude that calibration saw: as on an NPU.
#define MOBIEDIT_STATIC 2

// The same with ranges clipped by the published rule.
#define MOBIEDIT_STATIC_CLIPPED 3

// Rows of readers that `mobiedit edit` makes, where d_model is not less: then it makes d_model rows.
#define MOBIEDIT_READERS 512

// The NPU, and the model that runs on it. Made by `mobiedit_qnn_open`.
typedef struct mobiedit_qnn mobiedit_qnn;

// The sizes of a model.
typedef struct mobiedit_spec {
  // Width of the residual stream, and of the value vector.
  uint32_t d_model;
  // Width of the MLP's inner layer, and of a key.
  uint32_t d_ff;
  // Number of decoder layers.
  uint32_t layers;
  // Width of one token's keys in one layer: KV heads times head dimension.
  uint32_t kv_dim;
  // Number of tokens in the vocabulary.
  uint32_t vocab;
  // Longest sequence in tokens.
  uint32_t max_tokens;
} mobiedit_spec;

// One token sequence of an edit.
typedef struct mobiedit_prompt {
  // For MOBIEDIT_REWRITE: prefix, prompt and all target tokens but the last. For MOBIEDIT_ESSENCE: all of it.
  const uint32_t *tokens;
  // Number of tokens.
  size_t tokens_len;
  // Position of the subject's last token, from 0.
  uint32_t subject_last;
  // MOBIEDIT_REWRITE or MOBIEDIT_ESSENCE.
  uint32_t role;
} mobiedit_prompt;

// What an edit is asked to do. It, the prompts and the tokens have to stay as they are until the edit is left.
typedef struct mobiedit_problem {
  // The rewrite prompts, then the essence prompts.
  const struct mobiedit_prompt *prompts;
  // Number of prompts, at most MOBIEDIT_MAX_PROMPTS.
  size_t prompts_len;
  // The target's tokens.
  const uint32_t *target;
  // Number of target tokens, at most MOBIEDIT_MAX_TARGET_TOKENS.
  size_t target_len;
  // The edit layer, from 0; not the last one.
  uint32_t layer;
  // Seed of the random directions.
  uint64_t seed;
} mobiedit_problem;

// What one candidate costs.
typedef struct mobiedit_loss {
  // Mean over the rewrite prompts of the mean over target tokens of -log P(token), in nats.
  float nll;
  // Mean over the essence prompts of KL(P_edited || P_clean) at the last token, in nats; 0 without one.
  float kl;
  // Number of target tokens, over all rewrite prompts, that are the argmax.
  uint32_t hits;
  // Number of target tokens over all rewrite prompts.
  uint32_t targets;
} mobiedit_loss;

// A rank-one patch of one layer's `down_proj`: W' = W + lambda u^T.
typedef struct mobiedit_patch {
  // The layer, from 0.
  uint32_t layer;
  // What the patch looks for, (d_ff).
  const float *u;
  // What it adds, (d_model).
  const float *lambda;
} mobiedit_patch;

// A model that can be run forward: the firmware's own, or the built-in one of `mobiedit_cpu_init`.
//
// Every callback gets `context`, returns 0 or a code of its own, and has to give the same numbers for the same arguments and
// applied patches. A callback that returns something else than 0 stops the unit of work that called it: nothing is lost,
// and the next `mobiedit_step` tries again.
typedef struct mobiedit_backend {
  // The model's sizes.
  struct mobiedit_spec spec;
  // Handed to every callback.
  void *context;
  // The clean pass. `keys`, (prompts_len, d_ff), receives the input of the edit layer's `down_proj` at each prompt's
  // subject_last; if `echo` is not negative, a row more, with that at position `echo` of the first prompt. `value`,
  // (d_model), receives its output at the first prompt's subject_last. `cache` is for the callbacks' own use until the next
  // prefill: `losses` gets it as it was left.
  int32_t (*prefill)(void *context,
                     const struct mobiedit_problem *problem,
                     int64_t echo,
                     float *cache,
                     size_t cache_len,
                     float *keys,
                     float *value);
  // Losses of `count` candidates: `deltas`, (count, d_model), each added to the edit layer's output at subject_last of each
  // prompt. Of the prompts, those count whose bit is set in `which` (bit 0 is the first).
  int32_t (*losses)(void *context,
                    const struct mobiedit_problem *problem,
                    uint32_t which,
                    float *cache,
                    size_t cache_len,
                    const float *deltas,
                    size_t count,
                    struct mobiedit_loss *out);
  // Loss of the model as it stands, with its applied patches and without any delta, over all rewrite prompts; kl is 0.
  int32_t (*evaluate)(void *context,
                      const struct mobiedit_problem *problem,
                      struct mobiedit_loss *out);
  // W key of the `down_proj` at `layer`, patches included: `key`, (d_ff), `out`, (d_model). Only MOBIEDIT_PAPER calls it.
  int32_t (*project)(void *context, uint32_t layer, const float *key, float *out);
  // Adds a patch, whose numbers it has to copy, and names it by a number.
  int32_t (*apply)(void *context, const struct mobiedit_patch *patch, uint32_t *id);
  // Takes a patch off again.
  int32_t (*remove)(void *context, uint32_t id);
  // Names the patches that are applied to `layer`, so that an edit keeps off them: that of this `index`, the oldest being 0, to
  // `out`. Returns 0, or something else where there are not so many. The numbers have to stay where they are until a patch is
  // applied or removed. May be NULL: then edits are not kept off each other.
  int32_t (*applied)(void *context, uint32_t layer, uint32_t index, struct mobiedit_patch *out);
  // Greedy generation behind `prompt` until a token of `stop` or `out_len` tokens. May be NULL.
  int32_t (*generate)(void *context,
                      const uint32_t *prompt,
                      size_t prompt_len,
                      const uint32_t *stop,
                      size_t stop_len,
                      uint32_t *out,
                      size_t out_len,
                      size_t *written);
  // Says which model this is, as far as patches of `layer` are concerned: a number that others do not have, such as a hash of
  // the layer's weights, to `out`. A journal keeps it with each edit, and gives none to another model. May be NULL: then it is 0.
  int32_t (*identity)(void *context, uint32_t layer, uint64_t *out);
} mobiedit_backend;

// Samples from the edit layer, half-precision floats as their bits: `mobiedit_open_calibration` fills it, `mobiedit_cpu_readers`
// makes the readers. All may be absent: the search then takes more forward passes.
typedef struct mobiedit_statistics {
  // Keys of ordinary text, (n, d_ff).
  const uint16_t *samples;
  // Number of halves.
  size_t samples_len;
  // Values of other subjects' last tokens, (n, d_model).
  const uint16_t *bank;
  // Number of halves.
  size_t bank_len;
  // What the layers above read, (n, d_model).
  const uint16_t *readers;
  // Number of halves.
  size_t readers_len;
} mobiedit_statistics;

// Settings and buffers of an editor. All zero but `abi`, `backend` and `memory` means the settings of MOBIEDIT_DEFAULT.
typedef struct mobiedit_config {
  // Has to be MOBIEDIT_ABI.
  uint32_t abi;
  // MOBIEDIT_DEFAULT or MOBIEDIT_PAPER.
  uint32_t preset;
  // Most optimiser steps; 0: the preset's.
  uint32_t max_steps;
  // Most candidates of one call of `losses`, memory against speed; 0: the preset's. Changes no result.
  uint32_t batch;
  // Directions per step; 0: the preset's.
  uint32_t directions;
  // Least probability of the target for success, in 0..1; 0: the preset's.
  float min_probability;
  // The probability that the search aims at; 0: the preset's.
  float aim;
  // The model. The struct has to stay until the editor is left.
  const struct mobiedit_backend *backend;
  // Samples from the edit layer, or NULL. What it points to has to stay until the edit is left.
  const struct mobiedit_statistics *statistics;
  // The editor's memory, aligned to MOBIEDIT_ALIGNMENT; it stays the editor's until the editor is left.
  void *memory;
  // Its bytes: `mobiedit_footprint` says how many an edit needs.
  size_t memory_len;
} mobiedit_config;

// The state of an editor. Allocated by the caller anywhere, filled by `mobiedit_init`, not to be copied or looked into.
typedef struct mobiedit {
  // The library's affair.
  uint64_t opaque[MOBIEDIT_STATE_WORDS];
} mobiedit;

// What the last unit of work did, and the totals so far.
typedef struct mobiedit_progress {
  // MOBIEDIT_PHASE_...: the unit that was done.
  uint32_t phase;
  // MOBIEDIT_RUNNING, MOBIEDIT_SUCCESS or MOBIEDIT_EXHAUSTED.
  uint32_t outcome;
  // Optimiser steps done.
  uint32_t step;
  // Most optimiser steps.
  uint32_t max_steps;
  // The objective.
  float loss;
  // Its -log P part, in nats.
  float nll;
  // Its divergence part, in nats.
  float kl;
  // Geometric mean of the target tokens' probabilities.
  float p_target;
  // Evaluations of one candidate over all prompts.
  uint64_t forward_passes;
  // Token rows computed.
  uint64_t rows;
} mobiedit_progress;

// The state of a journal. Allocated by the caller, filled by `mobiedit_journal_open`, not to be copied or looked into.
typedef struct mobiedit_journal {
  // The library's affair.
  uint64_t opaque[MOBIEDIT_JOURNAL_WORDS];
} mobiedit_journal;

// Two areas of a flash, 0 and 1, of equal size and of whole erase sectors each: while one counts, a compaction fills the other.
//
// Every callback gets `context` and returns 0 or a code of its own. No byte is written twice between two erasures. Addresses
// and lengths of writes are multiples of 4, so flash that is programmed by bytes, halves or words will do; one that is programmed by
// larger units has to collect what comes in a row until `sync`, and to be able to program the rest of such a unit later.
typedef struct mobiedit_flash {
  // Has to be MOBIEDIT_ABI.
  uint32_t abi;
  // Bytes of one area. An edit takes 52 + 4 (d_ff + d_model) of them and its note, and 28 that its undo may take.
  uint32_t area_len;
  // Handed to every callback.
  void *context;
  // Reads `len` bytes of an area from its byte `at` on, all of them inside it. Erased bytes are 0xFF.
  int32_t (*read)(void *context, uint32_t area, uint32_t at, uint8_t *into, size_t len);
  // Writes `len` bytes to an area from its byte `at` on, where nothing was written since it was erased.
  int32_t (*write)(void *context, uint32_t area, uint32_t at, const uint8_t *bytes, size_t len);
  // Makes all bytes of an area 0xFF.
  int32_t (*erase)(void *context, uint32_t area);
  // Returns when what was written to an area outlasts a power cut. May be NULL where `write` returns no earlier.
  int32_t (*sync)(void *context, uint32_t area);
} mobiedit_flash;

// What a journal says of an edit.
typedef struct mobiedit_journal_edit {
  // Names the edit, from 1. No other edit of the journal ever has it.
  uint32_t id;
  // The layer, from 0.
  uint32_t layer;
  // What the backend's `identity` said of the model when the edit was kept.
  uint64_t model;
  // Numbers of u.
  uint32_t d_ff;
  // Numbers of lambda.
  uint32_t d_model;
  // Bytes of the note.
  uint32_t note_len;
} mobiedit_journal_edit;

// How full a journal is, and why its last call failed.
typedef struct mobiedit_journal_info {
  // Edits that are not undone.
  uint32_t edits;
  // Bytes of the area that counts which are taken, by undone edits too.
  uint32_t used;
  // After MOBIEDIT_ERR_JOURNAL: the record that is damaged or of a newer version, counted from 1 in the area; 0 for what is no
  // journal at all.
  uint32_t record;
  // After MOBIEDIT_ERR_FLASH and MOBIEDIT_ERR_BACKEND: what the callback returned.
  int32_t callback_code;
} mobiedit_journal_info;

// Model, sizes and buffers of the built-in backend.
typedef struct mobiedit_cpu_config {
  // Has to be MOBIEDIT_ABI.
  uint32_t abi;
  // MOBIEDIT_W8A16, MOBIEDIT_FLOAT, MOBIEDIT_STATIC or MOBIEDIT_STATIC_CLIPPED.
  uint32_t activations;
  // The model: a GGUF v3 as it lies in memory or flash, aligned to 4 bytes. It has to stay.
  const uint8_t *model;
  // Its bytes.
  size_t model_len;
  // Token rows of a forward pass at once: at least those of the longest prompt, and of all prompts from subject_last on. More
  // are faster; no result changes.
  uint32_t rows;
  // Most patches that are applied at a time, one for the editor's tests of its own included; at most 128.
  uint32_t patches;
  // Most tokens of a generation, prompt included; 0 for none.
  uint32_t context;
  // A calibration as `mobiedit calibrate` writes it, or NULL: refused if it is of another model, and where static scales come
  // from. They are copied; it need not stay for the backend.
  const uint8_t *calibration;
  // Its bytes.
  size_t calibration_len;
  // The backend's memory, aligned to MOBIEDIT_ALIGNMENT.
  void *memory;
  // Its bytes: `mobiedit_cpu_footprint` says how many it takes.
  size_t memory_len;
} mobiedit_cpu_config;

// The state of the built-in backend. Allocated by the caller, filled by `mobiedit_cpu_init`, not to be copied or looked into.
typedef struct mobiedit_cpu {
  // The library's affair.
  uint64_t opaque[MOBIEDIT_CPU_WORDS];
} mobiedit_cpu;

// How the NPU is reached. Zeros but for `abi` mean defaults.
typedef struct mobiedit_qnn_config {
  // Has to be MOBIEDIT_ABI.
  uint32_t abi;
  // The chip, by its number in the vendor's SDK: SM8550 is 43, SM8650 57, SM8750 69; 0 leaves it to the library.
  uint32_t soc;
  // The vendor's library, by its path or, with the loader's search, by its name; NULL means libQnnHtp.so.
  const char *library;
  // A `QnnInterface_t` of core API 2 that the caller has from the library itself, or NULL; then `library` is not looked at.
  const void *interface;
  // The folder in which finalised graphs are kept for the next process; NULL for none.
  const char *cache;
  // Rows of the larger graphs: at least those of the longest prompt, and of all prompts from subject_last on; 0 means 64.
  uint32_t rows;
} mobiedit_qnn_config;

// What the NPU has done so far.
typedef struct mobiedit_qnn_counters {
  // Graphs that were finalised.
  uint64_t finalized;
  // Graphs that were read from the folder instead.
  uint64_t restored;
  // Files of the folder that were damaged, or not taken by the library, and made anew.
  uint64_t rejected;
  // Graphs whose ends are in memory that the NPU shares.
  uint64_t shared;
  // Executions of graphs.
  uint64_t executed;
} mobiedit_qnn_counters;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// What a code means, in English; never NULL. A positive number and a number that is no code have a text too.
const char *mobiedit_strerror(int32_t code);

// The library's version: major * 10000 + minor * 100 + patch.
uint32_t mobiedit_version(void);

// The version of the checkpoints that this library writes and reads.
uint32_t mobiedit_checkpoint_version(void);

// Bytes of `memory` that an editor with this config needs for this problem, to `bytes`. The config's `memory` may be NULL.
//
// # Safety
// The pointers are NULL, or what they are declared to be, as the structs say.
int32_t mobiedit_footprint(const struct mobiedit_config *config,
                           const struct mobiedit_problem *problem,
                           size_t *bytes);

// Makes an editor of the bytes at `state`: settings, backend and memory of `config`, which is copied. No edit begins yet.
//
// # Safety
// The pointers are NULL, or what they are declared to be, as the structs say; what `config` points to stays until the editor
// is used no more.
int32_t mobiedit_init(struct mobiedit *state,
                      const struct mobiedit_config *config);

// Begins an edit; one that was running is left. Patches stay applied.
//
// # Safety
// The pointers are NULL, or what they are declared to be, as the structs say; what `problem` points to stays until another
// edit begins or the editor is used no more.
int32_t mobiedit_edit(struct mobiedit *state,
                      const struct mobiedit_problem *problem);

// Goes on with the edit that `mobiedit_checkpoint` wrote to `bytes`: the same problem, settings, model and statistics, and the same
// patches applied, which a checkpoint does not know. Bytes that are refused leave the state without an edit.
//
// # Safety
// As `mobiedit_edit`; `len` bytes are at `bytes`.
int32_t mobiedit_resume(struct mobiedit *state,
                        const struct mobiedit_problem *problem,
                        const uint8_t *bytes,
                        size_t len);

// Does one unit of work: the clean pass, a batch of starts, an optimiser step, or a verification. Returns MOBIEDIT_OK while
// there is more to do, MOBIEDIT_ENDED once the edit has an outcome, or an error, after which the edit is where it was and the
// same call tries again.
//
// # Safety
// `state` is NULL or a state; what its config and problem point to is still there.
int32_t mobiedit_step(struct mobiedit *state);

// What the last unit of work did.
//
// # Safety
// The pointers are NULL or what they are declared to be.
int32_t mobiedit_get_progress(struct mobiedit *state, struct mobiedit_progress *out);

// What the callback returned that made `mobiedit_step`, `mobiedit_apply` or `mobiedit_undo` fail; 0 if none did.
//
// # Safety
// `state` is NULL or a state.
int32_t mobiedit_backend_code(struct mobiedit *state);

// Bytes of a checkpoint of an edit on a model of this width.
size_t mobiedit_checkpoint_len(uint32_t d_model);

// Writes the edit's state to the front of `bytes`, at any time between two steps; how many bytes that are to `written`.
//
// # Safety
// The pointers are NULL or what they are declared to be; `len` bytes are at `bytes`.
int32_t mobiedit_checkpoint(struct mobiedit *state,
                            uint8_t *bytes,
                            size_t len,
                            size_t *written);

// The patch of an edit that has ended, to `out`: its numbers lie in the editor's memory until another edit begins. It is
// not applied.
//
// # Safety
// The pointers are NULL or what they are declared to be.
int32_t mobiedit_get_patch(struct mobiedit *state,
                           struct mobiedit_patch *out);

// Applies the patch of the edit that has ended; `id` receives the number that `mobiedit_undo` takes.
//
// # Safety
// The pointers are NULL or what they are declared to be.
int32_t mobiedit_apply(struct mobiedit *state,
                       uint32_t *id);

// Takes an applied patch off again.
//
// # Safety
// `state` is NULL or a state.
int32_t mobiedit_undo(struct mobiedit *state, uint32_t id);

// Greedy generation with the applied patches: writes the likeliest tokens behind `prompt` to `out`, until one is in `stop`
// (which is not written) or `out_len` are there; how many there are to `written`.
//
// # Safety
// The pointers are NULL or what they are declared to be, of the lengths given.
int32_t mobiedit_generate(struct mobiedit *state,
                          const uint32_t *prompt,
                          size_t prompt_len,
                          const uint32_t *stop,
                          size_t stop_len,
                          uint32_t *out,
                          size_t out_len,
                          size_t *written);

// Opens the journal in a flash, which is copied: reads both areas, every checksum. A flash that was erased is an empty journal. What
// a power cut left is passed over; erases an area where one came between the last two steps of a compaction.
//
// After MOBIEDIT_ERR_FLASH and MOBIEDIT_ERR_JOURNAL no edit was erased, and `mobiedit_journal_get_info` says more. A journal that is
// damaged stays so: erase both areas to begin anew, without its edits.
//
// # Safety
// The pointers are NULL, or what they are declared to be, as the structs say; the callbacks' context stays until the journal is
// used no more.
int32_t mobiedit_journal_open(struct mobiedit_journal *journal,
                              const struct mobiedit_flash *flash);

// Keeps a patch of the backend's model, and `note_len` bytes of the caller's own with it; `id` receives its number. When this returns
// MOBIEDIT_OK, the edit outlasts a power cut; after an error it is not kept, and the same call tries again. Only a power cut
// before the next call may show that MOBIEDIT_ERR_FLASH came too late to stop it. The patch is copied, and not applied.
//
// Where there is no room, undone edits are dropped first, as by `mobiedit_journal_compact`.
//
// # Safety
// The pointers are NULL, or what they are declared to be, as the structs say; `note_len` bytes are at `note`.
int32_t mobiedit_journal_append(struct mobiedit_journal *journal,
                                const struct mobiedit_backend *backend,
                                const struct mobiedit_patch *patch,
                                const uint8_t *note,
                                size_t note_len,
                                uint32_t *id);

// Goes through the edits that are not undone, oldest first: `edit` becomes the first one whose id is over its own. Begin with
// zeros. MOBIEDIT_ENDED where there is none. The journal may be changed meanwhile.
//
// # Safety
// The pointers are NULL, or what they are declared to be.
int32_t mobiedit_journal_next(struct mobiedit_journal *journal,
                              struct mobiedit_journal_edit *edit);

// Reads the note of an edit to the front of `note`, which has room for `len` bytes; how many there are is in its `mobiedit_journal_edit`.
//
// # Safety
// The pointers are NULL, or what they are declared to be; `len` bytes are at `note`.
int32_t mobiedit_journal_note(struct mobiedit_journal *journal,
                              uint32_t id,
                              uint8_t *note,
                              size_t len);

// Applies an edit to the model that it was made for, and gives MOBIEDIT_ERR_OTHER_MODEL for another one; `patch` receives the number
// that `mobiedit_undo` takes. `numbers`, d_ff + d_model of them, is lent for the call: memory that an editor is given later will do.
//
// # Safety
// The pointers are NULL, or what they are declared to be, as the structs say; `len` floats are at `numbers`.
int32_t mobiedit_journal_apply(struct mobiedit_journal *journal,
                               uint32_t id,
                               const struct mobiedit_backend *backend,
                               float *numbers,
                               size_t len,
                               uint32_t *patch);

// Takes an edit back for good: it is not gone through any more, and a compaction drops it. What is applied stays applied. For an undo
// there is always room.
//
// # Safety
// `journal` is NULL, or was zeroed or given to `mobiedit_journal_open`.
int32_t mobiedit_journal_undo(struct mobiedit_journal *journal,
                              uint32_t id);

// Drops what was undone out of the flash: copies the other edits into the other area, and erases this one. `mobiedit_journal_append`
// and `mobiedit_journal_undo` do so themselves where they have to; a firmware can choose a better time.
//
// # Safety
// `journal` is NULL, or was zeroed or given to `mobiedit_journal_open`.
int32_t mobiedit_journal_compact(struct mobiedit_journal *journal);

// How full the journal is, and why its last call failed; also after `mobiedit_journal_open` failed.
//
// # Safety
// The pointers are NULL, or what they are declared to be.
int32_t mobiedit_journal_get_info(struct mobiedit_journal *journal,
                                  struct mobiedit_journal_info *out);

// Opens a calibration for edits of `layer` on a model of these sizes: `samples` and `bank` of `out` point into its bytes, which
// have to stay and to start at an even address; `readers` is left empty.
//
// Every byte is checked against the file's checksum. That the calibration is of this very model, and not of another one of its
// sizes, is found out by `mobiedit_cpu_init`, which has the weights, if it is given the calibration too.
//
// # Safety
// The pointers are NULL or what they are declared to be; `len` bytes are at `bytes`.
int32_t mobiedit_open_calibration(const uint8_t *bytes,
                                  size_t len,
                                  const struct mobiedit_spec *spec,
                                  uint32_t layer,
                                  struct mobiedit_statistics *out);

// Bytes of `memory` that a backend with this config needs, to `bytes`. The config's `memory` may be NULL.
//
// # Safety
// The pointers are NULL, or what they are declared to be, as the structs say.
int32_t mobiedit_cpu_footprint(const struct mobiedit_cpu_config *config,
                               size_t *bytes);

// Opens a model and fills `backend` with its sizes and callbacks; its context is `cpu`, which has to stay where it is. After an
// error neither was written, but `memory` may have been.
//
// # Safety
// The pointers are NULL, or what they are declared to be, as the structs say; what `config` points to stays until the
// backend is used no more.
int32_t mobiedit_cpu_init(struct mobiedit_cpu *cpu,
                          const struct mobiedit_cpu_config *config,
                          struct mobiedit_backend *backend);

// Fills `out`, `len` halves, with what the layers above `layer` read: the `readers` of a `mobiedit_statistics` for edits of that
// layer, whole rows of d_model. They come from the weights alone, the same ones every time, and need not be kept. With less
// `memory` than the rows take as floats, the weights are read more than once.
//
// # Safety
// `cpu` is NULL, or was zeroed or given to `mobiedit_cpu_init`; `len` halves are at `out`.
int32_t mobiedit_cpu_readers(struct mobiedit_cpu *cpu,
                             uint32_t layer,
                             uint16_t *out,
                             size_t len);

// Opens the NPU. Without one, MOBIEDIT_ERR_DEVICE is returned, and why is written to `message`, `message_len` bytes with the
// zero at the end, unless that is NULL: `mobiedit_cpu_init` runs the same model then.
//
// The library's code is executed: name a file that only its owner can change.
//
// # Safety
// The pointers are NULL, or what they are declared to be; texts end with zero. What is behind `interface` stays.
int32_t mobiedit_qnn_open(const struct mobiedit_qnn_config *config,
                          struct mobiedit_qnn **npu,
                          char *message,
                          size_t message_len);

// Gives the NPU back. No backend may be used any more that `mobiedit_qnn_init` filled on it.
//
// # Safety
// `npu` is NULL, or of `mobiedit_qnn_open` and not closed yet.
void mobiedit_qnn_close(struct mobiedit_qnn *npu);

// Bytes of `memory` that a model with this config needs on the NPU, to `bytes`. The config's `memory` may be NULL.
//
// # Safety
// The pointers are NULL, or what they are declared to be, as the structs say.
int32_t mobiedit_qnn_footprint(const struct mobiedit_cpu_config *config,
                               size_t *bytes);

// Opens a model on the NPU, in place of another one that it had, and fills `backend` as `mobiedit_cpu_init` does; the context is
// `npu`. MOBIEDIT_STATIC and a calibration give the NPU integer products; the graphs are made as they are needed.
//
// # Safety
// `npu` is NULL, or of `mobiedit_qnn_open` and not closed yet; the other pointers as `mobiedit_cpu_init` says.
int32_t mobiedit_qnn_init(struct mobiedit_qnn *npu,
                          const struct mobiedit_cpu_config *config,
                          struct mobiedit_backend *backend);

// Votes for the NPU's highest clocks while `on` is not 0, as for the steps of an edit, and takes that back. It changes no result.
// MOBIEDIT_ERR_UNSUPPORTED where there is no such vote.
//
// # Safety
// `npu` is NULL, or of `mobiedit_qnn_open` and not closed yet.
int32_t mobiedit_qnn_burst(struct mobiedit_qnn *npu,
                           uint32_t on);

// Writes the counts to `out`.
//
// # Safety
// `npu` is NULL, or of `mobiedit_qnn_open` and not closed yet; `out` is NULL or can be written to.
int32_t mobiedit_qnn_get_counters(struct mobiedit_qnn *npu, struct mobiedit_qnn_counters *out);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MOBIEDIT_H */
