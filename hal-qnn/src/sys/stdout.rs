//! Standard output pointed elsewhere for a while. It does not stop code that keeps a file descriptor of its own.

use core::ptr::null_mut;
use std::fs::File;
use std::io::{self, StdoutLock, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// While it lives, what is written to file descriptor 1 is dropped, by this process and whatever it loads.
///
/// Rust code on other threads waits with its output; C code does not, and loses it.
pub(super) struct Muted {
    /// What descriptor 1 was.
    before: OwnedFd,
    lock: StdoutLock<'static>,
}

impl Muted {
    /// Writes out what is buffered, then points the descriptor to the null device.
    pub(super) fn start() -> io::Result<Self> {
        let mut lock = io::stdout().lock();
        lock.flush()?;
        let before = lock.as_fd().try_clone_to_owned()?;
        let null = File::options().write(true).open("/dev/null")?;
        flush_c();
        point(lock.as_raw_fd(), null.as_raw_fd())?;
        Ok(Self { before, lock })
    }
}

impl Drop for Muted {
    fn drop(&mut self) {
        // A line that C still buffers would come out later.
        flush_c();
        // Fails only if `before` is no descriptor, and it is one. Drop has nobody to tell.
        let _failed = point(self.lock.as_raw_fd(), self.before.as_raw_fd());
    }
}

/// Makes `descriptor` another name of what `target` names.
fn point(descriptor: RawFd, target: RawFd) -> io::Result<()> {
    loop {
        // SAFETY: takes two numbers, and touches no memory of ours.
        if unsafe { libc::dup2(target, descriptor) } != -1 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Writes out what C's streams hold.
fn flush_c() {
    // SAFETY: null means every stream.
    unsafe { libc::fflush(null_mut()) };
}

/// What `work` and all that it calls write to descriptor 1.
#[cfg(test)]
pub(super) fn captured(work: impl FnOnce()) -> std::string::String {
    use std::io::Read;

    let mut lock = io::stdout().lock();
    lock.flush().unwrap();
    let (mut reader, writer) = io::pipe().unwrap();
    let before = lock.as_fd().try_clone_to_owned().unwrap();
    flush_c();
    point(lock.as_raw_fd(), writer.as_raw_fd()).unwrap();
    drop(writer);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    flush_c();
    point(lock.as_raw_fd(), before.as_raw_fd()).unwrap();
    drop(lock);
    let mut text = std::string::String::new();
    reader.read_to_string(&mut text).unwrap();
    outcome.unwrap();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a library's code writes: at once, or into C's buffer.
    fn write_from_c(text: &str, buffered: bool) {
        let bytes = text.as_ptr().cast();
        if buffered {
            text.bytes().for_each(|byte| {
                // SAFETY: takes a number.
                unsafe { libc::putchar(byte.into()) };
            });
        } else {
            // SAFETY: so many bytes of a text.
            assert_eq!(unsafe { libc::write(1, bytes, text.len()) }, text.len() as isize);
        }
    }

    #[test]
    fn only_what_is_written_meanwhile_is_dropped() {
        for buffered in [false, true] {
            let seen = captured(|| {
                write_from_c("before ", buffered);
                let muted = Muted::start().unwrap();
                write_from_c("meanwhile ", buffered);
                drop(muted);
                write_from_c("after", buffered);
            });
            assert_eq!(seen, "before after", "buffered: {buffered}");
        }
    }

    #[test]
    fn a_panic_restores_it() {
        let seen = captured(|| {
            let broken = std::panic::catch_unwind(|| {
                let _muted = Muted::start().unwrap();
                std::panic::resume_unwind(std::boxed::Box::new(()));
            });
            assert!(broken.is_err());
            write_from_c("after", false);
        });
        assert_eq!(seen, "after");
    }
}
