//! An allocator that counts: by thread what is done to the heap, so that the test harness and other tests are not in the count; and for
//! the process what lies on it.
#![allow(unsafe_code, reason = "a global allocator is an unsafe trait")]
#![allow(unreachable_pub, reason = "a module of tests, and of the library that the fuzz targets are")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a thread did to the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heap {
    /// Calls: to get memory, to give it back, to change its size.
    pub calls: usize,
    /// Bytes that were asked for.
    pub bytes: usize,
    /// The most bytes at a time that were asked for and not given back.
    pub most: usize,
}

thread_local! {
    /// Of this thread.
    pub static HEAP: Cell<Heap> = const { Cell::new(Heap { calls: 0, bytes: 0, most: 0 }) };

    /// Bytes that it asked for and did not give back.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Bytes of all threads that were asked for and not given back.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Bytes that lie on the heap now.
pub fn live() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// A call that asks for some bytes and gives some back.
fn count(bytes: usize, back: usize) {
    LIVE.fetch_add(bytes, Ordering::Relaxed);
    LIVE.fetch_sub(back, Ordering::Relaxed);
    // A thread that is ending has no counters any more; none of those is measured.
    let _ = HELD.try_with(|held| {
        let peak = held.get().saturating_add(bytes);
        held.set(peak.saturating_sub(back));
        HEAP.try_with(|heap| {
            let Heap { calls, bytes: before, most } = heap.get();
            heap.set(Heap { calls: calls + 1, bytes: before + bytes, most: most.max(peak) });
        })
    });
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
pub fn counted<R>(work: impl FnOnce() -> R) -> (R, Heap) {
    let (before, held) = (HEAP.get(), HELD.get());
    HEAP.set(Heap { most: held, ..before });
    let result = work();
    let after = HEAP.get();
    HEAP.set(Heap { most: after.most.max(before.most), ..after });
    (result, Heap { calls: after.calls - before.calls, bytes: after.bytes - before.bytes, most: after.most - held })
}
