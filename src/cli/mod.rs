//! The command line: from arguments to an exit code. A file per command; all work is the library's.

mod args;
mod bench;
mod calibrate;
mod demo;
mod edit;
mod eval;
mod export;
mod folder;
mod generate;
mod inspect;
mod report;
mod running;
mod scale;
mod stack;
mod tokens;
mod trace;
mod verify;

use std::process::ExitCode;

use clap::Parser;
use mobiedit::host::device::Backend;
use mobiedit::host::session::{Activations, CalibrationFrom, SessionOptions};
use mobiedit::npu::QnnOptions;

use crate::cli::args::{ActivationsArg, BackendArg, Cli, Command, DeviceArgs, ModelArgs, RunArgs};

/// How a command ended, without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Done,
    /// The search ended without success.
    NotSuccessful,
    /// Ctrl-C; the same command goes on from there.
    Interrupted,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(match status {
            Status::Done => 0,
            Status::NotSuccessful => 3,
            Status::Interrupted => 130,
        })
    }
}

/// Runs the command that was typed.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Edit(args) => edit::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Undo(args) => folder::undo(&args),
        Command::Forget(args) => folder::forget(&args),
        Command::List(args) => folder::list(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Tokens(args) => tokens::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Eval(args) => eval::run(&args),
    };
    match result {
        Ok(status) => status.into(),
        Err(error) => {
            // One sentence on one line, whatever the parts it is made of.
            let sentence = format!("{error:#}").replace(['\n', '\r'], " ");
            report::tell(&format!("error: {sentence}"));
            ExitCode::FAILURE
        }
    }
}

impl ModelArgs {
    fn options(&self) -> SessionOptions {
        let calibration = match &self.calibration {
            None => CalibrationFrom::Beside,
            Some(path) if path.as_os_str() == "none" => CalibrationFrom::Nowhere,
            Some(path) => CalibrationFrom::File(path.clone()),
        };
        let activations = match self.activations {
            ActivationsArg::Dynamic => Activations::Dynamic,
            ActivationsArg::Static => Activations::Static,
            ActivationsArg::StaticClipped => Activations::StaticClipped,
            ActivationsArg::Float => Activations::Float,
        };
        SessionOptions { activations, calibration, ..self.run.options() }
    }
}

impl RunArgs {
    /// Without a calibration.
    fn options(&self) -> SessionOptions {
        SessionOptions {
            model: self.model.clone(),
            memory_limit: self.memory_limit.map(|mib| (mib as usize) << 20),
            threads: self.threads.map(usize::from),
            calibration: CalibrationFrom::Nowhere,
            backend: self.device.backend(),
            ..SessionOptions::default()
        }
    }
}

impl DeviceArgs {
    fn backend(&self) -> Backend {
        match self.backend {
            BackendArg::Cpu => Backend::Cpu,
            BackendArg::Qnn => Backend::Qnn(self.npu()),
            BackendArg::Auto => Backend::Auto(self.npu()),
        }
    }

    fn npu(&self) -> QnnOptions {
        QnnOptions {
            library: self.qnn_lib.clone(),
            soc: self.soc,
            rows: Some(self.qnn_rows as usize),
            cache: self.qnn_cache.clone(),
        }
    }
}
