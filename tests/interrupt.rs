//! A long edit stopped again and again by real signals to the real program, in the middle of its search: the same command
//! goes on each time, and ends in the same bits as one that nobody stopped.
#![cfg(unix)]

mod command;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use command::Place;
use serde_json::json;

/// Takes more than 40 steps.
const EDIT: [&str; 9] =
    ["edit", "--prompt", "The capital of {} is", "--subject", "France", "--target", "Berlin", "--layer", "3"];
/// Most signals; how long the program searches before the next one grows by `PAUSE`, so the edit ends before.
const SIGNALS: u32 = 30;
const PAUSE: Duration = Duration::from_millis(150);

/// What is left of a stopped run.
fn checkpoint(place: &Place) -> Option<Vec<u8>> {
    place.files().into_iter().find(|(path, _)| path.extension().is_some_and(|e| e == "mec")).map(|(_, bytes)| bytes)
}

/// Starts the edit, waits until it says that it searches on, then `pause`, then sends `signal`; the exit code.
fn stop_after(place: &Place, signal: &str, pause: Duration) -> Option<i32> {
    let mut child = place.command(&EDIT).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let searching = lines.any(|line| line.unwrap().contains("going on with an interrupted edit"));
    assert!(searching, "the program ended without a word");
    std::thread::sleep(pause);
    // It fails where the edit is already done and the process gone: the exit code says so.
    let _ = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    lines.for_each(drop);
    child.wait().unwrap().code()
}

/// Starts the edit for the first time and stops it as soon as it listens, before or in its first unit of work.
fn stop_at_the_start(place: &Place) {
    let mut child = place.command(&EDIT).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !place.path("mobiedit-edits/journal.mej").exists() {
        assert_eq!(child.try_wait().unwrap(), None, "the edit does not begin");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn an_edit_that_is_stopped_many_times_ends_in_the_same_bits() {
    let (whole, place) = (Place::new(), Place::new());
    let expected = whole.json(0, &EDIT);
    assert!(expected["steps"].as_u64().unwrap() > 40, "long enough to be stopped in the middle");

    stop_at_the_start(&place);
    let mut seen = vec![checkpoint(&place).expect("a checkpoint")];
    for round in 0..SIGNALS {
        let signal = if round % 3 == 2 { "-TERM" } else { "-INT" };
        match stop_after(&place, signal, PAUSE * round) {
            Some(130) => seen.push(checkpoint(&place).expect("a checkpoint")),
            ended => {
                assert_eq!(ended, Some(0));
                break;
            }
        }
        assert_eq!(place.json(0, &["list"]), json!({ "edits": [] }), "nothing is committed half-way");
    }
    seen.dedup();
    assert!(seen.len() >= 4, "stopped at {} different places", seen.len());
    if checkpoint(&place).is_some() {
        place.json(0, &EDIT);
    }

    assert_eq!(checkpoint(&place), None, "a finished edit leaves no checkpoint");
    let adapter = |place: &Place| std::fs::read(place.path("mobiedit-edits/e1.gguf")).unwrap();
    assert!(adapter(&place) == adapter(&whole), "the adapters differ");
    let journal = |place: &Place| std::fs::read(place.path("mobiedit-edits/journal.mej")).unwrap();
    assert!(journal(&place) == journal(&whole), "the journals differ: other totals");
}
