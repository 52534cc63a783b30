//! A QNN library for tests: a table whose functions note that they were called, and fail on request. It computes nothing.

use core::cell::RefCell;
use core::ffi::{CStr, c_char, c_void};
use core::ptr::{null, without_provenance_mut};
use std::boxed::Box;
use std::ffi::CString;
use std::sync::Mutex;
use std::thread_local;
use std::vec::Vec;

use super::config::{BackendConfig, ContextConfig, DeviceConfig, GraphConfig};
use super::interface::Interface;
use super::power::{Clocks, Infrastructure, PowerConfig};
use super::table::{
    ApiVersion, BackendHandle, ContextHandle, DeviceHandle, GraphHandle, HTP, InterfaceV2, LogCallback, LogHandle,
    LogLevel, ProfileHandle, Provider, SignalHandle, Table, Version,
};
use super::tensor::{OpConfig, Tensor, TensorMemory};
use crate::error::{QnnError, Status};

mod profile;
mod shared;

use profile::*;
pub(crate) use shared::shared_buffers;
use shared::{SHARED, mem_de_register, mem_register};

/// What the library of this thread is to do, and what was done with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fake {
    /// The list that it gives; none at all by default.
    pub(crate) providers: Option<Vec<*const Provider>>,
    /// The call that fails, and how.
    pub(crate) fails: Option<(&'static str, u64)>,
    /// The call that succeeds without a result.
    pub(crate) nothing: Option<&'static str>,
    /// Calls of functions that make or free something, with its handle; 0 if none was made.
    pub(crate) calls: Vec<(&'static str, usize)>,
    /// The log handles given to backend and device.
    pub(crate) logs: Vec<usize>,
    /// The level of the log.
    pub(crate) level: Option<LogLevel>,
    /// The first words of the device's own configuration.
    pub(crate) soc: Option<[u32; 3]>,
    /// Calls of the function that fails before it does.
    pub(crate) after: usize,
    /// Tensors declared so far.
    pub(crate) tensors: u32,
    /// The operations that were added, by their names, with the numbers of their inputs.
    pub(crate) nodes: Vec<(CString, u32)>,
    /// Allocations of shared memory, with their sizes: the place is the file descriptor.
    pub(crate) shared: Vec<(*mut c_void, usize)>,
    /// The clocks' functions.
    pub(crate) clocks: Option<*const Infrastructure>,
}

thread_local! {
    static FAKE: RefCell<Fake> = RefCell::default();
}

impl Fake {
    /// A library in which one call fails.
    pub(crate) fn failing(call: &'static str, status: u64) -> Self {
        Self { fails: Some((call, status)), ..Self::default() }
    }

    /// A library in which one call fails after it has succeeded so many times.
    pub(crate) fn failing_after(after: usize, call: &'static str, status: u64) -> Self {
        Self { after, ..Self::failing(call, status) }
    }

    /// A library in which one call gives a null pointer.
    pub(crate) fn giving_nothing(call: &'static str) -> Self {
        Self { nothing: Some(call), ..Self::default() }
    }

    /// Makes it this thread's library.
    pub(crate) fn install(self) {
        FAKE.set(self);
    }

    /// This thread's library as it is now.
    pub(crate) fn installed() -> Self {
        FAKE.with_borrow(Clone::clone)
    }

    fn answer(&self, call: &'static str) -> Status {
        self.fails.filter(|(fails, _)| *fails == call).map_or(Status::SUCCESS, |(_, status)| Status(status))
    }

    /// The answer to a call that is not noted yet.
    fn answer_now(&self, call: &'static str) -> Status {
        let before = self.calls.iter().filter(|(known, _)| *known == call).count();
        if before < self.after { Status::SUCCESS } else { self.answer(call) }
    }

    /// Notes a call that makes nothing to be freed.
    fn note(&mut self, call: &'static str, handle: *mut c_void) -> Status {
        let status = self.answer_now(call);
        self.calls.push((call, handle.addr()));
        status
    }

    /// Notes a call that makes the object `handle`, and says whether it is made.
    fn make(&mut self, call: &'static str, handle: usize) -> (usize, Status) {
        let status = self.answer_now(call);
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
pub(crate) fn refused(call: &'static str, status: u64) -> QnnError {
    QnnError::Refused { call, status: Status(status) }
}

/// The library's interface with a table that was changed.
pub(crate) fn interface(change: fn(&mut Table)) -> Interface {
    let core = Version { major: 2, minor: 40, patch: 0 };
    // SAFETY: the interface is whole, and never freed.
    unsafe { Interface::from_ptr(provider_of(HTP, core, change)) }.unwrap()
}

/// An interface of this backend and version.
pub(super) fn provider(backend_id: u32, core: Version) -> *const Provider {
    provider_of(backend_id, core, |_| {})
}

fn provider_of(backend_id: u32, core: Version, change: fn(&mut Table)) -> *const Provider {
    let mut table = table();
    change(&mut table);
    let api_version = ApiVersion { core, backend: Version::default() };
    let interface = InterfaceV2 { provider: Provider { backend_id, name: c"FAKE".as_ptr(), api_version }, table };
    kept(interface).cast()
}

/// A value that is never freed, as what a library has in its statics, and that the process still points to at its end: no leak.
fn kept<T>(value: T) -> *const T {
    static KEPT: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let place = Box::into_raw(Box::new(value));
    KEPT.lock().unwrap().push(place.expose_provenance());
    place
}

fn table() -> Table {
    Table {
        unused_0: [None],
        backend_create: Some(backend_create),
        unused_2: [None],
        backend_get_api_version: Some(backend_get_api_version),
        backend_get_build_id: Some(backend_get_build_id),
        unused_5: [None; 2],
        backend_validate_op_config: Some(backend_validate_op_config),
        backend_free: Some(backend_free),
        context_create: Some(context_create),
        unused_10: [None],
        context_get_binary_size: Some(context_get_binary_size),
        context_get_binary: Some(context_get_binary),
        context_create_from_binary: Some(context_create_from_binary),
        context_free: Some(context_free),
        graph_create: Some(graph_create),
        unused_16: [None; 2],
        graph_add_node: Some(graph_add_node),
        graph_finalize: Some(graph_finalize),
        graph_retrieve: Some(graph_retrieve),
        graph_execute: Some(graph_execute),
        unused_22: [None; 2],
        tensor_create_graph_tensor: Some(tensor_create_graph_tensor),
        log_create: Some(log_create),
        unused_26: [None],
        log_free: Some(log_free),
        profile_create: Some(profile_create),
        unused_29: [None],
        profile_get_events: Some(profile_get_events),
        profile_get_sub_events: Some(profile_get_sub_events),
        profile_get_event_data: Some(profile_get_event_data),
        unused_33: [None],
        profile_free: Some(profile_free),
        mem_register: Some(mem_register),
        mem_de_register: Some(mem_de_register),
        unused_37: [None; 2],
        device_get_infrastructure: Some(device_get_infrastructure),
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
        // SAFETY: the caller's promise. Without a list the length is a lie, which nobody may believe.
        unsafe {
            *len = fake.providers.as_ref().map_or(1, |providers| providers.len() as u32);
            *list = fake.providers.clone().map_or(null(), |providers| (*kept(providers)).as_ptr());
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

/// # Safety
/// The last argument can be written to.
unsafe extern "C" fn context_create(
    _: BackendHandle,
    _: DeviceHandle,
    configs: *const *const ContextConfig,
    context: *mut ContextHandle,
) -> Status {
    assert!(configs.is_null());
    FAKE.with_borrow_mut(|fake| {
        let (handle, status) = fake.make("contextCreate", 4);
        // SAFETY: the caller's promise.
        unsafe { *context = ContextHandle(without_provenance_mut(handle)) };
        status
    })
}

/// # Safety
/// The place can be written to.
unsafe extern "C" fn context_get_binary_size(context: ContextHandle, bytes: *mut u64) -> Status {
    FAKE.with_borrow_mut(|fake| {
        // SAFETY: the caller's promise.
        unsafe { *bytes = BINARY.len() as u64 };
        fake.note("contextGetBinarySize", context.0)
    })
}

/// What the fake saves of every context.
const BINARY: [u8; 5] = *b"saved";

/// # Safety
/// So many bytes, and the last argument, can be written to.
unsafe extern "C" fn context_get_binary(
    context: ContextHandle,
    buffer: *mut c_void,
    bytes: u64,
    written: *mut u64,
) -> Status {
    assert_eq!(bytes, BINARY.len() as u64);
    FAKE.with_borrow_mut(|fake| {
        // SAFETY: the caller's promise.
        unsafe {
            buffer.cast::<[u8; BINARY.len()]>().write(BINARY);
            *written = if fake.nothing == Some("contextGetBinary") { 0 } else { bytes };
        }
        fake.note("contextGetBinary", context.0)
    })
}

/// # Safety
/// So many bytes can be read, and the place of the handle can be written to.
unsafe extern "C" fn context_create_from_binary(
    _: BackendHandle,
    _: DeviceHandle,
    _: *const *const ContextConfig,
    binary: *const c_void,
    bytes: u64,
    context: *mut ContextHandle,
    _: ProfileHandle,
) -> Status {
    // SAFETY: the caller's promise.
    assert_eq!(unsafe { core::slice::from_raw_parts(binary.cast::<u8>(), bytes as usize) }, BINARY);
    FAKE.with_borrow_mut(|fake| {
        let (handle, status) = fake.make("contextCreateFromBinary", 4);
        // SAFETY: the caller's promise.
        unsafe { *context = ContextHandle(without_provenance_mut(handle)) };
        status
    })
}

/// # Safety
/// None is needed: the handle is noted only.
unsafe extern "C" fn context_free(context: ContextHandle, _: ProfileHandle) -> Status {
    FAKE.with_borrow_mut(|fake| fake.free("contextFree", context.0))
}

/// # Safety
/// The last argument can be written to.
unsafe extern "C" fn graph_create(
    context: ContextHandle,
    name: *const c_char,
    _: *const *const GraphConfig,
    graph: *mut GraphHandle,
) -> Status {
    // SAFETY: a graph's name, and the caller's promise.
    unsafe { graph_retrieve_as("graphCreate", context, name, graph) }
}

/// # Safety
/// The last argument can be written to.
unsafe extern "C" fn graph_retrieve(context: ContextHandle, name: *const c_char, graph: *mut GraphHandle) -> Status {
    // SAFETY: a graph's name, and the caller's promise.
    unsafe { graph_retrieve_as("graphRetrieve", context, name, graph) }
}

/// # Safety
/// The name ends with zero; the last argument can be written to.
unsafe fn graph_retrieve_as(
    call: &'static str,
    context: ContextHandle,
    name: *const c_char,
    graph: *mut GraphHandle,
) -> Status {
    assert_eq!(context.0.addr(), 4);
    // SAFETY: the caller's promise.
    assert!(!unsafe { CStr::from_ptr(name) }.is_empty());
    FAKE.with_borrow_mut(|fake| {
        let (handle, status) = fake.make(call, 5);
        // SAFETY: the caller's promise.
        unsafe { *graph = GraphHandle(without_provenance_mut(handle)) };
        status
    })
}

/// # Safety
/// The tensor is of version 1, and can be written to.
unsafe extern "C" fn tensor_create_graph_tensor(graph: GraphHandle, tensor: *mut Tensor) -> Status {
    FAKE.with_borrow_mut(|fake| {
        fake.tensors += 1;
        // SAFETY: the caller's promise.
        unsafe { (*tensor).value.v1.id = 100 + fake.tensors };
        fake.note("tensorCreateGraphTensor", graph.0)
    })
}

/// # Safety
/// What the operation points to can be read.
unsafe extern "C" fn backend_validate_op_config(backend: BackendHandle, operation: OpConfig) -> Status {
    assert_eq!((operation.version, operation.v1.outputs_len), (1, 1));
    FAKE.with_borrow_mut(|fake| fake.note("backendValidateOpConfig", backend.0))
}

/// # Safety
/// What the operation points to can be read.
unsafe extern "C" fn graph_add_node(graph: GraphHandle, operation: OpConfig) -> Status {
    FAKE.with_borrow_mut(|fake| {
        // SAFETY: the caller's promise.
        let kind = unsafe { CStr::from_ptr(operation.v1.kind) };
        fake.nodes.push((kind.into(), operation.v1.inputs_len));
        fake.note("graphAddNode", graph.0)
    })
}

/// # Safety
/// None is needed: the handle is noted only.
unsafe extern "C" fn graph_finalize(graph: GraphHandle, _: ProfileHandle, _: SignalHandle) -> Status {
    FAKE.with_borrow_mut(|fake| fake.note("graphFinalize", graph.0))
}

/// Fills every output with 1 in half precision, as many bytes as its dimensions say, whatever its buffer has: as the library does.
///
/// # Safety
/// The tensors are of version 1, and each output's buffer is as large as its dimensions.
unsafe extern "C" fn graph_execute(
    graph: GraphHandle,
    _: *const Tensor,
    _: u32,
    outputs: *mut Tensor,
    len: u32,
    _: ProfileHandle,
    _: SignalHandle,
) -> Status {
    // SAFETY: the caller's promise.
    for tensor in unsafe { core::slice::from_raw_parts(outputs, len as usize) } {
        // SAFETY: the same.
        unsafe {
            let v1 = tensor.value.v1;
            let sides = core::slice::from_raw_parts(v1.dimensions, v1.rank as usize);
            let numbers = sides.iter().product::<u32>() as usize;
            let data = match v1.memory {
                TensorMemory::RAW => v1.buffer.raw.data,
                _ => FAKE.with_borrow(|fake| fake.shared[v1.buffer.shared.0.addr() - SHARED].0),
            };
            core::slice::from_raw_parts_mut(data.cast::<u16>(), numbers).fill(0x3c00);
        }
    }
    FAKE.with_borrow_mut(|fake| fake.note("graphExecute", graph.0))
}

/// # Safety
/// The place can be written to.
unsafe extern "C" fn device_get_infrastructure(infrastructure: *mut *const c_void) -> Status {
    FAKE.with_borrow(|fake| {
        // SAFETY: the caller's promise.
        unsafe { *infrastructure = fake.clocks.map_or(null(), <*const Infrastructure>::cast) };
        fake.answer("deviceGetInfrastructure")
    })
}

/// The clocks of a library.
pub(crate) fn clocks() -> *const Infrastructure {
    let clocks =
        Clocks { create: Some(create_power), destroy: Some(destroy_power), set: Some(set_power), unused: None };
    kept(Infrastructure { kind: 0, clocks })
}

/// # Safety
/// The last argument can be written to.
unsafe extern "C" fn create_power(device: u32, core: u32, id: *mut u32) -> Status {
    assert_eq!((device, core), (0, 0));
    FAKE.with_borrow_mut(|fake| {
        // SAFETY: the caller's promise.
        unsafe { *id = 77 };
        fake.note("createPowerConfigId", without_provenance_mut(77))
    })
}

/// # Safety
/// None is needed: the number is noted only.
unsafe extern "C" fn destroy_power(id: u32) -> Status {
    FAKE.with_borrow_mut(|fake| fake.note("destroyPowerConfigId", without_provenance_mut(id as usize)))
}

/// # Safety
/// A list of one configuration and null.
unsafe extern "C" fn set_power(id: u32, list: *const *const PowerConfig) -> Status {
    // SAFETY: the caller's promise.
    let (config, end) = unsafe { (**list, *list.add(1)) };
    assert_eq!((config, end), (PowerConfig::burst(id), null()));
    FAKE.with_borrow_mut(|fake| fake.note("setPowerConfig", without_provenance_mut(id as usize)))
}
