//! `cargo xtask fixtures`: retrains the shipped model in a Python environment of its own.
//!
//! No test needs it. It commits nothing: compare the new model with the old one before you do.

use xshell::{Shell, cmd};

use crate::workspace;

/// Makes the environment under the target folder, installs the pinned requirements, trains.
pub(crate) fn run(sh: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    let environment = workspace::metadata()?.target_directory.join("fixtures-python");
    let python = environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    eprintln!(
        "installing tests/fixtures/requirements.txt with pip under {environment}; training takes about 25 minutes"
    );
    cmd!(sh, "python3 -m venv {environment}").run()?;
    cmd!(sh, "{python} -m pip install --requirement tests/fixtures/requirements.txt").run()?;
    Ok(cmd!(sh, "{python} tests/fixtures/train.py {arguments...}").run()?)
}
