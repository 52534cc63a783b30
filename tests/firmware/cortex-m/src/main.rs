//! An edit on a Cortex-M4F in Rust: the editor's memory is a static, the application has a heap of its own beside it, and logs
//! go out by defmt over semihosting. For QEMU's mps2-an386; nothing here was run on a board.
//!
//! Run it in this folder: `cargo run --release --target thumbv7em-none-eabihf` (qemu-system-arm and defmt-print are needed).
//! What the editor does is in `../edit`, which a firmware of your own would have in its place.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the heap is given its memory")]

extern crate alloc;

use alloc::vec::Vec;
use core::panic::PanicInfo;

use cortex_m as _; // the critical sections that defmt and the heap ask for
use cortex_m_rt::entry;
use defmt_semihosting as _; // where defmt's frames go
use embedded_alloc::LlffHeap as Heap;
use firmware_edit::{Flash, Memory, edit};
use semihosting::process::exit;
use static_cell::ConstStaticCell;

/// All that the edit needs. Zeros, so it is in `.bss` and takes no flash.
static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::NEW);

/// Where the edit outlasts a power-off. QEMU's board has no flash that a program can write.
static FLASH: ConstStaticCell<Flash> = ConstStaticCell::new(Flash::NEW);

/// The application's heap. MobiEdit never asks for it: an edit cannot fail because the application has used it up, and the
/// other way round.
#[global_allocator]
static HEAP: Heap = Heap::empty();

#[entry]
fn main() -> ! {
    // SAFETY: called once, before anything allocates.
    unsafe {
        embedded_alloc::init!(HEAP, 4096);
    }
    // What an application might do while an edit is on its way: here it keeps a curve for a plot.
    let mut curve: Vec<f32> = Vec::new();
    let heap_before = HEAP.used();

    let edited = edit(MEMORY.take(), FLASH.take(), |progress| {
        // One unit of work is done: feed the watchdog here.
        curve.push(progress.p_target);
        defmt::info!("{}: step {=u32}, P(target) {=f32}", progress.phase, progress.step, progress.p_target);
    });

    defmt::info!("heap: {=usize} bytes, all of them the application's curve", HEAP.used() - heap_before);
    match edited {
        Ok(edited) => {
            let [before, after, undone] = edited.answers;
            defmt::info!("before {}, after {}, undone {}", before, after, undone);
            defmt::info!("at the next start {}, without a search", edited.next.answer);
            defmt::info!("{=u32} steps, {=u64} forward passes", edited.progress.step, edited.progress.forward_passes);
            defmt::info!("patch {=u64:016x}", edited.patch);
            exit(i32::from(!edited.is_good()));
        }
        Err(failure) => {
            defmt::error!("no edit: {}", failure);
            exit(1);
        }
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    exit(1)
}
