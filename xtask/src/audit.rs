//! What looks at the code from outside, by hand: Miri, sanitizers and cargo-careful at undefined behaviour and races, cargo-deny at what
//! we depend on.

use xshell::{Shell, cmd};

use crate::tools;

const CAREFUL: &str = "0.4.10";

/// Tests of core over thousands of random numbers: nothing of `unsafe` is in them.
const LONG: &[&str] =
    &["agrees_with_a_dense_solve", "readers_shape_the_covariance", "random::", "every_sequence", "the_moments_are"];

/// Tests of backends that break a journal at thousands of places, or sort as many numbers: nothing of `unsafe` is in them either.
const LONG_BACKENDS: &[&str] = &[
    "at_any_byte",
    "after_any_byte",
    "a_changed_byte",
    "a_call_that_fails_once",
    "that_failed_at_any_call",
    "the_percentile_is",
];

/// Tests that Miri runs.
struct Interpreted {
    what: &'static str,
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
    left_out: &'static [&'static str],
}

const INTERPRETED: [Interpreted; 4] = [
    Interpreted { what: "core", arguments: &["-p", "mobiedit-core", "--lib"], variables: &[], left_out: LONG },
    Interpreted {
        what: "backends",
        arguments: &["-p", "mobiedit-backends", "--lib"],
        variables: &[],
        left_out: LONG_BACKENDS,
    },
    Interpreted {
        what: "the CPU's arithmetic",
        arguments: &["-p", "mobiedit-hal-cpu", "--features", "std", "--lib"],
        // With AVX2 switched on, its kernel is what Miri runs beside the portable one.
        variables: &[("RUSTFLAGS", "-C target-feature=+avx2")],
        left_out: &["stays_within_two_units"],
    },
    Interpreted {
        what: "sequences of C calls: an edit by callbacks, one on the CPU, a journal",
        arguments: &["-p", "mobiedit", "--features", "capi", "--test", "fuzz_corpus", "c_calls"],
        // It reads the seeds, as they are.
        variables: &[("MIRIFLAGS", "-Zmiri-disable-isolation"), ("MOBIEDIT_MUTATIONS", "0")],
        left_out: &[],
    },
];

/// Runs the tests that Miri can run: no system calls but the plainest, no threads of rayon, no vendor's library.
pub(crate) fn miri(sh: &Shell) -> anyhow::Result<()> {
    nightly(sh)?;
    for Interpreted { what, arguments, variables, left_out } in INTERPRETED {
        eprintln!("\n== Miri: {what}");
        if !left_out.is_empty() {
            eprintln!("left out, as they would take hours: {}", left_out.join(", "));
        }
        let skip = left_out.iter().flat_map(|test| ["--skip", test]);
        cmd!(sh, "cargo +nightly miri test --target-dir target/miri {arguments...} -- {skip...}")
            .envs(variables.iter().copied())
            .run()?;
    }
    Ok(())
}

/// The compiler that is not stable, with Miri and the standard library's source.
fn nightly(sh: &Shell) -> anyhow::Result<()> {
    let list = cmd!(sh, "rustup component list --toolchain nightly --installed");
    let components = list.quiet().ignore_stderr().read().unwrap_or_default();
    if ["miri", "rust-src"].iter().all(|wanted| components.lines().any(|line| line.starts_with(wanted))) {
        return Ok(());
    }
    eprintln!("\ninstalling a nightly compiler with rustup");
    cmd!(sh, "rustup toolchain install nightly --profile minimal --component miri --component rust-src").run()?;
    Ok(())
}

/// Tests that go where Miri cannot: SIMD of every level, rayon's threads, libraries loaded at run time, mapped files, C calls.
const UNSAFE: [&[&str]; 4] = [
    &["-p", "mobiedit-hal-cpu", "--features", "std", "--lib", "--test", "shapes", "--test", "hostile"],
    &["-p", "mobiedit-hal-qnn", "--features", "std", "--lib"],
    &["-p", "mobiedit", "--features", "capi", "--lib"],
    &["-p", "mobiedit", "--features", "capi", "--test", "fuzz_corpus"],
];

/// Tests with threads: products and attention on rayon's, editors on their own.
const THREADED: [&[&str]; 2] = [
    &["-p", "mobiedit-hal-cpu", "--features", "std", "--test", "shapes"],
    &["-p", "mobiedit", "--test", "load", "two_dozen"],
];

/// Runs tests under AddressSanitizer and ThreadSanitizer, and with the checks of cargo-careful.
pub(crate) fn sanitize(sh: &Shell) -> anyhow::Result<()> {
    nightly(sh)?;
    let host = cmd!(sh, "rustc +nightly --print host-tuple").read()?;
    // The standard library too: ThreadSanitizer has to see its locks.
    let target = ["-Zbuild-std", "--target", &host];
    let sanitizers = [("AddressSanitizer", "address", &UNSAFE[..]), ("ThreadSanitizer", "thread", &THREADED)];
    for (name, sanitizer, tests) in sanitizers {
        let _flags = sh.push_env("RUSTFLAGS", format!("-Zsanitizer={sanitizer}"));
        for &arguments in tests {
            eprintln!("\n== {name}: {}", arguments.join(" "));
            let folder = format!("target/sanitize/{sanitizer}");
            cmd!(sh, "cargo +nightly test --release {target...} --target-dir {folder} {arguments...}").run()?;
        }
    }
    let bin = tools::cargo_program(sh, "cargo-careful", CAREFUL).map_err(anyhow::Error::msg)?;
    let _path = tools::in_path(sh, &bin);
    for arguments in UNSAFE {
        eprintln!("\n== cargo-careful: {}", arguments.join(" "));
        cmd!(sh, "cargo +nightly careful test --target-dir target/sanitize/careful {arguments...}").run()?;
    }
    Ok(())
}

/// Checks licences, sources and duplicates of all dependencies.
pub(crate) fn deny(sh: &Shell) -> anyhow::Result<()> {
    let folder = tools::cargo_program(sh, "cargo-deny", "0.20.2").map_err(anyhow::Error::msg)?;
    let program = folder.join("cargo-deny");
    Ok(cmd!(sh, "{program} --workspace --all-features check licenses bans sources").run()?)
}
