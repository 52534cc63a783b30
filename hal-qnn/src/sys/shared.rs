//! Memory that this process and the NPU both see, for the ends of graphs: what is passed in it is not copied between the two.
//! A phone has it through `libcdsprpc.so`; elsewhere there is none, and ends lie in plain memory.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ffi::{c_char, c_int, c_void};
use core::ptr::{NonNull, null};

use super::context::Context;
use super::interface::required;
use super::table::MemHandle;
use super::tensor::DataType;
use crate::error::{QnnError, Status};

/// `RPCMEM_HEAP_ID_SYSTEM`.
const SYSTEM_HEAP: c_int = 25;
/// `RPCMEM_DEFAULT_FLAGS`: cached.
const CACHED: u32 = 1;

/// What gives such memory: the functions of `libcdsprpc.so`.
#[derive(Clone, Copy, Debug)]
pub struct SharedMemory {
    /// `rpcmem_alloc`: a heap, flags, bytes. Null if there is no room.
    pub alloc: unsafe extern "C" fn(c_int, u32, c_int) -> *mut c_void,
    /// `rpcmem_free`.
    pub free: unsafe extern "C" fn(*mut c_void),
    /// `rpcmem_to_fd`: the file descriptor of an allocation, negative if it has none.
    pub to_fd: unsafe extern "C" fn(*mut c_void) -> c_int,
}

/// `Qnn_MemShape_t`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct MemShape {
    /// Dimensions.
    pub rank: u32,
    /// The length of each.
    pub dimensions: *const u32,
    /// Null.
    pub config: *const c_char,
}

/// `Qnn_MemDescriptor_t` of the type that has a file descriptor alone (`QNN_MEM_TYPE_ION`).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct MemDescriptor {
    /// The tensor's.
    pub shape: MemShape,
    /// Of each number.
    pub data_type: DataType,
    /// [`ION`](Self::ION).
    pub kind: u32,
    /// The memory's, then room for what other types have.
    pub fd: i32,
    /// Not used by this type.
    pub rest: [u32; 3],
}

impl MemDescriptor {
    /// `QNN_MEM_TYPE_ION`.
    pub const ION: u32 = 1;
}

/// 16-bit numbers in shared memory, given back when this is dropped.
#[derive(Debug)]
pub(super) struct SharedBuffer {
    numbers: NonNull<u16>,
    len: usize,
    fd: c_int,
    memory: SharedMemory,
}

impl SharedBuffer {
    /// `None` where there is no room.
    fn new(memory: SharedMemory, len: usize) -> Option<Self> {
        let bytes = len.checked_mul(2).and_then(|bytes| c_int::try_from(bytes).ok()).filter(|bytes| *bytes > 0)?;
        // SAFETY: the library's function, as whoever made `memory` promised.
        let numbers = NonNull::new(unsafe { (memory.alloc)(SYSTEM_HEAP, CACHED, bytes) })?.cast::<u16>();
        // SAFETY: the same, of its own allocation.
        let fd = unsafe { (memory.to_fd)(numbers.as_ptr().cast()) };
        // From here on dropping it gives the memory back.
        Some(Self { numbers, len, fd, memory }).filter(|buffer| buffer.fd >= 0)
    }

    /// Both have as many numbers.
    fn fill(&self, numbers: &[u16]) {
        let len = numbers.len().min(self.len);
        // SAFETY: the allocation has so many numbers, and nothing else has a reference into it.
        unsafe { numbers.as_ptr().copy_to_nonoverlapping(self.numbers.as_ptr(), len) };
    }

    /// Both have as many numbers.
    fn take(&self, numbers: &mut [u16]) {
        let len = numbers.len().min(self.len);
        // SAFETY: the same; what the NPU wrote are numbers whatever its bits.
        unsafe { self.numbers.as_ptr().copy_to_nonoverlapping(numbers.as_mut_ptr(), len) };
    }
}

impl Drop for SharedBuffer {
    fn drop(&mut self) {
        // SAFETY: the library's own allocation, given back once.
        unsafe { (self.memory.free)(self.numbers.as_ptr().cast()) };
    }
}

/// Shared buffers by their place among a graph's ends and their lengths. Graphs run one after the other: they have the same ones.
#[derive(Debug)]
pub struct SharedBuffers {
    memory: SharedMemory,
    buffers: RefCell<BTreeMap<(usize, usize), Rc<SharedBuffer>>>,
}

impl SharedBuffers {
    /// None yet.
    ///
    /// # Safety
    /// The functions are those of `libcdsprpc.so`, or do the same: an allocation has as many bytes as asked for, aligned for
    /// 16-bit numbers, until it is given to `free`.
    pub unsafe fn new(memory: SharedMemory) -> Self {
        Self { memory, buffers: RefCell::default() }
    }

    fn at(&self, place: usize, len: usize) -> Option<Rc<SharedBuffer>> {
        let mut buffers = self.buffers.borrow_mut();
        if let Some(known) = buffers.get(&(place, len)) {
            return Some(Rc::clone(known));
        }
        let buffer = Rc::new(SharedBuffer::new(self.memory, len)?);
        buffers.insert((place, len), Rc::clone(&buffer));
        Some(buffer)
    }

    /// Makes a buffer known to a context, as that of the end at this place with these dimensions.
    pub(super) fn register(
        &self,
        context: &Rc<Context>,
        place: usize,
        data_type: DataType,
        dimensions: &[u32],
    ) -> Result<Registered, QnnError> {
        let register = required(context.table().mem_register, "memRegister")?;
        let deregister = required(context.table().mem_de_register, "memDeRegister")?;
        let len = dimensions.iter().map(|side| *side as usize).product();
        let buffer = self.at(place, len).ok_or(QnnError::Nothing("rpcmem_alloc"))?;
        let shape = MemShape { rank: dimensions.len() as u32, dimensions: dimensions.as_ptr(), config: null() };
        let descriptor = MemDescriptor { shape, data_type, kind: MemDescriptor::ION, fd: buffer.fd, rest: [0; 3] };
        let mut handle = MemHandle::NULL;
        // SAFETY: functions of a checked table; the context is alive, one descriptor and a place for one handle.
        unsafe { register(context.handle(), &raw const descriptor, 1, &raw mut handle) }.check("memRegister")?;
        if handle == MemHandle::NULL {
            return Err(QnnError::Nothing("memRegister"));
        }
        Ok(Registered { handle, deregister, buffer, _context: Rc::clone(context) })
    }
}

/// A buffer that a context knows. It is taken back before its context and its buffer are.
#[derive(Debug)]
pub(super) struct Registered {
    handle: MemHandle,
    deregister: unsafe extern "C" fn(*const MemHandle, u32) -> Status,
    buffer: Rc<SharedBuffer>,
    _context: Rc<Context>,
}

impl Registered {
    pub(super) const fn handle(&self) -> MemHandle {
        self.handle
    }

    /// Writes what the NPU is to read.
    pub(super) fn fill(&self, numbers: &[u16]) {
        self.buffer.fill(numbers);
    }

    /// Reads what the NPU has written.
    pub(super) fn take(&self, numbers: &mut [u16]) {
        self.buffer.take(numbers);
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: the library's handle, taken back once. Nothing can be done about a refusal.
        let _refused = unsafe { (self.deregister)(&raw const self.handle, 1) };
    }
}

/// A graph's ends in shared memory: inputs, then outputs.
#[derive(Debug)]
pub(super) struct SharedEnds {
    pub(super) inputs: Vec<Registered>,
    pub(super) outputs: Vec<Registered>,
}

#[cfg(all(feature = "std", unix))]
mod library {
    use std::path::Path;

    use libloading::os::unix;

    use super::{SharedBuffers, SharedMemory};
    use crate::error::{QnnError, Text};

    impl SharedBuffers {
        /// The memory of a phone, by its library. That is never closed.
        ///
        /// The code in the file is executed, as with a program that is started.
        pub fn open(path: &Path) -> Result<Self, QnnError> {
            // SAFETY: a library's initialisers may assume what they like, and nobody can check; the caller was told to trust it.
            let library = unsafe { unix::Library::new(path) }
                .map_err(|error| QnnError::Open(Text::new(&std::string::ToString::to_string(&error))))?;
            // SAFETY: the functions of these names have these types.
            let memory = unsafe {
                SharedMemory {
                    alloc: *library.get(c"rpcmem_alloc").map_err(|_| QnnError::Symbol("rpcmem_alloc"))?,
                    free: *library.get(c"rpcmem_free").map_err(|_| QnnError::Symbol("rpcmem_free"))?,
                    to_fd: *library.get(c"rpcmem_to_fd").map_err(|_| QnnError::Symbol("rpcmem_to_fd"))?,
                }
            };
            let _kept = library.into_raw();
            // SAFETY: the library's own.
            Ok(unsafe { Self::new(memory) })
        }
    }
}
