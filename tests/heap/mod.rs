//! An allocator that counts: by thread what is done to the heap, so that the test harness and other tests are not in the count; and for
//! the process what lies on it.
#![expect(unsafe_code, reason = "a global allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a thread did to the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heap {
    /// Calls: to get memory, to give it back, to change its size.
    pub(crate) calls: usize,
    /// Bytes that were asked for.
    pub(crate) bytes: usize,
}

thread_local! {
    /// Of this thread.
    pub(crate) static HEAP: Cell<Heap> = const { Cell::new(Heap { calls: 0, bytes: 0 }) };
}

/// Bytes of all threads that were asked for and not given back.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Bytes that lie on the heap now.
pub(crate) fn live() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// A call that asks for some bytes and gives some back.
fn count(bytes: usize, back: usize) {
    LIVE.fetch_add(bytes, Ordering::Relaxed);
    LIVE.fetch_sub(back, Ordering::Relaxed);
    // A thread that is ending has no counter any more; none of those is measured.
    let _ = HEAP.try_with(|heap| heap.set(Heap { calls: heap.get().calls + 1, bytes: heap.get().bytes + bytes }));
}

struct Counting;

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory but its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the trait's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the trait's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: the caller keeps the trait's contract.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller keeps the trait's contract.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What `work` does to the heap on this thread.
pub(crate) fn counted<R>(work: impl FnOnce() -> R) -> (R, Heap) {
    let before = HEAP.get();
    let result = work();
    let after = HEAP.get();
    (result, Heap { calls: after.calls - before.calls, bytes: after.bytes - before.bytes })
}
