//! The panic handler: prints the message, ends the program with 101, as a test of the standard library does. No backtrace.

use core::panic::PanicInfo;

use crate::system::exit;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    crate::println!("{info}");
    exit(101)
}
