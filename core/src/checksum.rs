//! The checksum of checkpoints and of calibrations. Finds accidents, no forgery.

/// CRC-32 as in zip and Ethernet (reflected 0xEDB88320): finds every change within 4 bytes in a row. Its table has 64 bytes.
pub fn crc32(bytes: &[u8]) -> u32 {
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
    !bytes.iter().fold(!0, |crc, &byte| nibble(nibble(crc, u32::from(byte)), u32::from(byte) >> 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_crc_32() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
