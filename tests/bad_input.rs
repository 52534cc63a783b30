//! Bad input of every kind: an exit code other than 0, one sentence on stderr, and nothing changed.

mod command;

use std::fs;
use std::path::{Path, PathBuf};

use command::Place;
use mobiedit::backends::identity::identity;
use mobiedit::backends::patches::MAX_PATCHES;
use mobiedit::core::RankOne;
use mobiedit::host::edits::{EditInfo, EditsWriter};
use mobiedit::host::model_file::ModelFile;

fn shipped() -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/model.gguf")).unwrap()
}

/// Runs the program and expects an error: exit code 1, one line that has all of `words`, the files as they were.
fn refuse(place: &Place, args: &[&str], words: &[&str]) {
    let before = place.files();
    let ran = place.run(args);
    assert_eq!(ran.code, Some(1), "{args:?} printed {:?} and {:?}", ran.stdout, ran.stderr);
    assert_eq!(ran.stdout, "", "{args:?}");
    let errors: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(errors.len(), 1, "{args:?}: {:?}", ran.stderr);
    assert!(errors[0].starts_with("error: ") && errors[0].len() < 400, "{args:?}: {:?}", ran.stderr);
    for word in words {
        assert!(errors[0].contains(word), "{args:?}: {:?} does not say {word:?}", errors[0]);
    }
    assert!(place.files() == before, "{args:?} changed files");
}

/// The arguments of an edit with some of them replaced.
fn edit<'a>(changes: &[(&'a str, &'a str)]) -> Vec<&'a str> {
    let mut args = vec!["edit", "--prompt", "The capital of {} is", "--subject", "France", "--target", "Rome"];
    for (flag, value) in changes {
        match args.iter().position(|arg| arg == flag) {
            Some(at) => args[at + 1] = value,
            None => args.extend([*flag, *value]),
        }
    }
    args
}

/// Every command that opens a model refuses this file.
fn refuse_model(place: &Place, path: &Path, words: &[&str]) {
    let path = path.to_str().unwrap();
    refuse(place, &edit(&[("--model", path)]), words);
    refuse(place, &["generate", "--prompt", "x", "--model", path], words);
    refuse(place, &["inspect", path], words);
}

fn write(place: &Place, name: &str, bytes: &[u8]) -> PathBuf {
    let path = place.path(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_model_that_is_not_there() {
    let place = Place::new();
    refuse_model(&place, Path::new("missing.gguf"), &["missing.gguf", "cannot be read"]);
    refuse_model(&place, Path::new("."), &["cannot be read"]);
}

#[test]
fn a_model_cut_off_at_every_64th_of_its_length() {
    let place = Place::new();
    let whole = shipped();
    for part in 0..64 {
        let path = write(&place, "cut.gguf", &whole[..whole.len() * part / 64]);
        refuse(&place, &edit(&[("--model", path.to_str().unwrap())]), &["cut.gguf"]);
    }
    let path = write(&place, "cut.gguf", &whole[..whole.len() / 2]);
    refuse_model(&place, &path, &["cut.gguf"]);
}

#[test]
fn a_model_with_flipped_bytes_in_its_header() {
    let place = Place::new();
    let mut model = shipped();
    // Magic, version, both counts.
    for at in 0..24 {
        model[at] ^= 0xff;
        let path = write(&place, "flipped.gguf", &model);
        refuse(&place, &edit(&[("--model", path.to_str().unwrap())]), &["flipped.gguf"]);
        model[at] ^= 0xff;
    }
}

#[test]
fn a_model_with_flipped_bytes_anywhere_before_its_tensors_never_brings_the_program_down() {
    let place = Place::new();
    let mut model = shipped();
    let header = find(&model, b"output.weight") + 60;
    for at in (24..header).step_by(header / 60) {
        model[at] ^= 0xff;
        let path = write(&place, "flipped.gguf", &model);
        let ran = place.run(&["inspect", path.to_str().unwrap()]);
        assert!(matches!(ran.code, Some(0 | 1)), "byte {at}: {:?} {}", ran.code, ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "byte {at}: {}", ran.stderr);
        model[at] ^= 0xff;
    }
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).unwrap()
}

#[test]
fn an_architecture_or_a_tensor_type_that_is_not_supported() {
    let place = Place::new();
    let mut model = shipped();
    let name = find(&model, b"general.architecture") + "general.architecture".len() + 4 + 8;
    assert_eq!(&model[name..name + 5], b"qwen2");
    model[name..name + 5].copy_from_slice(b"mamba");
    refuse_model(&place, &write(&place, "mamba.gguf", &model), &["mamba.gguf", "architecture"]);

    let mut model = shipped();
    // Behind a tensor's name: the number of sizes, two sizes, the type.
    let kind = find(&model, b"blk.3.ffn_down.weight") + "blk.3.ffn_down.weight".len() + 4 + 16;
    assert_eq!(model[kind..kind + 4], 8u32.to_le_bytes(), "Q8_0");
    for unsupported in [20u32, 30_000] {
        model[kind..kind + 4].copy_from_slice(&unsupported.to_le_bytes());
        refuse_model(&place, &write(&place, "kind.gguf", &model), &["kind.gguf", "type"]);
    }
}

#[test]
fn words_that_make_no_edit() {
    let place = Place::new();
    let long = "Rome and ".repeat(20);
    for (changes, words) in [
        ([("--prompt", "The capital of France is")], &["{}", "0 places"][..]),
        ([("--prompt", "{} and {} are")], &["{}", "2 places"]),
        ([("--prompt", "")], &["{}"]),
        ([("--subject", "")], &["subject is empty"]),
        ([("--subject", "  \t ")], &["subject is empty"]),
        ([("--subject", "<|endoftext|>")], &["subject", "tokens"]),
        ([("--target", "")], &["target is empty"]),
        ([("--target", " \n ")], &["target is empty"]),
        ([("--target", &long)], &["target has", "32"]),
        ([("--layer", "7")], &["layer 7", "8"]),
        ([("--layer", "8")], &["layer 8", "8"]),
        ([("--layer", "4000000000")], &["layer 4000000000"]),
        ([("--check", "")], &["--check", "empty"]),
    ] {
        refuse(&place, &edit(&changes), words);
    }
    let endless = "word ".repeat(400);
    refuse(&place, &edit(&[("--prompt", &format!("{endless}{{}} is"))]), &["longer than the model's context"]);
    refuse(&place, &["generate", "--prompt", ""], &["empty"]);
    let records = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data/counterfact_500.json");
    let bench = ["bench", "edit", "--records", "1", "--layer", "99", "--dataset", records.to_str().unwrap()];
    refuse(&place, &bench, &["layer 99", "8"]);
    assert_eq!(place.json(0, &["list"])["edits"].as_array().map(Vec::len), Some(0));
    refuse(&place, &["generate", "--prompt", &endless], &["context"]);
}

#[test]
fn more_than_there_is_memory_for() {
    let place = Place::new();
    let prompt = format!("{{}} {}is", "of a land ".repeat(55));
    refuse(&place, &edit(&[("--prompt", &prompt), ("--memory-limit", "1")]), &["give that with --memory-limit"]);
    refuse(&place, &edit(&[("--memory-limit", "4294967295")]), &["cannot be had", "--memory-limit"]);

    let mut model = shipped();
    let context = find(&model, b"qwen2.context_length") + "qwen2.context_length".len() + 4;
    model[context..context + 4].fill(0xff);
    let path = write(&place, "endless.gguf", &model);
    let endless = ["--max-new-tokens", "4294967295", "--model", path.to_str().unwrap()];
    let ran = place.run(&[&["generate", "--prompt", "The capital of France is"], &endless[..]].concat());
    // Some systems promise the 16 TB, and never have to keep it.
    let refused = ran.code == Some(1) && ran.stderr.contains("--max-new-tokens") && ran.stderr.lines().count() == 1;
    assert!(refused || ran.code == Some(0), "{:?} {}", ran.code, ran.stderr);
}

#[test]
fn more_edits_than_a_model_takes() {
    let place = Place::new();
    let model = ModelFile::open(None).unwrap().with_model(|_, model| identity(model, 1)).unwrap();
    let mut writer = EditsWriter::open(&place.path("mobiedit-edits")).unwrap();
    for left in (0..=MAX_PATCHES).rev() {
        let info = EditInfo {
            edit_id: writer.next_id(),
            model,
            prompt: "{} is".into(),
            subject: "France".into(),
            target: "Rome".into(),
            layer: 1,
            preset: "default".into(),
            seed: 0,
            steps: 1,
            forward_passes: 1,
            p_target: 1.0,
            success: true,
        };
        writer.commit(info, RankOne { layer: 1, u: &[0.0; 768], lambda: &[0.0; 256] }).unwrap();
        if left == 1 {
            refuse(&place, &edit(&[]), &["128", "undo some"]);
            assert_eq!(place.json(0, &["generate", "--prompt", "The capital of France is"])["text"], " Paris.");
        }
    }
    refuse(&place, &["generate", "--prompt", "The capital of France is"], &["128", "undo some"]);
}

#[test]
fn an_edits_folder_that_cannot_be_written() {
    let place = Place::new();
    write(&place, "file", b"not a folder");
    refuse(&place, &edit(&[("--edits", "file")]), &["file", "edits folder"]);
    refuse(&place, &edit(&[("--edits", "file/below")]), &["file/below", "edits folder"]);
    if cfg!(target_os = "linux") {
        refuse(&place, &edit(&[("--edits", "/proc/mobiedit")]), &["/proc/mobiedit", "created"]);
    }
}

#[test]
fn a_journal_that_cannot_be_used() {
    let place = Place::new();
    fs::create_dir(place.path("mobiedit-edits")).unwrap();
    let journal = "mobiedit-edits/journal.mej";
    let mut commands = vec![edit(&[]), vec!["list"], vec!["undo", "--all"], vec!["generate", "--prompt", "The"]];
    commands.push(vec!["export", "e1", "--format", "peft", "--out", "out"]);
    for (bytes, words) in [
        // The magic and the next version of the format.
        (&b"MOBIEDIT\x03\0\0\0"[..], &["newer version"][..]),
        (b"something else entirely", &["not a journal"]),
        // A record of 5 bytes with the right checksum of its length and a wrong one of itself.
        (b"MOBIEDIT\x01\0\0\0\x05\0\0\0\x2e\x2f\x9a\x16hello\0\0\0\0DONE", &["record 1 is damaged"]),
    ] {
        write(&place, journal, bytes);
        for args in &commands {
            refuse(&place, args, &[&["journal"], words].concat());
        }
    }
}

#[test]
fn an_edit_that_does_not_exist() {
    let place = Place::new();
    refuse(&place, &["undo", "e7"], &["e7"]);
    refuse(&place, &["export", "e7", "--format", "gguf", "--out", "out.gguf"], &["e7"]);
}

#[test]
fn wrong_usage_is_told_apart() {
    let place = Place::new();
    let unknown = edit(&[("--preset", "fast")]);
    let negative = edit(&[("--layer", "-1")]);
    let threads = edit(&[("--threads", "65535")]);
    for args in [&["edit"][..], &["undo"], &["frobnicate"], &[], &unknown, &negative, &threads] {
        let ran = place.run(args);
        assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.stderr);
    }
    assert!(place.files().is_empty());
    let help = place.run(&["edit", "--help"]);
    assert_eq!(help.code, Some(0));
    assert!(help.stdout.contains("Exit codes: 0"), "{}", help.stdout);
}

#[test]
fn a_trace_of_words_that_make_none_is_refused() {
    let place = Place::new();
    let trace = |prompt: &'static str, subject: &'static str| ["trace", "--prompt", prompt, "--subject", subject];
    refuse(&place, &trace("The capital of France is", "France"), &["places for the subject", "{}"]);
    refuse(&place, &trace("The capital of {} is", " "), &["the subject is empty"]);
    let with = |flag, value| [trace("The capital of {} is", "France").as_slice(), &[flag, value]].concat();
    refuse(&place, &with("--target", " "), &["the target is empty"]);
    let long = format!("{{}} {}", "is ".repeat(300));
    refuse(&place, &["trace", "--prompt", &long, "--subject", "France"], &["context has room for 256"]);
    let file = write(&place, "a file", b"");
    refuse(&place, &with("--out", file.to_str().unwrap()), &["trace.svg cannot be written"]);
}

#[test]
fn an_npu_that_is_not_there_is_refused_and_auto_takes_the_cpu() {
    let place = Place::new();
    refuse(&place, &edit(&[("--backend", "qnn"), ("--qnn-lib", "nowhere/libQnnHtp.so")]), &["QNN library", "open"]);
    fs::write(place.path("text.so"), "not a library").unwrap();
    refuse(&place, &["generate", "--prompt", "x", "--backend", "qnn", "--qnn-lib", "./text.so"], &["QNN library"]);
    let args = ["generate", "--prompt", "The capital of France is"];
    let with_auto = [&args[..], &["--backend", "auto", "--qnn-lib", "nowhere/libQnnHtp.so"]].concat();
    let (cpu, auto) = (place.run(&args), place.run(&with_auto));
    assert_eq!((auto.code, auto.stdout, auto.stderr), (cpu.code, cpu.stdout, cpu.stderr));
    assert_eq!(place.run(&["inspect", "--backends", "--soc", "sm9999"]).code, Some(2));
    let all = place.json(0, &["inspect", "--backends", "--soc", "sm8650", "--qnn-lib", "nowhere.so"]);
    assert_eq!((&all[0]["backend"], &all[0]["opens"]), (&"cpu".into(), &true.into()));
    assert_eq!((&all[1]["backend"], &all[1]["opens"]), (&"qnn".into(), &false.into()));
}
