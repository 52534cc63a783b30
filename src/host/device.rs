//! The device that a session runs on: this machine's CPU, or an NPU through its vendor's library. Computes nothing itself.

use mobiedit_backends::device::{Capabilities, Device, Memory};
use mobiedit_backends::op::Op;
use mobiedit_core::backend::{BackendError, BackendErrorKind};
use mobiedit_hal_cpu::{CpuError, FastCpu};
use mobiedit_hal_qnn::{Qnn, QnnError};
use serde::Serialize;

use crate::npu::{self, QnnOptions};

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

/// A device of either kind.
#[derive(Debug)]
#[non_exhaustive]
pub enum HostDevice {
    /// This machine's CPU.
    Cpu(Box<FastCpu>),
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
        let cpu = || Self::Cpu(Box::new(FastCpu::detect()));
        let npu = |options| npu::open(options).map(|npu| Self::Qnn(Box::new(npu)));
        match backend {
            Backend::Cpu => Ok(cpu()),
            Backend::Qnn(options) => npu(options),
            Backend::Auto(options) => Ok(npu(options).unwrap_or_else(|_| cpu())),
        }
    }

    /// The NPU; `None` on a CPU.
    pub fn npu(&self) -> Option<&Qnn> {
        match self {
            Self::Cpu(_) => None,
            Self::Qnn(npu) => Some(npu),
        }
    }

    /// The same, to be changed.
    pub fn npu_mut(&mut self) -> Option<&mut Qnn> {
        match self {
            Self::Cpu(_) => None,
            Self::Qnn(npu) => Some(npu),
        }
    }
}

/// A device that a session could run on, or why it could not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Available {
    /// "cpu" or "qnn".
    pub backend: &'static str,
    /// Whether it opens.
    pub opens: bool,
    /// Its instructions or its versions, or why it does not open.
    pub what: String,
}

/// What there is to run on.
pub fn available(options: &QnnOptions) -> Vec<Available> {
    let level = format!("{:?}", FastCpu::detect().level());
    let npu = npu::describe(options);
    vec![
        Available { backend: "cpu", opens: true, what: level },
        Available { backend: "qnn", opens: npu.is_ok(), what: npu.unwrap_or_else(|error| error.to_string()) },
    ]
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
