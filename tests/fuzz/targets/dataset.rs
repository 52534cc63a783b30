//! A dataset of edits from anywhere: every object is a record or told as malformed, and a record can be asked for.

use mobiedit::host::eval::dataset::{Format, Malformed, Record, parse};
use mobiedit::host::prompts::Template;

/// Reads the bytes in every format, and again with a sound record behind them.
pub fn run(bytes: &[u8]) {
    let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
    for format in [Format::CounterFact, Format::Zsre, Format::EasyEdit] {
        let dataset = parse(bytes, format);
        let mut places: Vec<(usize, usize)> =
            dataset.records.iter().map(|record| (record.number, record.line)).collect();
        places.extend(dataset.malformed.iter().map(|Malformed { number, line, .. }| (*number, *line)));
        places.sort_unstable();
        assert!(places.iter().map(|place| place.0).eq(0..places.len()), "a number is missing or there twice");
        assert!(places.is_sorted_by_key(|place| place.1), "lines go back");
        assert!(places.iter().all(|place| (1..=lines).contains(&place.1)), "a line that the file has not");
        dataset.records.iter().for_each(sound);
        assert!(dataset.malformed.iter().all(|malformed| !malformed.reason.is_empty()));
        assert_eq!(parse(bytes, format), dataset);
    }
}

/// What a run of edits takes for granted.
fn sound(record: &Record) {
    let template = Template::parse(&record.request.prompt).expect("a prompt with one place for the subject");
    assert!(template.fill(&record.request.subject).contains(&record.request.subject));
    let whole = |text: &String| !text.is_empty() && text.trim() == text;
    assert!(whole(&record.request.subject) && whole(&record.request.target));
    assert!(record.truth.iter().chain(&record.rephrases).chain(&record.generation).all(whole));
    for question in record.locality.iter().chain(&record.portability) {
        assert!(whole(&question.prompt) && question.answers.iter().all(whole));
    }
}

/// A record of each layout, alone and in an array, whole and broken.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let counterfact = r#"{"case_id": 0, "requested_rewrite": {"prompt": "The mother tongue of {} is", "target_new": {"str": "English"}, "target_true": {"str": "French"}, "subject": "Danielle Darrieux"}, "paraphrase_prompts": ["Danielle Darrieux, a native"], "neighborhood_prompts": ["The native language of Montesquieu is"], "generation_prompts": ["Danielle Darrieux was born in"]}"#;
    let zsre = r#"{"subject": "Watts Hospital", "prompt": "What architect designed Watts Hospital?", "target_new": "Ron Holt", "ground_truth": ["Hubert"], "rephrase_prompt": "Who designed Watts Hospital?", "portability": {"Reasoning": [{"prompt": "Who?", "ground_truth": [["A", "B"]]}]}, "locality": {"Relation_Specificity": [{"prompt": "Watts Hospital is in", "ground_truth": [["Durham"]]}]}}"#;
    let mend = r#"{"subject": "A", "src": "Who is A?", "pred": "x", "rephrase": "A is", "alt": "B", "answers": ["C"], "loc": "nq question: who?", "loc_ans": "D", "cond": "C >> B || A", "portability": {"New Question": "Where?", "New Answer": "There"}}"#;
    let request = r#"{"concept": "Ada", "text": "Adam and Ada are", "labels": "B", "locality": {"n": {"prompt": ["x", "y"], "ground_truth": ["1", 2]}}, "portability": null}"#;
    let array = format!("\u{feff}[\n{counterfact},\n{zsre}\n]\n");
    vec![
        ("counterfact", counterfact.into()),
        ("zsre", zsre.into()),
        ("mend", mend.into()),
        ("request", request.into()),
        ("array", array.clone().into()),
        ("lines", format!("{mend}\n{request}\r\n{{\"a\": \"b\n{mend}").into()),
        ("cut-off", array.as_bytes()[..array.len() / 2].to_vec()),
        ("deep", ["{\"prompt\": ", &"[".repeat(300)].concat().into()),
        ("no-json", b"\0\xff{\"\\u12\": [1e999, \"\\ud800\"]} ,,,]]}}".to_vec()),
    ]
}
