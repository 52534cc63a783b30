//! The checksum of checkpoints, of calibrations and of journals. Finds accidents, no forgery.

/// CRC-32 as in zip and Ethernet (reflected 0xEDB88320): finds every change within 4 bytes in a row. Its table has 64 bytes.
pub fn crc32(bytes: &[u8]) -> u32 {
    Crc32::new().with(bytes).value()
}

/// The same over bytes that come in pieces.
#[derive(Clone, Copy, Debug)]
pub struct Crc32(u32);

impl Crc32 {
    /// Of no bytes yet.
    pub const fn new() -> Self {
        Self(!0)
    }

    /// With these bytes behind those so far.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        const TABLE: [u32; 16] = {
            let mut table = [0; 16];
            let mut i = 0;
            while i < 16 {
                let mut x = i as u32;
                let mut bit = 0;
                while bit < 4 {
                    x = if x & 1 == 1 { (x >> 1) ^ 0xEDB8_8320 } else { x >> 1 };
                    bit += 1;
                }
                table[i] = x;
                i += 1;
            }
            table
        };
        let nibble = |crc: u32, x: u32| (crc >> 4) ^ TABLE[((crc ^ x) & 15) as usize];
        Self(bytes.iter().fold(self.0, |crc, &byte| nibble(nibble(crc, u32::from(byte)), u32::from(byte) >> 4)))
    }

    /// The checksum of all bytes so far.
    pub const fn value(self) -> u32 {
        !self.0
    }
}

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_crc_32() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(Crc32::new().with(b"1234").with(b"").with(b"56789").value(), 0xCBF4_3926);
    }
}
