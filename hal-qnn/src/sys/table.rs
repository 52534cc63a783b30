//! The function table of a QNN library, and what its functions take. It calls none of them.
//!
//! The table ends at the last function in use: later ones differ between the versions of a library.

use core::ffi::{c_char, c_void};

use super::config::{BackendConfig, ContextConfig, DeviceConfig, GraphConfig};
use super::profile::{EventData, EventId, ProfileLevel};
use super::shared::MemDescriptor;
use super::tensor::{OpConfig, Tensor};
use crate::error::Status;

/// `QNN_BACKEND_ID_HTP`: the backend of the Hexagon tensor processor.
pub const HTP: u32 = 6;

/// `QNN_API_VERSION_MAJOR` that the declarations are of.
pub const CORE_MAJOR: u32 = 2;

/// `Qnn_Version_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Version {
    /// Raised when layouts change.
    pub major: u32,
    /// Raised when something is added.
    pub minor: u32,
    /// Raised by corrections.
    pub patch: u32,
}

/// `Qnn_ApiVersion_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ApiVersion {
    /// Of the part that all backends share.
    pub core: Version,
    /// Of the backend's own part.
    pub backend: Version,
}

/// Declares the opaque pointers that a library gives out.
macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(transparent)]
        pub struct $name(pub *mut c_void);

        impl $name {
            /// No object.
            pub const NULL: Self = Self(core::ptr::null_mut());
        }
    )*};
}

handles! {
    /// `Qnn_LogHandle_t`.
    LogHandle;
    /// `Qnn_BackendHandle_t`.
    BackendHandle;
    /// `Qnn_DeviceHandle_t`.
    DeviceHandle;
    /// `Qnn_ContextHandle_t`.
    ContextHandle;
    /// `Qnn_GraphHandle_t`.
    GraphHandle;
    /// `Qnn_ProfileHandle_t`: what is measured, or null.
    ProfileHandle;
    /// `Qnn_MemHandle_t`.
    MemHandle;
    /// `Qnn_SignalHandle_t`; always null here.
    SignalHandle;
}

/// `QnnLog_Level_t`: a message is logged if its level is not above the log's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct LogLevel(pub u32);

impl LogLevel {
    /// What failed. A rejected operation is answered with the data types that it takes.
    pub const ERROR: Self = Self(1);
    /// What may be wrong.
    pub const WARN: Self = Self(2);
    /// What is done.
    pub const INFO: Self = Self(3);
}

/// `QnnLog_Callback_t`: a format as of `printf`, a level, nanoseconds, and the arguments.
///
/// The last one is a `va_list`. Where C passes that as a pointer, as on x86-64 and AArch64 Linux, it is one.
pub type LogCallback =
    unsafe extern "C" fn(format: *const c_char, level: LogLevel, nanoseconds: u64, arguments: *mut c_void);

/// `QnnInterface_getProviders`: the one function that is looked up by its name.
pub type GetProviders = unsafe extern "C" fn(list: *mut *const *const Provider, len: *mut u32) -> Status;

/// Gives an object back.
pub type Free<Handle> = unsafe extern "C" fn(Handle) -> Status;

/// How `QnnInterface_t` begins in every version: which backend, and in which version.
#[derive(Debug)]
#[repr(C)]
pub struct Provider {
    /// Which backend: [`HTP`] or another.
    pub backend_id: u32,
    /// Its name, as of C.
    pub name: *const c_char,
    /// The version of the interface.
    pub api_version: ApiVersion,
}

/// `QnnInterface_t` of core API 2, up to the last function in use.
#[derive(Debug)]
#[repr(C)]
pub struct InterfaceV2 {
    /// What it is.
    pub provider: Provider,
    /// What it can.
    pub table: Table,
}

/// Functions of the table that are not called here.
pub type Unused<const LEN: usize> = [Option<unsafe extern "C" fn()>; LEN];

/// `QNN_INTERFACE_VER_TYPE`. Every function may be missing.
#[derive(Debug)]
#[repr(C)]
pub struct Table {
    /// `propertyHasCapability`.
    pub unused_0: Unused<1>,
    /// Takes a log, or none.
    pub backend_create:
        Option<unsafe extern "C" fn(LogHandle, *const *const BackendConfig, *mut BackendHandle) -> Status>,
    /// `backendSetConfig`.
    pub unused_2: Unused<1>,
    /// Needs no backend.
    pub backend_get_api_version: Option<unsafe extern "C" fn(*mut ApiVersion) -> Status>,
    /// Needs no backend; the text is the library's.
    pub backend_get_build_id: Option<unsafe extern "C" fn(*mut *const c_char) -> Status>,
    /// From `backendRegisterOpPackage`.
    pub unused_5: Unused<2>,
    /// Whether the backend has the operation for these types and shapes.
    pub backend_validate_op_config: Option<unsafe extern "C" fn(BackendHandle, OpConfig) -> Status>,
    /// After everything that was made with the backend.
    pub backend_free: Option<Free<BackendHandle>>,
    /// A list of configurations ends with null.
    pub context_create: Option<
        unsafe extern "C" fn(BackendHandle, DeviceHandle, *const *const ContextConfig, *mut ContextHandle) -> Status,
    >,
    /// `contextSetConfig`.
    pub unused_10: Unused<1>,
    /// Bytes of the context's binary.
    pub context_get_binary_size: Option<unsafe extern "C" fn(ContextHandle, *mut u64) -> Status>,
    /// Buffer, its bytes, the bytes written.
    pub context_get_binary: Option<unsafe extern "C" fn(ContextHandle, *mut c_void, u64, *mut u64) -> Status>,
    /// Believes what it reads: checksums are ours to keep.
    pub context_create_from_binary: Option<
        unsafe extern "C" fn(
            BackendHandle,
            DeviceHandle,
            *const *const ContextConfig,
            *const c_void,
            u64,
            *mut ContextHandle,
            ProfileHandle,
        ) -> Status,
    >,
    /// Frees its graphs too.
    pub context_free: Option<unsafe extern "C" fn(ContextHandle, ProfileHandle) -> Status>,
    /// An empty graph by its name.
    pub graph_create: Option<
        unsafe extern "C" fn(ContextHandle, *const c_char, *const *const GraphConfig, *mut GraphHandle) -> Status,
    >,
    /// From `graphCreateSubgraph`.
    pub unused_16: Unused<2>,
    /// The operation is passed by value, 80 bytes.
    pub graph_add_node: Option<unsafe extern "C" fn(GraphHandle, OpConfig) -> Status>,
    /// Compiles the graph.
    pub graph_finalize: Option<unsafe extern "C" fn(GraphHandle, ProfileHandle, SignalHandle) -> Status>,
    /// A graph of a context that was read.
    pub graph_retrieve: Option<unsafe extern "C" fn(ContextHandle, *const c_char, *mut GraphHandle) -> Status>,
    /// Inputs and outputs. It writes past the end of an output buffer that is too small.
    pub graph_execute: Option<
        unsafe extern "C" fn(GraphHandle, *const Tensor, u32, *mut Tensor, u32, ProfileHandle, SignalHandle) -> Status,
    >,
    /// From `graphExecuteAsync`.
    pub unused_22: Unused<2>,
    /// Writes the tensor's id.
    pub tensor_create_graph_tensor: Option<unsafe extern "C" fn(GraphHandle, *mut Tensor) -> Status>,
    /// A log; without a callback it writes where it likes.
    pub log_create: Option<unsafe extern "C" fn(Option<LogCallback>, LogLevel, *mut LogHandle) -> Status>,
    /// `logSetLogLevel`.
    pub unused_26: Unused<1>,
    /// After everything that was made with the log.
    pub log_free: Option<Free<LogHandle>>,
    /// Of a backend, in a level.
    pub profile_create: Option<unsafe extern "C" fn(BackendHandle, ProfileLevel, *mut ProfileHandle) -> Status>,
    /// `profileSetConfig`.
    pub unused_29: Unused<1>,
    /// The events of the last call that the handle was given to; the list is the library's.
    pub profile_get_events: Option<unsafe extern "C" fn(ProfileHandle, *mut *const EventId, *mut u32) -> Status>,
    /// The events that an event consists of.
    pub profile_get_sub_events: Option<unsafe extern "C" fn(EventId, *mut *const EventId, *mut u32) -> Status>,
    /// What an event says.
    pub profile_get_event_data: Option<unsafe extern "C" fn(EventId, *mut EventData) -> Status>,
    /// `profileGetExtendedEventData`.
    pub unused_33: Unused<1>,
    /// After everything that it was given to.
    pub profile_free: Option<Free<ProfileHandle>>,
    /// Descriptors, how many, and a handle for each.
    pub mem_register: Option<unsafe extern "C" fn(ContextHandle, *const MemDescriptor, u32, *mut MemHandle) -> Status>,
    /// Handles, and how many.
    pub mem_de_register: Option<unsafe extern "C" fn(*const MemHandle, u32) -> Status>,
    /// From `deviceGetPlatformInfo`.
    pub unused_37: Unused<2>,
    /// Gives a pointer that is the backend's own.
    pub device_get_infrastructure: Option<unsafe extern "C" fn(*mut *const c_void) -> Status>,
    /// Takes a log, or none.
    pub device_create: Option<unsafe extern "C" fn(LogHandle, *const *const DeviceConfig, *mut DeviceHandle) -> Status>,
    /// From `deviceSetConfig`.
    pub unused_41: Unused<2>,
    /// After the contexts on the device.
    pub device_free: Option<Free<DeviceHandle>>,
}
