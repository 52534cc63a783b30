//! A device on the library that the environment names.

use std::env;
use std::path::Path;

use mobiedit_hal_qnn::sys::table::LogLevel;
use mobiedit_hal_qnn::sys::{Interface, LogConfig, Session, SessionConfig};
use mobiedit_hal_qnn::{Qnn, QnnConfig};

/// SM8650, with a V75 NPU.
const SOC: u32 = 57;

/// `None`, which is said, without a library in `MOBIEDIT_QNN_LIB`. With `MOBIEDIT_QNN_LOG` its messages go to standard error.
pub(crate) fn device(config: QnnConfig) -> Option<Qnn> {
    let Some(path) = env::var_os("MOBIEDIT_QNN_LIB") else {
        println!("not run: QNN library (MOBIEDIT_QNN_LIB is not set)");
        return None;
    };
    let interface = Interface::open(Path::new(&path)).unwrap();
    let log = env::var_os("MOBIEDIT_QNN_LOG").map_or(LogConfig::SILENT, |_| LogConfig::stderr(LogLevel::ERROR));
    let session = Session::open(interface, &SessionConfig { log, soc: Some(SOC) }).unwrap();
    Some(Qnn::new(session, config))
}
