//! The conformance suite on a real library, named by `MOBIEDIT_QNN_LIB`; without one nothing is run, and that is said.
#![cfg(feature = "std")]

use std::env;
use std::path::Path;

use mobiedit_backends::conformance::{self, Profile};
use mobiedit_hal_qnn::sys::table::LogLevel;
use mobiedit_hal_qnn::sys::{Interface, LogConfig, Session, SessionConfig};
use mobiedit_hal_qnn::{Qnn, QnnConfig};

/// SM8650, with a V75 NPU.
const SOC: u32 = 57;

/// A device on the library that the environment names.
fn device(config: QnnConfig) -> Option<Qnn> {
    let Some(path) = env::var_os("MOBIEDIT_QNN_LIB") else {
        println!("not run: QNN library (MOBIEDIT_QNN_LIB is not set)");
        return None;
    };
    let interface = Interface::open(Path::new(&path)).unwrap();
    let log = env::var_os("MOBIEDIT_QNN_LOG").map_or(LogConfig::SILENT, |_| LogConfig::stderr(LogLevel::ERROR));
    let session = Session::open(interface, &SessionConfig { log, soc: Some(SOC) }).unwrap();
    Some(Qnn::new(session, config))
}

#[test]
fn the_device_conforms() {
    let Some(mut device) = device(QnnConfig { rows: [64].into(), cached: 64, patches: 2 }) else { return };
    let profile = Profile { name: "QNN", slack: 1.0, rounding: 1e-3, unsupported: &[], most_products: 50_000_000 };
    let report = conformance::check(&mut device, &profile, env::var("MOBIEDIT_CASE").ok().as_deref());
    assert!(report.is_clean(), "{report}");
}
