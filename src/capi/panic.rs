//! The panic handler of a static library without `std`. Has its own feature: a firmware may bring its own.

use core::panic::PanicInfo;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Named by the unwinding tables of the precompiled `core` on targets with an operating system. Nothing unwinds.
#[cfg(not(target_os = "none"))]
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
