//! Text to standard output. Not buffered: a system call for each piece.

use core::fmt::{Arguments, Error, Result, Write};

use crate::system::write;

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let taken = usize::try_from(write(rest)).ok().filter(|taken| *taken > 0).ok_or(Error)?;
            rest = rest.get(taken..).ok_or(Error)?;
        }
        Ok(())
    }
}

/// Prints what [`print!`](crate::print!) has put together. A closed output is no error: nobody is left to be told.
pub fn print(text: Arguments<'_>) {
    let _ = Console.write_fmt(text);
}

/// Prints to standard output.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::print(::core::format_args!($($argument)*)) };
}

/// Prints a line to standard output.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($argument:tt)*) => { $crate::print!("{}\n", ::core::format_args!($($argument)*)) };
}
