//! A heap that counts by thread, so that a target can state how much it may take. Limits nothing where nobody asks.
#![allow(unsafe_code, reason = "a global allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Bytes of a thread.
#[derive(Clone, Copy)]
struct Held {
    now: usize,
    most: usize,
}

thread_local! {
    static HELD: Cell<Held> = const { Cell::new(Held { now: 0, most: 0 }) };
}

fn count(more: usize, less: usize) {
    // A thread that is ending has no counter any more; none of those is measured.
    let _ = HELD.try_with(|held| {
        let Held { now, most } = held.get();
        let peak = now.saturating_add(more);
        held.set(Held { now: peak.saturating_sub(less), most: most.max(peak) });
    });
}

struct Metered;

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory but its own.
unsafe impl GlobalAlloc for Metered {
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
static METERED: Metered = Metered;

/// What `work` gives, if this thread at no time holds more than `bytes` more than before: else it panics. Asking for memory counts,
/// whether it was there or not.
pub fn within<R>(bytes: usize, what: &str, work: impl FnOnce() -> R) -> R {
    let Held { now, .. } = HELD.get();
    HELD.set(Held { now, most: now });
    let result = work();
    let taken = HELD.get().most.saturating_sub(now);
    assert!(taken <= bytes, "{what} took {taken} bytes of the heap, {bytes} are allowed");
    result
}
