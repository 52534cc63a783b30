//! The fake's shared memory: allocations of this process, known by the order in which they were made.

use alloc::alloc::Layout;
use core::ffi::{c_int, c_void};
use core::ptr::without_provenance_mut;

use super::FAKE;
use crate::error::Status;
use crate::sys::shared::{MemDescriptor, SharedBuffers, SharedMemory};
use crate::sys::table::{ContextHandle, MemHandle};
use crate::sys::tensor::DataType;

/// Shared memory of this process alone.
pub(crate) fn shared_buffers() -> SharedBuffers {
    let memory = SharedMemory { alloc: shared_alloc, free: shared_free, to_fd: shared_to_fd };
    // SAFETY: they do the same.
    unsafe { SharedBuffers::new(memory) }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 8).unwrap()
}

/// # Safety
/// None is needed.
unsafe extern "C" fn shared_alloc(heap: c_int, flags: u32, bytes: c_int) -> *mut c_void {
    assert!((heap, flags) == (25, 1) && bytes > 0);
    FAKE.with_borrow_mut(|fake| {
        if fake.note("rpcmem_alloc", core::ptr::null_mut()) != Status::SUCCESS {
            return core::ptr::null_mut();
        }
        let bytes = bytes as usize;
        // SAFETY: it is not empty.
        let allocation = unsafe { alloc::alloc::alloc_zeroed(layout(bytes)) }.cast();
        fake.shared.push((allocation, bytes));
        allocation
    })
}

/// # Safety
/// `shared_alloc` gave it.
unsafe extern "C" fn shared_free(allocation: *mut c_void) {
    FAKE.with_borrow_mut(|fake| {
        fake.free("rpcmem_free", without_provenance_mut(1));
        let (_, bytes) = fake.shared[place(&fake.shared, allocation)];
        // SAFETY: the caller's promise.
        unsafe { alloc::alloc::dealloc(allocation.cast(), layout(bytes)) };
    });
}

fn place(shared: &[(*mut c_void, usize)], allocation: *mut c_void) -> usize {
    shared.iter().rposition(|(known, _)| *known == allocation).unwrap()
}

/// # Safety
/// None is needed.
unsafe extern "C" fn shared_to_fd(allocation: *mut c_void) -> c_int {
    FAKE.with_borrow_mut(|fake| {
        let status = fake.note("rpcmem_to_fd", without_provenance_mut(1));
        if status == Status::SUCCESS { place(&fake.shared, allocation) as c_int } else { -1 }
    })
}

/// Handles of shared memory are file descriptors from here on.
pub(super) const SHARED: usize = 1000;

/// # Safety
/// One descriptor, and a place for one handle.
pub(super) unsafe extern "C" fn mem_register(
    context: ContextHandle,
    descriptor: *const MemDescriptor,
    len: u32,
    handle: *mut MemHandle,
) -> Status {
    assert_eq!((context.0.addr(), len), (4, 1));
    FAKE.with_borrow_mut(|fake| {
        // SAFETY: the caller's promise.
        let of = unsafe { *descriptor };
        // SAFETY: the same.
        let sides = unsafe { core::slice::from_raw_parts(of.shape.dimensions, of.shape.rank as usize) };
        let numbers = sides.iter().product::<u32>() as usize;
        assert_eq!((of.data_type, of.kind, fake.shared[of.fd as usize].1), (DataType::FLOAT_16, 1, 2 * numbers));
        let (made, status) = fake.make("memRegister", SHARED + of.fd as usize);
        // SAFETY: the same.
        unsafe { *handle = MemHandle(without_provenance_mut(made)) };
        status
    })
}

/// # Safety
/// One handle.
pub(super) unsafe extern "C" fn mem_de_register(handle: *const MemHandle, len: u32) -> Status {
    assert_eq!(len, 1);
    // SAFETY: the caller's promise.
    FAKE.with_borrow_mut(|fake| fake.free("memDeRegister", unsafe { *handle }.0))
}
