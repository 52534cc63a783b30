//! The small model's edit in parts: what a whole edit, which the firmwares make, does not show.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use firmware_edit::{
    CONFIG, EDIT_LAYER, EDIT_PROMPTS, EDIT_SEED, EDIT_TARGET, Failure, MODEL, Memory, SETTINGS, with_model,
};
use mobiedit_backends::gguf::Gguf;
use mobiedit_backends::model::{Layer, Model};
use mobiedit_core::{Config, EditStorage, Editor, Problem, Statistics};

/// Truncations, and flipped bits in the front of a file whose end is missing, are refused: no panic, no hang.
pub(crate) fn damaged_model() {
    let open = |bytes: &[u8]| {
        let mut layers = [Layer::EMPTY; 4];
        Gguf::parse(bytes).is_ok_and(|gguf| Model::open(&gguf, &mut layers).is_ok())
    };
    assert!(open(MODEL));
    assert!((0..200).all(|i| !open(&MODEL[..MODEL.len() * i / 200])));
    let mut damaged = MODEL[..64 * 1024].to_vec();
    for at in (0..damaged.len()).step_by(499) {
        damaged[at] ^= 0x80;
        assert!(!open(&damaged));
        damaged[at] ^= 0x80;
    }
}

/// A search of six steps, and one that another editor goes on with behind its fourth unit, in memory that holds NaNs.
pub(crate) fn resumed() {
    let mut memory = Box::new(Memory::NEW);
    let ended = with_model(&mut memory, |model, _, mut storage| {
        let problem = Problem::new(&CONFIG.spec, EDIT_LAYER, EDIT_PROMPTS, EDIT_TARGET).map_err(Failure::Problem)?;
        let config = Config { max_steps: 6, ..SETTINGS }.check(&CONFIG.spec).map_err(Failure::Settings)?;
        let mut whole = Editor::new(config, problem, Statistics::default(), EDIT_SEED, lend(&mut storage))?;
        let mut bytes = vec![0; whole.checkpoint_len()];
        for unit in 0.. {
            if unit == 4 {
                assert_eq!(whole.checkpoint(&mut bytes), Ok(bytes.len()));
            }
            if whole.patch().is_some() {
                break;
            }
            whole.step(model)?;
        }
        let expected = patch_bits(&whole);
        storage.floats.fill(f32::NAN);
        storage.cache.fill(f32::NAN);
        let mut resumed = Editor::resume(config, problem, Statistics::default(), lend(&mut storage), &bytes)?;
        while resumed.patch().is_none() {
            resumed.step(model)?;
        }
        assert!(!expected.is_empty() && patch_bits(&resumed) == expected);
        Ok(())
    });
    assert!(ended.is_ok(), "{ended:?}");
}

fn lend<'s>(storage: &'s mut EditStorage<'_>) -> EditStorage<'s> {
    EditStorage { floats: storage.floats, cache: storage.cache, losses: storage.losses }
}

fn patch_bits(editor: &Editor<'_>) -> Vec<u32> {
    let numbers = editor.patch().into_iter().flat_map(|patch| patch.u.iter().chain(patch.lambda));
    numbers.map(|number| number.to_bits()).collect()
}
