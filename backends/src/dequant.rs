//! Rows of weights as f32, exactly as GGML defines each format. Multiplies nothing: a device that has integer kernels
//! reads the blocks itself.

use half::{bf16, f16};

use crate::weights::Format;

/// Writes the numbers of a row, or of any whole number of blocks: as many as `bytes` and `out` both have room for.
pub fn dequantize_row(format: Format, bytes: &[u8], out: &mut [f32]) {
    match format {
        Format::F32 => blocks(bytes, out, |b, [x]| *x = f32::from_le_bytes(*b)),
        Format::F16 => blocks(bytes, out, |b, [x]| *x = f16::from_le_bytes(*b).to_f32()),
        Format::Bf16 => blocks(bytes, out, |b, [x]| *x = bf16::from_le_bytes(*b).to_f32()),
        Format::Q8_0 => blocks(bytes, out, q8_0),
        Format::Q4_0 => blocks(bytes, out, q4_0),
        Format::Q4K => blocks(bytes, out, q4_k),
        Format::Q5K => blocks(bytes, out, q5_k),
        Format::Q6K => blocks(bytes, out, q6_k),
    }
}

fn blocks<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    dequantize: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    for (block, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        dequantize(block, out);
    }
}

/// Scale, 32 int8: `x = d · q`.
fn q8_0([d0, d1, levels @ ..]: &[u8; 34], out: &mut [f32; 32]) {
    let d = f16::from_le_bytes([*d0, *d1]).to_f32();
    for (x, level) in out.iter_mut().zip(levels) {
        *x = d * f32::from(*level as i8);
    }
}

/// Scale, 16 bytes of low and high halves: `x = d · (q − 8)`; the low halves come first.
fn q4_0([d0, d1, packed @ ..]: &[u8; 18], out: &mut [f32; 32]) {
    let d = f16::from_le_bytes([*d0, *d1]).to_f32();
    let levels = packed.iter().map(|b| b & 15).chain(packed.iter().map(|b| b >> 4));
    for (x, level) in out.iter_mut().zip(levels) {
        *x = d * (f32::from(level) - 8.0);
    }
}

/// The 8 groups' scales and minima, 6 bits each, packed into 12 bytes: the first four plain, the last four in pieces.
fn group_scales([s0, s1, s2, s3, m0, m1, m2, m3, r0, r1, r2, r3]: &[u8; 12]) -> [(u8, u8); 8] {
    let first = |s: &u8, m: &u8| (s & 63, m & 63);
    let last = |s: &u8, m: &u8, rest: &u8| (rest & 15 | s >> 6 << 4, rest >> 4 | m >> 6 << 4);
    [
        first(s0, m0),
        first(s1, m1),
        first(s2, m2),
        first(s3, m3),
        last(s0, m0, r0),
        last(s1, m1, r1),
        last(s2, m2, r2),
        last(s3, m3, r3),
    ]
}

/// Scale, scale of the minima, 12 bytes of groups' scales, 128 bytes of halves: `x = d·s · q − dmin·m`.
fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    groups_of_32(Format::Q4K, block, out);
}

/// As Q4_K, with 32 bytes before the halves: bit g of byte i is the fifth bit of number i in group g.
fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    groups_of_32(Format::Q5K, block, out);
}

fn groups_of_32(format: Format, block: &[u8], out: &mut [f32; 256]) {
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let mut levels = [0; 32];
        let [scale, min] = group_of_32(format, block, group, &mut levels).map(Scale::to_f32);
        for (x, level) in out.iter_mut().zip(levels) {
            *x = scale * f32::from(level) - min;
        }
    }
}

/// A scale or a minimum as blocks of 256 have it: a half for the block, and a factor of a group's own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scale {
    /// Of the block.
    pub half: f16,
    /// Of the group, from −128 to 127.
    pub factor: i16,
}

impl Scale {
    /// Their product.
    #[inline(always)]
    pub fn to_f32(self) -> f32 {
        self.half.to_f32() * f32::from(self.factor)
    }
}

/// One of the 8 groups of 32 numbers in a block of Q4_K or Q5_K: writes its levels, from 0 on, and returns scale and minimum, so that
/// numbers are `scale · level − minimum`. All zero for bytes that are no such block.
#[inline(always)]
pub fn group_of_32(format: Format, block: &[u8], group: usize, levels: &mut [i8; 32]) -> [Scale; 2] {
    let Some(([d0, d1, m0, m1, scales @ ..], rest)) = block.split_first_chunk::<16>() else {
        return Default::default();
    };
    let (high, low) = if format == Format::Q5K {
        rest.split_first_chunk::<32>().unwrap_or((&[0; 32], &[]))
    } else {
        (&[0; 32], rest)
    };
    // Two groups share 32 bytes: the even one has the low halves.
    let Some(bytes) = low.as_chunks::<32>().0.get(group / 2) else { return Default::default() };
    let shift = group % 2 * 4;
    // An array of its own: compilers do not see that `levels` and `block` are apart.
    let mut unpacked = [0; 32];
    for ((level, byte), high) in unpacked.iter_mut().zip(bytes).zip(high) {
        *level = (byte >> shift & 15) as i8 | ((high >> group & 1) << 4) as i8;
    }
    *levels = unpacked;
    let (scale, min) = group_scales(scales).get(group).copied().unwrap_or_default();
    [([*d0, *d1], scale), ([*m0, *m1], min)]
        .map(|(half, factor)| Scale { half: f16::from_le_bytes(half), factor: i16::from(factor) })
}

/// 128 bytes of low halves, 64 of the upper two bits, 16 int8 scales of groups of 16, scale: `x = d·s · (q − 32)`.
fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    for (run, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let mut levels = [0; 32];
        let scales = groups_of_16(block, run, &mut levels).map(Scale::to_f32);
        let groups = out.as_chunks_mut::<16>().0.iter_mut().zip(levels.as_chunks::<16>().0);
        for ((out, levels), scale) in groups.zip(scales) {
            for (x, level) in out.iter_mut().zip(levels) {
                *x = scale * f32::from(*level);
            }
        }
    }
}

/// One of the 8 pairs of groups of 16 numbers in a block of Q6_K: writes their levels, from −32 to 31, and returns their scales.
/// All zero for bytes that are no such block.
#[inline(always)]
pub fn groups_of_16(block: &[u8], pair: usize, levels: &mut [i8; 32]) -> [Scale; 2] {
    let Some((low, rest)) = block.split_first_chunk::<128>() else { return Default::default() };
    let Some((high, rest)) = rest.split_first_chunk::<64>() else { return Default::default() };
    let Some((scales, d)) = rest.split_first_chunk::<16>() else { return Default::default() };
    let half = d.first_chunk().map_or(f16::ZERO, |d| f16::from_le_bytes(*d));
    // 128 numbers share 64 bytes: the low halves of the first 32 bytes and of the last, then their high halves.
    let (part, run) = (pair / 4 % 2, pair % 4);
    let Some(low) = low.as_chunks::<32>().0.get(2 * part + run % 2) else { return Default::default() };
    let Some(high) = high.as_chunks::<32>().0.get(part) else { return Default::default() };
    let (low_shift, high_shift) = (run / 2 * 4, run * 2);
    let mut unpacked = [0; 32];
    for ((level, low), high) in unpacked.iter_mut().zip(low).zip(high) {
        *level = ((low >> low_shift & 15) | (high >> high_shift & 3) << 4) as i8 - 32;
    }
    *levels = unpacked;
    let scales = scales.as_chunks::<2>().0.get(pair).copied().unwrap_or_default();
    scales.map(|scale| Scale { half, factor: i16::from(scale as i8) })
}
