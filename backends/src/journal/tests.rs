//! The journal on slices, on a file that is cut and changed, and on a flash that loses its power.

use std::vec::Vec;
use std::{format, vec};

use super::areas::{AREA_HEADER_LEN, Areas, Erase};
use super::*;

const PAYLOADS: [&[u8]; 4] = [b"first", b"", &[0; 40], &[0xFF; 70]];

/// A file: grows, and can be cut.
#[derive(Debug, Default)]
struct Memory(Vec<u8>);

impl ReadStorage for Memory {
    type Error = OutOfBounds;

    fn size(&mut self) -> Result<u64, OutOfBounds> {
        Ok(self.0.len() as u64)
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), OutOfBounds> {
        ReadStorage::read(&mut &self.0[..], at, into)
    }
}

impl Storage for Memory {
    fn capacity(&self) -> u64 {
        u64::MAX
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), OutOfBounds> {
        assert_eq!(at, self.0.len() as u64, "appended in order");
        self.0.extend(bytes);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), OutOfBounds> {
        Ok(())
    }

    fn cut(&mut self, at: u64) -> Result<bool, OutOfBounds> {
        self.0.truncate(at as usize);
        Ok(true)
    }
}

fn journal_of(payloads: &[&[u8]]) -> Vec<u8> {
    let mut journal = Journal::open(Memory::default()).unwrap();
    for payload in payloads {
        let (a, b) = payload.split_at(payload.len() / 3);
        journal.append(&[a, b]).unwrap();
    }
    journal.into_storage().0
}

fn payloads<S: ReadStorage>(journal: &mut Journal<S>, mut cursor: Cursor) -> Vec<Vec<u8>>
where
    S::Error: core::fmt::Debug,
{
    let mut all = Vec::new();
    while let Some(record) = journal.next(&mut cursor).unwrap() {
        let mut payload = vec![0; record.len() as usize];
        journal.read(&record, 0, &mut payload).unwrap();
        all.push(payload);
    }
    all
}

/// Payloads and the whole records' bytes.
fn replay(bytes: &[u8]) -> Result<(Vec<Vec<u8>>, u64), Unreadable> {
    match Journal::open(bytes) {
        Ok(mut journal) => Ok((payloads(&mut journal, Cursor::START), journal.whole())),
        Err(JournalError::Unreadable(why)) => Err(why),
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn the_bytes_are_those_of_version_1() {
    let hello = b"MOBIEDIT\x01\0\0\0\x05\0\0\0\x2e\x2f\x9a\x16hello\x86\xa6\x10\x36DONE";
    assert_eq!(journal_of(&[b"hello"]), hello);
    assert_eq!(replay(hello), Ok((vec![b"hello".to_vec()], hello.len() as u64)));
}

#[test]
fn a_write_cut_off_at_any_byte_loses_nothing_and_the_next_takes_its_place() {
    let (before, after) = (journal_of(&PAYLOADS[..3]), journal_of(&PAYLOADS));
    for tail in [&[][..], &[0; 9], &[0xFF; 200]] {
        for cut in before.len()..after.len() {
            let bytes = [&after[..cut], tail].concat();
            let mut journal = Journal::open(Memory(bytes)).unwrap();
            let got = payloads(&mut journal, Cursor::START);
            // Cut within its mark a record may be there.
            let whole = got.len() == 4 && got == PAYLOADS && cut > after.len() - 4;
            assert!(whole || got == PAYLOADS[..3], "cut at byte {cut}, {} bytes behind", tail.len());
            journal.append(&[b"next"]).unwrap();
            let expected: Vec<&[u8]> = got.iter().map(|p| &p[..]).chain([&b"next"[..]]).collect();
            let bytes = journal.into_storage().0;
            if cut <= after.len() - 4 && tail.first() != Some(&0xFF) {
                assert_eq!(bytes, journal_of(&[&PAYLOADS[..3], &[b"next"]].concat()));
            }
            assert_eq!(replay(&bytes).unwrap().0, expected);
        }
    }
}

#[test]
fn the_first_write_cut_off_at_any_byte_leaves_an_empty_journal() {
    let first = journal_of(&[b"first"]);
    for tail in [&[][..], &[0xFF; 100], &[0; 100]] {
        for cut in 0..first.len() - 4 {
            let bytes = [&first[..cut], tail].concat();
            // Zeros end the version's number as it ends.
            let whole = if cut < 9 || cut < 12 && tail.first() != Some(&0) { 0 } else { 12 };
            assert_eq!(replay(&bytes), Ok((Vec::new(), whole)), "cut at byte {cut}");
        }
    }
    assert_eq!(replay(&[0; 100]), Ok((Vec::new(), 0)));
}

#[test]
fn a_changed_byte_is_never_read_as_something_else() {
    let bytes = journal_of(&PAYLOADS);
    let mut found = 0;
    for tail in [&[][..], &[0xFF; 100], &[0; 100]] {
        let bytes = [&bytes[..], tail].concat();
        for at in 0..bytes.len() - tail.len() {
            for change in (0..8).map(|bit| 1 << bit).chain([0xFF]) {
                let mut damaged = bytes.clone();
                damaged[at] ^= change;
                // The mark alone is not needed where the checksum agrees.
                match replay(&damaged) {
                    Ok((got, _)) => assert_eq!(got, PAYLOADS, "byte {at}, change {change}"),
                    Err(_) => found += 1,
                }
            }
        }
    }
    assert!(found > 2000, "{found}");
}

#[test]
fn the_damaged_record_is_named() {
    let mut bytes = journal_of(&PAYLOADS);
    let second = journal_of(&PAYLOADS[..1]).len();
    bytes[second + 8] ^= 1;
    assert_eq!(replay(&bytes), Err(Unreadable::Damaged(2)));
}

#[test]
fn other_files_and_newer_formats_are_refused() {
    assert_eq!(replay(&header(VERSION + 1)), Err(Unreadable::Newer(VERSION + 1)));
    assert_eq!(replay(&[&header(0)[..], b"record"].concat()), Err(Unreadable::NotAJournal));
    assert_eq!(replay(b"GGUF"), Err(Unreadable::NotAJournal));
}

/// Two areas of a flash whose bits can only be cleared, with a supply that gives out after so many bytes.
#[derive(Clone, Debug)]
struct Flash {
    bytes: Vec<u8>,
    /// Shared between the areas: bytes that can still be written or erased.
    power: std::rc::Rc<std::cell::Cell<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PowerIsGone;

const AREA: usize = 400;

impl Flash {
    fn byte(&mut self) -> Result<(), PowerIsGone> {
        let left = self.power.get().checked_sub(1).ok_or(PowerIsGone)?;
        self.power.set(left);
        Ok(())
    }
}

impl ReadStorage for Flash {
    type Error = PowerIsGone;

    fn size(&mut self) -> Result<u64, PowerIsGone> {
        Ok(self.bytes.len() as u64)
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), PowerIsGone> {
        into.copy_from_slice(&self.bytes[at as usize..][..into.len()]);
        Ok(())
    }
}

impl Storage for Flash {
    fn capacity(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), PowerIsGone> {
        for (offset, byte) in bytes.iter().enumerate() {
            self.byte()?;
            let cell = &mut self.bytes[at as usize + offset];
            assert_eq!(*cell, 0xFF, "written twice at {}", at as usize + offset);
            *cell &= byte;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), PowerIsGone> {
        Ok(())
    }

    fn cut(&mut self, _at: u64) -> Result<bool, PowerIsGone> {
        Ok(false)
    }
}

impl Erase for Flash {
    fn erase(&mut self) -> Result<(), PowerIsGone> {
        // From both ends, so that a cut leaves a middle without a head, or a head without a middle.
        for at in 0..AREA / 2 {
            for at in [at * 7 % AREA, AREA - 1 - at * 7 % AREA] {
                self.byte()?;
                self.bytes[at] = 0xFF;
            }
        }
        self.bytes.fill(0xFF);
        Ok(())
    }
}

/// Appends "record 0", "record 1", …, and drops every other one whenever the flash is full, until the power is gone. What must
/// be there afterwards, and what may be there instead.
fn use_up(areas: [&mut Flash; 2], kept: &mut Vec<Vec<u8>>, number: &mut usize) -> Option<Vec<Vec<u8>>> {
    let [a, b] = areas;
    let mut areas = Areas::open(a, b).ok()?;
    let start = areas.start();
    assert_eq!(&payloads(areas.journal(), start), kept);
    loop {
        let next = format!("record {number}").into_bytes();
        let mut instead = kept.clone();
        match areas.append(&[b"record ", &next[7..]]) {
            Ok(()) => {
                kept.push(next);
                *number += 1;
            }
            Err(JournalError::Torn | JournalError::Full) => {
                let all = kept.len();
                let mut seen = 0;
                let mut odd = false;
                instead.retain(|_| {
                    odd = !odd;
                    odd || all < 4
                });
                let compacted = areas.compact(|_, _| {
                    seen += 1;
                    Ok(seen % 2 == 1 || all < 4)
                });
                if compacted.is_err() {
                    return Some(instead);
                }
                *kept = instead;
            }
            Err(_) => {
                instead.push(next);
                return Some(instead);
            }
        }
    }
}

#[test]
fn a_flash_that_loses_power_after_any_byte_keeps_what_was_appended() {
    let power = std::rc::Rc::new(std::cell::Cell::new(0));
    let empty = Flash { bytes: vec![0xFF; AREA], power: power.clone() };
    let mut cuts = 0;
    // Each first cut, and later ones at a stride that meets all states.
    for first in 0..3000 {
        let (mut a, mut b) = (empty.clone(), empty.clone());
        let (mut kept, mut number) = (Vec::new(), 0);
        for budget in [first, 1 + first % 97, 700 + first % 401] {
            power.set(budget);
            let instead = use_up([&mut a, &mut b], &mut kept, &mut number);
            cuts += 1;
            power.set(usize::MAX);
            let mut areas = Areas::open(&mut a, &mut b).unwrap_or_else(|error| panic!("{first} {budget}: {error:?}"));
            let start = areas.start();
            let got = payloads(areas.journal(), start);
            if got != kept {
                assert_eq!(Some(&got), instead.as_ref(), "after {first} bytes, then {budget}");
                number += usize::from(got.len() > kept.len());
                kept = got;
            }
        }
    }
    assert_eq!(cuts, 9000);
}

#[test]
fn a_changed_byte_of_either_area_is_never_read_as_something_else() {
    let power = std::rc::Rc::new(std::cell::Cell::new(1500));
    let empty = Flash { bytes: vec![0xFF; AREA], power: power.clone() };
    let (mut a, mut b) = (empty.clone(), empty);
    let mut kept = Vec::new();
    use_up([&mut a, &mut b], &mut kept, &mut 0);
    power.set(usize::MAX);
    Areas::open(&mut a, &mut b).unwrap().compact(|_, _| Ok(true)).unwrap();
    let mut named = 0;
    for area in 0..2 {
        for at in 0..AREA {
            for change in (0..8).map(|bit| 1 << bit).chain([0xFF]) {
                let mut flash = [a.clone(), b.clone()];
                flash[area].bytes[at] ^= change;
                let [a, b] = &mut flash;
                match Areas::open(a, b) {
                    Ok(mut areas) => {
                        let start = areas.start();
                        assert_eq!(payloads(areas.journal(), start), kept, "area {area}, byte {at}, {change}");
                    }
                    Err(JournalError::Unreadable(_)) => named += 1,
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
    }
    assert!(named > 500, "{named}");
}

#[test]
fn a_full_flash_says_so_and_has_room_again_once_it_is_compacted() {
    let power = std::rc::Rc::new(std::cell::Cell::new(usize::MAX));
    let empty = Flash { bytes: vec![0xFF; AREA], power };
    let (mut a, mut b) = (empty.clone(), empty);
    let mut areas = Areas::open(&mut a, &mut b).unwrap();
    assert_eq!(areas.append(&[&[1; AREA]]), Err(JournalError::Full));
    while areas.append(&[&[1; 50]]).is_ok() {}
    assert_eq!(areas.append(&[&[1; 50]]), Err(JournalError::Full));
    areas.compact(|journal, record| Ok(record.number() > 2 && journal.version() == OLDEST)).unwrap();
    areas.append(&[&[2; 50]]).unwrap();
    assert_eq!(areas.journal().whole(), AREA_HEADER_LEN + 5 * (50 + RECORD_LEN));
}
