//! `cargo xtask test`: every test that can run on this machine, from a fresh checkout.
//!
//! It installs what the tests on other targets need, and says so. It trains nothing and downloads no model: what the tests
//! compare with is checked in.

use clap::ValueEnum;
use xshell::{Shell, cmd};

use crate::report::Report;
use crate::workspace::{self, NO_STD};
use crate::{c, emulated, library, tools};

/// A target without an operating system and without `std`: what links there is no_std.
const BARE_TARGET: &str = "thumbv7em-none-eabihf";

/// What is part of the product's plan and has no test to run yet.
const PLANNED: [(&str, &str); 1] = [("QNN backend", "hal-qnn holds only its documentation")];

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
    /// C programs on the C library, here and under QEMU
    C,
}

/// Runs the suites, all or one, and prints what could not run: an error too, unless it is allowed.
pub(crate) fn run(sh: &Shell, only: Option<Suite>, allow_missing: bool) -> anyhow::Result<()> {
    let mut report = Report::default();
    steps(sh, only, &mut report);
    report.finish(allow_missing)
}

/// The steps themselves, for callers with steps of their own.
pub(crate) fn steps(sh: &Shell, only: Option<Suite>, report: &mut Report) {
    let wanted = |suite| only.is_none_or(|one| one == suite);
    if wanted(Suite::Host) {
        host(sh, report);
        fast_paths(report);
    }
    if wanted(Suite::Build) {
        no_std(sh, report);
        library::dist(sh, report, false);
    }
    let emulated: [(Suite, fn(&Shell, &mut Report, &anyhow::Result<String>)); 3] = [
        (Suite::Thumbv7em, emulated::thumbv7em),
        (Suite::Aarch64, emulated::aarch64),
        (Suite::Hexagon, emulated::hexagon),
    ];
    if emulated.iter().any(|(suite, _)| wanted(*suite)) {
        let host = emulated::host_patch(sh);
        emulated.iter().filter(|(suite, _)| wanted(*suite)).for_each(|(_, run)| run(sh, report, &host));
    }
    if wanted(Suite::C) {
        c::run(sh, report);
    }
    for (name, reason) in PLANNED {
        report.cannot(name, reason);
    }
}

fn host(sh: &Shell, report: &mut Report) {
    report.step("tests of the workspace, doc tests among them", || {
        cmd!(sh, "cargo test --workspace --no-fail-fast").run()
    });
    let packages = NO_STD.iter().flat_map(|(package, _)| ["--package", package]);
    report.step("tests of the no_std crates without default features", || {
        cmd!(sh, "cargo test {packages...} --no-default-features --no-fail-fast").run()
    });
    report.step("tests of hal-cpu's fast-math", || {
        cmd!(sh, "cargo test --package mobiedit-hal-cpu --no-default-features --features fast-math").run()
    });
    report.step("tests of the conformance suite itself", || {
        cmd!(sh, "cargo test --package mobiedit-backends --features conformance").run()
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
