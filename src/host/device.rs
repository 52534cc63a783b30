//! The device that a session runs on: this machine's CPU, or an NPU through its vendor's library. Computes nothing itself.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use mobiedit_backends::device::{Capabilities, Device, Memory};
use mobiedit_backends::op::Op;
use mobiedit_core::backend::{BackendError, BackendErrorKind};
use mobiedit_hal_cpu::{CpuError, FastCpu};
#[cfg(unix)]
use mobiedit_hal_qnn::sys::table::Version;
#[cfg(unix)]
use mobiedit_hal_qnn::sys::{Interface, LogConfig, Session, SessionConfig, Versions};
use mobiedit_hal_qnn::{Qnn, QnnConfig, QnnError, Store};
use serde::Serialize;

use crate::host::atomic_file;

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
    /// The folder in which finalised graphs are kept; none are without one.
    pub cache: Option<PathBuf>,
}

/// Finalised graphs in a folder, one file per program. What cannot be read or written is made again.
#[derive(Debug)]
struct GraphFolder(PathBuf);

impl GraphFolder {
    fn path(&self, key: u64) -> PathBuf {
        self.0.join(format!("{key:016x}.qnn"))
    }
}

impl Store for GraphFolder {
    fn load(&mut self, key: u64) -> Option<Vec<u8>> {
        fs::read(self.path(key)).ok()
    }

    fn store(&mut self, key: u64, bytes: &[u8]) {
        // A cache that cannot be written costs time the next time, and nothing now.
        let _unwritten = fs::create_dir_all(&self.0)
            .and_then(|()| atomic_file::write(&self.path(key), |file| file.write_all(bytes)));
    }
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
    let npu = describe_qnn(options);
    vec![
        Available { backend: "cpu", opens: true, what: level },
        Available { backend: "qnn", opens: npu.is_ok(), what: npu.unwrap_or_else(|error| error.to_string()) },
    ]
}

#[cfg(unix)]
fn describe_qnn(options: &QnnOptions) -> Result<String, QnnError> {
    let library = options.library.clone().unwrap_or_else(|| QNN_LIBRARY.into());
    let Versions { api, backend, build_id } = Interface::open(&library)?.versions()?;
    open_qnn(options)?;
    let version = |v: Version| format!("{}.{}.{}", v.major, v.minor, v.patch);
    let soc = options.soc.map_or_else(|| "its own choice".to_owned(), |soc| soc.to_string());
    let (core, htp) = (version(api.core), version(backend.backend));
    Ok(format!("core API {core}, HTP API {htp}, build {build_id}, chip {soc}"))
}

#[cfg(not(unix))]
fn describe_qnn(options: &QnnOptions) -> Result<String, QnnError> {
    open_qnn(options).map(|_| String::new())
}

#[cfg(unix)]
fn open_qnn(options: &QnnOptions) -> Result<HostDevice, QnnError> {
    let library = options.library.clone().unwrap_or_else(|| QNN_LIBRARY.into());
    let interface = Interface::open(&library)?;
    let session = Session::open(interface, &SessionConfig { log: LogConfig::SILENT, soc: options.soc })?;
    // Each number once: a context has one graph of a name.
    let most = options.rows.unwrap_or(ROWS);
    let rows = if most > FEW_ROWS { [FEW_ROWS, most].into() } else { [most.max(1)].into() };
    let npu = Qnn::new(session, QnnConfig { rows, ..QnnConfig::default() });
    Ok(HostDevice::Qnn(Box::new(match &options.cache {
        Some(folder) => npu.with_store(Box::new(GraphFolder(folder.clone()))),
        None => npu,
    })))
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
