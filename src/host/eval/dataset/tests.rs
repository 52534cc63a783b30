//! The published files as they are, EasyEdit's layouts, and what can be wrong with a record.

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data").join(name)
}

fn question(prompt: &str, answers: &[&str]) -> Question {
    Question { prompt: prompt.into(), answers: strings(answers) }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn request(prompt: &str, subject: &str, target: &str) -> EditRequest {
    EditRequest { prompt: prompt.into(), subject: subject.into(), target: target.into() }
}

/// Line, number and reason of what is skipped, and the subjects of what is not.
fn parsed(text: &[u8], format: Format) -> (Vec<(usize, usize, String)>, Vec<String>) {
    let dataset = parse(text, format);
    let malformed = dataset.malformed.into_iter().map(|m| (m.line, m.number, m.reason)).collect();
    (malformed, dataset.records.into_iter().map(|record| record.request.subject).collect())
}

#[test]
fn all_of_counterfact_is_read() {
    let dataset = read(&fixture("counterfact_500.json"), Format::CounterFact).unwrap();
    assert_eq!((dataset.records.len(), dataset.malformed.len()), (500, 0));
    assert!(
        dataset.records.iter().enumerate().all(|(index, record)| record.number == index && record.compares_objects)
    );
    assert!(
        dataset.records.iter().all(|r| r.locality.len() == 10 && r.rephrases.len() == 2 && r.generation.len() == 10)
    );
    let second = &dataset.records[1];
    assert_eq!(second.line, 59);
    assert_eq!(second.request, request("What is the twin city of {}? It is", "Shanghai", "Dresden"));
    assert_eq!(second.truth, ["Barcelona"]);
    assert_eq!(second.rephrases[1], "Palgrave Macmillan, 2013. Shanghai is a twin city of");
    assert_eq!(second.locality[0], question("Rio de Janeiro is a twin city of", &["Barcelona"]));
    assert_eq!(second.portability, []);
    assert_eq!(second.generation[0], "People in Shanghai's twin city speak the language of");
}

#[test]
fn all_of_zsre_is_read() {
    let path = fixture("zsre_650.json");
    let dataset = read(&path, Format::Zsre).unwrap();
    assert_eq!((dataset.records.len(), dataset.malformed.len()), (650, 0));
    assert!(
        dataset.records.iter().all(|r| r.portability.len() == 1 && r.locality.len() == 2 && r.rephrases.len() == 1)
    );
    let first = Record {
        number: 0,
        line: 2,
        request: request("What voice type is {}?", "Louise Grandjean", "mezzo soprano"),
        truth: strings(&["soprano"]),
        rephrases: strings(&["What tone does Louise Grandjean sing in?"]),
        locality: vec![
            question("The country of citizenship of Louise Grandjean is", &["France"]),
            question("Louise Grandjean country of citizenship", &["France"]),
        ],
        portability: vec![question("What is the vocal range of Louise Grandjean as a mezzo soprano?", &["A3 to A5"])],
        generation: Vec::new(),
        compares_objects: false,
    };
    assert_eq!(dataset.records[0], first);
    assert_eq!(read(&path, Format::EasyEdit).unwrap(), dataset, "KnowEdit is one of EasyEdit's layouts");
    let demo = read(&fixture("mobiedit_demo.json"), Format::Zsre).unwrap();
    assert_eq!((demo.records.len(), demo.malformed.len()), (5, 0));
    assert_eq!(
        demo.records[2].request,
        request("What piece of fiction does {} appear in?", "Slartibartfast", "The Lord of the Rings")
    );
    assert_ne!(demo.digest, dataset.digest);
}

#[test]
fn each_layout_of_easyedit_is_read() {
    let dataset = read(&fixture("easyedit_layouts.json"), Format::EasyEdit).unwrap();
    assert_eq!(dataset.malformed, []);
    let [editor, mend, wiki, bio] = dataset.records.as_slice() else { panic!("{:?}", dataset.records) };
    assert_eq!(editor.request, request("The capital of {} is", "France", "Rome"));
    assert_eq!((editor.truth.as_slice(), editor.rephrases.len()), (&strings(&["Paris"])[..], 2));
    let neighbours = [
        question("The capital of Italy is", &["Rome"]),
        question("The capital of Spain is", &["Madrid"]),
        question("The capital of Germany is", &["Berlin", "West Berlin"]),
    ];
    assert_eq!(editor.locality, neighbours, "groups in the order of their names");
    let mayor = question("The mayor of the capital of France is", &["Roberto Gualtieri", "Gualtieri"]);
    assert_eq!(editor.portability, [mayor]);

    assert_eq!(mend.request, request("Is Adam the father of Ada, or is it {}?", "Ada", "Eve"));
    assert_eq!(mend.truth, ["Adam", "Adam the First"]);
    assert_eq!(mend.locality, [question("nq question: who sang the song", &["A Singer"])]);
    assert_eq!(mend.portability, [question("Who is the mother of the father of Ada?", &["Lilith"])]);

    assert_eq!(wiki.truth, strings(&[]));
    assert_eq!(wiki.portability, [question("Is Leo Arons still alive?", &["no", "incorrect", "false"])]);
    assert_eq!(wiki.locality, [question("The father of Leo Arons is", &["Albert Arons"])]);

    assert_eq!(bio.request, request("This is a passage about {}.", "john russell reynolds", "He was a physician."));
    assert_eq!(bio.locality[0].answers, ["1828"]);
    assert_eq!(dataset.records.iter().map(|record| record.line).collect::<Vec<_>>(), [2, 19, 31, 44]);
}

#[test]
fn lines_of_json_are_an_array() {
    let array = std::fs::read(fixture("easyedit_layouts.json")).unwrap();
    let values: Vec<serde_json::Value> = serde_json::from_slice(&array).unwrap();
    let lines: Vec<String> = values.iter().map(ToString::to_string).collect();
    let from_lines = parse(lines.join("\r\n").as_bytes(), Format::EasyEdit).records;
    assert_eq!(from_lines.iter().map(|record| record.line).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let without_lines = |records: Vec<Record>| -> Vec<Record> {
        records.into_iter().map(|record| Record { line: 0, ..record }).collect()
    };
    assert_eq!(without_lines(from_lines), without_lines(parse(&array, Format::EasyEdit).records));
}

#[test]
fn what_is_wrong_with_a_record_is_told() {
    let zsre =
        |fields: &str| format!(r#"{{"prompt": "Where is Rome?", "subject": "Rome", "target_new": "Asia"{fields}}}"#);
    let rewrite = |prompt: &str, more: &str| {
        let objects = format!(r#""target_new": {{"str": "a"}}, "target_true": {{"str": "b"}}{more}"#);
        format!(r#"{{"requested_rewrite": {{"prompt": "{prompt}", "subject": "S", {objects}}}}}"#)
    };
    let cases = [
        (Format::Zsre, zsre(r#", "subject": "rome""#), "the subject does not occur in the prompt"),
        (Format::Zsre, zsre(r#", "subject": "Paris""#), "the subject does not occur in the prompt"),
        (Format::Zsre, zsre(r#", "subject": "  ""#), "the field subject is empty"),
        (Format::Zsre, zsre(r#", "target_new": """#), "the field target_new is empty"),
        (Format::Zsre, zsre(r#", "target_new": null"#), "the field target_new is missing"),
        (Format::Zsre, zsre(r#", "prompt": true"#), "the field prompt is neither a text nor a list of texts"),
        (Format::Zsre, zsre(r#", "prompt": "{} is in Rome""#), "the prompt has {} in it, which stands for the subject"),
        (Format::Zsre, zsre(r#", "locality": 5"#), "the field locality is no object"),
        (Format::Zsre, zsre(r#", "locality": {"a": [7]}"#), "a prompt is missing in locality.a"),
        (
            Format::EasyEdit,
            zsre(r#", "portability": {"a": {"prompt": ["x", "y"], "ground_truth": ["z"]}}"#),
            "portability.a.ground_truth has 1 answers for 2 prompts",
        ),
        (Format::Zsre, r#"{"src": "Who?"}"#.into(), "the field subject is missing"),
        (Format::Zsre, "nonsense".into(), "not valid JSON at line 2: expected ident"),
        (Format::Zsre, zsre(r#", "x": 1e999"#), "not valid JSON at line 2: number out of range"),
        (Format::CounterFact, zsre(""), "the field requested_rewrite is missing"),
        (
            Format::CounterFact,
            rewrite("{} and {} are", ""),
            "the prompt \"{} and {} are\" has 2 places for the subject: write exactly one {} in it",
        ),
        (
            Format::CounterFact,
            rewrite("S is", ""),
            "the prompt \"S is\" has 0 places for the subject: write exactly one {} in it",
        ),
        (
            Format::CounterFact,
            rewrite("{} is", r#", "target_true": {"id": "Q1"}"#),
            "the field str is missing in target_true",
        ),
    ];
    for (format, broken, reason) in cases {
        let good = if format == Format::CounterFact { rewrite("{} is in", "") } else { zsre("") };
        let text = format!("{good}\n{broken}\n{good}\n");
        let (malformed, subjects) = parsed(text.as_bytes(), format);
        assert_eq!(malformed, [(2, 1, reason.to_owned())], "{broken}");
        assert_eq!(subjects.len(), 2, "{broken}");
    }
}

#[test]
fn a_file_that_breaks_off_anywhere_keeps_the_records_before() {
    let whole = std::fs::read(fixture("easyedit_layouts.json")).unwrap();
    let ends: Vec<usize> =
        slices::split(&whole).iter().map(|s| s.bytes.as_ptr_range().end as usize - whole.as_ptr() as usize).collect();
    for cut in 0..=whole.len() {
        let dataset = parse(&whole[..cut], Format::EasyEdit);
        assert_eq!(dataset.records.len(), ends.iter().filter(|&&end| end <= cut).count(), "cut at byte {cut}");
        assert!(dataset.malformed.len() <= 1, "cut at byte {cut}");
    }
}

#[test]
fn bytes_that_are_no_text_cost_one_record() {
    let good = r#"{"prompt": "Where is Rome?", "subject": "Rome", "target_new": "Asia"}"#;
    let deep = format!(r#"{{"a": {}"#, "[{\"a\": ".repeat(200_000));
    for broken in [&b"{\"prompt\": \"\xFF\xFE\"}"[..], b"{\"prompt\": \"\0\"}", b"\0\0\0\0", b"\xFF", deep.as_bytes()] {
        let text = [good.as_bytes(), b"\n", broken, b"\n", good.as_bytes()].concat();
        let (malformed, subjects) = parsed(&text, Format::Zsre);
        assert_eq!((malformed.len(), malformed[0].0, malformed[0].1), (1, 2, 1), "{malformed:?}");
        assert!(malformed[0].2.starts_with("not valid JSON at line 2"), "{malformed:?}");
        // An object may stand where the deep one breaks off: it counts as a part of it.
        assert_eq!(subjects.len(), if broken == deep.as_bytes() { 1 } else { 2 });
    }
}

#[test]
fn a_file_without_records_is_refused_with_advice() {
    let told = |bytes: &[u8]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read(file.path(), Format::CounterFact).unwrap_err().to_string()
    };
    assert!(told(b" [] ").ends_with("is empty: give a file with records, as a JSON array or JSON lines"));
    let zsre = told(&std::fs::read(fixture("mobiedit_demo.json")).unwrap());
    assert!(zsre.contains("5 malformed, the first at line 2: the field requested_rewrite is missing"), "{zsre}");
    assert!(zsre.ends_with("has another --format than counterfact"), "{zsre}");
    let missing = read(Path::new("no such file"), Format::Zsre).unwrap_err().to_string();
    assert!(missing.starts_with("the dataset no such file cannot be read"), "{missing}");
}
