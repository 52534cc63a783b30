//! A firmware's edits in two areas of a flash: patches, each with its model and a note, that are undone by their ids. Applies none.
//!
//! ```text
//! payload := edit | undo
//! edit    := "EDIT" version:u32 id:u32 layer:u32 model:u64 d_ff:u32 d_model:u32 note_len:u32
//!            u:f32[d_ff] lambda:f32[d_model] note[note_len] 0[0 to 3]
//! undo    := "UNDO" version:u32 id:u32
//! ```
//! These are the payloads of the records in [`areas`](super::areas). All numbers are little-endian. A payload is of whole words of 4
//! bytes, so that every write begins at one and is of whole ones. Ids count up from 1, and none is given twice: a compaction keeps
//! the edits that were not undone, and of the undone ones the last one's undo. `model` is the model's
//! [`identity`](crate::identity::identity), and `note` the firmware's own affair.
//!
//! Neither writing nor reading needs a record in memory as a whole, but for the numbers of the patch.

use core::fmt;

use mobiedit_core::ModelSpec;
use mobiedit_core::rank_one::RankOne;

use super::areas::{AREA_HEADER_LEN, Areas, Erase};
use super::{Cursor, Journal, JournalError, PIECE, RECORD_LEN, Record, Storage, Unreadable};
use crate::cursor::Cursor as Fields;
use crate::patches::MAX_PATCHES;

/// The version of the payloads that are read and written.
pub const EDIT_VERSION: u32 = 1;
/// Most edits at a time that are not undone: as many as patches can be applied.
pub const MOST_EDITS: usize = MAX_PATCHES;

const EDIT: [u8; 4] = *b"EDIT";
const UNDO: [u8; 4] = *b"UNDO";
/// Bytes of an edit's payload before its numbers.
const HEAD: usize = 36;
/// Bytes of an undo's payload.
const UNDO_LEN: usize = 12;

/// Bytes of an area that an edit takes, what its undo may take included. An area has
/// [`AREA_HEADER_LEN`] besides.
pub const fn edit_len(d_ff: usize, d_model: usize, note_len: usize) -> usize {
    let numbers = d_ff.saturating_add(d_model).saturating_mul(4);
    let records = 2 * RECORD_LEN as usize + HEAD + UNDO_LEN;
    let note = note_len.saturating_add(3) & !3;
    records.saturating_add(numbers).saturating_add(note)
}

/// An edit without its numbers and its note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Entry {
    /// Names the edit, from 1.
    pub id: u32,
    /// The layer, from 0.
    pub layer: u32,
    /// Which model it is of.
    pub model: u64,
    /// Numbers of u.
    pub d_ff: u32,
    /// Numbers of Λ.
    pub d_model: u32,
    /// Bytes of the note.
    pub note_len: u32,
}

impl Entry {
    /// What goes before the numbers.
    fn head(&self) -> [u8; HEAD] {
        let Self { id, layer, model, d_ff, d_model, note_len } = *self;
        let (mut head, model) = ([0; HEAD], model.to_le_bytes());
        let [version, id, layer, d_ff, d_model, note_len] =
            [EDIT_VERSION, id, layer, d_ff, d_model, note_len].map(u32::to_le_bytes);
        let fields: [&[u8]; 8] = [&EDIT, &version, &id, &layer, &model, &d_ff, &d_model, &note_len];
        head.iter_mut().zip(fields.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        head
    }

    /// Numbers of the patch.
    fn numbers(&self) -> u64 {
        u64::from(self.d_ff) + u64::from(self.d_model)
    }

    /// Bytes of the payload.
    fn len(&self) -> u64 {
        HEAD as u64 + 4 * self.numbers() + u64::from(self.note_len).next_multiple_of(4)
    }

    /// Where the numbers end and the note begins, in the payload.
    fn note(&self) -> Option<u32> {
        u32::try_from(HEAD as u64 + 4 * self.numbers()).ok()
    }
}

/// Why an edit cannot be kept, read or undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EditError<E> {
    /// The journal cannot be read or written; [`JournalError::Full`] where compaction would not make room either.
    Journal(JournalError<E>),
    /// A later program wrote this record, counted from 1.
    Newer(u32),
    /// There are [`MOST_EDITS`] already.
    TooMany,
    /// No edit has this id, or it was undone.
    Unknown,
    /// The patch holds a NaN or an infinity.
    NotFinite,
    /// The edit was made for another model.
    OtherModel,
    /// A buffer is too short.
    TooSmall {
        /// Elements that are needed.
        need: usize,
        /// Elements that were given.
        given: usize,
    },
}

impl<E> From<JournalError<E>> for EditError<E> {
    fn from(error: JournalError<E>) -> Self {
        Self::Journal(error)
    }
}

impl<E: fmt::Display> fmt::Display for EditError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(error) => error.fmt(f),
            Self::Newer(record) => write!(f, "record {record} was written by a newer version of mobiedit"),
            Self::TooMany => write!(f, "the journal has {MOST_EDITS} edits already: undo one"),
            Self::Unknown => f.write_str("the journal has no edit of this id"),
            Self::NotFinite => f.write_str("the patch holds a NaN or an infinity"),
            Self::OtherModel => f.write_str("the edit was made for another model"),
            Self::TooSmall { need, given } => write!(f, "{given} elements were lent where {need} are needed"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for EditError<E> {}

/// What a record holds.
enum Payload {
    Edit(Entry),
    Undo(u32),
}

/// The edit that was looked at last.
#[derive(Clone, Copy, Debug)]
struct Found {
    entry: Entry,
    record: Record,
    /// Behind it.
    next: Cursor,
}

/// The edits in two areas of a flash.
#[derive(Debug)]
pub struct EditJournal<S> {
    areas: Areas<S>,
    /// Ids of the edits that were not undone, in their order.
    active: heapless::Vec<u32, MOST_EDITS>,
    /// The id that was given last; 0 for none.
    last: u32,
    found: Option<Found>,
}

impl<S: Erase> EditJournal<S> {
    /// Reads both areas: [`Areas::open`], and every record's head.
    ///
    /// # Errors
    /// Those of [`Areas::open`]; records that are of a later version, or no edits.
    pub fn open(a: S, b: S) -> Result<Self, EditError<S::Error>> {
        let areas = Areas::open(a, b)?;
        let mut journal = Self { areas, active: heapless::Vec::new(), last: 0, found: None };
        let mut cursor = journal.areas.start();
        while let Some((record, payload)) = journal.next_payload(&mut cursor)? {
            match payload {
                Payload::Edit(entry) if entry.id > journal.last => {
                    journal.active.push(entry.id).map_err(|_| EditError::TooMany)?;
                    journal.last = entry.id;
                }
                Payload::Edit(_) => return Err(damaged(&record)),
                Payload::Undo(id) => {
                    journal.active.retain(|active| *active != id);
                    journal.last = journal.last.max(id);
                }
            }
        }
        Ok(journal)
    }

    /// Ids of the edits that were not undone, oldest first.
    pub fn active(&self) -> &[u32] {
        &self.active
    }

    /// Bytes of the area that counts which hold records, undone ones among them.
    pub fn used(&mut self) -> u64 {
        self.areas.journal().whole()
    }

    /// The first edit whose id is over `after` and that was not undone.
    ///
    /// # Errors
    /// A storage that fails, or whose bytes have changed since they were found whole.
    pub fn next(&mut self, after: u32) -> Result<Option<Entry>, EditError<S::Error>> {
        Ok(self.following(after)?.map(|found| found.entry))
    }

    /// The edit of this id.
    ///
    /// # Errors
    /// [`EditError::Unknown`], and those of [`next`](Self::next).
    pub fn get(&mut self, id: u32) -> Result<Entry, EditError<S::Error>> {
        Ok(self.record_of(id)?.entry)
    }

    /// Keeps a patch of the model with this [`identity`](crate::identity::identity), with a note; its id. When this returns, the
    /// edit outlasts a power cut; after an error it is not there. Compacts the journal if that is needed to make room.
    ///
    /// # Errors
    /// [`EditError::NotFinite`], [`EditError::TooMany`], [`JournalError::Full`], and those of the storage.
    pub fn append(&mut self, model: u64, patch: RankOne<'_>, note: &[u8]) -> Result<u32, EditError<S::Error>> {
        if !patch.u.iter().chain(patch.lambda).all(|number| number.is_finite()) {
            return Err(EditError::NotFinite);
        }
        if self.active.is_full() {
            return Err(EditError::TooMany);
        }
        let entry = self.entry(model, patch, note).ok_or(JournalError::Full)?;
        self.make_room(entry.len(), self.active.len() + 1)?;
        let head = entry.head();
        self.areas.append_pieces(entry.len(), &|put| {
            put(&head)?;
            put_numbers(patch.u, put)?;
            put_numbers(patch.lambda, put)?;
            put_note(note, put)
        })?;
        self.last = entry.id;
        // There is room, as was found out above.
        let _ = self.active.push(entry.id);
        Ok(entry.id)
    }

    /// Takes an edit back: it is not read any more, and a compaction drops it. For an undo there is always room.
    ///
    /// # Errors
    /// [`EditError::Unknown`], and those of the storage.
    pub fn undo(&mut self, id: u32) -> Result<(), EditError<S::Error>> {
        if !self.active.contains(&id) {
            return Err(EditError::Unknown);
        }
        self.make_room(UNDO_LEN as u64, self.active.len() - 1)?;
        self.areas.append_pieces(UNDO_LEN as u64, &|put| {
            put(&UNDO)?;
            put(&EDIT_VERSION.to_le_bytes())?;
            put(&id.to_le_bytes())
        })?;
        self.active.retain(|active| *active != id);
        Ok(())
    }

    /// Reads the patch of an edit to the front of `numbers`, d_ff + d_model of them, if it was made for the model of these sizes and
    /// this [`identity`](crate::identity::identity) at the edit's layer.
    ///
    /// # Errors
    /// [`EditError::OtherModel`], [`EditError::TooSmall`], [`EditError::NotFinite`], and those of [`get`](Self::get).
    pub fn patch<'n>(
        &mut self,
        id: u32,
        spec: &ModelSpec,
        model: u64,
        numbers: &'n mut [f32],
    ) -> Result<RankOne<'n>, EditError<S::Error>> {
        let Found { entry, record, .. } = self.record_of(id)?;
        let (layer, d_ff, d_model) = (entry.layer as usize, entry.d_ff as usize, entry.d_model as usize);
        let fits = (d_ff, d_model) == (spec.d_ff, spec.d_model) && layer < spec.layers;
        if !fits || entry.model != model {
            return Err(EditError::OtherModel);
        }
        let (need, given) = (d_ff.saturating_add(d_model), numbers.len());
        let numbers = numbers.get_mut(..need).ok_or(EditError::TooSmall { need, given })?;
        self.read_numbers(&record, numbers)?;
        let (u, lambda) = numbers.split_at_checked(d_ff).ok_or(damaged(&record))?;
        Ok(RankOne { layer, u, lambda })
    }

    /// Reads the note of an edit to the front of `into`; its bytes.
    ///
    /// # Errors
    /// [`EditError::TooSmall`], and those of [`get`](Self::get).
    pub fn note(&mut self, id: u32, into: &mut [u8]) -> Result<usize, EditError<S::Error>> {
        let Found { entry, record, .. } = self.record_of(id)?;
        let (need, given) = (entry.note_len as usize, into.len());
        let into = into.get_mut(..need).ok_or(EditError::TooSmall { need, given })?;
        self.areas.journal().read(&record, entry.note().ok_or(damaged(&record))?, into)?;
        Ok(need)
    }

    /// Drops what was undone: [`Areas::compact`]. Erases both areas, one after the other.
    ///
    /// # Errors
    /// Those of the storage; the journal is then as it was, or compacted.
    pub fn compact(&mut self) -> Result<(), EditError<S::Error>> {
        let Self { areas, active, last, found } = self;
        *found = None;
        Ok(areas.compact(|journal, record| match payload_of(journal, record) {
            Ok(payload) => Ok(is_kept(&payload, active, *last)),
            Err(EditError::Journal(error)) => Err(error),
            Err(_) => Err(JournalError::Unreadable(Unreadable::Damaged(record.number()))),
        })?)
    }

    /// What the next edit is; `None` where a number of it has no room in a record.
    fn entry(&self, model: u64, patch: RankOne<'_>, note: &[u8]) -> Option<Entry> {
        let short = |len: usize| u32::try_from(len).ok();
        let (layer, d_ff, d_model) = (short(patch.layer)?, short(patch.u.len())?, short(patch.lambda.len())?);
        Some(Entry { id: self.last.checked_add(1)?, layer, model, d_ff, d_model, note_len: short(note.len())? })
    }

    /// Sees to it that a record has room, and behind it so many undos.
    fn make_room(&mut self, len: u64, undos: usize) -> Result<(), EditError<S::Error>> {
        let record = |payload: u64| RECORD_LEN + payload;
        let need = record(len) + undos as u64 * record(UNDO_LEN as u64);
        let journal = self.areas.journal();
        let (torn, used) = (journal.is_torn(), journal.whole().max(AREA_HEADER_LEN));
        let capacity = journal.storage().capacity();
        if !torn && used + need <= capacity {
            return Ok(());
        }
        let (mut cursor, mut kept) = (self.areas.start(), AREA_HEADER_LEN);
        while let Some((of, payload)) = self.next_payload(&mut cursor)? {
            kept += if is_kept(&payload, &self.active, self.last) { record(of.len().into()) } else { 0 };
        }
        if kept + need > capacity {
            return Err(JournalError::Full.into());
        }
        self.compact()
    }

    /// The record of an edit that was not undone.
    fn record_of(&mut self, id: u32) -> Result<Found, EditError<S::Error>> {
        let before = id.checked_sub(1).ok_or(EditError::Unknown)?;
        self.following(before)?.filter(|found| found.entry.id == id).ok_or(EditError::Unknown)
    }

    /// The first edit whose id is over `after` and that was not undone. Searches on from the edit that was looked at last.
    fn following(&mut self, after: u32) -> Result<Option<Found>, EditError<S::Error>> {
        let is_next =
            |found: &Found| after.checked_add(1) == Some(found.entry.id) && self.active.contains(&found.entry.id);
        if let Some(found) = self.found.filter(is_next) {
            return Ok(Some(found));
        }
        let mut cursor = match self.found {
            Some(found) if found.entry.id <= after => found.next,
            _ => self.areas.start(),
        };
        while let Some((record, payload)) = self.next_payload(&mut cursor)? {
            if let Payload::Edit(entry) = payload
                && entry.id > after
                && self.active.contains(&entry.id)
            {
                let found = Found { entry, record, next: cursor };
                self.found = Some(found);
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The record behind the cursor and what it holds.
    fn next_payload(&mut self, cursor: &mut Cursor) -> Result<Option<(Record, Payload)>, EditError<S::Error>> {
        let journal = self.areas.journal();
        let Some(record) = journal.next(cursor)? else { return Ok(None) };
        let payload = payload_of(journal, &record)?;
        Ok(Some((record, payload)))
    }

    fn read_numbers(&mut self, record: &Record, numbers: &mut [f32]) -> Result<(), EditError<S::Error>> {
        let (mut piece, mut from) = ([0; PIECE], HEAD as u32);
        for numbers in numbers.chunks_mut(PIECE / 4) {
            let (bytes, _) = piece.split_at_mut((4 * numbers.len()).min(PIECE));
            self.areas.journal().read(record, from, bytes)?;
            from += bytes.len() as u32;
            for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks().0) {
                *number = f32::from_le_bytes(*bytes);
            }
            if !numbers.iter().all(|number| number.is_finite()) {
                return Err(EditError::NotFinite);
            }
        }
        Ok(())
    }
}

/// Whether a compaction keeps a record.
fn is_kept(payload: &Payload, active: &[u32], last: u32) -> bool {
    match payload {
        Payload::Edit(entry) => active.contains(&entry.id),
        Payload::Undo(id) => *id == last && !active.contains(id),
    }
}

fn damaged<E>(record: &Record) -> EditError<E> {
    EditError::Journal(JournalError::Unreadable(Unreadable::Damaged(record.number())))
}

/// What a whole record holds.
fn payload_of<S: Storage>(journal: &mut Journal<S>, record: &Record) -> Result<Payload, EditError<S::Error>> {
    let mut head = [0; HEAD];
    let (bytes, _) = head.split_at_mut((record.len() as usize).min(HEAD));
    journal.read(record, 0, bytes)?;
    let mut fields = Fields::new(bytes);
    let not_ours = EditError::Journal(JournalError::Unreadable(Unreadable::NotAJournal));
    let is_edit = match fields.array() {
        Some(EDIT) => true,
        Some(UNDO) => false,
        _ => return Err(not_ours),
    };
    let payload = match fields.u32() {
        Some(EDIT_VERSION) if is_edit => edit(fields),
        Some(EDIT_VERSION) => fields.u32().map(Payload::Undo),
        Some(version) if version > EDIT_VERSION => return Err(EditError::Newer(record.number())),
        _ => None,
    };
    let len = match &payload {
        Some(Payload::Edit(entry)) => entry.len(),
        _ => UNDO_LEN as u64,
    };
    payload.filter(|_| len == u64::from(record.len())).ok_or(damaged(record))
}

/// An edit behind its version.
fn edit(mut fields: Fields<'_>) -> Option<Payload> {
    let (id, layer, model) = (fields.u32()?, fields.u32()?, fields.u64()?);
    let (d_ff, d_model, note_len) = (fields.u32()?, fields.u32()?, fields.u32()?);
    Some(Payload::Edit(Entry { id, layer, model, d_ff, d_model, note_len }))
}

fn put_numbers<E>(numbers: &[f32], put: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let mut piece = [[0; 4]; PIECE / 4];
    for numbers in numbers.chunks(PIECE / 4) {
        let (bytes, _) = piece.split_at_mut(numbers.len().min(PIECE / 4));
        bytes.iter_mut().zip(numbers).for_each(|(bytes, number)| *bytes = number.to_le_bytes());
        put(bytes.as_flattened())?;
    }
    Ok(())
}

/// The note, and zeros up to a whole word.
fn put_note<E>(note: &[u8], put: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let (words, rest) = note.as_chunks::<4>();
    if !words.is_empty() {
        put(words.as_flattened())?;
    }
    if rest.is_empty() {
        return Ok(());
    }
    let mut word = [0; 4];
    word.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    put(&word)
}

#[cfg(test)]
mod tests;
