//! GGUF v3, read where it lies: header, metadata, tensors as views. Writes nothing, and leaves out big-endian files and
//! versions 1 and 2.
//!
//! [`Gguf::parse`] checks every length, offset, type and text of the file once; after that nothing can be cut off, and the
//! accessors have no errors. Layers: `metadata` and `tensor` (one entry each), this file (the whole),
//! then what a decoder makes of it: `config` and `decoder`.

mod config;
mod decoder;
mod error;
mod metadata;
mod model_error;
mod tensor;

use core::iter;

use crate::cursor::Cursor;
use crate::weights::Format;
use tensor::Description;

pub use error::{GgufError, PairFlaw, TensorFlaw};
pub use metadata::{Array, Value};
pub use model_error::{ModelError, Name, TensorName};
pub use tensor::{Tensor, format_of, type_name};

/// Most metadata pairs of a file; real ones have 20 to 100.
pub const MAX_PAIRS: usize = 256;
/// Most tensors of a file; Llama 3.1 405B has 1,138.
pub const MAX_TENSORS: usize = 4096;

const MAGIC: [u8; 4] = *b"GGUF";
const VERSION: u32 = 3;
/// Tensors start at multiples of this where `general.alignment` says nothing else.
const DEFAULT_ALIGNMENT: usize = 32;

/// A checked GGUF file: a view that is cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Gguf<'a> {
    bytes: &'a [u8],
    pairs: usize,
    metadata: &'a [u8],
    tensors: usize,
    descriptions: &'a [u8],
    alignment: usize,
    data: usize,
}

impl<'a> Gguf<'a> {
    /// Checks a whole file. Takes time in proportion to the metadata, and to the square of the number of tensors; reads no
    /// tensor's numbers.
    ///
    /// # Errors
    /// The first flaw found. Tensors of unknown types are none, as long as nobody uses them; nor is one that overlaps another.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, GgufError> {
        let mut cursor = Cursor::new(bytes);
        if cursor.array() != Some(MAGIC) {
            return Err(GgufError::NotGguf);
        }
        let version = cursor.u32().ok_or(GgufError::Truncated)?;
        if version != VERSION {
            return Err(GgufError::Version(version));
        }
        let tensors = cursor.u64().ok_or(GgufError::Truncated)?;
        let pairs = cursor.u64().ok_or(GgufError::Truncated)?;
        let tensors = at_most(tensors, MAX_TENSORS).ok_or(GgufError::TooManyTensors(tensors))?;
        let pairs = at_most(pairs, MAX_PAIRS).ok_or(GgufError::TooManyPairs(pairs))?;
        let metadata = cursor.rest();
        check_pairs(&mut cursor, pairs)?;
        let metadata = until(metadata, &cursor);
        let descriptions = cursor.rest();
        check_descriptions(&mut cursor, tensors)?;
        let descriptions = until(descriptions, &cursor);

        let mut file =
            Self { bytes, pairs, metadata, tensors, descriptions, alignment: DEFAULT_ALIGNMENT, data: bytes.len() };
        if let Some(value) = file.get("general.alignment") {
            let alignment = value.as_u32().and_then(|a| usize::try_from(a).ok()).filter(|a| a.is_power_of_two());
            file.alignment = alignment.ok_or(GgufError::Alignment)?;
        }
        // In a file without tensors, the section may be cut off: there is nothing in it.
        let head = bytes.len() - cursor.rest().len();
        file.data = head.checked_next_multiple_of(file.alignment).ok_or(GgufError::Alignment)?;
        for (index, description) in file.descriptions().enumerate() {
            file.locate(&description).map_err(|flaw| GgufError::Tensor { index, flaw })?;
        }
        Ok(file)
    }

    /// Number of metadata pairs.
    pub fn metadata_len(&self) -> usize {
        self.pairs
    }

    /// All metadata pairs as they lie in the file, for writing them into another.
    pub fn metadata_bytes(&self) -> &'a [u8] {
        self.metadata
    }

    /// All metadata pairs, in the file's order.
    pub fn metadata(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        let mut cursor = Cursor::new(self.metadata);
        iter::from_fn(move || metadata::pair(&mut cursor).ok()).take(self.pairs)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.metadata().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    /// The value of a key that is an integer of any width, and fits.
    pub fn u32(&self, key: &str) -> Option<u32> {
        self.get(key)?.as_u32()
    }

    /// The value of a key that is an f32.
    pub fn f32(&self, key: &str) -> Option<f32> {
        self.get(key)?.as_f32()
    }

    /// The value of a key that is a bool.
    pub fn bool(&self, key: &str) -> Option<bool> {
        self.get(key)?.as_bool()
    }

    /// The value of a key that is a text.
    pub fn str(&self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    /// The value of a key that is an array.
    pub fn array(&self, key: &str) -> Option<Array<'a>> {
        self.get(key)?.as_array()
    }

    /// Number of tensors.
    pub fn tensors_len(&self) -> usize {
        self.tensors
    }

    /// All tensors, in the file's order.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'a>> + use<'a> {
        let file = *self;
        self.descriptions().filter_map(move |description| file.locate(&description).ok())
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'a>> {
        self.descriptions().find(|d| d.name == name).and_then(|d| self.locate(&d).ok())
    }

    /// Tensors start at multiples of this, counted from the start of the data.
    pub fn alignment(&self) -> usize {
        self.alignment
    }

    fn descriptions(&self) -> impl Iterator<Item = Description<'a>> + use<'a> {
        let mut cursor = Cursor::new(self.descriptions);
        iter::from_fn(move || Description::read(&mut cursor).ok()).take(self.tensors)
    }

    /// Finds a tensor's bytes. Of a type that is not known here, no more than the start can be checked.
    fn locate(&self, description: &Description<'a>) -> Result<Tensor<'a>, TensorFlaw> {
        let len = match format_of(description.type_id) {
            Some(format) => byte_len(format, description).ok_or(TensorFlaw::Shape)?,
            None => 0,
        };
        let offset = usize::try_from(description.offset).map_err(|_| TensorFlaw::Outside)?;
        if !offset.is_multiple_of(self.alignment) {
            return Err(TensorFlaw::Misaligned);
        }
        let start = self.data.checked_add(offset).ok_or(TensorFlaw::Outside)?;
        let end = start.checked_add(len).ok_or(TensorFlaw::Outside)?;
        let bytes = self.bytes.get(start..end).ok_or(TensorFlaw::Outside)?;
        Ok(Tensor::new(*description, start, bytes))
    }
}

fn byte_len(format: Format, description: &Description<'_>) -> Option<usize> {
    format.row_bytes(description.cols())?.checked_mul(description.rows()?)
}

fn at_most(count: u64, most: usize) -> Option<usize> {
    usize::try_from(count).ok().filter(|count| *count <= most)
}

/// The part of `section` that the cursor, which started with it, has passed.
fn until<'a>(section: &'a [u8], cursor: &Cursor<'a>) -> &'a [u8] {
    section.get(..section.len() - cursor.rest().len()).unwrap_or(&[])
}

fn check_pairs(cursor: &mut Cursor<'_>, count: usize) -> Result<(), GgufError> {
    let mut seen = heapless::Vec::<&str, MAX_PAIRS>::new();
    for index in 0..count {
        let (key, _) = metadata::pair(cursor).map_err(|flaw| GgufError::Pair { index, flaw })?;
        if seen.contains(&key) {
            return Err(GgufError::Pair { index, flaw: PairFlaw::Duplicate });
        }
        seen.push(key).map_err(|_| GgufError::TooManyPairs(count as u64))?;
    }
    Ok(())
}

fn check_descriptions(cursor: &mut Cursor<'_>, count: usize) -> Result<(), GgufError> {
    let start = *cursor;
    for index in 0..count {
        let at = |flaw| GgufError::Tensor { index, flaw };
        let name = Description::read(cursor).map_err(at)?.name;
        let mut before = start;
        let mut earlier = iter::from_fn(|| Description::read(&mut before).ok()).take(index);
        if earlier.any(|d| d.name == name) {
            return Err(at(TensorFlaw::Duplicate));
        }
    }
    Ok(())
}
