//! What ran, what failed and what could not run, said once at the end.
//!
//! A failing step does not stop the steps after it: one run names every failure.

use std::fmt;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// The outcome of a list of steps.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Report {
    passed: usize,
    failed: Vec<(String, String)>,
    not_run: Vec<(String, String)>,
    /// Of those, the ones that something could have been installed for.
    missing: usize,
}

impl Report {
    /// Runs one step under a heading and keeps its outcome.
    pub(crate) fn step<E: fmt::Display>(&mut self, name: &str, step: impl FnOnce() -> Result<(), E>) {
        eprintln!("\n== {name}");
        let start = Instant::now();
        match step() {
            Ok(()) => self.passed += 1,
            Err(error) => self.failed.push((name.into(), format!("{error:#}"))),
        }
        eprintln!("== {} s: {name}", start.elapsed().as_secs());
    }

    /// Notes something that was not tested because a tool is missing and could not be installed.
    pub(crate) fn not_run(&mut self, name: &str, reason: &str) {
        self.missing += 1;
        self.cannot(name, reason);
    }

    /// Notes something that no tool would make testable on this machine.
    pub(crate) fn cannot(&mut self, name: &str, reason: &str) {
        self.not_run.push((name.into(), reason.into()));
    }

    /// Takes in the outcome of other steps.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.passed += other.passed;
        self.missing += other.missing;
        self.failed.extend(other.failed);
        self.not_run.extend(other.not_run);
    }

    /// Prints the outcome; an error if a step failed, or could not run for want of a tool and that is not allowed.
    pub(crate) fn finish(self, allow_missing: bool) -> anyhow::Result<()> {
        println!("\n{self}");
        anyhow::ensure!(self.failed.is_empty(), "{} of {} steps failed", self.failed.len(), self.ran());
        let allowed = allow_missing || self.missing == 0;
        anyhow::ensure!(allowed, "{} steps could not run: --allow-missing passes without them", self.missing);
        Ok(())
    }

    fn ran(&self) -> usize {
        self.passed + self.failed.len()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, reason) in &self.not_run {
            writeln!(f, "not run: {name} ({reason})")?;
        }
        for (name, error) in &self.failed {
            writeln!(f, "failed: {name} ({error})")?;
        }
        write!(f, "{} of {} steps passed, {} not run", self.passed, self.ran(), self.not_run.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_named_and_later_steps_still_run() {
        let mut report = Report::default();
        let mut later = false;
        report.step("first", || Err("broken"));
        report.step::<String>("second", || {
            later = true;
            Ok(())
        });
        report.not_run("phone", "none here");
        assert!(later);
        assert_eq!(
            report.to_string(),
            "not run: phone (none here)\nfailed: first (broken)\n1 of 2 steps passed, 1 not run"
        );
        assert!(report.finish(true).is_err());
    }

    #[test]
    fn a_missing_tool_fails_unless_allowed_and_what_no_tool_brings_never_does() {
        for (missing, allowed, passes) in [(true, false, false), (true, true, true), (false, false, true)] {
            let mut report = Report::default();
            report.step::<String>("only", || Ok(()));
            if missing {
                report.not_run("emulator", "no apt-get");
            }
            report.cannot("phone", "none here");
            assert_eq!(report.finish(allowed).is_ok(), passes, "missing: {missing}, allowed: {allowed}");
        }
    }
}
