//! A journal in two areas of a flash: compacted from one into the other, so that a power cut at any byte leaves one of them
//! whole. Needs storage whose bits can only be cleared, and whose areas are erased one at a time.
//!
//! ```text
//! area := "MOBIEDIT" version:u32 record(generation:u32) record*
//! ```
//! The first 32 bytes, header and generation, are written last of all in a compaction; then the area before is erased. Where
//! both areas have a generation, the power went between these two, and the later one counts.

use core::mem;

use mobiedit_core::checksum::crc32;

use super::{
    Cursor, DONE, Filled, HEADER_LEN, Journal, JournalError, OLDEST, PIECE, Pieces, RECORD_LEN, Record, Storage,
    Unreadable, header,
};

/// Bytes of an area before the first record that a caller appended.
pub const AREA_HEADER_LEN: u64 = HEADER_LEN + RECORD_LEN + 4;

/// One area of a flash.
pub trait Erase: Storage {
    /// Makes all bytes of the area 0xFF.
    ///
    /// # Errors
    /// Those of the hardware.
    fn erase(&mut self) -> Result<(), Self::Error>;
}

impl<S: Erase> Erase for &mut S {
    fn erase(&mut self) -> Result<(), S::Error> {
        S::erase(self)
    }
}

/// A journal in two areas.
#[derive(Debug)]
pub struct Areas<S> {
    /// In the area that counts; its first record is the generation.
    journal: Journal<S>,
    other: S,
    generation: u32,
}

impl<S: Erase> Areas<S> {
    /// Reads both areas, each of which is to be lent by `&mut` or a handle of its own, and every checksum of the one that
    /// counts. Finishes a compaction whose last step, erasing, was cut off.
    ///
    /// # Errors
    /// Those of [`Journal::open`]; in this state nothing is erased.
    pub fn open(mut a: S, mut b: S) -> Result<Self, JournalError<S::Error>> {
        let (counts, mut other, both) = match (state(&mut a)?, state(&mut b)?) {
            (State::Is(of_a), State::Is(of_b)) if later(of_b, of_a) => (b, a, true),
            (State::Is(_), State::Is(_)) => (a, b, true),
            (_, State::Is(_)) | (State::Broken(_), State::Begun) => (b, a, false),
            (State::Is(_) | State::Begun, _) | (State::Blank, State::Blank | State::Begun) => (a, b, false),
            // Not one is whole, and what is there is no first try.
            (State::Broken(why), _) | (_, State::Broken(why)) => return Err(JournalError::Unreadable(why)),
        };
        let mut journal = Journal::open(counts)?;
        let generation = first(&mut journal)?.unwrap_or_default();
        if both {
            other.erase().map_err(JournalError::Storage)?;
        }
        Ok(Self { journal, other, generation })
    }

    /// Before the first record that was appended.
    pub const fn start(&self) -> Cursor {
        Cursor { at: AREA_HEADER_LEN, number: 2 }
    }

    /// The journal of the area that counts, to be read with [`start`](Self::start), [`next`](Journal::next) and
    /// [`read`](Journal::read).
    pub fn journal(&mut self) -> &mut Journal<S> {
        &mut self.journal
    }

    /// Appends a record: [`Journal::append`].
    ///
    /// # Errors
    /// [`JournalError::Torn`] after a power cut while appending, [`JournalError::Full`] without room: in both cases
    /// [`compact`](Self::compact) helps. Those of the storage.
    pub fn append(&mut self, payload: &[&[u8]]) -> Result<(), JournalError<S::Error>> {
        self.begin()?;
        self.journal.append(payload)
    }

    /// The same with pieces that need not all be in memory at once, of `len` bytes together.
    pub(super) fn append_pieces(
        &mut self,
        len: u64,
        pieces: Pieces<'_, S::Error>,
    ) -> Result<(), JournalError<S::Error>> {
        self.begin()?;
        self.journal.append_pieces(len, pieces)
    }

    /// Writes the generation where there is none.
    fn begin(&mut self) -> Result<(), JournalError<S::Error>> {
        if self.journal.whole() < AREA_HEADER_LEN {
            // Nothing was ever appended. What a first try left is not erased before the other area is a journal: a cut
            // would leave what looks like a damaged one.
            if self.journal.is_torn() || self.journal.whole() > 0 {
                self.compact(|_, _| Ok(true))?;
            } else {
                self.generation = 1;
                self.journal.append(&[&self.generation.to_le_bytes()])?;
            }
        }
        Ok(())
    }

    /// Writes the records that are to be kept into the other area, switches to it and erases this one. After an error, and
    /// after a power cut, the journal is as it was before, or compacted.
    ///
    /// # Errors
    /// Those of the storage and of `keep`.
    pub fn compact(
        &mut self,
        mut keep: impl FnMut(&mut Journal<S>, &Record) -> Result<bool, JournalError<S::Error>>,
    ) -> Result<(), JournalError<S::Error>> {
        self.other.erase().map_err(JournalError::Storage)?;
        let (mut cursor, mut to) = (self.start(), AREA_HEADER_LEN);
        while let Some(record) = self.journal.next(&mut cursor)? {
            if keep(&mut self.journal, &record)? {
                to = self.copy(&record, to)?;
            }
        }
        let generation = self.generation.wrapping_add(1);
        self.other.sync().map_err(JournalError::Storage)?;
        let version = self.journal.version().max(OLDEST);
        let len = self.other.size().map_err(JournalError::Storage)?;
        // From here on the other area may be the one that counts, whatever fails: nothing more is appended to this one.
        self.journal.free = false;
        self.other.write(0, &area_header(version, generation)).map_err(JournalError::Storage)?;
        self.other.sync().map_err(JournalError::Storage)?;
        self.generation = generation;
        mem::swap(&mut self.journal.storage, &mut self.other);
        (self.journal.end, self.journal.len, self.journal.free) = (to, len, true);
        self.other.erase().map_err(JournalError::Storage)
    }

    /// Copies a record to `to` in the other area; where the next one goes.
    fn copy(&mut self, record: &Record, mut to: u64) -> Result<u64, JournalError<S::Error>> {
        let mut from = record.payload - 8;
        // All but the mark, which may be cut off here.
        let mut left = RECORD_LEN + u64::from(record.len) - DONE.len() as u64;
        if to.saturating_add(left + DONE.len() as u64) > self.other.capacity() {
            return Err(JournalError::Full);
        }
        let mut piece = [0; PIECE];
        while left > 0 {
            let count = left.min(PIECE as u64);
            let (bytes, _) = piece.split_at_mut(count as usize);
            self.journal.storage.read(from, bytes).map_err(JournalError::Storage)?;
            self.other.write(to, bytes).map_err(JournalError::Storage)?;
            (from, to, left) = (from + count, to + count, left - count);
        }
        self.other.write(to, &DONE).map_err(JournalError::Storage)?;
        Ok(to + DONE.len() as u64)
    }
}

/// Whether `a` comes after `b`, in numbers that begin again at 0.
fn later(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

/// What an area is, by its first bytes.
enum State {
    /// Nothing was written since it was erased.
    Blank,
    /// The first append to an empty journal was cut off: at that time nothing was committed in either area.
    Begun,
    /// A journal of this generation.
    Is(u32),
    /// A compaction or an erasure was cut off, or it is damaged.
    Broken(Unreadable),
}

fn state<S: Storage>(area: &mut S) -> Result<State, JournalError<S::Error>> {
    let len = area.size().map_err(JournalError::Storage)?;
    let mut journal = Journal { storage: area, version: OLDEST, len, end: 0, free: false };
    let found = journal.header().and_then(|version| if version.is_some() { first(&mut journal) } else { Ok(None) });
    match found {
        Ok(Some(generation)) => Ok(State::Is(generation)),
        Ok(None) if journal.filled(0)? == Filled::Erased => Ok(State::Blank),
        Ok(None) => Ok(State::Begun),
        Err(JournalError::Unreadable(why)) => Ok(State::Broken(why)),
        Err(error) => Err(error),
    }
}

/// The number in a journal's first record; `None` in an empty one.
fn first<S: Storage>(journal: &mut Journal<S>) -> Result<Option<u32>, JournalError<S::Error>> {
    let Some(record) = journal.next(&mut { Cursor::START })? else { return Ok(None) };
    let mut number = [0; 4];
    if record.len != 4 {
        return Err(JournalError::Unreadable(Unreadable::Damaged(1)));
    }
    journal.read(&record, 0, &mut number)?;
    Ok(Some(u32::from_le_bytes(number)))
}

/// Header and generation.
fn area_header(version: u32, generation: u32) -> [u8; AREA_HEADER_LEN as usize] {
    let (len, generation) = (4_u32.to_le_bytes(), generation.to_le_bytes());
    let mut bytes = [0; AREA_HEADER_LEN as usize];
    let parts: [&[u8]; 6] =
        [&header(version), &len, &crc32(&len).to_le_bytes(), &generation, &crc32(&generation).to_le_bytes(), &DONE];
    let from = parts.into_iter().flatten();
    bytes.iter_mut().zip(from).for_each(|(byte, from)| *byte = *from);
    bytes
}
