//! `cargo xtask fuzz`: libFuzzer on every target of `tests/fuzz`, one after the other, on one core.
//!
//! What it learns stays below the target folder and is gone on from; only findings are for the repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use xshell::{Shell, cmd};

use crate::{tools, workspace};

const CARGO_FUZZ: &str = "0.13.2";
/// Longest input in bytes: the longest seed is some 40,000.
const LONGEST: usize = 1 << 16;
/// Most MiB that a target may hold, the sanitizer's own included.
const MOST_MIB: usize = 2048;
/// Seconds after which an input counts as one that does not end.
const ENDLESS: usize = 20;

/// What came of a target.
struct Outcome {
    target: String,
    executions: u64,
    seconds: u64,
    findings: Vec<PathBuf>,
    /// Why it ended, where that was not the clock.
    failure: Option<String>,
}

/// Fuzzes all targets, or those named, for so many minutes together; an error if anything was found.
pub(crate) fn run(sh: &Shell, minutes: f64, only: &[String]) -> anyhow::Result<()> {
    let crate_folder = workspace::root().join("tests/fuzz");
    let all = targets(&crate_folder)?;
    if let Some(unknown) = only.iter().find(|name| !all.contains(name)) {
        anyhow::bail!("there is no target {unknown}: there are {}", all.join(", "));
    }
    let chosen: Vec<&String> = all.iter().filter(|name| only.is_empty() || only.contains(name)).collect();
    let bin = tools::cargo_program(sh, "cargo-fuzz", CARGO_FUZZ).map_err(anyhow::Error::msg)?;
    let _path = tools::in_path(sh, &bin);
    let out = workspace::root().join("target/fuzz");
    let _target = sh.push_env("CARGO_TARGET_DIR", out.join("build"));
    let start = Instant::now();
    // Debug assertions and overflow checks are on by default: that is what most targets look for.
    for target in &chosen {
        cmd!(sh, "cargo +nightly fuzz build --fuzz-dir {crate_folder} {target}")
            .run()
            .context("fuzzing takes a nightly compiler with libFuzzer: rustup toolchain install nightly")?;
    }
    eprintln!("\nbuilt in {} s", start.elapsed().as_secs());
    let seconds = (minutes * 60.0 / chosen.len() as f64).max(1.0) as u64;
    let outcomes: Vec<Outcome> =
        chosen.iter().map(|target| fuzz(&crate_folder, &out, target, seconds)).collect::<anyhow::Result<_>>()?;
    println!("\n{:<12} {:>12} {:>8} {:>9}", "target", "executions", "seconds", "findings");
    for Outcome { target, executions, seconds, findings, .. } in &outcomes {
        println!("{target:<12} {executions:>12} {seconds:>8} {:>9}", findings.len());
    }
    for outcome in &outcomes {
        for path in &outcome.findings {
            println!("{}: {}", outcome.target, path.display());
        }
        if let Some(failure) = &outcome.failure {
            println!("{}: {failure}", outcome.target);
        }
    }
    let bad = outcomes.iter().filter(|outcome| outcome.failure.is_some() || !outcome.findings.is_empty()).count();
    anyhow::ensure!(bad == 0, "{bad} of {} targets found something", outcomes.len());
    Ok(())
}

/// The binaries of the fuzz crate, in their order.
fn targets(crate_folder: &Path) -> anyhow::Result<Vec<String>> {
    let manifest = fs::read_to_string(crate_folder.join("Cargo.toml")).context("the manifest of tests/fuzz")?;
    let bins = manifest.split("[[bin]]").skip(1);
    Ok(bins.filter_map(|bin| Some(bin.split_once("name = \"")?.1.split_once('"')?.0.to_owned())).collect())
}

fn fuzz(crate_folder: &Path, out: &Path, target: &str, seconds: u64) -> anyhow::Result<Outcome> {
    let (learnt, found) = (out.join("corpus").join(target), out.join("findings").join(target));
    for folder in [&learnt, &found] {
        fs::create_dir_all(folder)?;
    }
    let before = files(&found)?;
    let program = out.join("build").join(host()?).join("release").join(target);
    let seeds = crate_folder.join("corpus").join(target);
    eprintln!("\n== {target}, {seconds} s");
    let mut command = Command::new(program);
    command.arg(&learnt).arg(&seeds).args([
        format!("-max_total_time={seconds}"),
        format!("-artifact_prefix={}/", found.display()),
        format!("-max_len={LONGEST}"),
        format!("-timeout={ENDLESS}"),
        format!("-rss_limit_mb={MOST_MIB}"),
        "-print_final_stats=1".to_owned(),
        "-use_value_profile=1".to_owned(),
    ]);
    let start = Instant::now();
    let ran = command.output().with_context(|| format!("the target {target}"))?;
    let text = String::from_utf8_lossy(&ran.stderr);
    let findings: Vec<_> = files(&found)?.into_iter().filter(|path| !before.contains(path)).collect();
    if !ran.status.success() {
        eprintln!("{}", reason(&text));
    }
    Ok(Outcome {
        target: target.to_owned(),
        executions: executions(&text),
        seconds: start.elapsed().max(Duration::from_secs(1)).as_secs(),
        findings,
        failure: (!ran.status.success()).then(|| format!("ended with {}", ran.status)),
    })
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?;
    Ok(entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?)
}

/// Of what a target wrote before it broke: the panic or the sanitizer's report, without the stack's far end.
fn reason(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.iter().position(|line| line.contains("panicked at") || line.contains("ERROR: "));
    let end = lines.len();
    let from = first.unwrap_or(end.saturating_sub(40));
    lines.get(from..end.min(from + 40)).unwrap_or_default().join("\n")
}

/// What libFuzzer says at its end; 0 where it did not get there.
fn executions(text: &str) -> u64 {
    let last = text.lines().rev().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    last.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// The triple that cargo-fuzz builds for.
fn host() -> anyhow::Result<String> {
    let told = Command::new("rustc").arg("-vV").output().context("rustc -vV")?;
    let text = String::from_utf8_lossy(&told.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say its host")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_body_a_binary_and_seeds() {
        let folder = workspace::root().join("tests/fuzz");
        let all = targets(&folder).unwrap();
        assert!(all.len() >= 10, "{all:?}");
        let listed = fs::read_to_string(folder.join("targets/mod.rs")).unwrap();
        for name in all {
            assert!(listed.contains(&format!("name: \"{name}\"")), "{name}");
            assert!(folder.join(format!("fuzz_targets/{name}.rs")).exists(), "{name}");
            assert!(!files(&folder.join("corpus").join(&name)).unwrap().is_empty(), "{name}");
        }
    }

    #[test]
    fn a_finding_is_told_from_its_panic_on() {
        assert_eq!(reason("#1 NEW\nthread panicked at a.rs:1\nwhy"), "thread panicked at a.rs:1\nwhy");
        assert_eq!(reason("#1 NEW"), "#1 NEW");
    }

    #[test]
    fn executions_are_what_libfuzzer_says_last() {
        let text = "INFO: x\nstat::number_of_executed_units: 1234\nstat::average_exec_per_sec:     99\n";
        assert_eq!((executions(text), executions("")), (1234, 0));
    }
}
