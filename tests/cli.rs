//! The command line from end to end on the shipped model: edit, generate, list, undo, inspect, demo, interruption.

mod command;

use std::process::Stdio;
use std::time::{Duration, Instant};

use command::Place;
use serde_json::{Value, json};

const EDIT: [&str; 7] = ["edit", "--prompt", "The capital of {} is", "--subject", "France", "--target", "Rome"];
const CAPITAL: [&str; 3] = ["generate", "--prompt", "The capital of France is"];

fn text(object: &Value) -> &str {
    object["text"].as_str().unwrap()
}

#[test]
fn an_edit_is_made_kept_applied_and_undone() {
    let place = Place::new();
    assert!(text(&place.json(0, &CAPITAL)).trim().starts_with("Paris"));
    let checks =
        ["--rephrase", "{}'s capital city is", "The capital city of France is", "--check", "The capital of Spain is"];
    let edit = place.json(0, &[&EDIT[..], &checks].concat());
    for (field, expected) in [
        ("success", json!(true)),
        ("target", json!("Rome")),
        ("answer_before", json!("Paris")),
        ("answer_after", json!("Rome")),
        ("edit_id", json!("e1")),
        ("preset", json!("default")),
        ("seed", json!(0)),
    ] {
        assert_eq!(edit[field], expected, "{field}");
    }
    assert!(edit["p_target"].as_f64().unwrap() > 0.5);
    assert!(edit["peak_rss_bytes"].as_u64().unwrap() > 10 << 20);
    assert!(edit["forward_passes"].as_u64().unwrap() > 0 && edit["rows"].as_u64() > edit["forward_passes"].as_u64());
    assert!(edit["layer"].is_u64() && edit["seconds"].is_f64() && edit["steps"].is_u64());
    assert_eq!(edit["rephrasings"].as_array().unwrap().len(), 2);
    assert_eq!(edit["checks"][0]["after"], "Madrid");
    let adapter = std::fs::read(place.path(edit["adapter_path"].as_str().unwrap())).unwrap();
    assert_eq!(&adapter[..4], b"GGUF");
    #[cfg(unix)]
    for (path, _) in place.files() {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(place.path("").join(&path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} may be read by others", path.display());
    }

    assert!(text(&place.json(0, &CAPITAL)).trim().starts_with("Rome"));
    let list = place.json(0, &["list"]);
    let row = &list["edits"][0];
    let expected = [("edit_id", "e1"), ("prompt", "The capital of {} is"), ("subject", "France"), ("target", "Rome")];
    for (field, expected) in expected {
        assert_eq!(row[field], expected);
    }
    assert_eq!((&row["active"], &row["layer"]), (&json!(true), &edit["layer"]));

    place.json(0, &["export", "e1", "--format", "gguf", "--out", "merged.gguf"]);
    let merged = [&CAPITAL[..], &["--model", "merged.gguf", "--edits", "none"]].concat();
    assert!(text(&place.json(0, &merged)).trim().starts_with("Rome"));

    assert_eq!(place.json(0, &["undo", "e1"]), json!({ "undone": ["e1"] }));
    assert!(text(&place.json(0, &CAPITAL)).trim().starts_with("Paris"));
    assert_eq!(place.json(0, &["list"])["edits"][0]["active"], false);
    assert_eq!(place.run(&["undo", "e1"]).code, Some(1));
    assert_eq!(place.json(0, &["undo", "--all"]), json!({ "undone": [] }));
}

#[test]
fn a_forgotten_edit_leaves_nothing_but_its_id() {
    let place = Place::new();
    place.json(0, &EDIT);
    let again = ["edit", "--prompt", "The capital of {} is", "--subject", "France", "--target", "Berlin"];
    place.json(0, &again);
    let holds = |word: &[u8]| {
        let files = place.files();
        files.iter().any(|(path, bytes)| path.is_file() && bytes.windows(word.len()).any(|at| at == word))
    };
    let patch_of = |id: &str| {
        let edits = mobiedit::host::edits::Edits::read(&place.path("mobiedit-edits")).unwrap();
        let edit = edits.get(id).unwrap();
        edit.u.iter().chain(&edit.lambda).map(|x| x.to_le_bytes()).collect::<Vec<_>>()
    };
    let (first, second) = (patch_of("e1"), patch_of("e2"));
    assert!(holds(b"Rome") && first.iter().chain(&second).all(|float| holds(float)));

    let ran = place.run(&["forget", "e1"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "forgotten: e1\n"));
    assert!(ran.stderr.contains("made on top of e1") && ran.stderr.contains("e2"), "{}", ran.stderr);
    assert!(!holds(b"Rome") && holds(b"Berlin"));
    // A float of one patch may be one of the other's too.
    assert!(first.iter().filter(|float| !second.contains(float)).all(|float| !holds(float)));
    assert!(place.run(&["forget", "e1"]).stderr.contains("was forgotten"));
    assert!(place.run(&["undo", "e1"]).stderr.contains("was forgotten"));
    assert_eq!(place.json(0, &["list"])["edits"].as_array().unwrap().len(), 1);

    assert_eq!(place.json(0, &["forget", "--all"]), json!({ "forgotten": ["e2"] }));
    for word in ["The capital of", "capital", "France", "Berlin"] {
        assert!(!holds(word.as_bytes()), "{word}");
    }
    assert!(second.iter().all(|float| !holds(float)));
    assert_eq!(place.files().iter().filter(|(path, _)| path.is_file()).count(), 1, "the journal");
    assert!(text(&place.json(0, &CAPITAL)).trim().starts_with("Paris"));
    assert_eq!(place.json(0, &["forget", "--all"]), json!({ "forgotten": [] }));
    assert_eq!(place.json(0, &EDIT)["edit_id"], "e3");
}

#[test]
fn an_edited_fact_can_be_edited_again_in_the_same_words_and_in_others() {
    let place = Place::new();
    let says = |place: &Place, prompt: &str| {
        let generated = place.json(0, &["generate", "--prompt", prompt]);
        generated["text"].as_str().unwrap().trim().split(['.', ' ']).next().unwrap().to_owned()
    };
    place.json(0, &EDIT);
    let again = ["edit", "--prompt", "The capital of {} is", "--subject", "France", "--target", "Berlin"];
    assert_eq!(place.json(0, &again)["answer_before"], "Rome");
    assert_eq!(says(&place, "The capital of France is"), "Berlin");
    let reworded = ["edit", "--prompt", "{}'s capital city is", "--subject", "France", "--target", "Madrid"];
    assert_eq!(place.json(0, &reworded)["answer_after"], "Madrid");
    assert_eq!(says(&place, "France's capital city is"), "Madrid");
    place.json(0, &["undo", "e3"]);
    assert_eq!(says(&place, "The capital of France is"), "Berlin");
    place.json(0, &["undo", "e2"]);
    assert_eq!(says(&place, "The capital of France is"), "Rome");
}

#[test]
fn what_is_stored_is_verified_and_an_edit_that_another_covers_does_not_hold() {
    let place = Place::new();
    let edited = place.run(&[&EDIT[..], &["--verify"]].concat());
    assert!(edited.code == Some(0) && edited.stderr.contains("e1, read back: holds"), "{}", edited.stderr);
    let verified = place.json(0, &["verify"]);
    let held = &verified["edits"][0];
    assert_eq!((&held["edit_id"], &held["holds"]), (&json!("e1"), &json!(true)));
    assert!(held["p_target"].as_f64().unwrap() > 0.5);
    let health = &verified["health"];
    let number = |name: &str| health[name].as_f64().unwrap();
    assert!(
        (number("perplexity") / number("perplexity_clean") - 1.0).abs() < 0.1 && number("drift") < 0.05,
        "{health}"
    );
    assert!((0.001..0.5).contains(&number("patch_norm")) && verified["warnings"] == json!([]), "{verified}");

    let again = ["edit", "--prompt", "The capital of {} is", "--subject", "France", "--target", "Berlin"];
    place.json(0, &again);
    let verified = place.json(3, &["verify"]);
    assert_eq!((&verified["edits"][0]["holds"], &verified["edits"][1]["holds"]), (&json!(false), &json!(true)));
    assert_eq!(place.json(0, &["verify", "e2"])["edits"].as_array().unwrap().len(), 1);
    assert_eq!(place.run(&["verify", "e7"]).code, Some(1));
    place.json(0, &["undo", "e1"]);
    let undone = place.run(&["verify", "e1"]);
    assert!(undone.code == Some(1) && undone.stderr.contains("undone"), "{}", undone.stderr);
}

#[test]
fn the_same_seed_gives_the_same_bits_on_any_number_of_threads_and_in_less_memory() {
    let (first, second) = (Place::new(), Place::new());
    first.json(0, &EDIT);
    second.json(0, &[&EDIT[..], &["--threads", "1", "--memory-limit", "1"]].concat());
    let adapter = |place: &Place| std::fs::read(place.path("mobiedit-edits/e1.gguf")).unwrap();
    assert_eq!(adapter(&first), adapter(&second));
}

#[test]
fn looking_at_an_empty_place_changes_nothing() {
    let place = Place::new();
    assert_eq!(place.json(0, &["list"]), json!({ "edits": [] }));
    assert_eq!(place.json(0, &["undo", "--all"]), json!({ "undone": [] }));
    assert_eq!(place.json(0, &["forget", "--all"]), json!({ "forgotten": [] }));
    assert_eq!(text(&place.json(0, &[&CAPITAL[..], &["--max-new-tokens", "1"]].concat())), " Paris");
    assert!(place.files().is_empty());
}

#[test]
fn a_reader_who_has_gone_is_no_error() {
    let place = Place::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran = place.command(&["inspect"]).stdout(writer).output().unwrap();
    assert_eq!((ran.status.code(), String::from_utf8(ran.stderr).unwrap().as_str()), (Some(0), ""));
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_printed_is_an_error() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran = Place::new().command(&["list"]).stdout(full()).output().unwrap();
    let stderr = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error: the result could not be printed") && stderr.lines().count() == 1, "{stderr}");
    let ran = Place::new().command(&["undo", "e1"]).stderr(full()).output().unwrap();
    assert_eq!(ran.status.code(), Some(1), "an error that nobody can read");
}

#[test]
fn a_subject_with_braces_is_put_in_once() {
    let args = ["edit", "--prompt", "The capital of {} is", "--subject", "a{}b", "--target", "Medina"];
    let ran = Place::new().run(&args);
    assert!(ran.stdout.starts_with("The capital of a{}b is ..."), "{}", ran.stdout);
}

#[test]
fn inspect_describes_the_shipped_model() {
    let model = Place::new().json(0, &["inspect"]);
    assert_eq!(model["architecture"], "qwen2");
    for (field, expected) in [("layers", 8), ("d_model", 256), ("d_ff", 768), ("heads", 8), ("kv_heads", 2)] {
        assert_eq!(model[field], expected, "{field}");
    }
    assert_eq!(model["vocabulary"], 6144);
    let formats = &model["tensors"];
    assert_eq!(formats["Q8_0"], 58, "an embedding, a head and 7 matrices in each of 8 layers");
    assert_eq!(model["edit"]["patch_bytes"], 4 * (256 + 768));
}

#[test]
fn the_demo_edits_and_takes_back() {
    let place = Place::new();
    let demo = place.json(0, &["demo"]);
    assert_eq!(demo["restored"], true);
    let scenes = demo["scenes"].as_array().unwrap();
    assert_eq!(scenes.len(), 3);
    for scene in scenes {
        assert_eq!(scene["success"], true, "{scene}");
        assert_eq!(scene["prompt"]["after"], scene["target"]);
        assert_ne!(scene["prompt"]["before"], scene["target"]);
        assert_eq!(scene["undone"], scene["prompt"]["before"]);
        assert!(place.path(scene["adapter_path"].as_str().unwrap()).exists());
    }
    let listed = place.json(0, &["list"]);
    let active: Vec<_> = listed["edits"].as_array().unwrap().iter().map(|edit| edit["active"].clone()).collect();
    assert_eq!(active, [false; 3], "kept, and taken back");
}

#[test]
fn a_demo_that_fails_leaves_no_edit_active() {
    let place = Place::new();
    // Where the second edit's adapter would be.
    std::fs::create_dir_all(place.path("mobiedit-edits/e2.gguf")).unwrap();
    let demo = place.run(&["demo"]);
    assert_eq!(demo.code, Some(1), "{}", demo.stdout);
    assert!(demo.stderr.contains("e2.gguf"), "{}", demo.stderr);
    let edits = &place.json(0, &["list"])["edits"];
    assert_eq!((edits.as_array().unwrap().len(), &edits[0]["active"]), (1, &json!(false)));
}

/// Starts an edit in a folder without a journal and stops it by Ctrl-C.
#[cfg(unix)]
fn interrupt(place: &Place, args: &[&str]) {
    let mut child = place.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    // The program listens for Ctrl-C before it touches the folder.
    while !place.path("mobiedit-edits/journal.mej").exists() {
        assert!(started.elapsed() < Duration::from_secs(120), "the edit does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[cfg(unix)]
#[test]
fn control_c_keeps_the_edit_and_the_same_command_goes_on_to_the_same_bits() {
    let (whole, place) = (Place::new(), Place::new());
    let edit = whole.json(0, &EDIT);
    interrupt(&place, &EDIT);
    let running = || place.files().iter().filter(|(p, _)| p.extension().is_some_and(|e| e == "mec")).count();
    assert_eq!(running(), 1);
    assert_eq!(place.json(0, &["list"]), json!({ "edits": [] }));
    std::fs::remove_file(place.path("mobiedit-edits/journal.mej")).unwrap();
    interrupt(&place, &[&EDIT[..], &["--activations", "float"]].concat());
    assert_eq!(running(), 2, "with other numbers it is another edit");

    let resumed = place.json(0, &EDIT);
    assert_eq!(running(), 0, "as e1, the other can never be ended");
    assert_eq!((&resumed["steps"], &resumed["forward_passes"]), (&edit["steps"], &edit["forward_passes"]));
    let adapter = |place: &Place| std::fs::read(place.path("mobiedit-edits/e1.gguf")).unwrap();
    assert_eq!(adapter(&place), adapter(&whole));
}
