//! The journal's bytes: an append-only file of records, each with its length, two checksums and a mark at its end.
//!
//! ```text
//! file   := "MOBIEDIT" version:u32 record*
//! record := length:u32 crc32(length):u32 payload[length] crc32(payload):u32 "DONE"
//! ```
//! All numbers are little-endian. A write that was cut off at any byte leaves a tail that is not a whole record, and is told
//! from damage: damaged records are refused, a torn tail is not part of the journal. Knows no edits and no files.

/// The newest version that this program reads, and the one it writes.
pub const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"MOBIEDIT";
const HEADER_LEN: usize = 12;
const DONE: &[u8; 4] = b"DONE";

/// Why a journal cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The file starts with something else.
    #[error("it is not a journal of edits")]
    NotAJournal,
    /// A later program wrote it.
    #[error("it was written by a newer version of mobiedit (format {0}, this program reads up to {VERSION})")]
    Newer(u32),
    /// A record that was written whole has changed since. Counted from 1.
    #[error("record {0} is damaged: put a copy of it in its place, or begin another folder with --edits")]
    Damaged(usize),
}

/// What a journal's bytes hold.
#[derive(Debug, PartialEq, Eq)]
pub struct Replay<'a> {
    /// Payloads, oldest first.
    pub records: Vec<&'a [u8]>,
    /// Bytes of the header and of all whole records, 0 without a whole header; what follows is the tail of a write that was
    /// cut off.
    pub whole: usize,
}

/// The header of an empty journal.
pub fn header() -> Vec<u8> {
    header_of(VERSION)
}

fn header_of(version: u32) -> Vec<u8> {
    [&MAGIC[..], &version.to_le_bytes()].concat()
}

/// The bytes that append a record.
pub fn record(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    let (of_length, of_payload) = (crc32fast::hash(&length), crc32fast::hash(payload));
    [&length[..], &of_length.to_le_bytes(), payload, &of_payload.to_le_bytes(), DONE].concat()
}

/// Reads a journal's bytes.
///
/// # Errors
/// Whatever is neither whole records nor a torn tail.
pub fn replay(bytes: &[u8]) -> Result<Replay<'_>, JournalError> {
    // The first write was cut off inside the header, or never arrived.
    if header().starts_with(bytes) && bytes.len() < HEADER_LEN || bytes.iter().all(|b| *b == 0) {
        return Ok(Replay { records: Vec::new(), whole: 0 });
    }
    let version = bytes.strip_prefix(MAGIC).and_then(|rest| rest.first_chunk()).map(|v| u32::from_le_bytes(*v));
    match version {
        Some(version) if version > VERSION => return Err(JournalError::Newer(version)),
        Some(VERSION) => {}
        _ => return Err(JournalError::NotAJournal),
    }
    let (mut records, mut whole) = (Vec::new(), HEADER_LEN);
    while let Some(rest) = bytes.get(whole..) {
        match next(rest) {
            Next::Record { payload, len } => {
                records.push(payload);
                whole += len;
            }
            Next::Nothing => break,
            Next::Damaged => return Err(JournalError::Damaged(records.len() + 1)),
        }
    }
    Ok(Replay { records, whole })
}

enum Next<'a> {
    Record {
        payload: &'a [u8],
        len: usize,
    },
    /// The end, or a torn tail.
    Nothing,
    Damaged,
}

fn next(rest: &[u8]) -> Next<'_> {
    // Some file systems leave zeros where a write did not arrive.
    if rest.len() < 8 || rest.iter().all(|b| *b == 0) {
        return Next::Nothing;
    }
    let Some(length) = number_with_checksum(rest) else { return Next::Damaged };
    let length = length as usize;
    let Some((payload, behind)) = rest.split_at_checked(length.saturating_add(8)) else { return Next::Nothing };
    let (Some(payload), Some(end)) = (payload.get(8..), behind.get(..8)) else { return Next::Nothing };
    let intact = end[..4] == crc32fast::hash(payload).to_le_bytes();
    let marked = &end[4..] == DONE;
    match (intact, marked) {
        (true, _) => Next::Record { payload, len: 16 + length },
        // Its end never arrived, and nothing was written behind it.
        (false, false) if rest.len() == 16 + length => Next::Nothing,
        _ => Next::Damaged,
    }
}

/// A number followed by its checksum; `None` where they do not agree.
fn number_with_checksum(bytes: &[u8]) -> Option<u32> {
    let number: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    let checksum: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
    (crc32fast::hash(&number).to_le_bytes() == checksum).then_some(u32::from_le_bytes(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOADS: [&[u8]; 3] = [b"first", b"", &[0; 40]];

    fn journal() -> Vec<u8> {
        PAYLOADS.iter().fold(header(), |mut bytes, payload| {
            bytes.extend(record(payload));
            bytes
        })
    }

    #[test]
    fn a_write_cut_off_at_any_byte_loses_nothing_committed() {
        let bytes = journal();
        let committed = bytes.len();
        let torn = record(b"torn");
        for cut in 0..torn.len() {
            let bytes = [&bytes[..], &torn[..cut]].concat();
            let replayed = replay(&bytes).unwrap();
            assert_eq!(replayed.records, PAYLOADS, "cut at byte {cut}");
            assert_eq!(replayed.whole, committed);
        }
    }

    #[test]
    fn the_first_write_cut_off_at_any_byte_leaves_an_empty_journal() {
        let first = [header(), record(b"first")].concat();
        for cut in 0..first.len() {
            let whole = if cut < HEADER_LEN { 0 } else { HEADER_LEN };
            assert_eq!(replay(&first[..cut]), Ok(Replay { records: Vec::new(), whole }), "cut at byte {cut}");
        }
        assert_eq!(replay(&[0; 100]), Ok(Replay { records: Vec::new(), whole: 0 }));
    }

    #[test]
    fn zeros_behind_the_last_record_are_a_torn_tail() {
        let bytes = [journal(), vec![0; 100]].concat();
        assert_eq!(replay(&bytes).unwrap().records, PAYLOADS);
    }

    #[test]
    fn a_changed_bit_is_never_read_as_something_else() {
        let bytes = journal();
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            // The mark alone is not needed where the checksum agrees.
            if let Ok(replayed) = replay(&damaged) {
                assert_eq!(replayed.records, PAYLOADS, "bit {at}");
            }
        }
    }

    #[test]
    fn the_damaged_record_is_named() {
        let mut bytes = journal();
        let second = HEADER_LEN + record(PAYLOADS[0]).len();
        bytes[second + 8] ^= 1;
        assert_eq!(replay(&bytes), Err(JournalError::Damaged(2)));
    }

    #[test]
    fn a_newer_format_is_refused() {
        assert_eq!(replay(&header_of(VERSION + 1)), Err(JournalError::Newer(VERSION + 1)));
        assert_eq!(replay(b"GGUF"), Err(JournalError::NotAJournal));
    }
}
