//! `cargo xtask test`: every test that can run on this machine, from a fresh checkout.
//!
//! It installs one thing, the standard-free target of rustup, and says so. It trains nothing and downloads no model:
//! what the tests compare with is checked in.

use clap::ValueEnum;
use xshell::{Shell, cmd};

use crate::report::Report;
use crate::workspace::{self, NO_STD};

/// A target without an operating system and without `std`: what links there is no_std.
const BARE_TARGET: &str = "thumbv7em-none-eabihf";

/// What is part of the product's plan and has no test to run yet.
const PLANNED: [(&str, &str); 4] = [
    ("Cortex-M firmware under QEMU", "no firmware yet"),
    ("AArch64 under QEMU", "no NEON kernels yet"),
    ("Hexagon under QEMU", "no firmware yet"),
    ("QNN backend", "hal-qnn holds only its documentation"),
];

/// A part of the tests that can be run alone.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Suite {
    /// All tests of the workspace on this machine
    Host,
    /// The no_std crates built for a bare-metal target
    NoStd,
}

/// Runs the suites, all or one, and prints what could not run.
pub(crate) fn run(sh: &Shell, only: Option<Suite>) -> anyhow::Result<()> {
    let mut report = Report::default();
    steps(sh, only, &mut report);
    report.finish()
}

/// The steps themselves, for callers with steps of their own.
pub(crate) fn steps(sh: &Shell, only: Option<Suite>, report: &mut Report) {
    let wanted = |suite| only.is_none_or(|one| one == suite);
    match wanted(Suite::Host) {
        true => host(sh, report),
        false => report.not_run("host tests", "--only named another suite"),
    }
    match wanted(Suite::NoStd) {
        true => no_std(sh, report),
        false => report.not_run("no_std build", "--only named another suite"),
    }
    for (name, reason) in PLANNED {
        report.not_run(name, reason);
    }
    fast_paths(report);
}

fn host(sh: &Shell, report: &mut Report) {
    report.step("tests of the workspace, doc tests among them", || {
        cmd!(sh, "cargo test --workspace --no-fail-fast").run()
    });
    let packages = NO_STD.iter().flat_map(|(package, _)| ["--package", package]);
    report.step("tests of the no_std crates without default features", || {
        cmd!(sh, "cargo test {packages...} --no-default-features --no-fail-fast").run()
    });
    report.step("tests of the conformance suite itself", || {
        cmd!(sh, "cargo test --package mobiedit-backends --features conformance").run()
    });
}

/// Builds the no_std crates where there is no `std` to link: the proof that they need none.
fn no_std(sh: &Shell, report: &mut Report) {
    let name = format!("no_std crates built for {BARE_TARGET}");
    eprintln!("\ninstalling the Rust target {BARE_TARGET} with rustup, if it is not there yet");
    if let Err(error) = cmd!(sh, "rustup target add {BARE_TARGET}").run() {
        return report.not_run(&name, &format!("rustup could not add the target: {error}"));
    }
    let packages = NO_STD.iter().flat_map(|(package, _)| ["--package", package]);
    report.step(&name, || cmd!(sh, "cargo build {packages...} --no-default-features --target {BARE_TARGET}").run());
    report.step(&format!("core with defmt built for {BARE_TARGET}"), || {
        cmd!(sh, "cargo build --package mobiedit-core --features defmt --target {BARE_TARGET}").run()
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
            report.not_run(name, "this CPU does not have the instructions");
        }
    }
}
