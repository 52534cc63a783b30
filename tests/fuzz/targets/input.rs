//! Choices made of bytes, front to back; behind their end every choice is the first one. Knows no target.

/// What is left of the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// All of them.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// The next bytes, zeros behind the end.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let (mut array, taken) = ([0; N], self.take(N));
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// At most the next `len` bytes.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Once in `times`.
    pub fn rarely(&mut self, times: u8) -> bool {
        self.byte() % times == times - 1
    }

    /// A number of 32 bits.
    pub fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// A number that code may not have thought of.
    pub fn size(&mut self) -> usize {
        match self.byte() % 8 {
            0 => usize::MAX,
            1 => usize::MAX / 2 + 1,
            2 => u32::MAX as usize,
            3 => usize::MAX / 4,
            4 => self.word() as usize,
            _ => usize::from(u16::from_le_bytes(self.array())),
        }
    }
}

/// A stream of numbers from a seed: xorshift, the same everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Stream(u64);

impl Stream {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub fn word(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.word() as usize % end.max(1)
    }

    /// A float in −1..1.
    pub fn unit(&mut self) -> f32 {
        self.word() as f32 / (1_u32 << 31) as f32 - 1.0
    }
}
