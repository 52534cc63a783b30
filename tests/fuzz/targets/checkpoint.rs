//! A checkpoint of a running edit from anywhere: what is taken up can be written again to the same bytes, and comes to an end.

use mobiedit::core::checksum::crc32;
use mobiedit::core::problem::{Problem, Prompt, Role};

use mobiedit::core::{Config, EditStorage, Editor, Footprint, Statistics};

use super::tiny::{SPEC, Toy};
use mobiedit::core::backend::Loss;

/// Most steps of the edit.
const STEPS: u32 = 12;
/// Where a checkpoint's own content begins: behind magic, version and fingerprint.
const CONTENT: usize = 16;

/// Takes the bytes as they are, and again as the content of a checkpoint of this very edit.
pub fn run(bytes: &[u8]) {
    for preset in [Config::DEFAULT, Config::PAPER] {
        let config = Config { max_steps: STEPS, ..preset };
        on_from(config, bytes);
        let mut genuine = at_start(config);
        let end = genuine.len() - 4;
        let content = bytes.get(CONTENT..).unwrap_or(&[]);
        for (to, from) in genuine[CONTENT..end].iter_mut().zip(content) {
            *to = *from;
        }
        let checksum = crc32(&genuine[..end]);
        genuine[end..].copy_from_slice(&checksum.to_le_bytes());
        on_from(config, &genuine);
    }
}

/// What `work` makes of an editor that begins with `bytes`, or anew without them.
fn with_editor<R>(config: Config, bytes: Option<&[u8]>, work: impl FnOnce(Editor<'_>) -> R) -> Option<R> {
    let tokens = [1, 2, 3];
    let prompts = [
        Prompt { tokens: &tokens, subject_last: 1, role: Role::Rewrite },
        Prompt { tokens: &tokens[..2], subject_last: 1, role: Role::Essence },
    ];
    let problem = Problem::new(&SPEC, 1, &prompts, &[4]).expect("a problem of this model");
    let config = config.check(&SPEC).expect("settings of ours");
    let need = Footprint::for_problem(&config, &problem);
    let (mut floats, mut cache) = (vec![0.0; need.floats], vec![0.0; need.cache]);
    let mut losses = vec![Loss::default(); need.losses];
    let storage = EditStorage { floats: &mut floats, cache: &mut cache, losses: &mut losses };
    let bank = [half::f16::ONE; 3 * SPEC.d_model];
    let statistics = Statistics { bank: &bank, ..Statistics::default() };
    let editor = match bytes {
        Some(bytes) => Editor::resume(config, problem, statistics, storage, bytes),
        None => Editor::new(config, problem, statistics, 5, storage),
    };
    editor.ok().map(work)
}

fn kept(editor: &Editor<'_>) -> Vec<u8> {
    let mut bytes = vec![0; editor.checkpoint_len()];
    let len = editor.checkpoint(&mut bytes).expect("as long as it says");
    assert_eq!(len, bytes.len());
    bytes
}

fn at_start(config: Config) -> Vec<u8> {
    with_editor(config, None, |editor| kept(&editor)).expect("an edit of ours")
}

fn on_from(config: Config, bytes: &[u8]) {
    with_editor(config, Some(bytes), |mut editor| {
        assert_eq!(kept(&editor), bytes, "a checkpoint is not what it was read from");
        let mut toy = Toy::default();
        // A prefill, the bank's batches, then a step and a verification each, and refills of the cache.
        for _ in 0..8 * (STEPS + 4) {
            if editor.patch().is_some() {
                return;
            }
            // Numbers that are finite, and too large to go on with, are an error at every call.
            if editor.step(&mut toy).is_err() {
                return;
            }
            assert_eq!(toy.applied, 0);
        }
        panic!("the edit does not end");
    });
}

/// Checkpoints from all phases of an edit, with both presets.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let after = |config: Config, steps: usize| {
        let config = Config { max_steps: STEPS, ..config };
        let stepped = |mut editor: Editor<'_>| {
            let mut toy = Toy::default();
            for _ in 0..steps {
                editor.step(&mut toy).expect("the toy never fails");
            }
            kept(&editor)
        };
        with_editor(config, None, stepped).expect("an edit of ours")
    };
    vec![
        ("default-begin", after(Config::DEFAULT, 0)),
        ("default-bank", after(Config::DEFAULT, 2)),
        ("default-search", after(Config::DEFAULT, 4)),
        ("default-end", after(Config::DEFAULT, 100)),
        ("paper-search", after(Config::PAPER, 3)),
        ("paper-end", after(Config::PAPER, 200)),
        ("short", b"MEck".to_vec()),
    ]
}
