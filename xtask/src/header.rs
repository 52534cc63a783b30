//! `include/mobiedit.h`, made from `src/capi` by cbindgen. Checked in; `check` finds out whether it is current.

use std::fs;

use anyhow::Context;

use crate::workspace;

/// The header's place.
const HEADER: &str = "include/mobiedit.h";
/// The files of the C interface whose items are in it, in its order.
const SOURCES: [&str; 9] = [
    "src/capi/code.rs",
    "src/capi/types.rs",
    "src/capi/editor.rs",
    "src/capi/patch.rs",
    "src/capi/flash.rs",
    "src/capi/journal.rs",
    "src/capi/calibration.rs",
    "src/capi/cpu.rs",
    "src/capi/qnn.rs",
];
const INTRODUCTION: &str = "\
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
 */";

/// The header as the sources have it.
fn generated() -> anyhow::Result<String> {
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        cpp_compat: true,
        include_guard: Some("MOBIEDIT_H".into()),
        header: Some(INTRODUCTION.into()),
        usize_is_size_t: true,
        line_length: 100,
        documentation_style: cbindgen::DocumentationStyle::C99,
        no_includes: true,
        sys_includes: vec!["stddef.h".into(), "stdint.h".into()],
        ..cbindgen::Config::default()
    };
    config.export.item_types = Vec::new();
    let sources =
        SOURCES.iter().fold(cbindgen::Builder::new(), |builder, path| builder.with_src(workspace::root().join(path)));
    let bindings = sources.with_config(config).generate().context("cbindgen")?;
    let mut bytes = Vec::new();
    bindings.write(&mut bytes);
    Ok(String::from_utf8(bytes)?)
}

/// Writes the header.
pub(crate) fn write() -> anyhow::Result<()> {
    let path = workspace::root().join(HEADER);
    fs::create_dir_all(path.parent().context("a folder")?)?;
    fs::write(path, generated()?).context(HEADER)
}

/// An error where the header is not what the sources say.
pub(crate) fn check() -> anyhow::Result<()> {
    let there = fs::read_to_string(workspace::root().join(HEADER)).context(HEADER)?;
    anyhow::ensure!(there == generated()?, "{HEADER} is not what src/capi says: run `cargo xtask header`");
    Ok(())
}
