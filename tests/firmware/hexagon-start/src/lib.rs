//! `hexagon-start`: what a program for `hexagon-unknown-none-elf` needs to run under `qemu-hexagon` in user mode.
//!
//! A program is `#![no_std]` and `#![no_main]`, and names its main function, which returns the exit code:
//!
//! ```text
//! hexagon_start::entry!(main);
//!
//! fn main() -> i32 {
//!     hexagon_start::println!("{} and {}", 1, 2);
//!     0
//! }
//! ```
//!
//! Layers, top down:
//! - [`entry!`], [`print!`], [`println!`], the panic handler: what a program sees;
//! - [`Console`] and [`exit`], on the two system calls that QEMU is asked for;
//! - [`Counts`], QEMU's own counters of what it has executed.
//!
//! No heap, no arguments, no input; on a real DSP nothing would answer the system calls.
#![no_std]
#![feature(asm_experimental_arch)]

mod console;
mod counters;
mod panic;
mod start;
mod system;

pub use console::{Console, print};
pub use counters::Counts;
pub use system::exit;
