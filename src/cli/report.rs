//! What is printed: JSON lines, notes, and how much memory was used at most.

use std::fs;

use serde::Serialize;

/// Prints `value` as one line: the last of stdout.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

/// Something worth knowing that is not a result.
pub(crate) fn note(text: &str) {
    eprintln!("note: {text}");
}

/// Most bytes of physical memory that this process ever had at once; `None` where the system does not say.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
