//! A log, a backend and a device, made in this order and given back in the reverse one. It builds no graph.

use core::ptr::null;

use super::config::{DeviceConfig, HtpDeviceConfig};
use super::interface::{Interface, Owned, required};
use super::log::LogConfig;
use super::table::{BackendHandle, DeviceHandle, LogHandle};
use crate::error::QnnError;

/// What a session is to have.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionConfig {
    /// Where messages go: nowhere by default.
    pub log: LogConfig,
    /// The chip, by its number in the SDK; `None` leaves it to the library. The emulator then takes an old one, which
    /// has no product of two 16-bit operands.
    pub soc: Option<u32>,
}

/// A library in use. Fields are dropped from the first to the last.
#[derive(Debug)]
pub struct Session {
    device: Owned<DeviceHandle>,
    backend: Owned<BackendHandle>,
    _log: Owned<LogHandle>,
    interface: Interface,
    soc: Option<u32>,
}

impl Session {
    /// Makes the objects. If one cannot be made, those before it are given back.
    pub fn open(interface: Interface, config: &SessionConfig) -> Result<Self, QnnError> {
        let log = create_log(interface, config.log)?;
        let backend = create_backend(interface, log.handle)?;
        let device = create_device(interface, log.handle, config.soc)?;
        Ok(Self { device, backend, _log: log, interface, soc: config.soc })
    }

    /// The library's interface.
    pub const fn interface(&self) -> Interface {
        self.interface
    }

    /// The chip that was asked for.
    pub const fn soc(&self) -> Option<u32> {
        self.soc
    }

    /// The backend, valid while the session lives.
    pub const fn backend(&self) -> BackendHandle {
        self.backend.handle
    }

    /// The device, valid while the session lives.
    pub const fn device(&self) -> DeviceHandle {
        self.device.handle
    }
}

fn create_log(interface: Interface, config: LogConfig) -> Result<Owned<LogHandle>, QnnError> {
    let create = required(interface.table().log_create, "logCreate")?;
    let free = required(interface.table().log_free, "logFree")?;
    // SAFETY: functions of a checked table. The log is given back after all that used it: so the session's fields stand.
    unsafe {
        Owned::new("logCreate", LogHandle::NULL, free, |handle| create(Some(config.callback), config.level, handle))
    }
}

fn create_backend(interface: Interface, log: LogHandle) -> Result<Owned<BackendHandle>, QnnError> {
    let create = required(interface.table().backend_create, "backendCreate")?;
    let free = required(interface.table().backend_free, "backendFree")?;
    // SAFETY: functions of a checked table; the log is alive, and the list of configurations may be null. What is
    // made with the backend is given back before it.
    unsafe { Owned::new("backendCreate", BackendHandle::NULL, free, |handle| create(log, null(), handle)) }
}

fn create_device(interface: Interface, log: LogHandle, soc: Option<u32>) -> Result<Owned<DeviceHandle>, QnnError> {
    let create = required(interface.table().device_create, "deviceCreate")?;
    let free = required(interface.table().device_free, "deviceFree")?;
    let custom = HtpDeviceConfig::soc(soc.unwrap_or_default());
    let config = DeviceConfig::custom(&custom);
    let list = [&raw const config, null()];
    let list = if soc.is_some() { list.as_ptr() } else { null() };
    // SAFETY: functions of a checked table; the log is alive, and the list, null or ended by null, points to
    // configurations that outlive the call. Contexts on the device borrow the session.
    unsafe { Owned::new("deviceCreate", DeviceHandle::NULL, free, |handle| create(log, list, handle)) }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::sys::fake::{self, Fake};
    use crate::sys::table::{LogLevel, Table};

    /// Takes something out of a table.
    type Change = fn(&mut Table);

    /// The config with everything in it.
    fn full() -> SessionConfig {
        // SAFETY: the fake never calls it.
        let log = unsafe { LogConfig::new(LogLevel::WARN, fake::log_callback) };
        SessionConfig { log, soc: Some(57) }
    }

    /// Opens and drops a session: how that went, and the calls, each with the handle that it made or got.
    fn opened(fake: Fake, change: Change) -> (Result<(), QnnError>, Vec<(&'static str, usize)>) {
        fake.install();
        let outcome = Session::open(fake::interface(change), &full()).map(drop);
        (outcome, Fake::installed().calls)
    }

    #[test]
    fn objects_are_given_back_in_the_reverse_order() {
        let (outcome, calls) = opened(Fake::default(), |_| {});
        assert_eq!(outcome, Ok(()));
        let made = [("logCreate", 1), ("backendCreate", 2), ("deviceCreate", 3)];
        let freed = [("deviceFree", 3), ("backendFree", 2), ("logFree", 1)];
        assert_eq!(calls, [made, freed].concat());
    }

    #[test]
    fn what_was_made_before_a_failure_is_given_back() {
        let (log, backend) = (("logCreate", 1), ("backendCreate", 2));
        let backwards = [("backendFree", 2), ("logFree", 1)];
        let steps = [
            ("logCreate", std::vec![]),
            ("backendCreate", std::vec![log, backwards[1]]),
            ("deviceCreate", std::vec![log, backend, backwards[0], backwards[1]]),
        ];
        for (step, expected) in steps {
            for (fake, error) in [
                (Fake::failing(step, 14001), fake::refused(step, 14001)),
                (Fake::giving_nothing(step), QnnError::Nothing(step)),
            ] {
                let (outcome, mut calls) = opened(fake, |_| {});
                calls.retain(|call| *call != (step, 0));
                assert_eq!((outcome, calls), (Err(error), expected.clone()), "{step}");
            }
        }
    }

    #[test]
    fn a_missing_function_is_named_before_its_object_is_made() {
        let cases: [(&str, Change, &[&str]); 6] = [
            ("logCreate", |table| table.log_create = None, &[]),
            ("logFree", |table| table.log_free = None, &[]),
            ("backendCreate", |table| table.backend_create = None, &["logCreate", "logFree"]),
            ("backendFree", |table| table.backend_free = None, &["logCreate", "logFree"]),
            (
                "deviceCreate",
                |table| table.device_create = None,
                &["logCreate", "backendCreate", "backendFree", "logFree"],
            ),
            ("deviceFree", |table| table.device_free = None, &["logCreate", "backendCreate", "backendFree", "logFree"]),
        ];
        for (missing, change, expected) in cases {
            let (outcome, calls) = opened(Fake::default(), change);
            assert_eq!(outcome, Err(QnnError::Missing(missing)));
            assert_eq!(calls.iter().map(|(call, _)| *call).collect::<Vec<_>>(), expected, "{missing}");
        }
    }

    #[test]
    fn a_refusal_to_free_stops_nothing() {
        let (outcome, calls) = opened(Fake::failing("deviceFree", 14003), |_| {});
        assert_eq!(outcome, Ok(()));
        assert_eq!(calls[3..], [("deviceFree", 3), ("backendFree", 2), ("logFree", 1)]);
    }

    #[test]
    fn the_library_gets_the_log_and_the_chip() {
        let quiet = SessionConfig { log: LogConfig::default(), ..full() };
        let no_soc = SessionConfig { soc: None, ..full() };
        let soc = Some([0, 57, 57]);
        for (config, level, soc) in
            [(full(), LogLevel::WARN, soc), (quiet, LogLevel::ERROR, soc), (no_soc, LogLevel::WARN, None)]
        {
            Fake::default().install();
            let session = Session::open(fake::interface(|_| {}), &config).unwrap();
            assert_eq!((session.backend().0.addr(), session.device().0.addr()), (2, 3));
            let seen = Fake::installed();
            assert_eq!((seen.logs, seen.level, seen.soc), (std::vec![1, 1], Some(level), soc));
            assert!(session.interface().table().log_create.is_some());
        }
    }
}
