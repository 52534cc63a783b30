//! A journal of edits from anywhere: what is read is whole records, and cut off anywhere it is the first of them.

use std::fs;

use mobiedit::core::RankOne;
use mobiedit::host::edits::{EditInfo, Edits, EditsWriter};
use mobiedit::host::journal;

use super::input::Stream;
use super::moment;

/// Longest journal that is cut off at every byte.
const CUT: usize = 4 << 10;

/// Reads the bytes as they are, and again with every checksum put right.
pub fn run(bytes: &[u8]) {
    read(bytes);
    read(&repaired(bytes));
}

fn read(bytes: &[u8]) {
    let Ok(replayed) = journal::replay(bytes) else { return };
    assert!(replayed.whole <= bytes.len());
    let taken: usize = replayed.records.iter().map(|record| record.len() + 16).sum();
    assert!(replayed.whole == 0 || replayed.whole == taken + 12);
    for cut in 0..bytes.len().min(CUT) {
        match journal::replay(&bytes[..cut]) {
            Ok(before) => assert!(replayed.records.starts_with(&before.records), "cut off at {cut}"),
            Err(error) => panic!("cut off at {cut}: {error}"),
        }
    }
    if replayed.whole > 0 {
        let longer = [&bytes[..replayed.whole], &journal::record(b"one more")].concat();
        let after = journal::replay(&longer).expect("a record behind whole ones");
        assert_eq!(after.records.split_last(), Some((&&b"one more"[..], &replayed.records[..])));
    }
    folder(bytes);
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
    let mut whole = journal::header();
    let mut rest = bytes.get(whole.len()..).unwrap_or(&[]);
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize % (1 << 16);
        let behind = behind.get(4..).unwrap_or(&[]);
        let (payload, behind) = behind.split_at(length.min(behind.len()));
        whole.extend(journal::record(payload));
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
        };
        let (u, lambda) = ([(); 6].map(|()| stream.unit()), [(); 4].map(|()| stream.unit()));
        writer.commit(info, RankOne { layer: 2, u: &u, lambda: &lambda }).expect("room for a record");
    }
    writer.undo("e1").expect("it is there");
    let whole = fs::read(writer.edits().journal()).expect("it was just written");
    vec![
        ("edits-and-undo", whole.clone()),
        ("torn", whole[..whole.len() - 9].to_vec()),
        ("zeros-behind", [&whole[..], &[0; 40]].concat()),
        ("header", journal::header()),
        ("longest-record", [journal::header(), journal::record(b""), vec![0xFF; 12]].concat()),
        ("no-json", [journal::header(), journal::record(b"{}\n"), journal::record(b"")].concat()),
    ]
}
