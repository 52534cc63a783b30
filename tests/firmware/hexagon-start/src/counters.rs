//! QEMU's own counters of what it has executed, in control registers that real DSPs reserve. No time, no cycles: an
//! emulator has none.
#![allow(unsafe_code)]

use core::arch::asm;

/// How much has been executed: since the start of the program, or between two points of it. Each counts modulo 2³².
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Packets: groups of up to four instructions that a DSP issues together, one packet a cycle at best.
    pub packets: u32,
    /// Instructions, vector instructions among them.
    pub instructions: u32,
    /// Vector (HVX) instructions.
    pub vector: u32,
}

impl Counts {
    /// What has been executed so far.
    pub fn now() -> Self {
        Self { packets: control::<20>(), instructions: control::<21>(), vector: control::<22>() }
    }

    /// What has been executed since `self`, the reading of the counters included: a handful of instructions.
    pub fn elapsed(self) -> Self {
        let now = Self::now();
        Self {
            packets: now.packets.wrapping_sub(self.packets),
            instructions: now.instructions.wrapping_sub(self.instructions),
            vector: now.vector.wrapping_sub(self.vector),
        }
    }
}

/// Reads a control register. The assembler has no names for QEMU's, so the instruction `r0 = cN` is given in bits.
#[inline(always)]
fn control<const NUMBER: u32>() -> u32 {
    let value;
    // SAFETY: the word is one packet that writes r0 and nothing else; user programs may read all control registers.
    unsafe { asm!(".word {word}", word = const 0x6a00_c000 | NUMBER << 16, out("r0") value, options(nostack)) }
    value
}
