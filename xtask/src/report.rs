//! What ran, what failed and what could not run, said once at the end.
//!
//! A failing step does not stop the steps after it: one run names every failure.

use std::fmt;

/// The outcome of a list of steps.
#[derive(Default)]
pub(crate) struct Report {
    passed: usize,
    failed: Vec<(String, String)>,
    not_run: Vec<(String, String)>,
}

impl Report {
    /// Runs one step under a heading and keeps its outcome.
    pub(crate) fn step<E: fmt::Display>(&mut self, name: &str, step: impl FnOnce() -> Result<(), E>) {
        eprintln!("\n== {name}");
        match step() {
            Ok(()) => self.passed += 1,
            Err(error) => self.failed.push((name.into(), format!("{error:#}"))),
        }
    }

    /// Notes something of the product that this machine or this run cannot test.
    pub(crate) fn not_run(&mut self, name: &str, reason: &str) {
        self.not_run.push((name.into(), reason.into()));
    }

    /// Prints the outcome; an error if a step failed.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        println!("\n{self}");
        anyhow::ensure!(self.failed.is_empty(), "{} of {} steps failed", self.failed.len(), self.ran());
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
        assert!(report.finish().is_err());
    }

    #[test]
    fn what_is_not_run_is_no_failure() {
        let mut report = Report::default();
        report.step::<String>("only", || Ok(()));
        report.not_run("phone", "none here");
        assert!(report.finish().is_ok());
    }
}
