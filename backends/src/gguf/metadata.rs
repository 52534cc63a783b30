//! Metadata values. Does not know what any key means.

use super::error::PairFlaw;
use crate::cursor::Cursor;

/// Longest key, as the format's description has it.
const MAX_KEY_LEN: usize = 65_535;

/// One metadata value.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are the types")]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    Str(&'a str),
    Array(Array<'a>),
}

impl<'a> Value<'a> {
    /// An integer of any width, if it fits.
    pub fn as_u32(self) -> Option<u32> {
        match self {
            Self::U8(v) => Some(v.into()),
            Self::I8(v) => v.try_into().ok(),
            Self::U16(v) => Some(v.into()),
            Self::I16(v) => v.try_into().ok(),
            Self::U32(v) => Some(v),
            Self::I32(v) => v.try_into().ok(),
            Self::U64(v) => v.try_into().ok(),
            Self::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// An f32.
    pub fn as_f32(self) -> Option<f32> {
        if let Self::F32(v) = self { Some(v) } else { None }
    }

    /// A bool.
    pub fn as_bool(self) -> Option<bool> {
        if let Self::Bool(v) = self { Some(v) } else { None }
    }

    /// A text.
    pub fn as_str(self) -> Option<&'a str> {
        if let Self::Str(v) = self { Some(v) } else { None }
    }

    /// An array.
    pub fn as_array(self) -> Option<Array<'a>> {
        if let Self::Array(v) = self { Some(v) } else { None }
    }
}

/// Types of values, with the format's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Str = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::Str,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    fn read(cursor: &mut Cursor<'_>) -> Result<Self, PairFlaw> {
        let number = cursor.u32().ok_or(PairFlaw::Truncated)?;
        Self::ALL.into_iter().find(|kind| *kind as u32 == number).ok_or(PairFlaw::Type(number))
    }

    /// Bytes of a number; `None` for texts and arrays.
    fn size(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Str | Self::Array => None,
        }
    }
}

/// Numbers or texts, all of one type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'a> {
    kind: Kind,
    len: usize,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements of an array of texts.
    pub fn strs(&self) -> Option<impl Iterator<Item = &'a str> + use<'a>> {
        let mut cursor = Cursor::new(self.bytes);
        let texts = core::iter::from_fn(move || text(&mut cursor).ok());
        (self.kind == Kind::Str).then_some(texts)
    }

    /// The elements of an array of u32.
    pub fn u32s(&self) -> Option<impl Iterator<Item = u32> + use<'a>> {
        self.words(Kind::U32, u32::from_le_bytes)
    }

    /// The elements of an array of i32.
    pub fn i32s(&self) -> Option<impl Iterator<Item = i32> + use<'a>> {
        self.words(Kind::I32, i32::from_le_bytes)
    }

    /// The elements of an array of f32.
    pub fn f32s(&self) -> Option<impl Iterator<Item = f32> + use<'a>> {
        self.words(Kind::F32, f32::from_le_bytes)
    }

    fn words<T>(&self, kind: Kind, from: fn([u8; 4]) -> T) -> Option<impl Iterator<Item = T> + use<'a, T>> {
        let words = self.bytes.as_chunks().0.iter();
        (self.kind == kind).then_some(words.map(move |word| from(*word)))
    }

    fn read(cursor: &mut Cursor<'a>) -> Result<Self, PairFlaw> {
        let kind = Kind::read(cursor)?;
        let len = cursor.len().ok_or(PairFlaw::Truncated)?;
        let start = cursor.rest();
        match kind.size() {
            Some(size) => {
                let bytes = len.checked_mul(size).and_then(|len| cursor.take(len)).ok_or(PairFlaw::Truncated)?;
                if kind == Kind::Bool && bytes.iter().any(|b| *b > 1) {
                    return Err(PairFlaw::Bool);
                }
            }
            None if kind == Kind::Array => return Err(PairFlaw::Nested),
            // Every text takes bytes: a count over what is left ends with the file.
            None => (0..len).try_for_each(|_| text(cursor).map(|_| ()))?,
        }
        let bytes = start.get(..start.len() - cursor.rest().len()).unwrap_or(&[]);
        Ok(Self { kind, len, bytes })
    }
}

/// One pair of key and value.
pub(super) fn pair<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a str, Value<'a>), PairFlaw> {
    let key = text(cursor)?;
    if key.len() > MAX_KEY_LEN {
        return Err(PairFlaw::KeyLength);
    }
    let kind = Kind::read(cursor)?;
    Ok((key, value(cursor, kind)?))
}

fn value<'a>(cursor: &mut Cursor<'a>, kind: Kind) -> Result<Value<'a>, PairFlaw> {
    let value = match kind {
        Kind::U8 => cursor.array().map(u8::from_le_bytes).map(Value::U8),
        Kind::I8 => cursor.array().map(i8::from_le_bytes).map(Value::I8),
        Kind::U16 => cursor.array().map(u16::from_le_bytes).map(Value::U16),
        Kind::I16 => cursor.array().map(i16::from_le_bytes).map(Value::I16),
        Kind::U32 => cursor.u32().map(Value::U32),
        Kind::I32 => cursor.array().map(i32::from_le_bytes).map(Value::I32),
        Kind::U64 => cursor.u64().map(Value::U64),
        Kind::I64 => cursor.array().map(i64::from_le_bytes).map(Value::I64),
        Kind::F32 => cursor.array().map(f32::from_le_bytes).map(Value::F32),
        Kind::F64 => cursor.array().map(f64::from_le_bytes).map(Value::F64),
        Kind::Bool => match cursor.array() {
            Some([byte @ 0..=1]) => Some(Value::Bool(byte == 1)),
            Some(_) => return Err(PairFlaw::Bool),
            None => None,
        },
        Kind::Str => return text(cursor).map(Value::Str),
        Kind::Array => return Array::read(cursor).map(Value::Array),
    };
    value.ok_or(PairFlaw::Truncated)
}

fn text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, PairFlaw> {
    let bytes = cursor.text().ok_or(PairFlaw::Truncated)?;
    core::str::from_utf8(bytes).map_err(|_| PairFlaw::Text)
}
