//! What is printed: results on stdout, notes on stderr.

use std::io::{self, Write};

use serde::Serialize;

/// Standard output for results. A reader who has seen enough and gone (`| head -1`) is no error, and stops nothing.
pub(crate) struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        unless_gone(io::stdout().write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        unless_gone(io::stdout().flush(), ())
    }
}

fn unless_gone<T>(result: io::Result<T>, gone: T) -> io::Result<T> {
    result.or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(gone),
        kind => Err(io::Error::new(kind, format!("the result could not be printed: {error}"))),
    })
}

/// Prints `value` as one line: the last of stdout.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(writeln!(Stdout, "{}", serde_json::to_string(value)?)?)
}

/// Something worth knowing that is not a result.
pub(crate) fn note(text: &str) {
    tell(&format!("note: {text}"));
}

/// Something that goes wrong, and does not stop the command.
pub(crate) fn warn(text: &str) {
    tell(&format!("warning: {text}"));
}

/// One line on stderr; where nobody can read it, it is lost.
pub(crate) fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
