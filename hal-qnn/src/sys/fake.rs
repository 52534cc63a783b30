//! A QNN library for tests: a table whose functions note that they were called, and fail on request. It computes nothing.

use core::cell::RefCell;
use core::ffi::{c_char, c_void};
use core::ptr::{null, without_provenance_mut};
use std::boxed::Box;
use std::thread_local;
use std::vec::Vec;

use super::config::{BackendConfig, DeviceConfig};
use super::interface::Interface;
use super::table::{
    ApiVersion, BackendHandle, DeviceHandle, HTP, InterfaceV2, LogCallback, LogHandle, LogLevel, Provider, Table,
    Version,
};
use crate::error::{QnnError, Status};

/// What the library of this thread is to do, and what was done with it.
#[derive(Clone, Debug, Default)]
pub(super) struct Fake {
    /// The list that it gives; none at all by default.
    pub(super) providers: Option<Vec<*const Provider>>,
    /// The call that fails, and how.
    pub(super) fails: Option<(&'static str, u64)>,
    /// The call that succeeds without a result.
    pub(super) nothing: Option<&'static str>,
    /// Calls of functions that make or free something, with its handle; 0 if none was made.
    pub(super) calls: Vec<(&'static str, usize)>,
    /// The log handles given to backend and device.
    pub(super) logs: Vec<usize>,
    /// The level of the log.
    pub(super) level: Option<LogLevel>,
    /// The first words of the device's own configuration.
    pub(super) soc: Option<[u32; 3]>,
}

thread_local! {
    static FAKE: RefCell<Fake> = RefCell::default();
}

impl Fake {
    /// A library in which one call fails.
    pub(super) fn failing(call: &'static str, status: u64) -> Self {
        Self { fails: Some((call, status)), ..Self::default() }
    }

    /// A library in which one call gives a null pointer.
    pub(super) fn giving_nothing(call: &'static str) -> Self {
        Self { nothing: Some(call), ..Self::default() }
    }

    /// Makes it this thread's library.
    pub(super) fn install(self) {
        FAKE.set(self);
    }

    /// This thread's library as it is now.
    pub(super) fn installed() -> Self {
        FAKE.with_borrow(Clone::clone)
    }

    fn answer(&self, call: &'static str) -> Status {
        self.fails.filter(|(fails, _)| *fails == call).map_or(Status::SUCCESS, |(_, status)| Status(status))
    }

    /// Notes a call that makes the object `handle`, and says whether it is made.
    fn make(&mut self, call: &'static str, handle: usize) -> (usize, Status) {
        let status = self.answer(call);
        let made = if status == Status::SUCCESS && self.nothing != Some(call) { handle } else { 0 };
        self.calls.push((call, made));
        (made, status)
    }

    fn free(&mut self, call: &'static str, handle: *mut c_void) -> Status {
        self.calls.push((call, handle.addr()));
        self.answer(call)
    }
}

/// The error of a call that failed.
pub(super) fn refused(call: &'static str, status: u64) -> QnnError {
    QnnError::Refused { call, status: Status(status) }
}

/// The library's interface with a table that was changed.
pub(super) fn interface(change: fn(&mut Table)) -> Interface {
    let core = Version { major: 2, minor: 40, patch: 0 };
    // SAFETY: the interface is whole, and never freed.
    unsafe { Interface::from_ptr(leaked(HTP, core, change)) }.unwrap()
}

/// An interface of this backend and version.
pub(super) fn provider(backend_id: u32, core: Version) -> *const Provider {
    leaked(backend_id, core, |_| {})
}

fn leaked(backend_id: u32, core: Version, change: fn(&mut Table)) -> *const Provider {
    let mut table = table();
    change(&mut table);
    let api_version = ApiVersion { core, backend: Version::default() };
    let interface = InterfaceV2 { provider: Provider { backend_id, name: c"FAKE".as_ptr(), api_version }, table };
    Box::into_raw(Box::new(interface)).cast_const().cast()
}

fn table() -> Table {
    Table {
        unused_0: [None],
        backend_create: Some(backend_create),
        unused_2: [None],
        backend_get_api_version: Some(backend_get_api_version),
        backend_get_build_id: Some(backend_get_build_id),
        unused_5: [None; 2],
        backend_validate_op_config: None,
        backend_free: Some(backend_free),
        context_create: None,
        unused_10: [None],
        context_get_binary_size: None,
        context_get_binary: None,
        context_create_from_binary: None,
        context_free: None,
        graph_create: None,
        unused_16: [None; 2],
        graph_add_node: None,
        graph_finalize: None,
        graph_retrieve: None,
        graph_execute: None,
        unused_22: [None; 2],
        tensor_create_graph_tensor: None,
        log_create: Some(log_create),
        unused_26: [None],
        log_free: Some(log_free),
        unused_28: [None; 12],
        device_create: Some(device_create),
        unused_41: [None; 2],
        device_free: Some(device_free),
    }
}

/// `QnnInterface_getProviders`.
///
/// # Safety
/// Both places can be written to.
pub(super) unsafe extern "C" fn get_providers(list: *mut *const *const Provider, len: *mut u32) -> Status {
    FAKE.with_borrow(|fake| {
        let providers = fake.providers.as_ref().map(|providers| Box::leak(providers.clone().into_boxed_slice()));
        // SAFETY: the caller's promise. Without a list the length is a lie, which nobody may believe.
        unsafe {
            *len = providers.as_ref().map_or(1, |providers| providers.len() as u32);
            *list = providers.map_or(null(), |providers| providers.as_ptr());
        }
        fake.answer("getProviders")
    })
}

/// Takes messages, and drops them.
///
/// # Safety
/// None is needed.
pub(super) unsafe extern "C" fn log_callback(_: *const c_char, _: LogLevel, _: u64, _: *mut c_void) {}

/// # Safety
/// The last argument can be written to.
unsafe extern "C" fn log_create(callback: Option<LogCallback>, level: LogLevel, log: *mut LogHandle) -> Status {
    assert!(callback.is_some());
    FAKE.with_borrow_mut(|fake| {
        fake.level = Some(level);
        let (handle, status) = fake.make("logCreate", 1);
        // SAFETY: the caller's promise.
        unsafe { *log = LogHandle(without_provenance_mut(handle)) };
        status
    })
}

/// # Safety
/// The last argument can be written to.
unsafe extern "C" fn backend_create(
    log: LogHandle,
    configs: *const *const BackendConfig,
    backend: *mut BackendHandle,
) -> Status {
    assert!(configs.is_null());
    FAKE.with_borrow_mut(|fake| {
        fake.logs.push(log.0.addr());
        let (handle, status) = fake.make("backendCreate", 2);
        // SAFETY: the caller's promise.
        unsafe { *backend = BackendHandle(without_provenance_mut(handle)) };
        status
    })
}

/// # Safety
/// The last argument can be written to, and the list is null, or one configuration and null.
unsafe extern "C" fn device_create(
    log: LogHandle,
    configs: *const *const DeviceConfig,
    device: *mut DeviceHandle,
) -> Status {
    FAKE.with_borrow_mut(|fake| {
        fake.logs.push(log.0.addr());
        if !configs.is_null() {
            // SAFETY: the caller's promise.
            let (first, second) = unsafe { (&**configs, *configs.add(1)) };
            assert!(second.is_null());
            // SAFETY: the backend's own part begins with words.
            fake.soc = Some(unsafe { *first.custom.cast::<[u32; 3]>() });
        }
        let (handle, status) = fake.make("deviceCreate", 3);
        // SAFETY: the caller's promise.
        unsafe { *device = DeviceHandle(without_provenance_mut(handle)) };
        status
    })
}

/// # Safety
/// The place can be written to.
unsafe extern "C" fn backend_get_api_version(version: *mut ApiVersion) -> Status {
    let part = |major| Version { major, minor: 1, patch: 0 };
    // SAFETY: the caller's promise.
    unsafe { *version = ApiVersion { core: part(2), backend: part(5) } };
    FAKE.with_borrow(|fake| fake.answer("backendGetApiVersion"))
}

/// # Safety
/// The place can be written to.
unsafe extern "C" fn backend_get_build_id(id: *mut *const c_char) -> Status {
    FAKE.with_borrow(|fake| {
        let text = if fake.nothing == Some("backendGetBuildId") { null() } else { c"v2.0 fake".as_ptr() };
        // SAFETY: the caller's promise.
        unsafe { *id = text };
        fake.answer("backendGetBuildId")
    })
}

/// # Safety
/// None is needed: the handle is noted only.
unsafe extern "C" fn log_free(log: LogHandle) -> Status {
    FAKE.with_borrow_mut(|fake| fake.free("logFree", log.0))
}

/// # Safety
/// None is needed: the handle is noted only.
unsafe extern "C" fn backend_free(backend: BackendHandle) -> Status {
    FAKE.with_borrow_mut(|fake| fake.free("backendFree", backend.0))
}

/// # Safety
/// None is needed: the handle is noted only.
unsafe extern "C" fn device_free(device: DeviceHandle) -> Status {
    FAKE.with_borrow_mut(|fake| fake.free("deviceFree", device.0))
}
