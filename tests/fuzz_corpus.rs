//! The fuzz targets as ordinary tests: every committed seed, and some thousand mutations of them that are the same everywhere.
//!
//! `cargo xtask fuzz` looks for new ones with coverage; what it finds becomes a file of `tests/fuzz/corpus`, named for what it
//! broke. MOBIEDIT_WRITE_SEEDS=1 writes the seeds that code makes; MOBIEDIT_MUTATIONS=n takes n mutations of each.

use std::fs;
use std::panic;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[path = "fuzz/targets/mod.rs"]
mod targets;

use targets::input::Stream;
use targets::{TARGETS, Target};

/// Mutations of each seed.
const MUTATIONS: usize = 500;
/// Longest that one input may take: far more than any does, and far less than what does not end. Miri takes some hundred times longer.
const LONGEST: Duration = Duration::from_secs(if cfg!(miri) { 3600 } else { 10 });
/// Most bytes of all committed seeds.
const MOST_BYTES: u64 = 300_000;

fn folder(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target.name)
}

/// A target's committed seeds, by their names, in order.
fn seeds(target: &Target) -> Vec<(String, Vec<u8>)> {
    let mut seeds: Vec<_> = fs::read_dir(folder(target))
        .expect("a folder of seeds for each target")
        .map(|entry| {
            let path = entry.expect("an entry of a folder").path();
            (path.file_name().expect("a name").to_string_lossy().into_owned(), fs::read(path).expect("a seed"))
        })
        .collect();
    seeds.sort();
    seeds
}

/// Runs a target; where it panics, the input is named and kept.
fn check(target: &Target, id: &str, bytes: &[u8]) {
    let start = Instant::now();
    if panic::catch_unwind(|| (target.run)(bytes)).is_err() {
        let kept = std::env::temp_dir().join(format!("mobiedit-{}-{}", target.name, id.replace(['/', ' '], "-")));
        let _ = fs::write(&kept, bytes);
        panic!("{} failed on {id}; the input is {}", target.name, kept.display());
    }
    let took = start.elapsed();
    assert!(took < LONGEST, "{} took {took:?} on {id}", target.name);
}

/// One to four changes: bits, bytes, numbers that code may not have thought of, parts left out, doubled or taken from another seed.
fn mutated(seed: &[u8], other: &[u8], stream: &mut Stream) -> Vec<u8> {
    const NUMBERS: [u64; 9] = [0, 1, 0x7F, 0xFF, 0x7FFF_FFFF, 0x8000_0000, u32::MAX as u64, i64::MAX as u64, u64::MAX];
    let mut bytes = seed.to_vec();
    for _ in 0..1 + stream.below(4) {
        let at = stream.below(bytes.len() + 1);
        let end = bytes.len().min(at + 1 + stream.below(16));
        match stream.below(8) {
            0 | 1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << stream.below(8);
                }
            }
            2 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = stream.word() as u8;
                }
            }
            3 | 4 => {
                let number = NUMBERS[stream.below(NUMBERS.len())].to_le_bytes();
                let width = [1, 2, 4, 8][stream.below(4)];
                bytes.iter_mut().skip(at).zip(&number[..width]).for_each(|(to, from)| *to = *from);
            }
            5 => drop(bytes.drain(at..end)),
            6 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                let from = stream.below(other.len() + 1);
                let part = &other[from..other.len().min(from + 1 + stream.below(64))];
                bytes.splice(at..end, part.iter().copied());
            }
        }
    }
    if stream.below(8) == 0 {
        bytes.truncate(stream.below(bytes.len() + 1));
    }
    bytes
}

fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    let seeds = seeds(target);
    assert!(seeds.len() >= (target.seeds)().len());
    let mutations = std::env::var("MOBIEDIT_MUTATIONS").map_or(MUTATIONS, |text| text.parse().expect("a number"));
    for (index, (name, bytes)) in seeds.iter().enumerate() {
        check(target, name, bytes);
        for number in 0..mutations {
            let mut stream = Stream::new((index * 1_000_003 + number) as u64);
            let other = &seeds[stream.below(seeds.len())].1;
            check(target, &format!("{name} mutation {number}"), &mutated(bytes, other, &mut stream));
        }
    }
}

#[test]
fn seeds_that_code_makes_are_the_committed_ones() {
    let overwrite = std::env::var_os("MOBIEDIT_WRITE_SEEDS").is_some();
    for target in TARGETS {
        for (name, bytes) in (target.seeds)() {
            let path = folder(target).join(name);
            if overwrite {
                fs::create_dir_all(folder(target)).expect("a folder of seeds");
                fs::write(&path, &bytes).expect("a seed");
            }
            assert_eq!(fs::read(&path).ok(), Some(bytes), "{}/{name}: MOBIEDIT_WRITE_SEEDS=1 writes it", target.name);
        }
    }
}

#[test]
fn all_seeds_together_are_small() {
    let bytes: usize = TARGETS.iter().flat_map(seeds).map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes as u64 <= MOST_BYTES, "{bytes} bytes of seeds");
}

#[test]
fn more_of_the_heap_than_is_allowed_is_seen() {
    let take = || drop(std::hint::black_box(Vec::<u8>::with_capacity(std::hint::black_box(1000))));
    targets::limit::within(1000, "a thousand bytes", take);
    assert!(panic::catch_unwind(|| targets::limit::within(999, "a byte more", take)).is_err());
    let held = std::hint::black_box(vec![1_u8; 1000]);
    assert!(targets::heap::live() >= held.len());
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*
    };
}

replays!(gguf journal checkpoint calibration dataset patches adapter tokenizer ops);
#[cfg(feature = "capi")]
replays!(c_calls);
