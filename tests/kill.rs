//! Real edits killed by SIGKILL at random moments, with and without a kept state, and forgetting killed too: the folder can be
//! read at once, what was committed is there, and the same commands end in the bits of runs that nobody disturbed.
//!
//! `MOBIEDIT_KILLS` is how often edits are killed (12 unless it is set), `MOBIEDIT_SEED` which moments.
#![cfg(unix)]

mod command;

use std::fs;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use command::Place;
use mobiedit::host::edits::{Edit, Edits};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// What is done in a folder, one after the other. In the end only forgotten ids are left.
const COMMANDS: [&[&str]; 5] = [
    &["edit", "--prompt", "The capital of {} is", "--subject", "France", "--target", "Rome"],
    &["edit", "--prompt", "The capital of {} is", "--subject", "Spain", "--target", "Vienna"],
    &["undo", "e1"],
    &["forget", "e2"],
    &["forget", "e1"],
];

/// Kills of a command in a row, so that those behind it have their turn.
const IN_A_ROW: u64 = 4;

/// The folder before the commands and after each, where nobody disturbed them, and how long each took.
struct Undisturbed {
    states: Vec<State>,
    took: Vec<Duration>,
}

#[derive(Debug, PartialEq)]
struct State {
    edits: Vec<Edit>,
    forgotten: Vec<String>,
    /// The journal's bytes; none where nothing was ever committed.
    journal: Vec<u8>,
    /// The adapters of the edits, which others may be beside.
    adapters: Vec<Vec<u8>>,
}

impl State {
    fn of(folder: &Path) -> Self {
        let edits = Edits::read(folder).unwrap_or_else(|error| panic!("after a kill: {error}"));
        let journal = fs::read(folder.join("journal.mej")).unwrap_or_default();
        let whole = journal.len() - edits.torn() as usize;
        let adapter = |edit: &Edit| fs::read(folder.join(format!("{}.gguf", edit.info.edit_id))).unwrap_or_default();
        Self {
            edits: edits.list().to_vec(),
            forgotten: edits.forgotten().to_vec(),
            journal: journal[..if whole > 12 { whole } else { 0 }].to_vec(),
            adapters: edits.list().iter().map(adapter).collect(),
        }
    }

    /// The same, but an adapter may be missing here, where an edit is half forgotten.
    fn is_like(&self, other: &Self) -> bool {
        let adapters =
            self.adapters.iter().zip(&other.adapters).all(|(ours, theirs)| ours.is_empty() || ours == theirs);
        adapters && (&self.edits, &self.forgotten, &self.journal) == (&other.edits, &other.forgotten, &other.journal)
    }
}

impl Undisturbed {
    fn run() -> Self {
        let place = Place::new();
        let folder = place.path("mobiedit-edits");
        let mut all = Self { states: vec![State::of(&folder)], took: Vec::new() };
        for command in COMMANDS {
            let start = Instant::now();
            place.json(0, command);
            all.took.push(start.elapsed());
            all.states.push(State::of(&folder));
        }
        assert_eq!((all.states[2].edits.len(), all.states[5].forgotten.len()), (2, 2));
        all
    }
}

/// Where a kill is aimed.
#[derive(Clone, Copy, PartialEq)]
enum Aim {
    /// Anywhere.
    Anywhere,
    /// In the search, once a state is kept.
    Search,
    /// At the end of an edit: its adapter is written, its record, its state removed.
    Commit,
}

/// Waits for the moment of a kill, or until the program ends.
fn wait(child: &mut Child, folder: &Path, done: usize, aim: Aim, took: Duration, share: f64) {
    let (name, after) = match aim {
        Aim::Anywhere => return std::thread::sleep(took.mul_f64(1.1 * share)),
        Aim::Search => (format!("running-e{}-", done + 1), took.mul_f64(0.5 * share)),
        Aim::Commit => (format!("e{}.gguf", done + 1), Duration::from_millis(12).mul_f64(share)),
    };
    // What an earlier kill left there is not what is waited for.
    let there = || {
        let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.filter_map(|found| found.into_string().ok()).filter(|found| found.starts_with(&name)).count()
    };
    let before = there();
    while there() <= before && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_micros(200));
    }
    std::thread::sleep(after);
}

#[test]
fn killed_at_any_moment_it_loses_nothing_and_goes_on_to_the_same_bits() {
    let number = |name, unset| std::env::var(name).map_or(unset, |text| text.parse::<u64>().unwrap());
    let (wanted, seed) = (number("MOBIEDIT_KILLS", 12), number("MOBIEDIT_SEED", 0));
    let undisturbed = Undisturbed::run();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let (mut kills, mut kept, mut late, mut ended, mut of_each) = (0, 0, 0, 0, [0; COMMANDS.len()]);
    let edits = |of_each: &[u64; COMMANDS.len()]| of_each[0] + of_each[1];
    while edits(&of_each) < wanted || of_each.contains(&0) {
        let place = Place::new();
        let folder = place.path("mobiedit-edits");
        let (mut done, mut in_a_row) = (0, 0);
        while done < COMMANDS.len() {
            let aim = match random.next_u32() % 3 {
                0 if done < 2 => Aim::Search,
                1 if done < 2 => Aim::Commit,
                _ => Aim::Anywhere,
            };
            let share = f64::from(random.next_u32()) / f64::from(u32::MAX);
            let keeps: &[&str] = if aim == Aim::Search { &["--keep-every", "0"] } else { &[] };
            let mut command = place.command(&[COMMANDS[done], keeps].concat());
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            if in_a_row < IN_A_ROW {
                wait(&mut child, &folder, done, aim, undisturbed.took[done], share);
                child.kill().unwrap();
            }
            let killed = was_killed(child.wait().unwrap());
            let state = State::of(&folder);
            let at = format!("seed {seed}, kill {kills}, {:?}", COMMANDS[done]);
            if killed {
                kills += 1;
                of_each[done] += 1;
                in_a_row += 1;
                kept += usize::from(place.files().iter().any(|(path, _)| path.extension().is_some_and(|e| e == "mec")));
                if state.is_like(&undisturbed.states[done]) {
                    continue;
                }
                late += 1;
            }
            // It is done, though a killed one did not say so.
            (done, in_a_row) = (done + 1, 0);
            assert!(state == undisturbed.states[done], "{at}: {:?}", place.run(&["list"]).stdout);
        }
        ended += 1;
        let left: Vec<_> = place.files().into_iter().map(|(path, _)| path).filter(|path| path.is_file()).collect();
        assert_eq!(left, [folder.join("journal.mej")], "seed {seed}, after {kills} kills");
    }
    println!("{kills} kills, {of_each:?} of each command; {ended} times all commands to their end");
    println!("{kept} left a kept state, {late} came after the command had done its work");
}

fn was_killed(status: ExitStatus) -> bool {
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert!(signal == Some(9) || status.success(), "{status}");
    signal == Some(9)
}
