//! Edits in a flash whose bits can only be cleared, that is written by the word, and whose power or single calls fail.

use std::cell::Cell;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use mobiedit_core::checksum::crc32;

use super::*;
use crate::journal::ReadStorage;

const AREA: usize = 640;
const SPEC: ModelSpec = ModelSpec { d_model: 3, d_ff: 5, layers: 4, kv_dim: 2, vocab: 9, max_tokens: 8 };
const MODEL: u64 = 0x0123_4567_89AB_CDEF;

/// One area. `calls` and `power` are shared with the other one.
#[derive(Clone, Debug)]
struct Flash {
    bytes: Vec<u8>,
    /// Bytes that can still be written or erased.
    power: Rc<Cell<usize>>,
    /// Writes, erasures and syncs until one of them fails, once.
    calls: Rc<Cell<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Broken;

impl Flash {
    fn pair() -> [Self; 2] {
        let new = Self {
            bytes: vec![0xFF; AREA],
            power: Rc::new(Cell::new(usize::MAX)),
            calls: Rc::new(Cell::new(usize::MAX)),
        };
        [new.clone(), new]
    }

    fn byte(&mut self) -> Result<(), Broken> {
        self.power.set(self.power.get().checked_sub(1).ok_or(Broken)?);
        Ok(())
    }

    fn call(&mut self) -> Result<(), Broken> {
        let left = self.calls.get();
        self.calls.set(left.wrapping_sub(1));
        if left == 0 { Err(Broken) } else { Ok(()) }
    }
}

impl ReadStorage for Flash {
    type Error = Broken;

    fn size(&mut self) -> Result<u64, Broken> {
        Ok(self.bytes.len() as u64)
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Broken> {
        into.copy_from_slice(&self.bytes[at as usize..][..into.len()]);
        Ok(())
    }
}

impl Storage for Flash {
    fn capacity(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Broken> {
        assert!(at.is_multiple_of(4) && bytes.len().is_multiple_of(4), "{at} {}", bytes.len());
        self.call()?;
        for (cell, byte) in (at as usize..).zip(bytes) {
            self.byte()?;
            assert_eq!(self.bytes[cell], 0xFF, "written twice at {cell}");
            self.bytes[cell] &= byte;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Broken> {
        self.call()
    }

    fn cut(&mut self, _at: u64) -> Result<bool, Broken> {
        Ok(false)
    }
}

impl Erase for Flash {
    fn erase(&mut self) -> Result<(), Broken> {
        self.call()?;
        for cell in 0..AREA {
            self.byte()?;
            self.bytes[cell] = 0xFF;
        }
        Ok(())
    }
}

/// An edit as it was given, and as it is read.
#[derive(Clone, Debug, PartialEq)]
struct Edit {
    id: u32,
    layer: usize,
    bits: Vec<u32>,
    note: Vec<u8>,
}

fn numbers(seed: u32) -> Vec<f32> {
    (0..8).map(|i| (seed * 8 + i) as f32 * -0.37 + f32::MIN_POSITIVE).collect()
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

type Opened<'f> = EditJournal<&'f mut Flash>;

fn open(areas: &mut [Flash; 2]) -> Result<Opened<'_>, EditError<Broken>> {
    let [a, b] = areas;
    EditJournal::open(a, b)
}

/// Appends the edit of a seed; what was given.
fn append(journal: &mut Opened<'_>, seed: u32) -> Result<Edit, EditError<Broken>> {
    let (numbers, note) = (numbers(seed), vec![seed as u8; seed as usize % 6]);
    let patch = RankOne { layer: seed as usize % 4, u: &numbers[..5], lambda: &numbers[5..] };
    let id = journal.append(MODEL, patch, &note)?;
    Ok(Edit { id, layer: patch.layer, bits: bits(&numbers), note })
}

fn all(journal: &mut Opened<'_>) -> Vec<Edit> {
    let (mut edits, mut id) = (Vec::new(), 0);
    while let Some(entry) = journal.next(id).unwrap() {
        id = entry.id;
        let (mut numbers, mut note) = ([0.0; 8], [0; 8]);
        let patch = journal.patch(id, &SPEC, MODEL, &mut numbers).unwrap();
        assert_eq!((patch.u.len(), patch.lambda.len()), (5, 3));
        let layer = patch.layer;
        let len = journal.note(id, &mut note).unwrap();
        edits.push(Edit { id, layer, bits: bits(&numbers), note: note[..len].to_vec() });
    }
    edits
}

#[test]
fn the_bytes_are_those_of_version_1() {
    let mut areas = Flash::pair();
    let mut journal = open(&mut areas).unwrap();
    let patch = RankOne { layer: 2, u: &[1.0, -2.0], lambda: &[0.5] };
    assert_eq!(journal.append(MODEL, patch, b"Rome!"), Ok(1));
    journal.undo(1).unwrap();
    let edit = b"EDIT\x01\0\0\0\x01\0\0\0\x02\0\0\0\xEF\xCD\xAB\x89\x67\x45\x23\x01\x02\0\0\0\x01\0\0\0\x05\0\0\0\
        \0\0\x80\x3F\0\0\0\xC0\0\0\0\x3FRome!\0\0\0";
    let undo = b"UNDO\x01\0\0\0\x01\0\0\0";
    let mut at = 32;
    for payload in [&edit[..], undo] {
        let len = (payload.len() as u32).to_le_bytes();
        let record = [&len, &crc32(&len).to_le_bytes(), payload, &crc32(payload).to_le_bytes(), b"DONE"].concat();
        assert_eq!(areas[0].bytes[at..at + record.len()], record);
        at += record.len();
    }
}

/// Edits, undos and a compaction, each of which has to be confirmed. What is there, and what may be there instead.
fn work(areas: &mut [Flash; 2], there: &mut Vec<Edit>, tries: usize) -> Result<(), Vec<Edit>> {
    let mut journal = open(areas).map_err(|_| there.clone())?;
    let mut again = |run: &mut dyn FnMut(&mut Opened<'_>) -> Result<(), EditError<Broken>>| {
        let mut outcome = Ok(());
        for _ in 0..tries {
            outcome = run(&mut journal);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    };
    for round in 0..6 {
        for seed in [round * 2, round * 2 + 1] {
            let mut instead = there.clone();
            let outcome = again(&mut |journal| append(journal, seed).map(|edit| there.push(edit)));
            if outcome.is_err() {
                let id = there.last().map_or(0, |edit| edit.id);
                let note = vec![seed as u8; seed as usize % 6];
                instead.push(Edit { id: id + 1, layer: seed as usize % 4, bits: bits(&numbers(seed)), note });
                return Err(instead);
            }
        }
        while there.len() > 2 {
            let (oldest, instead) = (there[0].id, there[1..].to_vec());
            if again(&mut |journal| journal.undo(oldest)).is_err() {
                return Err(instead);
            }
            *there = instead;
        }
        if round == 4 && again(&mut |journal| journal.compact()).is_err() {
            return Err(there.clone());
        }
    }
    Ok(())
}

#[test]
fn a_power_cut_at_any_byte_loses_nothing_that_was_confirmed() {
    let mut cuts = 0;
    for budget in 0.. {
        let (mut areas, mut there) = (Flash::pair(), Vec::new());
        areas[0].power.set(budget);
        let outcome = work(&mut areas, &mut there, 1);
        areas[0].power.set(usize::MAX);
        let mut journal = open(&mut areas).unwrap();
        let mut got = all(&mut journal);
        match outcome {
            Err(ref instead) => assert!(got == there || got == *instead, "cut at {budget}: {got:?}"),
            Ok(()) => assert_eq!(got, there),
        }
        // It goes on as if nothing had been: with the next id.
        let next = append(&mut journal, 9).unwrap();
        assert!(got.iter().all(|edit| edit.id < next.id));
        got.push(next);
        assert_eq!(all(&mut journal), got);
        assert_eq!(all(&mut open(&mut areas).unwrap()), got, "cut at {budget}");
        if outcome.is_ok() {
            break;
        }
        cuts += 1;
    }
    assert_eq!(cuts, 7580);
}

#[test]
fn a_call_that_fails_once_and_is_made_again_changes_nothing() {
    let (mut areas, mut expected) = (Flash::pair(), Vec::new());
    work(&mut areas, &mut expected, 1).unwrap();
    for call in 0.. {
        let (mut areas, mut there) = (Flash::pair(), Vec::new());
        areas[0].calls.set(call);
        work(&mut areas, &mut there, 2).unwrap_or_else(|_| panic!("call {call} failed once"));
        let failed = areas[0].calls.get() > call;
        assert_eq!(there, expected, "call {call}");
        assert_eq!(all(&mut open(&mut areas).unwrap()), expected, "call {call}");
        if !failed {
            assert_eq!(call, 271);
            break;
        }
    }
}

#[test]
fn after_a_compaction_that_failed_at_any_call_edits_are_kept_as_before() {
    for call in 0.. {
        let mut areas = Flash::pair();
        let calls = areas[0].calls.clone();
        let mut journal = open(&mut areas).unwrap();
        let mut there = vec![append(&mut journal, 1).unwrap()];
        calls.set(call);
        let compacted = journal.compact();
        calls.set(usize::MAX);
        there.push(append(&mut journal, 2).unwrap());
        assert_eq!(all(&mut open(&mut areas).unwrap()), there, "call {call}");
        if compacted.is_ok() {
            assert!(call > 5, "{call}");
            break;
        }
    }
}

#[test]
fn an_undo_that_failed_at_any_call_takes_nothing_back() {
    for call in 0.. {
        let mut areas = Flash::pair();
        let calls = areas[0].calls.clone();
        let mut journal = open(&mut areas).unwrap();
        let edit = append(&mut journal, 1).unwrap();
        calls.set(call);
        let undone = journal.undo(edit.id);
        calls.set(usize::MAX);
        journal.compact().unwrap();
        let there = if undone.is_ok() { vec![] } else { vec![edit] };
        assert_eq!(all(&mut journal), there, "call {call}");
        assert_eq!(all(&mut open(&mut areas).unwrap()), there, "call {call}");
        if undone.is_ok() {
            assert!(call > 5, "{call}");
            break;
        }
    }
}

#[test]
fn a_full_flash_says_so_and_has_room_for_undos_and_for_what_they_free() {
    let mut areas = Flash::pair();
    let mut journal = open(&mut areas).unwrap();
    let mut there = Vec::new();
    let full = loop {
        match append(&mut journal, 6) {
            Ok(edit) => there.push(edit),
            Err(error) => break error,
        }
    };
    assert_eq!(full, EditError::Journal(JournalError::Full));
    assert_eq!(there.len(), (AREA - AREA_HEADER_LEN as usize) / edit_len(5, 3, 0));
    assert_eq!(all(&mut journal), there);
    journal.undo(there[1].id).unwrap();
    there.remove(1);
    there.push(append(&mut journal, 6).unwrap());
    assert_eq!(all(&mut journal), there);
    for edit in &there {
        journal.undo(edit.id).unwrap();
    }
    assert_eq!((all(&mut journal), journal.active()), (vec![], &[][..]));
}

#[test]
fn an_id_is_never_given_again() {
    let mut areas = Flash::pair();
    let mut journal = open(&mut areas).unwrap();
    for id in 1..40 {
        assert_eq!(append(&mut journal, id).unwrap().id, id);
        journal.undo(id).unwrap();
        assert_eq!(journal.undo(id), Err(EditError::Unknown));
        journal.compact().unwrap();
        journal = open(&mut areas).unwrap();
        assert!(journal.used() < 80);
    }
}

#[test]
fn what_does_not_fit_the_model_or_the_buffer_is_refused() {
    let mut areas = Flash::pair();
    let mut journal = open(&mut areas).unwrap();
    for (at, wrong) in [(0, f32::NAN), (4, f32::INFINITY), (7, f32::NEG_INFINITY)] {
        let mut numbers = numbers(1);
        numbers[at] = wrong;
        let patch = RankOne { layer: 1, u: &numbers[..5], lambda: &numbers[5..] };
        assert_eq!(journal.append(MODEL, patch, b""), Err(EditError::NotFinite));
    }
    let edit = append(&mut journal, 3).unwrap();
    let mut read = |id, spec: ModelSpec, model, len| journal.patch(id, &spec, model, &mut [0.0; 9][..len]).map(|_| ());
    assert_eq!(read(edit.id, SPEC, MODEL, 9), Ok(()));
    assert_eq!(read(edit.id, SPEC, MODEL + 1, 9), Err(EditError::OtherModel));
    assert_eq!(read(edit.id, ModelSpec { d_ff: 6, ..SPEC }, MODEL, 9), Err(EditError::OtherModel));
    assert_eq!(read(edit.id, ModelSpec { d_model: 2, ..SPEC }, MODEL, 9), Err(EditError::OtherModel));
    assert_eq!(read(edit.id, ModelSpec { layers: 3, ..SPEC }, MODEL, 9), Err(EditError::OtherModel));
    assert_eq!(read(edit.id, SPEC, MODEL, 7), Err(EditError::TooSmall { need: 8, given: 7 }));
    assert_eq!(read(0, SPEC, MODEL, 9), Err(EditError::Unknown));
    assert_eq!(read(edit.id + 1, SPEC, MODEL, 9), Err(EditError::Unknown));
    assert_eq!(journal.note(edit.id, &mut [0; 2]), Err(EditError::TooSmall { need: 3, given: 2 }));
    assert_eq!(journal.undo(7), Err(EditError::Unknown));
}

#[test]
fn more_edits_than_can_be_applied_are_refused() {
    let mut areas = Flash::pair();
    areas.iter_mut().for_each(|area| area.bytes.resize(20_000, 0xFF));
    let mut journal = open(&mut areas).unwrap();
    for seed in 0..MOST_EDITS as u32 {
        append(&mut journal, seed).unwrap();
    }
    assert_eq!(append(&mut journal, 1), Err(EditError::TooMany));
    journal.undo(64).unwrap();
    append(&mut journal, 1).unwrap();
    assert_eq!(all(&mut open(&mut areas).unwrap()).len(), MOST_EDITS);
}

#[test]
fn the_last_id_of_all_ends_the_list_and_the_journal() {
    let mut areas = Flash::pair();
    let [a, b] = &mut areas;
    let last = *b"EDIT\x01\0\0\0\xFE\xFF\xFF\xFF\0\0\0\0modelidt\0\0\0\0\0\0\0\0\0\0\0\0";
    Areas::open(a, b).unwrap().append(&[&last]).unwrap();
    let mut journal = open(&mut areas).unwrap();
    assert_eq!(append(&mut journal, 3).unwrap().id, u32::MAX);
    assert_eq!(append(&mut journal, 3), Err(EditError::Journal(JournalError::Full)));
    assert_eq!(journal.next(u32::MAX - 1).unwrap().map(|entry| entry.id), Some(u32::MAX));
    assert_eq!(journal.next(u32::MAX), Ok(None));
    journal.undo(u32::MAX).unwrap();
    assert_eq!(append(&mut journal, 3), Err(EditError::Journal(JournalError::Full)));
}

#[test]
fn records_that_make_no_sense_are_named() {
    let sound = b"EDIT\x01\0\0\0\x01\0\0\0\0\0\0\0modelidt\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let changed = |at: usize, byte: u8| {
        let mut payload = sound.to_vec();
        payload[at] = byte;
        payload
    };
    let damaged = EditError::Journal(JournalError::Unreadable(Unreadable::Damaged(3)));
    let other = EditError::Journal(JournalError::Unreadable(Unreadable::NotAJournal));
    for (payload, error) in [
        (changed(0, b'P'), other),
        (vec![], other),
        (changed(4, 2), EditError::Newer(3)),
        (changed(4, 0), damaged),
        (changed(8, 0), damaged),
        (changed(24, 2), damaged),
        (changed(31, 0xFF), damaged),
        (changed(32, 1), damaged),
        (sound[..sound.len() - 4].to_vec(), damaged),
        (sound[..16].to_vec(), damaged),
        (b"UNDO\x01\0\0\0".to_vec(), damaged),
        (b"UNDO\x01\0\0\0\x01\0\0\0\0\0\0\0".to_vec(), damaged),
        (b"UNDO\x02\0\0\0".to_vec(), EditError::Newer(3)),
        // The id of the edit before it.
        (sound.to_vec(), damaged),
    ] {
        let mut areas = Flash::pair();
        let [a, b] = &mut areas;
        let mut journal = Areas::open(a, b).unwrap();
        journal.append(&[sound]).unwrap();
        journal.append(&[&payload]).unwrap();
        assert_eq!(open(&mut areas).map(|_| ()), Err(error), "{payload:?}");
    }
    // Numbers are looked at when they are read: 0x7F800000 is infinity.
    let mut infinite = sound.to_vec();
    infinite[42..44].copy_from_slice(&[0x80, 0x7F]);
    let mut areas = Flash::pair();
    let [a, b] = &mut areas;
    Areas::open(a, b).unwrap().append(&[&infinite]).unwrap();
    let (model, spec) = (u64::from_le_bytes(*b"modelidt"), ModelSpec { d_model: 1, d_ff: 1, ..SPEC });
    let mut journal = open(&mut areas).unwrap();
    assert_eq!(journal.patch(1, &spec, model, &mut [0.0; 2]).map(|_| ()), Err(EditError::NotFinite));
}
