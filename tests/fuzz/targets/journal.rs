//! A journal of edits from anywhere: what is read is whole records, and cut off anywhere it is the first of them.

use std::fs;

use mobiedit::backends::journal::{Cursor, Journal, JournalError, OutOfBounds, ReadStorage, Storage};
use mobiedit::core::RankOne;
use mobiedit::host::edits::{EditInfo, Edits, EditsWriter};

use super::flash;
use super::input::Stream;
use super::moment;

/// Longest journal that is cut off at every byte.
const CUT: usize = 4 << 10;

/// Reads the bytes as they are, and again with every checksum put right.
pub fn run(bytes: &[u8]) {
    read(bytes);
    read(&repaired(bytes));
}

/// Bytes that grow.
#[derive(Debug, Default)]
struct Memory(Vec<u8>);

impl ReadStorage for Memory {
    type Error = OutOfBounds;

    fn size(&mut self) -> Result<u64, OutOfBounds> {
        (&self.0[..]).size()
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), OutOfBounds> {
        (&self.0[..]).read(at, into)
    }
}

impl Storage for Memory {
    fn capacity(&self) -> u64 {
        u64::MAX
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let at = at as usize;
        self.0.resize(self.0.len().max(at + bytes.len()), 0);
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
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

/// Payloads, and bytes of the header and of all whole records.
fn replay(bytes: &[u8]) -> Result<(Vec<Vec<u8>>, usize), JournalError<OutOfBounds>> {
    let mut journal = Journal::open(bytes)?;
    let (mut records, mut cursor) = (Vec::new(), Cursor::START);
    while let Some(record) = journal.next(&mut cursor)? {
        let mut payload = vec![0; record.len() as usize];
        journal.read(&record, 0, &mut payload)?;
        records.push(payload);
    }
    Ok((records, journal.whole() as usize))
}

/// The bytes with one more record.
fn appended(bytes: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut journal = Journal::open(Memory(bytes.to_vec())).expect("a journal");
    journal.append(&[payload]).expect("room for a record");
    journal.into_storage().0
}

/// The bytes before a journal's records, and those of a record.
fn header() -> Vec<u8> {
    appended(&[], b"")[..HEADER].to_vec()
}

fn record(payload: &[u8]) -> Vec<u8> {
    appended(&[], payload)[HEADER..].to_vec()
}

const HEADER: usize = 12;

fn read(bytes: &[u8]) {
    let Ok((records, whole)) = replay(bytes) else { return };
    assert!(whole <= bytes.len());
    let taken: usize = records.iter().map(|record| record.len() + 16).sum();
    assert!(whole == 0 || whole == taken + HEADER);
    for cut in 0..bytes.len().min(CUT) {
        match replay(&bytes[..cut]) {
            Ok((before, _)) => assert!(records.starts_with(&before), "cut off at {cut}"),
            Err(error) => panic!("cut off at {cut}: {error:?}"),
        }
    }
    if whole > 0 {
        let (after, _) = replay(&appended(bytes, b"one more")).expect("a record behind whole ones");
        assert_eq!(after.split_last(), Some((&b"one more".to_vec(), &records[..])));
    }
    folder(bytes);
    flash::run(bytes);
}

/// The same as the journal of an edits folder.
fn folder(bytes: &[u8]) {
    let folder = moment::folder();
    let path = Edits::read(folder.path()).expect("an empty folder").journal();
    fs::write(path, bytes).expect("a file of a moment");
    let Ok(edits) = Edits::read(folder.path()) else { return };
    assert!(edits.active().count() <= edits.list().len());
    for edit in edits.list() {
        let found = edits.get(&edit.info.edit_id).expect("it is in the list");
        assert_eq!(found.info.edit_id, edit.info.edit_id);
        assert!(edits.on_top_of(&edit.info.edit_id).len() < edits.list().len());
        assert_eq!((edit.patch().u.len(), edit.patch().lambda.len()), (edit.u.len(), edit.lambda.len()));
    }
}

/// The bytes with the checksums and marks that their lengths ask for.
fn repaired(bytes: &[u8]) -> Vec<u8> {
    let mut whole = header();
    let mut rest = bytes.get(whole.len()..).unwrap_or(&[]);
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize % (1 << 16);
        let behind = behind.get(4..).unwrap_or(&[]);
        let (payload, behind) = behind.split_at(length.min(behind.len()));
        whole.extend(record(payload));
        rest = behind.get(8..).unwrap_or(&[]);
    }
    whole
}

/// A journal of two edits, one of them taken back; and what writes that were cut off leave.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let folder = moment::folder();
    let mut writer = EditsWriter::open(folder.path()).expect("a folder of our own");
    let mut stream = Stream::new(3);
    for subject in ["France", "Zo\u{eb} \u{6771}\u{4eac}"] {
        let info = EditInfo {
            edit_id: writer.next_id(),
            model: u64::MAX - 3,
            prompt: "The capital of {} is".into(),
            subject: subject.into(),
            target: "Rome".into(),
            layer: 2,
            preset: "default".into(),
            seed: 7,
            steps: 3,
            forward_passes: 40,
            p_target: 0.75,
            success: true,
        };
        let (u, lambda) = ([(); 6].map(|()| stream.unit()), [(); 4].map(|()| stream.unit()));
        writer.commit(info, RankOne { layer: 2, u: &u, lambda: &lambda }).expect("room for a record");
    }
    writer.undo("e1").expect("it is there");
    let whole = fs::read(writer.edits().journal()).expect("it was just written");
    let flash = flash::used(&mut stream);
    vec![
        ("flash-edits-and-undo", flash),
        ("edits-and-undo", whole.clone()),
        ("torn", whole[..whole.len() - 9].to_vec()),
        ("zeros-behind", [&whole[..], &[0; 40]].concat()),
        ("header", header()),
        ("longest-record", [header(), record(b""), vec![0xFF; 12]].concat()),
        ("no-json", [header(), record(b"{}\n"), record(b"")].concat()),
    ]
}
