//! Finalised graphs as bytes: the library's binary, what it does not tell (the ends' numbers), and a checksum, for the library
//! believes what it reads. It keeps them nowhere.
//!
//! ```text
//! file    := "MOBIQNNC" version:u32 key:u64 inputs outputs graphs:u32 graph* len:u64 binary crc32:u32
//! inputs  := count:u32 (kind:u32 index:u32)*        outputs likewise
//! graph   := rows:u32 count:u32 end* count:u32 end*
//! end     := id:u32 rank:u32 side:u32*              of halves
//! ```
//! All numbers are little-endian; the checksum is of all before it.

use alloc::vec::Vec;

use mobiedit_core::checksum::crc32;

use crate::lower::{Input, Output};
use crate::sys::tensor::DataType;
use crate::sys::{End, Quantize, Shape};

const MAGIC: [u8; 8] = *b"MOBIQNNC";
const VERSION: u32 = 1;
/// Most of anything that is counted: graphs, ends, dimensions.
const MOST: u32 = 1 << 16;

/// A program that was taken apart.
#[derive(Debug, PartialEq)]
pub(crate) struct Saved {
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) graphs: Vec<SavedGraph>,
    pub(crate) binary: Vec<u8>,
}

/// One of its graphs.
#[derive(Debug, PartialEq)]
pub(crate) struct SavedGraph {
    pub(crate) rows: usize,
    pub(crate) inputs: Vec<End>,
    pub(crate) outputs: Vec<End>,
}

impl Saved {
    /// The file of this key.
    pub(crate) fn to_bytes(&self, key: u64) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let word = |bytes: &mut Vec<u8>, word: usize| bytes.extend((word as u32).to_le_bytes());
        let ends = |bytes: &mut Vec<u8>, ends: &[End]| {
            word(bytes, ends.len());
            for end in ends {
                bytes.extend(end.id.to_le_bytes());
                word(bytes, end.shape.dimensions.len());
                bytes.extend(end.shape.dimensions.iter().flat_map(|side| side.to_le_bytes()));
            }
        };
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(key.to_le_bytes());
        word(&mut bytes, self.inputs.len());
        for (kind, index) in self.inputs.iter().map(|input| input.code()) {
            word(&mut bytes, kind);
            word(&mut bytes, index);
        }
        word(&mut bytes, self.outputs.len());
        for (kind, index) in self.outputs.iter().map(|output| output.code()) {
            word(&mut bytes, kind);
            word(&mut bytes, index);
        }
        word(&mut bytes, self.graphs.len());
        for graph in &self.graphs {
            word(&mut bytes, graph.rows);
            ends(&mut bytes, &graph.inputs);
            ends(&mut bytes, &graph.outputs);
        }
        bytes.extend((self.binary.len() as u64).to_le_bytes());
        bytes.extend(&self.binary);
        let checksum = crc32(&bytes);
        bytes.extend(checksum.to_le_bytes());
        bytes
    }

    /// `None` where the bytes are damaged, or another key's or version's.
    pub(crate) fn from_bytes(key: u64, bytes: &[u8]) -> Option<Self> {
        let (content, checksum) = bytes.split_last_chunk()?;
        if crc32(content) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let mut rest = Rest(content.strip_prefix(&MAGIC)?);
        if rest.word()? != VERSION || rest.long()? != key {
            return None;
        }
        let codes = |rest: &mut Rest<'_>| -> Option<Vec<(u32, u32)>> {
            (0..rest.count()?).map(|_| Some((rest.word()?, rest.word()?))).collect()
        };
        let inputs = codes(&mut rest)?.into_iter().map(Input::of_code).collect::<Option<_>>()?;
        let outputs = codes(&mut rest)?.into_iter().map(Output::of_code).collect::<Option<_>>()?;
        let graph = |rest: &mut Rest<'_>| {
            Some(SavedGraph { rows: rest.word()? as usize, inputs: rest.ends()?, outputs: rest.ends()? })
        };
        let graphs = (0..rest.count()?).map(|_| graph(&mut rest)).collect::<Option<_>>()?;
        let len = usize::try_from(rest.long()?).ok()?;
        let binary = rest.0.to_vec();
        (binary.len() == len).then_some(Self { inputs, outputs, graphs, binary })
    }
}

/// What is left to read.
struct Rest<'b>(&'b [u8]);

impl Rest<'_> {
    fn word(&mut self) -> Option<u32> {
        let (word, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*word))
    }

    fn long(&mut self) -> Option<u64> {
        let (long, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*long))
    }

    fn count(&mut self) -> Option<u32> {
        self.word().filter(|count| *count <= MOST)
    }

    fn ends(&mut self) -> Option<Vec<End>> {
        (0..self.count()?).map(|_| self.end()).collect()
    }

    fn end(&mut self) -> Option<End> {
        let (id, rank) = (self.word()?, self.count()?);
        let dimensions = (0..rank).map(|_| self.word()).collect::<Option<_>>()?;
        Some(End { id, shape: Shape { data_type: DataType::FLOAT_16, quantize: Quantize::None, dimensions } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> Saved {
        let end = |id, dimensions: &[u32]| End {
            id,
            shape: Shape { data_type: DataType::FLOAT_16, quantize: Quantize::None, dimensions: dimensions.into() },
        };
        let graph = |rows| SavedGraph {
            rows,
            inputs: [end(3, &[16, 8]), end(9, &[1, 16, 80])].into(),
            outputs: [end(4, &[])].into(),
        };
        Saved {
            inputs: [Input::Slot(2), Input::Mask(6), Input::SideU(1), Input::SideLambda(1)].into(),
            outputs: [Output::Store(1), Output::Add(0)].into(),
            graphs: [graph(16), graph(64)].into(),
            binary: (0..50).collect(),
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_for_its_own_key_alone() {
        let bytes = saved().to_bytes(7);
        assert_eq!(Saved::from_bytes(7, &bytes), Some(saved()));
        assert_eq!(Saved::from_bytes(8, &bytes), None);
    }

    #[test]
    fn no_flipped_bit_and_no_truncation_is_read() {
        let mut bytes = saved().to_bytes(7);
        for at in 0..bytes.len() {
            bytes[at] ^= 1 << (at % 8);
            assert_eq!(Saved::from_bytes(7, &bytes), None, "byte {at}");
            bytes[at] ^= 1 << (at % 8);
        }
        for len in 0..bytes.len() {
            assert_eq!(Saved::from_bytes(7, &bytes[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn what_a_right_checksum_hides_is_refused() {
        let read = |at: usize, word: u32| {
            let mut bytes = saved().to_bytes(7);
            bytes.truncate(bytes.len() - 4);
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
            let checksum = crc32(&bytes);
            bytes.extend(checksum.to_le_bytes());
            Saved::from_bytes(7, &bytes).is_some()
        };
        assert!(read(8, VERSION));
        // The version; the number of inputs; an input's kind; the number of outputs and of graphs.
        for (at, word) in [(8, 2), (20, 7), (20, u32::MAX), (24, 9), (56, 3), (56, u32::MAX), (76, 3)] {
            assert!(!read(at, word), "{word} at {at}");
        }
    }
}
