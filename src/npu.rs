//! Qualcomm's NPU opened by what a user knows: a library's path, a chip, a folder for finalised graphs. For `host` and the C
//! interface alike.

use std::fs;
#[cfg(unix)]
use std::path::Path;
use std::path::PathBuf;
use std::process;

#[cfg(unix)]
use mobiedit_hal_qnn::QnnConfig;
#[cfg(unix)]
use mobiedit_hal_qnn::sys::table::Version;
#[cfg(unix)]
use mobiedit_hal_qnn::sys::{Interface, LogConfig, Session, SessionConfig, SharedBuffers, Versions};
use mobiedit_hal_qnn::{Qnn, QnnError, Store};

/// The library's name on Android and Linux.
pub const QNN_LIBRARY: &str = "libQnnHtp.so";

/// The library that gives memory which the NPU shares, on Android.
#[cfg(unix)]
const SHARED_MEMORY_LIBRARY: &str = "libcdsprpc.so";

/// Chips by the names that people know, with their numbers in the vendor's SDK.
pub const SOCS: [(&str, u32); 3] = [("sm8550", 43), ("sm8650", 57), ("sm8750", 69)];

/// Rows of an NPU's smaller graphs.
#[cfg(unix)]
const FEW_ROWS: usize = 16;
/// Rows of its larger ones.
pub const ROWS: usize = 64;

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
        let unfinished = self.0.join(format!("{key:016x}.{}.part", process::id()));
        let written = fs::create_dir_all(&self.0)
            .and_then(|()| fs::write(&unfinished, bytes))
            .and_then(|()| fs::rename(&unfinished, self.path(key)));
        if written.is_err() {
            // A cache that cannot be written costs time the next time, and nothing now.
            let _nothing = fs::remove_file(&unfinished);
        }
    }
}

/// Opens the NPU.
///
/// # Errors
/// A library that does not open, or gives no device.
#[cfg(unix)]
pub fn open(options: &QnnOptions) -> Result<Qnn, QnnError> {
    open_on(Interface::open(&library(options))?, options)
}

/// Opens the NPU of an interface that is there already.
///
/// # Errors
/// An interface that gives no device.
#[cfg(unix)]
pub fn open_on(interface: Interface, options: &QnnOptions) -> Result<Qnn, QnnError> {
    let session = Session::open(interface, &SessionConfig { log: LogConfig::SILENT, soc: options.soc })?;
    // Each number once: a context has one graph of a name.
    let most = options.rows.unwrap_or(ROWS);
    let rows = if most > FEW_ROWS { [FEW_ROWS, most].into() } else { [most.max(1)].into() };
    let mut npu = Qnn::new(session, QnnConfig { rows, ..QnnConfig::default() });
    if let Some(folder) = &options.cache {
        npu = npu.with_store(Box::new(GraphFolder(folder.clone())));
    }
    // Not there beside the emulator, whose memory is this machine's.
    Ok(match SharedBuffers::open(Path::new(SHARED_MEMORY_LIBRARY)) {
        Ok(buffers) => npu.with_shared(buffers),
        Err(_) => npu,
    })
}

#[cfg(unix)]
fn library(options: &QnnOptions) -> PathBuf {
    options.library.clone().unwrap_or_else(|| QNN_LIBRARY.into())
}

/// The versions of what there is, in words.
///
/// # Errors
/// Those of [`open`].
#[cfg(unix)]
pub fn describe(options: &QnnOptions) -> Result<String, QnnError> {
    let Versions { api, backend, build_id } = Interface::open(&library(options))?.versions()?;
    open(options)?;
    let version = |v: Version| format!("{}.{}.{}", v.major, v.minor, v.patch);
    let soc = options.soc.map_or_else(|| "its own choice".to_owned(), |soc| soc.to_string());
    let (core, htp) = (version(api.core), version(backend.backend));
    Ok(format!("core API {core}, HTP API {htp}, build {build_id}, chip {soc}"))
}

/// There is no such library for this system.
///
/// # Errors
/// Always.
#[cfg(not(unix))]
pub fn open(_: &QnnOptions) -> Result<Qnn, QnnError> {
    Err(QnnError::Missing("a loader for this system"))
}

/// There is no such library for this system.
///
/// # Errors
/// Always.
#[cfg(not(unix))]
pub fn describe(options: &QnnOptions) -> Result<String, QnnError> {
    open(options).map(|_| String::new())
}
