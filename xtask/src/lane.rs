//! A part of the test suites in a process of its own, beside the others: emulators use one core, and the rest of a test run leaves
//! the other one idle. What it prints is kept and shown at the end, in one piece.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};

use anyhow::Context;
use clap::ValueEnum;

use crate::report::Report;
use crate::test::Suite;
use crate::workspace;

/// A running process.
pub(crate) struct Lane {
    process: Child,
    log: PathBuf,
    outcome: PathBuf,
}

impl Lane {
    /// Starts `cargo xtask test` with these suites.
    pub(crate) fn start(suites: &[Suite]) -> anyhow::Result<Self> {
        let folder = workspace::root().join("target/lane");
        fs::create_dir_all(&folder)?;
        let (log, outcome) = (folder.join("log"), folder.join("outcome.json"));
        let written = File::create(&log).with_context(|| log.display().to_string())?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("test").arg("--outcome").arg(&outcome).stdout(written.try_clone()?).stderr(written);
        for suite in suites.iter().filter_map(ValueEnum::to_possible_value) {
            command.arg("--only").arg(suite.get_name());
        }
        let _ = fs::remove_file(&outcome);
        Ok(Self { process: command.spawn()?, log, outcome })
    }

    /// Waits for the process, prints what it printed, and returns its steps' outcome.
    pub(crate) fn finish(mut self) -> anyhow::Result<Report> {
        let status = self.process.wait()?;
        eprintln!("{}", String::from_utf8_lossy(&fs::read(&self.log)?));
        let outcome = fs::read(&self.outcome).with_context(|| format!("the process ended with {status}"))?;
        Ok(serde_json::from_slice(&outcome)?)
    }
}
