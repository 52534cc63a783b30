//! The process's memory: what lies on the heap, to the byte, and what is resident. Limits nothing.

use std::fs;

use crate::heap::live;

/// KiB of physical memory that the process has now; `None` where the system does not say.
fn resident_kib() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Bytes that the test's harness and the threads' pool may take beside the work.
const BESIDE: usize = 4096;

/// Memory after the first tenth of some work, to be compared with that at its end.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    live: usize,
    resident: Option<usize>,
}

impl Memory {
    /// So much of the work is done.
    pub(crate) fn after(&mut self, done: usize, of: usize) {
        if done == of.div_ceil(10) {
            *self = Self { live: live(), resident: resident_kib() };
        }
    }

    /// Since then nothing stayed on the heap; and of physical memory there is at most a twentieth more, besides `passing` KiB that
    /// the work had for a time, and that the allocator may keep.
    pub(crate) fn is_flat(&self, what: &str, passing: usize) {
        let (early, late) = (self.live, live());
        println!("{what}: {early} bytes on the heap after a tenth, {late} at the end");
        assert!(late <= early + BESIDE, "{what}: {late} bytes on the heap after {early}");
        match (self.resident, resident_kib()) {
            (Some(early), Some(late)) => {
                println!("{what}: {early} KiB resident after a tenth, {late} at the end, {passing} passing");
                assert!(late <= early + early / 20 + passing, "{what}: {late} KiB resident after {early}");
            }
            _ => println!("not run: resident memory of {what} (this system has no /proc/self/status)"),
        }
    }
}
