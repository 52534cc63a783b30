//! The system calls of `qemu-hexagon`: Linux's, by `trap0(#1)`. Two of them, and no error handling.
#![allow(unsafe_code)]

use core::arch::asm;

const WRITE: i32 = 64;
const EXIT_GROUP: i32 = 94;
const STANDARD_OUTPUT: i32 = 1;

/// Writes to standard output, and returns how many bytes were taken, or a negative number.
pub(crate) fn write(bytes: &[u8]) -> i32 {
    let mut result = STANDARD_OUTPUT;
    // SAFETY: `write` reads the bytes of a live slice, and changes nothing but r0.
    unsafe {
        asm!(
            "trap0(#1)",
            inout("r0") result,
            in("r1") bytes.as_ptr(),
            in("r2") bytes.len(),
            in("r6") WRITE,
            options(nostack, readonly),
        );
    }
    result
}

/// Ends the program.
pub fn exit(code: i32) -> ! {
    // SAFETY: `exit_group` does not return.
    unsafe { asm!("trap0(#1)", in("r0") code, in("r6") EXIT_GROUP, options(nostack, noreturn)) }
}
