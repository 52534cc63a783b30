//! A running edit as bytes: goes on to the same bits from every step, and nothing damaged or foreign is taken.

use mobiedit_core::checkpoint::{CHECKPOINT_VERSION, CheckpointError};
use mobiedit_core::{Config, Editor, Problem, SetupError, Statistics, f16};

use crate::model::{Edit, Memory, Model, Run, SPEC, STRIDE, finish};

/// A bank that makes the edit begin with several batches of starts.
fn bank() -> Vec<f16> {
    (0..25 * SPEC.d_model).map(|i| f16::from_f32((i as f32 * 0.31).sin() * 2.0)).collect()
}

fn resume(config: Config, problem: Problem<'_>, bank: &[f16], bytes: &[u8]) -> Result<Run, SetupError> {
    let config = config.check(&SPEC).unwrap();
    let mut memory = Memory::new(&config, &problem);
    let mut editor =
        Editor::resume(config, problem, Statistics { bank, ..Statistics::default() }, memory.lend(), bytes)?;
    Ok(finish(&mut editor, &mut Model::new()).unwrap())
}

/// The checkpoints after 0, 1, 2, … steps, the end included, and what the run ended with.
fn checkpoints(config: Config, problem: Problem<'_>, bank: &[f16]) -> (Vec<Vec<u8>>, Run) {
    let config = config.check(&SPEC).unwrap();
    let mut memory = Memory::new(&config, &problem);
    let statistics = Statistics { bank, ..Statistics::default() };
    let mut editor = Editor::new(config, problem, statistics, 77, memory.lend()).unwrap();
    let mut model = Model::new();
    let mut all = Vec::new();
    loop {
        let mut bytes = vec![0xAA; editor.checkpoint_len() + 5];
        let len = editor.checkpoint(&mut bytes).unwrap();
        assert_eq!((len, &bytes[len..]), (editor.checkpoint_len(), &[0xAA; 5][..]));
        bytes.truncate(len);
        all.push(bytes);
        if editor.patch().is_some() {
            return (all, finish(&mut editor, &mut model).unwrap());
        }
        editor.step(&mut model).unwrap();
    }
}

#[test]
fn an_edit_resumed_after_any_step_ends_with_the_same_bits() {
    let short_paper = Config { max_steps: 25, ..Config::PAPER };
    let stalling = Config { max_steps: 12, clamp: 1e-6, ..Config::PAPER };
    for config in [Config::DEFAULT, short_paper, stalling] {
        Edit::new(2).with(|problem| {
            let bank = bank();
            let (checkpoints, end) = checkpoints(config, problem, &bank);
            assert!(checkpoints.len() > 10);
            for (step, bytes) in checkpoints.iter().enumerate().step_by(STRIDE) {
                let mut resumed = resume(config, problem, &bank, bytes).unwrap();
                resumed.last.phase = end.last.phase;
                assert_eq!(resumed, end, "resumed after step {step}");
            }
        });
    }
}

#[test]
fn the_batch_may_be_another_one_after_a_resume() {
    Edit::new(2).with(|problem| {
        let bank = bank();
        let (checkpoints, end) = checkpoints(Config::DEFAULT, problem, &bank);
        for bytes in [&checkpoints[2], &checkpoints[6]] {
            let resumed = resume(Config { batch: 3, ..Config::DEFAULT }, problem, &bank, bytes).unwrap();
            assert_eq!((resumed.delta, resumed.lambda), (end.delta.clone(), end.lambda.clone()));
            assert_eq!(resumed.last.forward_passes, end.last.forward_passes);
        }
    });
}

#[test]
fn every_flipped_byte_and_every_truncation_is_refused() {
    Edit::new(2).with(|problem| {
        let bank = bank();
        let (checkpoints, _) = checkpoints(Config::DEFAULT, problem, &bank);
        let bytes = &checkpoints[6];
        for at in (0..bytes.len()).step_by(STRIDE) {
            let refused = resume(Config::DEFAULT, problem, &bank, &bytes[..at]);
            assert!(matches!(refused, Err(SetupError::Checkpoint(_))), "truncated to {at}: {refused:?}");
            for flip in [1, 0x80, 0xFF] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let refused = resume(Config::DEFAULT, problem, &bank, &damaged);
                assert!(matches!(refused, Err(SetupError::Checkpoint(_))), "byte {at} ^ {flip}: {refused:?}");
            }
        }
        let longer = [bytes, &[0][..]].concat();
        assert!(matches!(resume(Config::DEFAULT, problem, &bank, &longer), Err(SetupError::Checkpoint(_))));
    });
}

/// CRC-32, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

/// Numbers behind a checksum that is right, but that no editor has written: none may lead to an overflow or a NaN later.
#[test]
fn numbers_that_the_edit_cannot_reach_are_refused() {
    // Magic, version, fingerprint and seed, then 4 tags; 7 counters; 8 reals.
    let (counters, reals) = (28, 56);
    Edit::new(2).with(|problem| {
        let bank = bank();
        let (checkpoints, _) = checkpoints(Config::DEFAULT, problem, &bank);
        let changed = |at: usize, word: u32| {
            let mut bytes = checkpoints[6].clone();
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
            let body = bytes.len() - 4;
            let checksum = crc32(&bytes[..body]);
            bytes[body..].copy_from_slice(&checksum.to_le_bytes());
            resume(Config::DEFAULT, problem, &bank, &bytes)
        };
        let refused = SetupError::Checkpoint(CheckpointError::Content);
        for (counter, word) in [(0, Config::DEFAULT.max_steps), (0, u32::MAX), (1, 27), (2, 27), (3, 99)] {
            assert_eq!(changed(counters + 4 * counter, word).unwrap_err(), refused, "counter {counter}: {word}");
        }
        for real in 0..8 {
            assert_eq!(changed(reals + 4 * real, f32::NAN.to_bits()).unwrap_err(), refused, "real {real}");
        }
        // The others only count, and may end at their largest number.
        for counter in [4, 5, 6] {
            changed(counters + 4 * counter, u32::MAX).unwrap();
        }
    });
}

#[test]
fn a_checkpoint_of_another_edit_or_version_is_named_so() {
    Edit::new(2).with(|problem| {
        let bank = bank();
        let (checkpoints, _) = checkpoints(Config::DEFAULT, problem, &bank);
        let bytes = &checkpoints[6];
        let refused = |result: Result<Run, SetupError>| match result {
            Err(SetupError::Checkpoint(error)) => error,
            other => panic!("{other:?}"),
        };
        let other = Config { clamp: 4.5, ..Config::DEFAULT };
        assert_eq!(refused(resume(other, problem, &bank, bytes)), CheckpointError::OtherEdit);
        assert_eq!(refused(resume(Config::PAPER, problem, &bank, bytes)), CheckpointError::OtherEdit);
        let less = &bank[SPEC.d_model..];
        assert_eq!(refused(resume(Config::DEFAULT, problem, less, bytes)), CheckpointError::OtherEdit);
        Edit::new(3).with(|other| {
            assert_eq!(refused(resume(Config::DEFAULT, other, &bank, bytes)), CheckpointError::OtherEdit);
        });
        let mut newer = bytes.clone();
        newer[4] += 1;
        assert_eq!(
            refused(resume(Config::DEFAULT, problem, &bank, &newer)),
            CheckpointError::Version(CHECKPOINT_VERSION + 1)
        );
        assert_eq!(refused(resume(Config::DEFAULT, problem, &bank, b"GGUF0000")), CheckpointError::Magic);
    });
}

#[test]
fn a_buffer_that_is_too_short_is_left_alone() {
    let config = Config::DEFAULT.check(&SPEC).unwrap();
    Edit::new(2).with(|problem| {
        let mut memory = Memory::new(&config, &problem);
        let editor = Editor::new(config, problem, Statistics::default(), 1, memory.lend()).unwrap();
        let need = editor.checkpoint_len();
        let mut bytes = vec![0xAA; need - 1];
        assert_eq!(editor.checkpoint(&mut bytes), Err(CheckpointError::TooSmall { need, have: need - 1 }));
        assert!(bytes.iter().all(|&b| b == 0xAA));
    });
}
