//! What looks at the code from outside, by hand: Miri at undefined behaviour, cargo-deny at what we depend on.

use anyhow::Context;
use xshell::{Shell, cmd};

use crate::tools;

/// Tests of core over thousands of random numbers: nothing of `unsafe` is in them.
const LONG: &[&str] = &["agrees_with_a_dense_solve", "readers_shape_the_covariance", "random::", "every_sequence"];

/// Runs the tests that Miri can run: no system calls but the plainest, no threads of rayon, no vendor's library.
pub(crate) fn miri(sh: &Shell) -> anyhow::Result<()> {
    if cmd!(sh, "cargo +nightly miri --version").quiet().ignore_stdout().ignore_stderr().run().is_err() {
        eprintln!("\ninstalling Miri with rustup");
        cmd!(sh, "rustup toolchain install nightly --profile minimal --component miri --component rust-src").run()?;
    }
    let miri = "cargo +nightly miri test --target-dir target/miri";
    for (what, arguments, flags, left_out) in [
        ("core", "-p mobiedit-core --lib", "", LONG),
        ("backends", "-p mobiedit-backends --lib", "", &[]),
        // With AVX2 switched on, its kernel is what Miri runs beside the portable one.
        ("the CPU's arithmetic", "-p mobiedit-hal-cpu --features std --lib", "-C target-feature=+avx2", &[]),
        ("the C interface", "-p mobiedit --no-default-features --features capi --lib", "", &[]),
    ] {
        eprintln!("\n== Miri: {what}; left out, as they would take hours: {}", left_out.join(", "));
        let (program, rest) = miri.split_once(' ').context("a command")?;
        let words: Vec<&str> = rest.split_whitespace().chain(arguments.split_whitespace()).collect();
        let skip = left_out.iter().flat_map(|test| ["--skip", test]);
        sh.cmd(program).args(words).arg("--").args(skip).env("RUSTFLAGS", flags).run()?;
    }
    Ok(())
}

/// Checks licences, sources and duplicates of all dependencies.
pub(crate) fn deny(sh: &Shell) -> anyhow::Result<()> {
    let folder = tools::cargo_program(sh, "cargo-deny", "0.20.2").map_err(anyhow::Error::msg)?;
    let program = folder.join("cargo-deny");
    Ok(cmd!(sh, "{program} --workspace --all-features check licenses bans sources").run()?)
}
