//! The device that a session runs on: this machine's CPU, or an NPU through its vendor's library. Computes nothing itself.

use std::path::PathBuf;

use mobiedit_backends::device::{Capabilities, Device, Memory};
use mobiedit_backends::op::Op;
use mobiedit_core::backend::{BackendError, BackendErrorKind};
use mobiedit_hal_cpu::{CpuError, FastCpu};
#[cfg(unix)]
use mobiedit_hal_qnn::sys::{Interface, LogConfig, Session, SessionConfig};
use mobiedit_hal_qnn::{Qnn, QnnConfig, QnnError};

/// Which device is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// The CPU, with the fastest instructions it has.
    #[default]
    Cpu,
    /// Qualcomm's NPU.
    Qnn(QnnOptions),
    /// The NPU if its library opens and gives a device, else the CPU.
    Auto(QnnOptions),
}

/// How the NPU is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QnnOptions {
    /// The vendor's library; [`QNN_LIBRARY`] without one, looked for where the system looks.
    pub library: Option<PathBuf>,
    /// The chip, by its number in the vendor's SDK; the library's own choice without one.
    pub soc: Option<u32>,
    /// Rows of the larger graphs, [`ROWS`] without a number: more for longer prompts, for a batch is split, and a prompt is not.
    pub rows: Option<usize>,
}

/// The library's name on Android and Linux.
pub const QNN_LIBRARY: &str = "libQnnHtp.so";

/// Chips by the names that people know, with their numbers in the vendor's SDK.
pub const SOCS: [(&str, u32); 3] = [("sm8550", 43), ("sm8650", 57), ("sm8750", 69)];

/// Rows of an NPU's smaller graphs.
const FEW_ROWS: usize = 16;
/// Rows of its larger ones.
pub const ROWS: usize = 64;

/// A device of either kind.
#[derive(Debug)]
#[non_exhaustive]
pub enum HostDevice {
    /// This machine's CPU.
    Cpu(FastCpu),
    /// An NPU.
    Qnn(Box<Qnn>),
}

/// What went wrong on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostDeviceError {
    /// On the CPU.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// On the NPU.
    #[error(transparent)]
    Qnn(#[from] mobiedit_hal_qnn::DeviceError),
}

impl BackendError for HostDeviceError {
    fn kind(&self) -> BackendErrorKind {
        match self {
            Self::Cpu(error) => error.kind(),
            Self::Qnn(error) => error.kind(),
        }
    }
}

impl HostDevice {
    /// Opens a device.
    ///
    /// # Errors
    /// A library that does not open, or gives no device.
    pub fn open(backend: &Backend) -> Result<Self, QnnError> {
        let cpu = || Self::Cpu(FastCpu::detect());
        match backend {
            Backend::Cpu => Ok(cpu()),
            Backend::Qnn(options) => open_qnn(options),
            Backend::Auto(options) => Ok(open_qnn(options).unwrap_or_else(|_| cpu())),
        }
    }

    /// The NPU; `None` on a CPU.
    pub fn npu(&self) -> Option<&Qnn> {
        match self {
            Self::Cpu(_) => None,
            Self::Qnn(npu) => Some(npu),
        }
    }
}

#[cfg(unix)]
fn open_qnn(options: &QnnOptions) -> Result<HostDevice, QnnError> {
    let library = options.library.clone().unwrap_or_else(|| QNN_LIBRARY.into());
    let interface = Interface::open(&library)?;
    let session = Session::open(interface, &SessionConfig { log: LogConfig::SILENT, soc: options.soc })?;
    let rows = [FEW_ROWS, options.rows.unwrap_or(ROWS).max(FEW_ROWS)].into();
    Ok(HostDevice::Qnn(Box::new(Qnn::new(session, QnnConfig { rows, ..QnnConfig::default() }))))
}

#[cfg(not(unix))]
fn open_qnn(_: &QnnOptions) -> Result<HostDevice, QnnError> {
    Err(QnnError::Missing("a loader for this system"))
}

impl Device for HostDevice {
    type Error = HostDeviceError;

    fn capabilities(&self) -> Capabilities {
        match self {
            Self::Cpu(cpu) => cpu.capabilities(),
            Self::Qnn(npu) => npu.capabilities(),
        }
    }

    fn run(&mut self, memory: &mut Memory<'_>, ops: &[Op<'_>]) -> Result<(), HostDeviceError> {
        match self {
            Self::Cpu(cpu) => Ok(cpu.run(memory, ops)?),
            Self::Qnn(npu) => Ok(npu.run(memory, ops)?),
        }
    }
}
