//! `cargo xtask`: tests, house rules, benches and fixtures, each behind one subcommand.
//!
//! It depends on no crate of the workspace and does no work of the product: it calls cargo and reads sources.

mod audit;
mod c;
mod ci;
mod emulated;
mod fixtures;
mod fuzz;
mod header;
mod lane;
mod library;
mod qnn;
mod report;
mod size;
mod test;
mod tidy;
mod tools;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xshell::{Shell, cmd};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Everything this project needs beside cargo itself")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every test that can run on this machine, and name what could not
    Test {
        /// Run this suite only; may be given several times
        #[arg(long, value_name = "SUITE")]
        only: Vec<test::Suite>,
        /// Pass although something could not run for want of a tool
        #[arg(long)]
        allow_missing: bool,
        /// Write the steps' outcome to this file too
        #[arg(long, hide = true)]
        outcome: Option<PathBuf>,
    },
    /// Formatting, clippy on every feature set, documentation, tidy, then `test`: what `.ci/run` calls
    Ci {
        /// Pass although something could not run for want of a tool
        #[arg(long)]
        allow_missing: bool,
    },
    /// Look for inputs that break something: libFuzzer on each target of tests/fuzz, with AddressSanitizer, on one core
    ///
    /// Takes a nightly compiler, and installs cargo-fuzz into target/tools. Seeds are those of tests/fuzz/corpus; what is learnt is
    /// kept in target/fuzz/corpus, and what is found in target/fuzz/findings: any finding is an error.
    Fuzz {
        /// Minutes for all targets together, their build not counted
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
        /// Fuzz this target only; may be given several times
        #[arg(long, value_name = "TARGET")]
        only: Vec<String>,
    },
    /// Check the house rules in the files that git tracks: dependency arrows, file openings, unsafe, no_std, lengths
    Tidy,
    /// Build libmobiedit.a with its header for every target, into target/dist
    Dist {
        /// Write tests/c/symbols.txt anew: what each library leaves for the linker
        #[arg(long)]
        update: bool,
    },
    /// Compare flash, static RAM, stack and arenas of the C library with tests/c/sizes.txt
    Size {
        /// Write the table anew
        #[arg(long)]
        update: bool,
    },
    /// Write include/mobiedit.h anew from src/capi
    Header,
    /// Write tests/UNSAFE.md anew: every `unsafe` with its argument
    Unsafe,
    /// Run under Miri what Miri can run: minutes
    Miri,
    /// Run under AddressSanitizer, ThreadSanitizer and cargo-careful what Miri cannot go into: half an hour
    Sanitize,
    /// Check licences, sources and duplicates of all dependencies with cargo-deny
    Deny,
    /// Qualcomm's QNN library with the emulator of its NPU
    Qnn {
        #[command(subcommand)]
        what: QnnCommand,
    },
    /// Run a bench of the release build, `mobiedit bench ...` with the same arguments
    ///
    /// `cargo xtask bench edit [--records 20] [--slow-records 4] [--dataset FILE] [--seed S] [--json]` edits records
    /// whose fact the shipped model knows with each preset and reports success, rephrasings, neighbours and forward
    /// passes. Arguments are passed on as they are; `cargo xtask bench edit --help` lists them. `cargo xtask bench stack` stacks edits
    /// until the model is ruined; `cargo xtask bench scale` makes steps at the size of a real model; `cargo xtask bench kernels
    /// [FILTER]` is another program: the CPU's operations beside what the machine can do at most, by criterion.
    Bench {
        /// The bench's name and its arguments
        #[arg(
            required = true,
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "BENCH AND ARGUMENTS"
        )]
        arguments: Vec<String>,
    },
    /// Retrain the shipped model (optional: about 35 minutes on two cores, and a download of PyTorch)
    ///
    /// Makes a Python environment under the target folder, installs tests/fixtures/requirements.txt with pip and runs
    /// tests/fixtures/train.py. The tests do not need it: the model and its golden file are checked in.
    Fixtures {
        /// Arguments of train.py, as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS OF TRAIN.PY")]
        arguments: Vec<String>,
    },
}

#[derive(Subcommand)]
enum QnnCommand {
    /// Install the pinned wheel from PyPI, outside the repository: into MOBIEDIT_QNN_DIR, or the user's cache folder
    Fetch {
        /// Yes to Qualcomm's licence; MOBIEDIT_QNN_ACCEPT_LICENSE=1 says the same
        #[arg(long)]
        accept_license: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let sh = Shell::new()?;
    sh.change_dir(workspace::root());
    match arguments.command {
        Command::Test { only, allow_missing, outcome } => test::run(&sh, &only, allow_missing, outcome.as_deref()),
        Command::Ci { allow_missing } => ci::run(&sh, allow_missing),
        Command::Fuzz { minutes, only } => fuzz::run(&sh, minutes, &only),
        Command::Tidy => tidy::run(&sh),
        Command::Dist { update } => {
            let mut report = report::Report::default();
            library::dist(&sh, &mut report, update);
            report.finish(false)
        }
        Command::Size { update } => {
            let mut report = report::Report::default();
            size::run(&sh, &mut report, update);
            report.finish(false)
        }
        Command::Header => header::write(),
        Command::Miri => audit::miri(&sh),
        Command::Sanitize => audit::sanitize(&sh),
        Command::Deny => audit::deny(&sh),
        Command::Unsafe => tidy::write_unsafe_table(&sh),
        Command::Qnn { what: QnnCommand::Fetch { accept_license } } => qnn::fetch(&sh, accept_license).map(|_| ()),
        Command::Bench { arguments } => bench(&sh, &arguments),
        Command::Fixtures { arguments } => fixtures::run(&sh, &arguments),
    }
}

fn bench(sh: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    if let [name, rest @ ..] = arguments
        && name == "kernels"
    {
        return Ok(cmd!(sh, "cargo bench --bench kernels -- {rest...}").run()?);
    }
    Ok(cmd!(sh, "cargo run --release --bin mobiedit -- bench {arguments...}").run()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bench_gets_its_arguments_as_they_are() {
        for line in ["edit", "edit --records 3 --seed 1 --json", "edit --help"] {
            let words: Vec<&str> = line.split(' ').collect();
            let parsed = Arguments::try_parse_from(["xtask", "bench"].iter().chain(&words)).unwrap();
            assert!(matches!(parsed.command, Command::Bench { arguments } if arguments == words), "{line}");
        }
        assert!(Arguments::try_parse_from(["xtask", "bench"]).is_err());
    }
}
