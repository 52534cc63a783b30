//! `mobiedit eval` from end to end on the shipped model: kills and cut-off files, shards, stacked edits, bad input.
//!
//! Searches run where their result matters. Elsewhere patches are given in a file, which takes no search.

mod command;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use command::{Place, Ran};
use serde_json::{Value, json};

/// A record in CounterFact's format.
fn record(prompt: &str, subject: &str, target: &str, truth: &str, rephrase: &str, neighbours: &[&str]) -> Value {
    json!({
        "requested_rewrite": {
            "prompt": prompt, "subject": subject,
            "target_new": { "str": target }, "target_true": { "str": truth },
        },
        "paraphrase_prompts": [rephrase],
        "neighborhood_prompts": neighbours,
    })
}

/// Facts that the shipped model knows. Each of the first two asks that the other's answer stays.
fn records() -> Vec<Value> {
    let capital = "The capital of {} is";
    vec![
        record(capital, "France", "Rome", "Paris", "France's capital city is", &["The capital of Germany is"]),
        record(capital, "Germany", "Madrid", "Berlin", "Germany's capital city is", &["The capital of France is"]),
        record(
            "{} plays the",
            "Lady Gaga",
            "violin",
            "piano",
            "Lady Gaga performs on the",
            &["The capital of Spain is"],
        ),
    ]
}

/// A folder with the records in `facts.json`, and a patch for each in `patches.jsonl`.
fn place() -> Place {
    let place = Place::new();
    fs::write(place.path("facts.json"), serde_json::to_string_pretty(&records()).unwrap()).unwrap();
    let wave = |len: usize, scale: f64, phase: f64| -> Vec<f64> {
        (0..len).map(|i| scale * (i as f64 * (1.0 + phase) + phase).sin()).collect()
    };
    let patch = |number: usize| {
        let phase = number as f64 * 0.37;
        json!({ "record": number, "layer": 1, "u": wave(768, 0.5, phase), "lambda": wave(256, 0.5, phase) })
    };
    let lines: Vec<String> = (0..records().len()).map(|number| format!("{}\n", patch(number))).collect();
    fs::write(place.path("patches.jsonl"), lines.concat()).unwrap();
    place
}

const SEARCH: [&str; 7] = ["eval", "--dataset", "facts.json", "--format", "counterfact", "--seed", "5"];

/// The evaluation of the given patches into the folder `out`.
fn given<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&SEARCH[..], &["--patches", "patches.jsonl", "--out", out], more].concat()
}

/// The evaluation of searched patches into the folder `out`.
fn searched<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&SEARCH[..], &["--out", out], more].concat()
}

/// All that `records.jsonl` says but how long it took and how much memory the process had.
fn lines(place: &Place, out: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(&format!("{out}/records.jsonl"))).unwrap();
    let parse = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        if let Some(cost) = line["cost"].as_object_mut() {
            assert!(cost.remove("seconds").unwrap().as_f64().unwrap() > 0.0);
            cost.remove("peak_rss_bytes").unwrap();
        }
        line
    };
    text.lines().map(parse).collect()
}

fn done(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

/// Expects an error of one line that has all of `words`.
fn refused(ran: &Ran, words: &[&str]) {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
    let error = ran.stderr.lines().find(|line| !line.starts_with("note: ")).unwrap();
    assert!(error.starts_with("error: ") && ran.stderr.ends_with(&format!("{error}\n")), "{}", ran.stderr);
    for word in words {
        assert!(error.contains(word), "{error:?} does not say {word:?}");
    }
}

/// Copies a folder, files only.
fn copy(place: &Place, from: &str, to: &str) {
    fs::create_dir_all(place.path(to)).unwrap();
    for entry in fs::read_dir(place.path(from)).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            let name = entry.file_name().into_string().unwrap();
            copy(place, &format!("{from}/{name}"), &format!("{to}/{name}"));
        } else {
            fs::copy(entry.path(), place.path(to).join(entry.file_name())).unwrap();
        }
    }
}

fn cut(path: &PathBuf, len: usize) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len as u64).unwrap();
}

#[test]
fn a_file_cut_off_anywhere_is_filled_up_to_the_same_lines() {
    let place = place();
    done(&place.run(&given("whole", &[])));
    let (whole, bytes) = (lines(&place, "whole"), fs::read(place.path("whole/records.jsonl")).unwrap());
    assert_eq!(whole.len(), 3);
    let ends: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == b'\n').collect();
    for len in [0, 1, ends[0] - 1, ends[0], ends[0] + 1, ends[0] + 2, (ends[0] + ends[1]) / 2, ends[2], ends[2] + 1] {
        copy(&place, "whole", "cut");
        cut(&place.path("cut/records.jsonl"), len);
        done(&place.run(&given("cut", &[])));
        assert!(fs::read(place.path("cut/records.jsonl")).unwrap() == bytes, "cut off after {len} bytes");
    }
    copy(&place, "whole", "damaged");
    let mut damaged = bytes.clone();
    damaged[ends[0] + 1] = b'?';
    fs::write(place.path("damaged/records.jsonl"), damaged).unwrap();
    refused(&place.run(&given("damaged", &[])), &["line 2", "records.jsonl"]);
}

#[test]
fn shards_together_are_the_unsharded_run() {
    let place = place();
    for (out, shard) in [("whole", "1/1"), ("one", "1/2"), ("two", "2/2")] {
        let more: &[&str] = if out == "whole" { &[] } else { &["--shard", shard] };
        done(&place.run(&searched(out, more)));
    }
    let merged = place.json(0, &["eval", "merge", "two", "one", "--out", "merged"]);
    assert_eq!(lines(&place, "merged"), lines(&place, "whole"));
    for line in lines(&place, "whole") {
        assert!(line["cost"]["found"].as_bool().unwrap() && line["rewrite"]["exact"].as_bool().unwrap(), "{line}");
        assert_eq!((&line["known"], &line["refused"]), (&json!(true), &Value::Null));
    }
    assert_ne!(lines(&place, "one")[0]["record"], lines(&place, "two")[0]["record"]);
    for file in ["settings.json", "selection.json"] {
        let read = |out: &str| fs::read_to_string(place.path(&format!("{out}/{file}"))).unwrap();
        assert_eq!(read("merged"), read("whole"));
    }
    let whole = place.json(0, &searched("whole", &[]));
    for figure in ["settings", "records", "malformed", "unknown_left_out", "without_patch"] {
        assert_eq!(merged[figure], whole[figure], "{figure}");
    }
    for figure in ["records", "success", "rephrase", "locality", "counterfact"] {
        assert_eq!(merged["summary"]["all"][figure], whole["summary"]["all"][figure], "{figure}");
    }
    assert_eq!(whole["summary"]["known"]["success"], json!({ "records": 3, "tokens": 1.0, "exact": 1.0 }));
    for (report, out) in [(&whole, "whole"), (&merged, "merged")] {
        assert_eq!(report["out"], out);
        assert!(place.path(report["report"].as_str().unwrap()).exists());
    }
}

#[test]
fn shards_that_do_not_fit_together_are_not_merged() {
    let place = place();
    for (out, more) in [
        ("one", ["--shard", "1/3"].as_slice()),
        ("two", &["--shard", "2/3"]),
        ("three", &["--shard", "3/3"]),
        ("seed", &["--shard", "3/3", "--seed", "6"]),
        ("half", &["--shard", "2/2"]),
        ("whole", &[]),
    ] {
        let arguments: Vec<&str> = match more.iter().position(|arg| *arg == "--seed") {
            // clap takes an option once.
            Some(at) => [&given(out, &more[..at])[..5], &more[at..], &given(out, &more[..at])[7..]].concat(),
            None => given(out, more),
        };
        done(&place.run(&arguments));
    }
    copy(&place, "three", "unfinished");
    cut(&place.path("unfinished/records.jsonl"), 20);
    for (folders, says) in [
        (["one", "two", "two"], "shard 2/3 is given twice"),
        (["one", "three", "three"], "given twice"),
        (["one", "two", "seed"], "with seed 6, not 5"),
        (["one", "two", "half"], "shard"),
        (["one", "two", "whole"], "whole holds no shard"),
        (["one", "two", "unfinished"], "unfinished is not finished: it has 0 of 1"),
        (["one", "two", "nowhere"], "nowhere"),
    ] {
        refused(&place.run(&[&["eval", "merge"], &folders[..], &["--out", "merged"]].concat()), &[says]);
        assert!(!place.path("merged").exists(), "{says}");
    }
    refused(&place.run(&["eval", "merge", "one", "three", "--out", "merged"]), &["missing", "shard 2"]);
    done(&place.run(&["eval", "merge", "three", "one", "two", "--out", "merged"]));
    assert_eq!(lines(&place, "merged"), lines(&place, "whole"));
    let other = ["eval", "merge", "half", "--out", "merged"];
    refused(&place.run(&other), &["missing"]);
    refused(
        &place.run(&["eval", "merge", "three", "one", "two", "--out", "seed"]),
        &["seed holds results with seed 6"],
    );
}

#[cfg(unix)]
#[test]
fn a_killed_evaluation_goes_on_to_the_same_lines() {
    let place = place();
    done(&place.run(&searched("whole", &[])));
    let written = || fs::metadata(place.path("killed/records.jsonl")).map_or(0, |records| records.len());
    let mut kills = 0;
    // While it begins, then a little after each record.
    for pause in [0, 200, 400] {
        let before = written();
        let quiet = |args: &[&str]| place.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut child = quiet(&searched("killed", &[]));
        let started = Instant::now();
        while pause > 0 && written() == before && child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_secs(600), "no record is done");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(pause));
        child.kill().unwrap();
        kills += usize::from(child.wait().unwrap().code().is_none());
    }
    assert!(kills >= 2, "the program was gone before it was killed");
    done(&place.run(&searched("killed", &[])));
    assert_eq!(lines(&place, "killed"), lines(&place, "whole"));
}

#[cfg(unix)]
#[test]
fn control_c_ends_with_130_and_the_same_command_goes_on() {
    let place = place();
    let mut child = place.command(&searched("out", &[])).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The program listens for Ctrl-C before it makes the folder.
    while !place.path("out/selection.json").exists() {
        assert_eq!(child.try_wait().unwrap(), None, "the evaluation does not begin");
        std::thread::sleep(Duration::from_millis(2));
    }
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(lines(&place, "out").len() < 3);
    done(&place.run(&searched("out", &[])));
    assert_eq!(lines(&place, "out").len(), 3);
}

#[test]
fn stacked_edits_are_measured_together_and_against_the_clean_model() {
    let place = place();
    done(&place.run(&searched("whole", &["--sequential"])));
    let whole = lines(&place, "whole");
    for (subject, clean, edited) in [("France", "Berlin", "Madrid"), ("Germany", "Paris", "Rome")] {
        let line = whole.iter().find(|line| line["subject"] == subject).unwrap();
        let kept = &line["locality"][0];
        let begins = |field: &str, with: &str| kept[field].as_str().unwrap().starts_with(with);
        assert!(begins("before", clean), "what the clean model says, whatever edits came before: {kept}");
        assert!(begins("after", edited) && kept["exact"] == false, "the other edit is in, whatever came after: {kept}");
        assert_eq!(line["rewrite"]["exact"], true);
    }

    let stacked = fs::read(place.path("whole/stacked.jsonl")).unwrap();
    let first = stacked.iter().position(|byte| *byte == b'\n').unwrap();
    // Killed within a line, between the commit of a patch and its line, and while the measures were written.
    for (stacked, records) in [(first - 3, 0), (first + 1, 0), (stacked.len(), 100)] {
        copy(&place, "whole", "cut");
        cut(&place.path("cut/stacked.jsonl"), stacked);
        cut(&place.path("cut/records.jsonl"), records);
        done(&place.run(&searched("cut", &["--sequential"])));
        assert_eq!(lines(&place, "cut"), whole, "cut off after {stacked} bytes");
    }
    let edits = place.json(0, &["list", "--edits", "whole/edits"]);
    assert_eq!(edits["edits"].as_array().unwrap().len(), 3);
}

#[test]
fn results_of_other_settings_are_refused_and_left_alone() {
    let place = place();
    done(&place.run(&given("out", &[])));
    let mut patches = fs::read_to_string(place.path("patches.jsonl")).unwrap();
    patches.push('\n');
    fs::write(place.path("others.jsonl"), patches).unwrap();
    let files = place.files();
    let with = |flag: &str, value: &'static str| -> Vec<&str> {
        let mut args = given("out", &[]);
        match args.iter().position(|arg| *arg == flag) {
            Some(at) => args[at + 1] = value,
            None => args.extend(
                [flag, value].into_iter().filter(|arg| !arg.is_empty()).map(|arg| arg.to_owned().leak() as &str),
            ),
        }
        args
    };
    for (flag, value, says) in [
        ("--seed", "6", "with seed 5, not 6"),
        ("--limit", "2", "with limit none, not 2"),
        ("--known", "", "with known false, not true"),
        ("--fluency", "", "with fluency false, not true"),
        ("--activations", "float", "with precision dynamic, not float"),
        ("--layer", "2", "with layer 1, not 2"),
        ("--shard", "1/2", "with shard none, not 1/2"),
        ("--sequential", "", "with sequential false, not true"),
        ("--patches", "others.jsonl", "with patches "),
    ] {
        refused(&place.run(&with(flag, value)), &["out holds results", says, "choose another --out"]);
    }
    refused(&place.run(&searched("out", &[])), &["with patches "]);
    assert!(place.files() == files);

    let settings = fs::read_to_string(place.path("out/settings.json")).unwrap();
    fs::write(place.path("out/settings.json"), settings.replace("\"line_format\": 2", "\"line_format\": 9")).unwrap();
    refused(&place.run(&given("out", &[])), &["with line_format 9, not 2"]);
    fs::remove_file(place.path("out/settings.json")).unwrap();
    refused(&place.run(&given("out", &[])), &["settings.json"]);
}

#[test]
fn two_processes_do_not_write_to_one_folder() {
    let place = place();
    done(&place.run(&given("out", &[])));
    let records = fs::OpenOptions::new().write(true).open(place.path("out/records.jsonl")).unwrap();
    records.lock().unwrap();
    refused(&place.run(&given("out", &[])), &["another mobiedit"]);
    drop(records);
    done(&place.run(&given("out", &[])));
}

#[test]
fn malformed_records_are_named_by_line_and_counted() {
    let place = place();
    let good = records();
    let mut broken: Vec<String> =
        vec![good[0].to_string(), "{\"prompt\": 7}".to_owned(), "{\"requested_rewrite\": 7, \"x\"".to_owned()];
    broken.extend(vec!["{}".to_owned(); 12]);
    broken.push(good[1].to_string());
    fs::write(place.path("facts.json"), broken.join("\n")).unwrap();
    let patches = fs::read_to_string(place.path("patches.jsonl")).unwrap();
    let [first, second, _] = patches.lines().collect::<Vec<_>>()[..] else { panic!("three patches") };
    let last = second.replace("\"record\":1", "\"record\":15");
    fs::write(place.path("patches.jsonl"), format!("{first}\n{last}\n")).unwrap();
    let ran = place.run(&given("out", &["--json"]));
    done(&ran);
    let notes: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("left out")).collect();
    assert!(notes.len() == 11, "ten are named, the others are counted: {}", ran.stderr);
    for line in ["line 2", "line 3"] {
        assert!(notes.iter().any(|note| note.contains(line)), "{line}: {}", ran.stderr);
    }
    assert!(notes[10].contains("4 more"), "{}", notes[10]);
    let report: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&report["malformed"], &report["records"]), (&json!(14), &json!(2)));
    let mut numbers: Vec<_> = lines(&place, "out").iter().map(|l| (l["record"].as_u64(), l["line"].as_u64())).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [(Some(0), Some(1)), (Some(15), Some(16))]);
}

#[test]
fn a_record_that_cannot_be_asked_is_a_line_and_no_error() {
    let place = place();
    let mut records = records();
    records[0]["requested_rewrite"]["target_new"]["str"] = json!("Rome and Milan and ".repeat(20));
    records[1]["neighborhood_prompts"] = json!([format!("{}is", "The capital of Spain ".repeat(200))]);
    fs::write(place.path("facts.json"), serde_json::to_string(&records).unwrap()).unwrap();
    let report = place.json(0, &searched("out", &[]));
    assert_eq!(report["records"], 3);
    for (subject, says) in [("France", "the target has"), ("Germany", "this model's context"), ("Lady Gaga", "")] {
        let line = lines(&place, "out").into_iter().find(|line| line["subject"] == subject).unwrap();
        let refused = line["refused"].as_str().unwrap_or_default().to_owned();
        assert!(refused.contains(says) && refused.is_empty() == says.is_empty(), "{subject}: {refused:?}");
        assert_eq!(line["rewrite"].is_null(), !says.is_empty());
    }
}

#[test]
fn what_cannot_be_evaluated_is_refused_before_a_folder_is_made() {
    let place = place();
    let facts = "facts.json";
    let many: Vec<Value> = (0..129).map(|_| records().remove(0)).collect();
    fs::write(place.path("many.json"), serde_json::to_string(&many).unwrap()).unwrap();
    let short = r#"{"record": 0, "layer": 1, "u": [1], "lambda": [1]}"#;
    fs::write(place.path("short.jsonl"), format!("\n{short}\n")).unwrap();
    fs::write(place.path("none.jsonl"), "").unwrap();
    let files = place.files();
    let eval = |dataset: &'static str, more: &[&'static str]| -> Ran {
        place.run(&[&["eval", "--format", "counterfact", "--out", "out", "--dataset", dataset], more].concat())
    };
    refused(&eval("many.json", &["--sequential"]), &["129", "at most 128"]);
    refused(&eval("nowhere.json", &[]), &["nowhere.json"]);
    refused(&eval(facts, &["--patches", "short.jsonl"]), &["line 2", "u has 1 numbers instead of 768"]);
    refused(&eval(facts, &["--patches", "none.jsonl"]), &["no record"]);
    refused(&eval(facts, &["--layer", "99"]), &["layer 99"]);
    for usage in
        [["--shard", "0/2"].as_slice(), &["--shard", "3/2"], &["--shard", "1/2", "--sequential"], &["--limit", "0"]]
    {
        assert_eq!(eval(facts, usage).code, Some(2), "{usage:?}");
    }
    assert!(place.files() == files);
}

#[test]
fn known_passes_over_what_the_model_does_not_know() {
    let place = place();
    let mut records = records();
    records[2]["requested_rewrite"]["target_true"]["str"] = json!("bassoon");
    fs::write(place.path("facts.json"), serde_json::to_string(&records).unwrap()).unwrap();
    let report = place.json(0, &given("out", &["--known", "--limit", "3"]));
    assert_eq!((&report["records"], &report["unknown_left_out"]), (&json!(2), &json!(1)));
    let all = place.json(0, &given("all", &[]));
    assert_eq!(all["records"], 3);
    let known: Vec<_> = lines(&place, "all").iter().map(|l| (l["record"].clone(), l["known"].clone())).collect();
    assert!(known.contains(&(json!(2), json!(false))) && known.contains(&(json!(0), json!(true))), "{known:?}");
}
