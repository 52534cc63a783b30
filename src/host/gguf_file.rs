//! Writes GGUF v3: header, metadata, tensor descriptions, tensors. Reading is `mobiedit-backends`' work.

use std::io::{self, Write};

/// GGML's numbers for the two formats that are written anew.
pub const F32: u32 = 0;
/// 16-bit floats.
pub const F16: u32 = 1;

const VERSION: u32 = 3;
const TYPE_UINT32: u32 = 4;
const TYPE_INT32: u32 = 5;
const TYPE_FLOAT32: u32 = 6;
const TYPE_STRING: u32 = 8;
const TYPE_ARRAY: u32 = 9;
/// Tensors start at multiples of this where `general.alignment` says nothing else.
pub const DEFAULT_ALIGNMENT: usize = 32;

/// Metadata of a GGUF file, already in its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    count: u64,
    bytes: Vec<u8>,
}

impl Metadata {
    /// Metadata taken over from a file: `count` pairs.
    pub fn from_bytes(count: u64, bytes: Vec<u8>) -> Self {
        Self { count, bytes }
    }

    fn key(&mut self, key: &str, kind: u32) {
        self.count += 1;
        put_string(&mut self.bytes, key);
        self.bytes.extend(kind.to_le_bytes());
    }

    /// Adds a string.
    pub fn string(mut self, key: &str, value: &str) -> Self {
        self.key(key, TYPE_STRING);
        put_string(&mut self.bytes, value);
        self
    }

    /// Adds an unsigned number.
    pub fn number(mut self, key: &str, value: u32) -> Self {
        self.key(key, TYPE_UINT32);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// Adds a float.
    pub fn float(mut self, key: &str, value: f32) -> Self {
        self.key(key, TYPE_FLOAT32);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    fn array(&mut self, key: &str, kind: u32, len: usize) {
        self.key(key, TYPE_ARRAY);
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend((len as u64).to_le_bytes());
    }

    /// Adds an array of strings.
    pub fn strings(mut self, key: &str, values: &[&str]) -> Self {
        self.array(key, TYPE_STRING, values.len());
        for value in values {
            put_string(&mut self.bytes, value);
        }
        self
    }

    /// Adds an array of integers.
    pub fn integers(mut self, key: &str, values: &[i32]) -> Self {
        self.array(key, TYPE_INT32, values.len());
        self.bytes.extend(values.iter().flat_map(|n| n.to_le_bytes()));
        self
    }

    /// Adds an array of floats.
    pub fn floats(mut self, key: &str, values: &[f32]) -> Self {
        self.array(key, TYPE_FLOAT32, values.len());
        self.bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
        self
    }
}

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its sizes as GGUF has them: the innermost (a row's length) first.
    pub sizes: Vec<u64>,
    /// GGML's number of its format.
    pub kind: u32,
    /// Its numbers.
    pub bytes: &'a [u8],
}

/// Writes a whole file.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut impl Write, metadata: &Metadata, tensors: &[Tensor<'_>], alignment: usize) -> io::Result<()> {
    let of = |tensor: &Tensor<'_>| Entry { sizes: tensor.sizes.clone(), kind: tensor.kind, len: tensor.bytes.len() };
    let entries: Vec<_> = tensors.iter().map(|tensor| (tensor.name, of(tensor))).collect();
    write_head(out, metadata, &entries, alignment)?;
    tensors.iter().try_for_each(|tensor| write_part(out, tensor.bytes, alignment))
}

/// What a file's head says of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its sizes as GGUF has them: the innermost (a row's length) first.
    pub sizes: Vec<u64>,
    /// GGML's number of its format.
    pub kind: u32,
    /// Its bytes.
    pub len: usize,
}

/// Writes all that stands before the tensors, which follow in this order, each by [`write_part`].
///
/// # Errors
/// Those of `out`.
pub fn write_head<N: AsRef<str>>(
    out: &mut impl Write,
    metadata: &Metadata,
    tensors: &[(N, Entry)],
    alignment: usize,
) -> io::Result<()> {
    let mut head = Vec::from(*b"GGUF");
    head.extend(VERSION.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend(metadata.count.to_le_bytes());
    head.extend(&metadata.bytes);
    let mut offset = 0;
    for (name, Entry { sizes, kind, len }) in tensors {
        put_string(&mut head, name.as_ref());
        head.extend((sizes.len() as u32).to_le_bytes());
        head.extend(sizes.iter().flat_map(|n| n.to_le_bytes()));
        head.extend(kind.to_le_bytes());
        head.extend((offset as u64).to_le_bytes());
        offset += len.next_multiple_of(alignment);
    }
    write_part(out, &head, alignment)
}

/// Writes a tensor's bytes, and zeros up to where the next one starts.
///
/// # Errors
/// Those of `out`.
pub fn write_part(out: &mut impl Write, part: &[u8], alignment: usize) -> io::Result<()> {
    out.write_all(part)?;
    out.write_all(&vec![0; part.len().next_multiple_of(alignment) - part.len()])
}

fn put_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// Numbers as F32 bytes.
pub fn f32_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Numbers as F16 bytes, rounded to nearest.
pub fn f16_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect()
}
