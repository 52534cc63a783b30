//! Stacked edits by the command line: what `edit` and `verify` tell a script about the rest of the model, and `bench stack`.

mod command;

use std::fs;

use command::Place;
use mobiedit::host::edits::{EditInfo, EditsWriter};
use mobiedit::host::session::{SessionError, SessionOptions, with_session};
use serde_json::{Value, json};

const EDIT: [&str; 7] = ["edit", "--prompt", "The capital of {} is", "--subject", "France", "--target", "Rome"];

/// An edits folder with so many patches of layer 1 that are waves of this height.
fn patches(place: &Place, count: usize, size: f32) {
    let identity = |session: &mut mobiedit::host::session::Session<'_>| Ok::<_, SessionError>(session.identity(1));
    let model = with_session(&SessionOptions::default(), identity).unwrap();
    let mut writer = EditsWriter::open(&place.path("mobiedit-edits")).unwrap();
    for number in 0..count {
        let wave = |len: usize| -> Vec<f32> { (0..len).map(|i| size * ((i * 7 + i * number) as f32).sin()).collect() };
        let (u, lambda) = (wave(768), wave(256));
        let info = EditInfo {
            edit_id: writer.next_id(),
            model,
            prompt: "The capital of {} is".into(),
            subject: "Spain".into(),
            target: "Oslo".into(),
            layer: 1,
            preset: "default".into(),
            seed: 0,
            steps: 1,
            forward_passes: 1,
            p_target: 0.9,
            success: true,
        };
        writer.commit(info, mobiedit::core::RankOne { layer: 1, u: &u, lambda: &lambda }).unwrap();
    }
}

fn warnings(of: &Value) -> Vec<&str> {
    of["warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap()).collect()
}

#[test]
fn the_tenth_edit_of_a_ruined_model_and_verify_warn_a_script_and_a_reader() {
    let place = Place::new();
    patches(&place, 9, 0.5);
    let edited = place.run(&[&EDIT[..], &["--keep-failed", "--json"]].concat());
    let object: Value = serde_json::from_str(edited.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(object["health"]["edits"], 10, "{object}");
    assert_eq!(warnings(&object).len(), 3, "{object}");
    for warning in warnings(&object) {
        assert!(edited.stderr.contains(&format!("warning: {warning}")), "{}", edited.stderr);
    }
    let verified = place.json(3, &["verify"]);
    assert_eq!((&verified["health"], &verified["warnings"]), (&object["health"], &object["warnings"]));
    let read = place.run(&["verify"]).stderr;
    assert_eq!(read.matches("warning: ").count(), 3, "{read}");
}

#[test]
fn the_tenth_edit_of_a_healthy_model_is_measured_and_the_eleventh_is_not() {
    let place = Place::new();
    patches(&place, 9, 0.001);
    let tenth = place.json(0, &EDIT);
    assert_eq!((&tenth["health"]["edits"], warnings(&tenth)), (&json!(10), vec![]), "{tenth}");
    let germany = ["edit", "--prompt", "The capital of {} is", "--subject", "Germany", "--target", "Madrid"];
    let eleventh = place.json(0, &germany);
    assert_eq!((&eleventh["health"], warnings(&eleventh)), (&Value::Null, vec![]), "{eleventh}");
}

#[test]
fn any_edit_warns_where_the_patches_outgrow_their_matrix() {
    let place = Place::new();
    patches(&place, 1, 1.0);
    let edited = place.run(&[&EDIT[..], &["--keep-failed", "--json"]].concat());
    let object: Value = serde_json::from_str(edited.stdout.lines().last().unwrap()).unwrap();
    let [warning] = warnings(&object)[..] else { panic!("{object}") };
    assert!(object["health"].is_null() && warning.contains("norm") && warning.contains("mobiedit verify"), "{object}");
    assert!(edited.stderr.contains(&format!("warning: {warning}")), "{}", edited.stderr);
}

/// A record in CounterFact's format.
fn record(subject: &str, target: &str, truth: &str) -> Value {
    json!({
        "requested_rewrite": {
            "prompt": "The capital of {} is", "subject": subject,
            "target_new": { "str": target }, "target_true": { "str": truth },
        },
        "paraphrase_prompts": [format!("{subject}'s capital city is")],
        "neighborhood_prompts": [],
    })
}

#[test]
fn bench_stack_measures_the_model_as_edits_are_stacked() {
    let place = Place::new();
    let facts =
        [record("France", "Rome", "Paris"), record("Germany", "Madrid", "Berlin"), record("Spain", "Oslo", "Madrid")];
    fs::write(place.path("facts.json"), json!(facts).to_string()).unwrap();
    let bench = ["bench", "stack", "--records", "2", "--every", "1", "--others", "1", "--dataset", "facts.json"];
    let stacked = place.json(0, &[&bench[..], &["--out", "stack.svg"]].concat());
    let rows = stacked["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3, "{stacked}");
    for (edits, row) in rows.iter().enumerate() {
        assert_eq!((&row["tried"], &row["edits"]), (&json!(edits), &json!(edits)), "{row}");
        assert_eq!((&row["others"], &row["health"]["edits"]), (&json!(1.0), &json!(edits)), "{row}");
        assert_eq!(row["hold"], if edits == 0 { Value::Null } else { json!(1.0) }, "{row}");
    }
    let norm = |row: &Value| row["health"]["patch_norm"].as_f64().unwrap();
    assert!(norm(&rows[0]) == 0.0 && norm(&rows[1]) > 0.0 && norm(&rows[2]) > norm(&rows[1]), "{stacked}");
    assert!(fs::read_to_string(place.path("stack.svg")).unwrap().contains("facts never edited"));
    let names: Vec<_> = place.files().iter().map(|(path, _)| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["facts.json", "stack.svg"], "no edit is kept");

    let told = place.run(&[&bench[..], &["--strength", "0"]].concat());
    assert!(told.code == Some(1) && told.stderr.contains("--strength"), "{}", told.stderr);
}
