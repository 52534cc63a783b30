//! `cargo xtask test`: every test that can run on this machine, from a fresh checkout.
//!
//! It installs what the tests on other targets need, and says so. It trains nothing and downloads no model: what the tests
//! compare with is checked in.

use std::cell::LazyCell;
use std::fs;
use std::path::Path;

use clap::ValueEnum;
use xshell::{Shell, cmd};

use crate::lane::Lane;
use crate::report::Report;
use crate::workspace::{self, NO_STD};
use crate::{c, emulated, library, qnn, tools};

/// A target without an operating system and without `std`: what links there is no_std.
const BARE_TARGET: &str = "thumbv7em-none-eabihf";

/// A part of the tests that can be run alone.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Suite {
    /// All tests of the workspace on this machine
    Host,
    /// The no_std crates and the C library built for every target
    Build,
    /// A Cortex-M4F and a Cortex-M3 under QEMU, and what the C library takes
    Thumbv7em,
    /// AArch64 Linux under QEMU
    Aarch64,
    /// Hexagon under QEMU, with Linux and without a system
    Hexagon,
    /// The shipped model's edit on Hexagon: some minutes, and not part of a run of all suites
    Shipped,
    /// C programs on the C library, here and under QEMU
    C,
    /// The NPU's device on its vendor's emulator: see `cargo xtask qnn fetch`
    Qnn,
}

/// Runs the suites, all or some, and prints what could not run: an error too, unless it is allowed.
pub(crate) fn run(sh: &Shell, only: &[Suite], allow_missing: bool, outcome: Option<&Path>) -> anyhow::Result<()> {
    let mut report = Report::default();
    if only.is_empty() {
        all(sh, &mut report);
    } else {
        some(sh, only, &mut report);
    }
    if let Some(path) = outcome {
        fs::write(path, serde_json::to_vec(&report)?)?;
    }
    report.finish(allow_missing)
}

/// All suites, the emulated ones beside the others.
pub(crate) fn all(sh: &Shell, report: &mut Report) {
    tools::prepare(sh);
    let lane = Lane::start(&[Suite::Thumbv7em, Suite::Aarch64, Suite::Hexagon]);
    some(sh, &[Suite::Host, Suite::Build, Suite::C, Suite::Qnn], report);
    match lane.and_then(Lane::finish) {
        Ok(emulated) => report.absorb(emulated),
        Err(error) => report.step("emulated targets", || Err(error)),
    }
}

/// These suites, one after the other.
fn some(sh: &Shell, suites: &[Suite], report: &mut Report) {
    let host = LazyCell::new(|| emulated::host_patch(sh, &[]));
    for suite in suites {
        match suite {
            Suite::Host => {
                tests_here(sh, report);
                with_32_bits(sh, report);
                fast_paths(report);
            }
            Suite::Build => {
                no_std(sh, report);
                library::dist(sh, report, false);
            }
            Suite::Thumbv7em => emulated::thumbv7em(sh, report, &host),
            Suite::Aarch64 => emulated::aarch64(sh, report, &host),
            Suite::Hexagon => emulated::hexagon(sh, report, &host),
            Suite::Shipped => emulated::shipped(sh, report),
            Suite::C => c::run(sh, report),
            Suite::Qnn => qnn::run(sh, report),
        }
    }
}

fn tests_here(sh: &Shell, report: &mut Report) {
    // The emulators beside this keep a core busy: two threads that wait for each other would both wait for it.
    let _one = sh.push_env("RAYON_NUM_THREADS", "1");
    report.step("tests of the workspace, doc tests among them", || {
        cmd!(sh, "cargo test --workspace --no-fail-fast").run()
    });
    report.step("seeds of the fuzz target of C calls", || {
        cmd!(sh, "cargo test --features capi --test fuzz_corpus -- c_calls seeds").run()
    });
    let packages = NO_STD.iter().flat_map(|(package, _)| ["--package", package]);
    report.step("tests of the no_std crates without default features", || {
        cmd!(sh, "cargo test {packages...} --no-default-features --no-fail-fast").run()
    });
    report.step("tests of hal-cpu's fast-math", || {
        cmd!(sh, "cargo test --package mobiedit-hal-cpu --no-default-features --features fast-math").run()
    });
}

/// Files that are made to break something, where a `usize` has 32 bits.
fn with_32_bits(sh: &Shell, report: &mut Report) {
    let name = "broken files and seeds of the fuzz targets on 32 bits";
    let triple = "i686-unknown-linux-gnu";
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return report.not_run(name, "this machine runs no i686 programs");
    }
    if let Err(reason) = tools::multilib(sh).and_then(|()| tools::rust_target(sh, triple)) {
        return report.not_run(name, &reason);
    }
    report.step(name, || {
        cmd!(sh, "cargo test --locked --target {triple} --features capi --test bad_input --test fuzz_corpus").run()
    });
}

/// Builds the no_std crates where there is no `std` to link: the proof that they need none.
fn no_std(sh: &Shell, report: &mut Report) {
    let name = format!("no_std crates built for {BARE_TARGET}");
    if let Err(reason) = tools::rust_target(sh, BARE_TARGET) {
        return report.not_run(&name, &reason);
    }
    let packages = NO_STD.iter().flat_map(|(package, _)| ["--package", package]);
    report.step(&name, || cmd!(sh, "cargo build {packages...} --no-default-features --target {BARE_TARGET}").run());
    report.step(&format!("the same with defmt built for {BARE_TARGET}"), || {
        cmd!(sh, "cargo build --package mobiedit-hal-cpu --features defmt --target {BARE_TARGET}").run()
    });
}

/// Names the fast kernels of hal-cpu that this CPU cannot execute, so that a pass here is not read as a pass there.
fn fast_paths(report: &mut Report) {
    #[cfg(target_arch = "x86_64")]
    let (avx2, avx512) = (is_x86_feature_detected!("avx2"), is_x86_feature_detected!("avx512vnni"));
    #[cfg(not(target_arch = "x86_64"))]
    let (avx2, avx512) = (false, false);
    let kernels = workspace::root().join("hal-cpu/src/kernels");
    let x86 = kernels.join("x86.rs").exists() || kernels.join("x86").exists();
    for (name, present) in [("AVX2 kernels", avx2), ("AVX-512 VNNI kernels", avx512)] {
        if x86 && !present {
            report.cannot(name, "this CPU does not have the instructions");
        }
    }
}
