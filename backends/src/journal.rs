//! An append-only journal of edits in a file or in flash: records with their length, two checksums and a mark at their end.
//! Knows neither what a record holds nor what it is kept on.
//!
//! ```text
//! journal := "MOBIEDIT" version:u32 record*
//! record  := length:u32 crc32(length):u32 payload[length] crc32(payload):u32 "DONE"
//! ```
//! All numbers are little-endian. Versions 1 and 2 have the same records; 2 says that a payload may be of a kind that programs
//! for version 1 do not know. Bytes are written in this order and the mark last, after a [`sync`](Storage::sync): a power cut at
//! any byte leaves whole records and a torn tail. A tail is torn where its mark is missing and only blank bytes, 0 or 0xFF, lie
//! behind it; all else that is not a whole record is damage, and is named. So what was once appended is never lost in silence
//! and never read as something else; a record whose mark was cut may be there or not.
//!
//! A flash, which cannot write over a torn tail, keeps its journal in two [`areas`]. What a firmware keeps there is in [`edits`].

use core::fmt;

use mobiedit_core::checksum::{Crc32, crc32};

pub mod areas;
pub mod edits;

/// The newest version that is read.
pub const VERSION: u32 = 2;
/// The version that a new journal gets unless it is told otherwise.
pub const OLDEST: u32 = 1;
/// Bytes before the first record.
pub const HEADER_LEN: u64 = 12;
/// Bytes of a record besides its payload.
pub const RECORD_LEN: u64 = 16;

const MAGIC: [u8; 8] = *b"MOBIEDIT";
const DONE: [u8; 4] = *b"DONE";
/// Bytes that are looked at together, on the stack.
const PIECE: usize = 64;

/// Bytes to read: a file, a flash, a slice.
pub trait ReadStorage {
    /// What can go wrong.
    type Error;

    /// Bytes that can be read.
    ///
    /// # Errors
    /// Those of the hardware.
    fn size(&mut self) -> Result<u64, Self::Error>;

    /// Reads the bytes from `at` on.
    ///
    /// # Errors
    /// Those of the hardware, and bytes that are not there.
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Self::Error>;
}

/// Bytes to write. A flash whose smallest write is more than a byte collects what comes in a row until [`sync`](Self::sync),
/// and has to be able to write the rest of such a unit later.
pub trait Storage: ReadStorage {
    /// Bytes that there can be at most.
    fn capacity(&self) -> u64;

    /// Writes bytes at `at`, where nothing was written since the storage was erased, or cut there.
    ///
    /// # Errors
    /// Those of the hardware.
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Returns when what was written outlasts a power cut.
    ///
    /// # Errors
    /// Those of the hardware.
    fn sync(&mut self) -> Result<(), Self::Error>;

    /// Frees the bytes from `at` on; `false` where that cannot be done, as in flash, which is erased in whole sectors.
    ///
    /// # Errors
    /// Those of the hardware.
    fn cut(&mut self, at: u64) -> Result<bool, Self::Error>;
}

/// Bytes outside a slice were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBounds;

impl ReadStorage for &[u8] {
    type Error = OutOfBounds;

    fn size(&mut self) -> Result<u64, OutOfBounds> {
        Ok(<[u8]>::len(self) as u64)
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), OutOfBounds> {
        let at = usize::try_from(at).map_err(|_| OutOfBounds)?;
        let from = self.get(at..).and_then(|rest| rest.get(..into.len())).ok_or(OutOfBounds)?;
        into.copy_from_slice(from);
        Ok(())
    }
}

impl<S: ReadStorage> ReadStorage for &mut S {
    type Error = S::Error;

    fn size(&mut self) -> Result<u64, S::Error> {
        S::size(self)
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), S::Error> {
        S::read(self, at, into)
    }
}

impl<S: Storage> Storage for &mut S {
    fn capacity(&self) -> u64 {
        S::capacity(self)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), S::Error> {
        S::write(self, at, bytes)
    }

    fn sync(&mut self) -> Result<(), S::Error> {
        S::sync(self)
    }

    fn cut(&mut self, at: u64) -> Result<bool, S::Error> {
        S::cut(self, at)
    }
}

/// Why bytes are not a journal that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Unreadable {
    /// They start with something else.
    NotAJournal,
    /// A later program wrote them.
    Newer(u32),
    /// A record that was written whole has changed since. Counted from 1.
    Damaged(u32),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAJournal => f.write_str("it is not a journal of edits"),
            Self::Newer(version) => write!(
                f,
                "it was written by a newer version of mobiedit (format {version}, this program reads up to {VERSION})"
            ),
            Self::Damaged(record) => write!(f, "record {record} is damaged"),
        }
    }
}

impl core::error::Error for Unreadable {}

/// Why a journal cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum JournalError<E> {
    /// What it is kept on failed.
    Storage(E),
    /// What is kept there cannot be used.
    Unreadable(Unreadable),
    /// A write was cut off, and what it left can only be erased: [`areas::Areas::compact`] does so.
    Torn,
    /// The record has no room.
    Full,
}

impl<E: fmt::Display> fmt::Display for JournalError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Unreadable(why) => why.fmt(f),
            Self::Torn => f.write_str("the journal ends in a write that was cut off: compact it first"),
            Self::Full => f.write_str("the journal has no room for the record"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for JournalError<E> {}

/// A whole record, found by its checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    payload: u64,
    len: u32,
    number: u32,
}

impl Record {
    /// Bytes of its payload.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether its payload has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its place in the journal, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }
}

/// A place between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    at: u64,
    number: u32,
}

impl Cursor {
    /// Before the first record.
    pub const START: Self = Self { at: HEADER_LEN, number: 1 };
}

/// A journal whose records were all found whole.
#[derive(Debug)]
pub struct Journal<S> {
    storage: S,
    version: u32,
    /// Bytes that the storage has.
    len: u64,
    /// Bytes of the header and of all whole records; 0 without a whole header.
    end: u64,
    /// What lies behind `end` has never been written, and is to be written next.
    free: bool,
}

/// What a run of bytes is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filled {
    /// All 0xFF, or none.
    Erased,
    /// All 0.
    Zero,
    /// Something else.
    Written,
}

fn filled(bytes: &[u8]) -> Filled {
    let all = |byte| bytes.iter().all(|b| *b == byte);
    match (all(0xFF), all(0)) {
        (true, _) => Filled::Erased,
        (_, true) => Filled::Zero,
        _ => Filled::Written,
    }
}

/// A header of this version.
fn header(version: u32) -> [u8; HEADER_LEN as usize] {
    let mut bytes = [0; HEADER_LEN as usize];
    let (magic, number) = bytes.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    number.copy_from_slice(&version.to_le_bytes());
    bytes
}

/// The first number, if the second is its checksum.
fn checked(bytes: [u8; 8]) -> Option<u32> {
    let [a, b, c, d, checksum @ ..] = bytes;
    let number = [a, b, c, d];
    // Erased bytes pass for a number with its checksum.
    (checksum == crc32(&number).to_le_bytes() && number != [0xFF; 4]).then_some(u32::from_le_bytes(number))
}

impl<S> Journal<S> {
    /// The same journal on storage that holds the same bytes.
    pub fn on<T>(self, storage: T) -> Journal<T> {
        let Self { version, len, end, free, .. } = self;
        Journal { storage, version, len, end, free }
    }

    /// The journal's version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Bytes of the header and of all whole records; 0 without a whole header.
    pub fn whole(&self) -> u64 {
        self.end
    }

    /// Bytes behind them that hold the rest of a write that was cut off, or that were never written.
    pub fn behind(&self) -> u64 {
        self.len.saturating_sub(self.end)
    }

    /// Whether a write was cut off: what lies behind the whole records is not as after erasing.
    pub fn is_torn(&self) -> bool {
        !self.free
    }

    /// What it is kept on.
    pub fn storage(&mut self) -> &mut S {
        &mut self.storage
    }

    /// What it was kept on.
    pub fn into_storage(self) -> S {
        self.storage
    }
}

impl<S: ReadStorage> Journal<S> {
    /// Reads all of a journal, every checksum. Empty, blank and hardly begun storage is an empty journal.
    ///
    /// # Errors
    /// Whatever is neither whole records nor a torn tail.
    pub fn open(mut storage: S) -> Result<Self, JournalError<S::Error>> {
        let len = storage.size().map_err(JournalError::Storage)?;
        let mut journal = Self { storage, version: OLDEST, len, end: 0, free: false };
        if let Some(version) = journal.header()? {
            journal.version = version;
            let mut cursor = Cursor::START;
            while journal.next(&mut cursor)?.is_some() {}
            journal.end = cursor.at;
        }
        journal.free = journal.filled(journal.end)? == Filled::Erased;
        Ok(journal)
    }

    /// The record behind the cursor, which moves on behind it; `None` at the end.
    ///
    /// # Errors
    /// A storage that fails, or whose bytes have changed since they were found whole.
    pub fn next(&mut self, cursor: &mut Cursor) -> Result<Option<Record>, JournalError<S::Error>> {
        let damaged = JournalError::Unreadable(Unreadable::Damaged(cursor.number));
        let left = self.len.saturating_sub(cursor.at);
        if left < 8 {
            return Ok(None);
        }
        let Some(len) = checked(self.array(cursor.at)?) else {
            // Nothing was written here, or the first bytes of a record.
            let written = self.filled(cursor.at + 8)? == Filled::Written;
            return if written { Err(damaged) } else { Ok(None) };
        };
        let whole = RECORD_LEN + u64::from(len);
        if whole > left {
            return Ok(None);
        }
        let record = Record { payload: cursor.at + 8, len, number: cursor.number };
        let [a, b, c, d, mark @ ..] = self.array::<8>(record.payload + u64::from(len))?;
        let intact = u32::from_le_bytes([a, b, c, d]) == self.checksum(&record)?;
        // The checksum alone is not enough: bytes that were never written may agree with a checksum that never was.
        let begun = filled(&mark) == Filled::Written;
        let whole_record = intact && (begun || self.filled(cursor.at + whole)? == Filled::Written);
        if whole_record {
            *cursor = Cursor { at: cursor.at + whole, number: cursor.number.saturating_add(1) };
            return Ok(Some(record));
        }
        // Its end never arrived, and nothing was written behind it.
        if mark != DONE && self.filled(cursor.at + whole)? != Filled::Written { Ok(None) } else { Err(damaged) }
    }

    /// Reads a part of a record's payload, from byte `from` of it on.
    ///
    /// # Errors
    /// A storage that fails; a part that is not in the record, as damage.
    pub fn read(&mut self, record: &Record, from: u32, into: &mut [u8]) -> Result<(), JournalError<S::Error>> {
        if u64::from(from).saturating_add(into.len() as u64) > u64::from(record.len) {
            return Err(JournalError::Unreadable(Unreadable::Damaged(record.number)));
        }
        self.storage.read(record.payload + u64::from(from), into).map_err(JournalError::Storage)
    }

    /// The version, where a whole header is.
    fn header(&mut self) -> Result<Option<u32>, JournalError<S::Error>> {
        let mut start = [0xFF; HEADER_LEN as usize];
        let there = self.len.min(HEADER_LEN) as usize;
        let (bytes, _) = start.split_at_mut(there);
        self.storage.read(0, bytes).map_err(JournalError::Storage)?;
        let begun = |blank| {
            // Less may be there than a header has: what is not there is not written.
            let bytes = start.get(..there).unwrap_or(&[]);
            let written = bytes.iter().rposition(|byte| *byte != blank).map_or(0, |last| last + 1);
            let of = |version| header(version).get(..written) == start.get(..written);
            // A version's number ends in zeros itself.
            written < start.len() && (blank != 0 || written <= MAGIC.len()) && (OLDEST..=VERSION).any(of)
        };
        let unfinished = begun(0xFF) || begun(0);
        let behind = if unfinished { HEADER_LEN } else { 0 };
        if self.filled(behind)? != Filled::Written {
            return Ok(None);
        }
        let [magic @ .., a, b, c, d] = start;
        match u32::from_le_bytes([a, b, c, d]) {
            _ if magic != MAGIC => Err(JournalError::Unreadable(Unreadable::NotAJournal)),
            version @ OLDEST..=VERSION => Ok(Some(version)),
            0 => Err(JournalError::Unreadable(Unreadable::NotAJournal)),
            version => Err(JournalError::Unreadable(Unreadable::Newer(version))),
        }
    }

    /// What all bytes from `at` on are.
    fn filled(&mut self, mut at: u64) -> Result<Filled, JournalError<S::Error>> {
        let mut all = None;
        let mut piece = [0; PIECE];
        while at < self.len {
            let count = (self.len - at).min(PIECE as u64);
            let (bytes, _) = piece.split_at_mut(count as usize);
            self.storage.read(at, bytes).map_err(JournalError::Storage)?;
            let these = filled(bytes);
            if these == Filled::Written || all.is_some_and(|all| all != these) {
                return Ok(Filled::Written);
            }
            all = Some(these);
            at += count;
        }
        Ok(all.unwrap_or(Filled::Erased))
    }

    fn checksum(&mut self, record: &Record) -> Result<u32, JournalError<S::Error>> {
        let mut crc = Crc32::new();
        let mut piece = [0; PIECE];
        let mut from = 0;
        while from < record.len {
            let count = (record.len - from).min(PIECE as u32);
            let (bytes, _) = piece.split_at_mut(count as usize);
            self.read(record, from, bytes)?;
            crc = crc.with(bytes);
            from += count;
        }
        Ok(crc.value())
    }

    fn array<const N: usize>(&mut self, at: u64) -> Result<[u8; N], JournalError<S::Error>> {
        let mut bytes = [0; N];
        self.storage.read(at, &mut bytes).map_err(JournalError::Storage)?;
        Ok(bytes)
    }
}

impl<S: Storage> Journal<S> {
    /// Says which version an empty journal is begun with; no effect on one that has its header.
    #[must_use]
    pub fn with_version(mut self, version: u32) -> Self {
        if self.end == 0 {
            self.version = version;
        }
        self
    }

    /// Appends a record of these bytes, one piece behind the other, over a torn tail if that can be freed. When this
    /// returns, the record outlasts a power cut; after an error it is not there.
    ///
    /// # Errors
    /// No room, a storage that fails, a torn tail that cannot be freed.
    pub fn append(&mut self, payload: &[&[u8]]) -> Result<(), JournalError<S::Error>> {
        let len = payload.iter().fold(0, |sum: u64, piece| sum.saturating_add(piece.len() as u64));
        self.append_pieces(len, &|put| payload.iter().try_for_each(|piece| put(piece)))
    }

    /// The same with pieces that need not all be in memory at once, of `len` bytes together.
    fn append_pieces(&mut self, len: u64, pieces: Pieces<'_, S::Error>) -> Result<(), JournalError<S::Error>> {
        let short = u32::try_from(len).ok().filter(|len| *len != u32::MAX).ok_or(JournalError::Full)?;
        let end = self.end.max(HEADER_LEN).checked_add(RECORD_LEN + len).filter(|end| *end <= self.storage.capacity());
        let end = end.ok_or(JournalError::Full)?;
        let clean = self.len == self.end || self.cut().map_err(JournalError::Storage)?;
        if !clean {
            return Err(JournalError::Torn);
        }
        if let Err(error) = self.write(short, pieces) {
            // What came so far is a torn tail, or whole and not known to last: it is no record. The first error is told.
            self.free = false;
            let _cut = self.cut();
            return Err(JournalError::Storage(error));
        }
        (self.end, self.len, self.free) = (end, self.len.max(end), true);
        Ok(())
    }

    /// Frees what lies behind the whole records, if that can be done; whether it is free.
    fn cut(&mut self) -> Result<bool, S::Error> {
        if self.storage.cut(self.end)? {
            (self.len, self.free) = (self.end, true);
        }
        Ok(self.free)
    }

    /// Writes what is missing of the header, then a record; its mark when all else is there.
    fn write(&mut self, len: u32, pieces: Pieces<'_, S::Error>) -> Result<(), S::Error> {
        let (begun, header) = (self.end > 0, header(self.version));
        let mut to = End { at: self.end, storage: &mut self.storage };
        if !begun {
            to.put(&header)?;
        }
        let len = len.to_le_bytes();
        to.put(&len)?;
        to.put(&crc32(&len).to_le_bytes())?;
        let mut crc = Crc32::new();
        pieces(&mut |piece| {
            crc = crc.with(piece);
            to.put(piece)
        })?;
        to.put(&crc.value().to_le_bytes())?;
        to.storage.sync()?;
        to.put(&DONE)?;
        to.storage.sync()
    }
}

/// Hands a payload over, piece by piece.
type Pieces<'p, E> = &'p dyn Fn(&mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E>;

/// Where bytes are written next.
struct End<'s, S> {
    storage: &'s mut S,
    at: u64,
}

impl<S: Storage> End<'_, S> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), S::Error> {
        self.storage.write(self.at, bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
