//! `cargo xtask fixtures`: retrains the shipped model in a Python environment of its own.
//!
//! No test needs it. It commits nothing: compare the new model with the old one before you do.

use xshell::{Shell, cmd};

use crate::workspace;

/// What else is made of the shipped model.
const MADE_OF_THE_MODEL: [&str; 3] = ["golden_gradients.py", "golden_tokens.py", "golden_trace.py"];

/// Makes the environment under the target folder, installs the pinned requirements, trains, and makes the golden files of
/// what was trained, unless it was put elsewhere.
pub(crate) fn run(sh: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    let environment = workspace::metadata()?.target_directory.join("fixtures-python");
    let python = environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    eprintln!(
        "installing tests/fixtures/requirements.txt with pip under {environment}; training takes about 35 minutes"
    );
    cmd!(sh, "python3 -m venv {environment}").run()?;
    cmd!(sh, "{python} -m pip install --requirement tests/fixtures/requirements.txt").run()?;
    cmd!(sh, "{python} tests/fixtures/train.py {arguments...}").run()?;
    if !arguments.iter().any(|argument| argument.starts_with("--out")) {
        for script in MADE_OF_THE_MODEL {
            cmd!(sh, "{python} tests/fixtures/{script}").run()?;
        }
    }
    Ok(())
}
