//! The shared list of checks on a Cortex-M4F. No libtest here: a check that panics ends the program, and with it the list.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the heap is given its memory")]

use core::panic::PanicInfo;

use cortex_m as _;
use cortex_m_rt::entry;
use defmt_semihosting as _;
use embedded_alloc::LlffHeap as Heap;
use firmware_checks::CHECKS;
use semihosting::process::exit;

#[global_allocator]
static HEAP: Heap = Heap::empty();

#[entry]
fn main() -> ! {
    // SAFETY: called once, before anything allocates.
    unsafe {
        embedded_alloc::init!(HEAP, 4 * 1024 * 1024);
    }
    for (name, check) in CHECKS {
        defmt::info!("{=str} ...", name);
        check();
    }
    defmt::info!("{=usize} checks passed", CHECKS.len());
    exit(0)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    exit(1)
}
