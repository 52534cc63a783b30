//! The shared list of checks on a Hexagon without a system. No libtest here: a check that panics ends the program, and with it
//! the list.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the heap is given its memory, and critical sections are named")]

use critical_section::RawRestoreState;
use embedded_alloc::LlffHeap as Heap;
use firmware_checks::CHECKS;
use hexagon_start::println;

hexagon_start::entry!(main);

#[global_allocator]
static HEAP: Heap = Heap::empty();

struct OneThread;
critical_section::set_impl!(OneThread);

// SAFETY: there is one thread and no interrupt: nothing can come between.
unsafe impl critical_section::Impl for OneThread {
    unsafe fn acquire() -> RawRestoreState {}

    unsafe fn release((): RawRestoreState) {}
}

fn main() -> i32 {
    // SAFETY: called once, before anything allocates.
    unsafe {
        embedded_alloc::init!(HEAP, 4 * 1024 * 1024);
    }
    for (name, check) in CHECKS {
        println!("{name} ...");
        check();
    }
    println!("{} checks passed", CHECKS.len());
    0
}
