//! The edits folder within one process.

use std::fs;
use std::path::Path;

use mobiedit_core::rank_one::RankOne;

use super::*;

fn info(edit_id: String, subject: &str) -> EditInfo {
    EditInfo {
        edit_id,
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
    }
}

fn commit(writer: &mut EditsWriter, subject: &str) {
    let info = info(writer.next_id(), subject);
    let patch = RankOne { layer: 2, u: &[1.5, -0.25, 1e-30], lambda: &[f32::MIN_POSITIVE, 3.0] };
    writer.commit(info, patch).unwrap();
}

fn subjects(edits: &Edits) -> Vec<(&str, bool)> {
    edits.list().iter().map(|e| (e.info.subject.as_str(), e.active)).collect()
}

#[test]
fn edits_and_undos_come_back_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edits");
    assert!(Edits::read(&path).unwrap().list().is_empty());
    assert!(!path.exists(), "reading must not create the folder");
    let mut writer = EditsWriter::open(&path).unwrap();
    commit(&mut writer, "France");
    commit(&mut writer, "Zoë 東京");
    writer.undo("e1").unwrap();
    assert!(matches!(writer.undo("e1"), Err(EditsError::Undone(_))));
    assert!(matches!(writer.undo("e9"), Err(EditsError::Unknown(_))));
    drop(writer);
    let edits = Edits::read(&path).unwrap();
    assert_eq!(subjects(&edits), [("France", false), ("Zoë 東京", true)]);
    let edit = edits.get("e2").unwrap();
    assert_eq!(edit.info, info("e2".into(), "Zoë 東京"));
    assert_eq!(edit.patch(), RankOne { layer: 2, u: &[1.5, -0.25, 1e-30], lambda: &[f32::MIN_POSITIVE, 3.0] });
}

#[test]
fn later_edits_of_a_subject_are_on_top_of_its_earlier_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = EditsWriter::open(folder.path()).unwrap();
    for subject in ["France", "Spain", "France", "France"] {
        commit(&mut writer, subject);
    }
    writer.undo("e4").unwrap();
    let above = |id| writer.edits().on_top_of(id);
    assert_eq!([above("e1"), above("e2"), above("e3"), above("e9")], [vec!["e3"], vec![], vec![], vec![]]);
}

#[test]
fn a_torn_tail_is_reported_and_the_next_edit_replaces_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = EditsWriter::open(folder.path()).unwrap();
    commit(&mut writer, "France");
    drop(writer);
    let journal = folder.path().join(JOURNAL);
    let whole = fs::read(&journal).unwrap();
    fs::write(&journal, [&whole[..], &whole[12..21]].concat()).unwrap();
    let edits = Edits::read(folder.path()).unwrap();
    assert_eq!((subjects(&edits), edits.torn()), (vec![("France", true)], 9));
    let mut writer = EditsWriter::open(folder.path()).unwrap();
    commit(&mut writer, "Spain");
    assert_eq!(writer.undo_all().unwrap(), ["e1", "e2"]);
    drop(writer);
    let edits = Edits::read(folder.path()).unwrap();
    assert_eq!((subjects(&edits), edits.torn()), (vec![("France", false), ("Spain", false)], 0));
}

#[test]
fn two_writers_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let first = EditsWriter::open(folder.path()).unwrap();
    assert!(matches!(EditsWriter::open(folder.path()), Err(EditsError::Locked(_))));
    drop(first);
    EditsWriter::open(folder.path()).unwrap();
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_look() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edits");
    commit(&mut EditsWriter::open(&path).unwrap(), "France");
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join(JOURNAL))), (0o700, 0o600));
}
