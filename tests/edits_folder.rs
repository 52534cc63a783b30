//! The edits folder against what can happen to its files: writes cut at any byte, bytes changed, disks full or read-only, and
//! other processes. Either all committed edits are there, exactly, or the damage is named. No model is run.

mod command;

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use command::Place;
use mobiedit::core::rank_one::RankOne;
use mobiedit::host::edits::{Edit, EditInfo, Edits, EditsError, EditsWriter};

/// Where the journal is in an edits folder.
const JOURNAL: &str = "journal.mej";
/// What a folder holds, in full.
#[derive(Clone, Debug, PartialEq)]
struct State {
    edits: Vec<Edit>,
    forgotten: Vec<String>,
    next_id: String,
}

impl State {
    fn of(edits: &Edits) -> Self {
        Self { edits: edits.list().to_vec(), forgotten: edits.forgotten().to_vec(), next_id: edits.next_id() }
    }

    fn read(folder: &Path) -> Result<Self, EditsError> {
        Edits::read(folder).map(|edits| Self::of(&edits))
    }
}

/// Words and numbers of edit `number`, none of which another has.
fn commit(writer: &mut EditsWriter, number: u32) -> Result<(), EditsError> {
    let info = EditInfo {
        edit_id: writer.next_id(),
        model: u64::from(number) << 40,
        prompt: format!("prompt {number} of {{}} is"),
        subject: format!("Zoë{number}"),
        target: format!("target{number}"),
        layer: 2,
        preset: "default".into(),
        seed: 7,
        steps: number,
        forward_passes: 40,
        p_target: 0.98 - number as f32 * 1e-3,
        success: true,
    };
    let (u, lambda) = patch(number);
    writer.commit(info, RankOne { layer: 2, u: &u, lambda: &lambda })
}

fn patch(number: u32) -> (Vec<f32>, Vec<f32>) {
    let floats = |from: u32, count: u32| (0..count).map(|i| (number * 100 + from + i) as f32 * 1.37e-3).collect();
    (floats(0, 9), floats(50, 4))
}

/// Edits, undos, forgotten edits: the journal's bytes and the state after each operation.
fn history(folder: &Path) -> Vec<(Vec<u8>, State)> {
    let mut writer = EditsWriter::open(folder).unwrap();
    let mut all = Vec::new();
    for operation in 0..12 {
        match operation {
            0..4 | 6 | 9 => commit(&mut writer, operation).unwrap(),
            4 => writer.undo("e2").unwrap(),
            5 => writer.forget("e3").unwrap(),
            7 => writer.undo("e5").unwrap(),
            8 => writer.forget("e2").unwrap(),
            10 => writer.compact().unwrap(),
            _ => writer.undo("e1").unwrap(),
        }
        all.push((fs::read(folder.join(JOURNAL)).unwrap(), State::of(writer.edits())));
        assert_eq!(State::read(folder).unwrap(), all.last().unwrap().1);
    }
    all
}

#[test]
fn a_write_cut_at_any_byte_leaves_what_was_committed_before_it() {
    let place = Place::new();
    let history = history(&place.path("recorded"));
    let folder = place.path("cut");
    fs::create_dir(&folder).unwrap();
    let nothing = (Vec::new(), State { edits: Vec::new(), forgotten: Vec::new(), next_id: "e1".into() });
    let mut cuts = 0;
    for ((before, state), (after, next)) in [&nothing].into_iter().chain(&history).zip(&history) {
        let Some(written) = after.strip_prefix(&before[..]) else { continue };
        for cut in 0..written.len() {
            // Where a write did not arrive, some file systems leave zeros.
            for zeros in [0, 100] {
                let bytes = [before, &written[..cut], &vec![0; zeros]].concat();
                fs::write(folder.join(JOURNAL), &bytes).unwrap();
                let read = State::read(&folder).unwrap();
                // Cut within its mark, a record whose file was long enough before may be there.
                let whole = zeros > 0 && cut > written.len() - 4 && read == *next;
                assert!(whole || read == *state, "{} bytes, then cut at {cut}: {read:?}", before.len());
                cuts += 1;
            }
            // The next edit takes the place of what was cut off.
            if cut % 41 == 0 {
                let mut writer = EditsWriter::open(&folder).unwrap();
                commit(&mut writer, 50).unwrap();
                assert_eq!(State::read(&folder).unwrap(), State::of(writer.edits()));
            }
        }
    }
    println!("cut at {cuts} places");
    assert!(cuts > 3500, "{cuts}");
}

#[test]
fn a_changed_byte_is_named_or_changes_nothing() {
    let place = Place::new();
    let history = history(&place.path("recorded"));
    let folder = place.path("changed");
    fs::create_dir(&folder).unwrap();
    let (mut changes, mut named) = (0, 0);
    // Before anything was forgotten, after it, and with the rest of a write that was cut off.
    let (first, last) = (&history[4], &history[11]);
    let torn = (&[&last.0[..], &first.0[12..100]].concat(), &last.1);
    for (bytes, state) in [(&first.0, &first.1), (&last.0, &last.1), torn] {
        let mut damaged = bytes.clone();
        fs::write(folder.join(JOURNAL), bytes).unwrap();
        let mut file = fs::OpenOptions::new().write(true).open(folder.join(JOURNAL)).unwrap();
        let mut put = |at: usize, byte: u8| {
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.write_all(&[byte]).unwrap();
        };
        for at in 0..bytes.len() {
            for change in (0..8).map(|bit| 1 << bit).chain([0xFF]) {
                damaged[at] = bytes[at] ^ change;
                put(at, damaged[at]);
                changes += 1;
                match Edits::read(&folder) {
                    Ok(edits) => assert_eq!(&State::of(&edits), state, "byte {at}, change {change}"),
                    Err(EditsError::Journal { error, .. }) => {
                        named += 1;
                        assert!(!error.to_string().is_empty());
                        let refused = at % 16 != 0 || EditsWriter::open(&folder).is_err();
                        assert!(refused, "byte {at}, change {change}: a damaged journal is written to");
                        assert!(fs::read(folder.join(JOURNAL)).unwrap() == damaged, "a damaged journal is touched");
                    }
                    Err(error) => panic!("byte {at}, change {change}: {error}"),
                }
            }
            damaged[at] = bytes[at];
            put(at, bytes[at]);
        }
    }
    println!("{changes} changes, {named} of them named");
    assert!(named > 10_000, "{named} of {changes}");
}

#[test]
fn a_compaction_cut_at_any_byte_changes_nothing_and_can_be_done_again() {
    let place = Place::new();
    let folder = place.path("edits");
    let mut writer = EditsWriter::open(&folder).unwrap();
    (0..4).for_each(|number| commit(&mut writer, number).unwrap());
    drop(writer);
    let (journal, part) = (folder.join(JOURNAL), folder.join("journal.mej.part"));
    let (before, old) = (State::read(&folder).unwrap(), fs::read(&journal).unwrap());
    EditsWriter::open(&folder).unwrap().forget("e2").unwrap();
    let (after, new) = (State::read(&folder).unwrap(), fs::read(&journal).unwrap());
    assert!(!part.exists() && after.forgotten == ["e2"]);
    for cut in 0..=new.len() {
        fs::write(&journal, &old).unwrap();
        fs::write(&part, &new[..cut]).unwrap();
        assert_eq!(State::read(&folder).unwrap(), before, "cut at byte {cut}");
        if cut % 97 == 0 || cut == new.len() {
            EditsWriter::open(&folder).unwrap().forget("e2").unwrap();
            assert!(fs::read(&journal).unwrap() == new && !part.exists(), "cut at byte {cut}");
        }
    }
    println!("cut at {} places", new.len() + 1);
}

#[test]
fn nothing_of_a_forgotten_edit_is_left_in_any_file() {
    let place = Place::new();
    let folder = place.path("edits");
    let mut writer = EditsWriter::open(&folder).unwrap();
    let bytes_of = |number| {
        let (u, lambda) = patch(number);
        u.iter().chain(&lambda).flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()
    };
    let name = |id: &str, rest: &str| folder.join(format!("{id}{rest}"));
    let kept = |id: &str| [name(id, ".gguf"), name(id, ".gguf.77.part"), name(&format!("running-{id}"), "-00ff.mec")];
    for number in 0..4 {
        commit(&mut writer, number).unwrap();
        for path in kept(&format!("e{}", number + 1)) {
            fs::write(path, bytes_of(number)).unwrap();
        }
    }
    writer.undo("e3").unwrap();
    let left = |number: u32| {
        let words = [format!("prompt {number} of"), format!("Zoë{number}"), format!("target{number}")];
        let mut wanted: Vec<Vec<u8>> = words.map(String::into_bytes).into();
        wanted.extend(bytes_of(number).chunks(4).filter(|float| **float != [0; 4]).map(<[u8]>::to_vec));
        let all = place.files();
        let holds = |wanted: &[u8]| all.iter().any(|(_, bytes)| bytes.windows(wanted.len()).any(|at| at == wanted));
        wanted.iter().filter(|wanted| holds(wanted)).count()
    };
    assert!((0..4).all(|number| left(number) >= 15));
    let before = State::of(writer.edits());
    writer.forget("e2").unwrap();
    writer.forget("e3").unwrap();
    assert_eq!((left(1), left(2)), (0, 0));
    assert!(left(0) >= 15 && left(3) >= 15 && kept("e1").iter().chain(&kept("e4")).all(|path| path.exists()));
    assert!(matches!(writer.forget("e2"), Err(EditsError::Forgotten(_))));
    assert!(matches!(writer.undo("e2"), Err(EditsError::Forgotten(_))));
    assert!(matches!(writer.forget("e9"), Err(EditsError::Unknown(_))));
    // Ids stay, and none is given again.
    commit(&mut writer, 4).unwrap();
    let ids: Vec<_> = writer.edits().list().iter().map(|edit| edit.info.edit_id.as_str()).collect();
    assert_eq!(ids, ["e1", "e4", "e5"]);
    assert_eq!(writer.edits().list()[..2], [before.edits[0].clone(), before.edits[3].clone()]);
    writer.forget("e5").unwrap();
    assert_eq!(writer.next_id(), "e6");
    drop(writer);

    fs::write(folder.join("running-e6-00ff.mec"), bytes_of(3)).unwrap();
    fs::write(folder.join("notes.txt"), "somebody's own").unwrap();
    assert_eq!(EditsWriter::open(&folder).unwrap().forget_all().unwrap(), ["e1", "e4"]);
    assert_eq!((0..5).map(left).sum::<usize>(), 0);
    let state = State::read(&folder).unwrap();
    assert_eq!((state.edits.len(), state.forgotten.len(), state.next_id.as_str()), (0, 5, "e6"));
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [JOURNAL, "notes.txt"]);
}

#[test]
fn a_journal_without_forgotten_edits_is_still_of_version_1() {
    let place = Place::new();
    let mut writer = EditsWriter::open(&place.path("edits")).unwrap();
    let version = || fs::read(place.path("edits/journal.mej")).unwrap()[8..12].to_vec();
    commit(&mut writer, 0).unwrap();
    writer.undo("e1").unwrap();
    writer.compact().unwrap();
    assert_eq!(version(), [1, 0, 0, 0]);
    writer.forget("e1").unwrap();
    assert_eq!(version(), [2, 0, 0, 0], "older programs do not know the record");
}

#[test]
fn a_journal_that_was_removed_or_replaced_is_not_written_to() {
    let place = Place::new();
    let folder = place.path("edits");
    let mut writer = EditsWriter::open(&folder).unwrap();
    commit(&mut writer, 0).unwrap();
    let bytes = fs::read(folder.join(JOURNAL)).unwrap();
    fs::remove_file(folder.join(JOURNAL)).unwrap();
    assert!(matches!(commit(&mut writer, 1), Err(EditsError::Replaced(_))));
    fs::write(folder.join(JOURNAL), &bytes).unwrap();
    assert!(matches!(writer.undo("e1"), Err(EditsError::Replaced(_))));
    assert!(matches!(writer.forget("e1"), Err(EditsError::Replaced(_))));
    assert_eq!(fs::read(folder.join(JOURNAL)).unwrap(), bytes);
}

#[test]
fn writers_that_meet_while_the_journal_is_replaced_lose_nothing() {
    const EACH: usize = 25;
    let place = Place::new();
    let folder = place.path("edits");
    let work = |which: usize| {
        for round in 0..EACH {
            let mut writer = loop {
                match EditsWriter::open(&folder) {
                    Ok(writer) => break writer,
                    Err(EditsError::Locked(_)) => std::thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
            };
            commit(&mut writer, (which * EACH + round) as u32).unwrap();
            let id = writer.edits().list().last().unwrap().info.edit_id.clone();
            match round % 3 {
                0 => writer.compact().unwrap(),
                1 => writer.forget(&id).unwrap(),
                _ => {}
            }
            // Nobody has a lock to read, and finds a whole journal at any moment.
            drop(writer);
            Edits::read(&folder).unwrap();
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|which| drop(scope.spawn(move || work(which)))));
    let state = State::read(&folder).unwrap();
    assert_eq!(state.next_id, format!("e{}", 4 * EACH + 1));
    let mut ids: Vec<_> = state.edits.iter().map(|edit| edit.info.edit_id.clone()).chain(state.forgotten).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4 * EACH);
}

#[test]
fn another_process_is_told_who_has_the_folder() {
    let place = Place::new();
    let mut writer = EditsWriter::open(&place.path("mobiedit-edits")).unwrap();
    commit(&mut writer, 0).unwrap();
    for command in [&["undo", "e1"][..], &["undo", "--all"], &["forget", "e1"], &["forget", "--all"]] {
        let ran = place.run(command);
        let told = "error: another mobiedit is writing to the edits folder mobiedit-edits: wait until it is done\n";
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), told), "{command:?}");
    }
    assert_eq!(place.json(0, &["list"])["edits"][0]["active"], true, "reading needs no lock");
    drop(writer);
    place.json(0, &["undo", "e1"]);
}

/// Names the folder that a test runs on as its own process, with a file system of its own there.
const MOUNTED: &str = "MOBIEDIT_TEST_MOUNTED";

/// Runs the test `name` again, as a process in which `$MOUNTED` is a small empty disk; in that process, the disk.
fn on_a_small_disk(name: &str) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os(MOUNTED) {
        return Some(disk.into());
    }
    let place = Place::new();
    let disk = place.path("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = |then: &str| {
        let mut command = Command::new("unshare");
        let script = format!("mount -t tmpfs -o size=64k none \"${MOUNTED}\" && {then}");
        command.args(["-rm", "sh", "-c", &script]).env(MOUNTED, &disk);
        command.arg(std::env::current_exe().unwrap());
        command
    };
    if !mounted("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        println!("not run: {name}: this system lets nobody mount a small disk (unshare -rm)");
        return None;
    }
    let ran = mounted(&format!("exec \"$0\" --exact {name} --nocapture")).output().unwrap();
    let text = [ran.stdout, ran.stderr].concat();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&text));
    None
}

fn full(error: &EditsError) -> bool {
    matches!(error, EditsError::Io { error, .. } if error.kind() == std::io::ErrorKind::StorageFull)
}

#[test]
fn on_a_full_disk() {
    let Some(disk) = on_a_small_disk("on_a_full_disk") else { return };
    let folder = disk.join("edits");
    let fill = || {
        let mut size = 64 << 10;
        while size > 0 {
            let filler = [fs::read(disk.join("filler")).unwrap_or_default(), vec![1; size]].concat();
            if fs::write(disk.join("filler"), &filler).is_err() {
                size /= 2;
            }
        }
    };
    let mut writer = EditsWriter::open(&folder).unwrap();
    (0..4).for_each(|number| commit(&mut writer, number).unwrap());
    fill();
    let mut number = 4;
    let refused = loop {
        match commit(&mut writer, number) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(full(&refused), "{refused}");
    assert!(refused.to_string().contains("No space left on device"), "{refused}");
    let (state, bytes) = (State::of(writer.edits()), fs::read(folder.join(JOURNAL)).unwrap());
    assert_eq!((State::read(&folder).unwrap(), state.edits.len()), (state.clone(), number as usize));
    // A compaction has no room either, and leaves all as it was.
    assert!(full(&writer.forget("e1").unwrap_err()));
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!((names, fs::read(folder.join(JOURNAL)).unwrap()), (vec![JOURNAL.into()], bytes));
    // What is shorter may have.
    assert!(writer.undo("e1").map_or_else(|error| full(&error), |()| true));
    assert_eq!(State::read(&folder).unwrap(), State::of(writer.edits()));
    // Room again: for the one that was refused, and for others.
    fs::remove_file(disk.join("filler")).unwrap();
    commit(&mut writer, number).unwrap();
    drop(writer);
    let mut writer = EditsWriter::open(&folder).unwrap();
    assert_eq!(writer.edits().list().len(), number as usize + 1);
    writer.forget("e1").unwrap();
    assert_eq!(State::read(&folder).unwrap(), State::of(writer.edits()));
}

#[test]
fn in_a_folder_that_can_only_be_read() {
    let Some(disk) = on_a_small_disk("in_a_folder_that_can_only_be_read") else { return };
    let folder = disk.join("edits");
    commit(&mut EditsWriter::open(&folder).unwrap(), 0).unwrap();
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&disk).status().unwrap();
    assert!(remounted.success());
    assert_eq!(Edits::read(&folder).unwrap().list().len(), 1);
    let place = Place::new();
    let at = |command: &[&str], folder: &Path| place.run(&[command, &["--edits", folder.to_str().unwrap()]].concat());
    assert!(at(&["list"], &folder).stdout.starts_with("e1   active"));
    for command in [&["undo", "e1"][..], &["undo", "--all"], &["forget", "e1"], &["forget", "--all"]] {
        let ran = at(command, &folder);
        assert_eq!(ran.code, Some(1), "{command:?}");
        assert!(ran.stderr.contains("cannot be written: Read-only file system"), "{command:?}: {}", ran.stderr);
    }
    let edit = ["edit", "--prompt", "The capital of {} is", "--subject", "France", "--target", "Rome"];
    assert!(at(&edit, &folder).stderr.contains("cannot be written: Read-only file system"));
    assert!(at(&edit, &disk.join("new")).stderr.contains("cannot be created: Read-only file system"));
}
