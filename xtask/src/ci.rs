//! `cargo xtask ci`: what continuous integration runs, and the same on anyone's machine.
//!
//! The quick steps come first, and none stops the others. It publishes nothing.

use cargo_metadata::Metadata;
use xshell::{Shell, cmd};

use crate::report::Report;
use crate::workspace::{self, NO_STD};
use crate::{emulated, test, tidy};

/// Formatting, house rules, clippy, documentation, tests.
pub(crate) fn run(sh: &Shell, allow_missing: bool) -> anyhow::Result<()> {
    let mut report = Report::default();
    report.step("formatting", || cmd!(sh, "cargo fmt --all -- --check").run());
    report.step("formatting of the firmware", || {
        cmd!(sh, "cargo fmt --all --manifest-path tests/firmware/Cargo.toml -- --check").run()
    });
    report.step("formatting of the fuzz targets", || {
        cmd!(sh, "cargo fmt --all --manifest-path tests/fuzz/Cargo.toml -- --check").run()
    });
    report.step("tidy", || tidy::run(sh));
    report.step("clippy, everything", || cmd!(sh, "cargo clippy --workspace --all-targets -- -D warnings").run());
    report.step("clippy, the fuzz targets with C calls", || {
        cmd!(sh, "cargo clippy --test fuzz_corpus --features capi -- -D warnings").run()
    });
    for features in feature_sets(&workspace::metadata()?)? {
        report.step(&format!("clippy, {}", features.join(" ")), || {
            cmd!(sh, "cargo clippy --lib --bins --no-default-features {features...} -- -D warnings").run()
        });
    }
    emulated::clippy(sh, &mut report);
    report.step("documentation", || {
        let _warnings = sh.push_env("RUSTDOCFLAGS", "-D warnings");
        cmd!(sh, "cargo doc --no-deps --workspace").run()
    });
    test::all(sh, &mut report);
    report.finish(allow_missing)
}

/// Each crate that has features without its defaults, then with each feature alone: cargo's arguments.
fn feature_sets(metadata: &Metadata) -> anyhow::Result<Vec<Vec<String>>> {
    let mut sets = Vec::new();
    for name in NO_STD.iter().map(|(package, _)| *package).chain(["mobiedit"]) {
        let package = workspace::package(metadata, name)?;
        sets.push(vec!["--package".into(), name.into()]);
        for feature in workspace::features(package) {
            sets.push(vec!["--package".into(), name.into(), "--features".into(), feature.into()]);
        }
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_no_std_crate_is_linted_bare_and_core_with_defmt() {
        let sets: Vec<String> =
            feature_sets(&workspace::metadata().unwrap()).unwrap().iter().map(|set| set.join(" ")).collect();
        for expected in [
            "--package mobiedit-core",
            "--package mobiedit-core --features defmt",
            "--package mobiedit-backends",
            "--package mobiedit-backends --features conformance",
            "--package mobiedit-hal-cpu",
            "--package mobiedit-hal-cpu --features std",
            "--package mobiedit-hal-qnn",
            "--package mobiedit-hal-qnn --features std",
        ] {
            assert!(sets.iter().any(|set| set == expected), "{expected} is missing from {sets:?}");
        }
    }
}
