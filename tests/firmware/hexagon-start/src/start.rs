//! The first instructions of a program. Sections are loaded and zeroed, and a stack of 8 MiB is set up, by QEMU.
#![allow(unsafe_code)]

use core::arch::global_asm;

use crate::system::exit;

// QEMU enters with the stack pointer in r29. There is no caller: the frame pointer and the link register are 0.
global_asm!(
    ".globl _start",
    "_start:",
    "{{ r29 = and(r29, #-128); r30 = #0; r31 = #0 }}",
    "{{ jump {begin} }}",
    begin = sym begin,
);

// SAFETY: `entry!` defines it, with this signature; without `entry!` the program does not link.
unsafe extern "Rust" {
    safe fn hexagon_start_main() -> i32;
}

extern "C" fn begin() -> ! {
    exit(hexagon_start_main())
}

/// Names the function that the program starts with: `fn() -> i32`, its result is the exit code.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(export_name = "hexagon_start_main")]
        extern "Rust" fn hexagon_start_main() -> i32 {
            $main()
        }
    };
}
