//! What `eval` measures, on the shipped model, against teacher forcing spelt out: the whole text from its start, one token at
//! a time.

use std::path::{Path, PathBuf};

use mobiedit::backends::generate::{Sequence, argmax};
use mobiedit::core::{ForwardBackend, RankOne};
use mobiedit::host::eval::dataset::{Format, Question, Record, read};
use mobiedit::host::eval::line::Likelihoods;
use mobiedit::host::eval::measure::{Clean, MeasureError, knows, measure};
use mobiedit::host::prompts::EditRequest;
use mobiedit::host::session::{Session, SessionError, SessionOptions, with_session};

fn on_the_shipped_model(work: impl FnOnce(&mut Session<'_>) + Send) {
    let done: Result<(), SessionError> = with_session(&SessionOptions::default(), |session| {
        work(session);
        Ok(())
    });
    done.unwrap();
}

fn records(file: &str, format: Format) -> Vec<Record> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data").join(file);
    read(&path, format).unwrap().records
}

/// The edit "The capital of France is" to `target`, where `truth` is true.
fn france(target: &str, truth: &[&str]) -> Record {
    let request =
        EditRequest { prompt: "The capital of {} is".into(), subject: "France".into(), target: target.into() };
    Record {
        number: 0,
        line: 1,
        request,
        truth: truth.iter().map(|&truth| truth.to_owned()).collect(),
        rephrases: Vec::new(),
        locality: Vec::new(),
        portability: Vec::new(),
        generation: Vec::new(),
        compares_objects: false,
    }
}

fn asks(prompt: &str, answers: &[&str]) -> Question {
    Question { prompt: prompt.into(), answers: answers.iter().map(|&answer| answer.to_owned()).collect() }
}

/// Share of the answer's tokens that are the argmax, and mean −log P per token.
fn forced(session: &mut Session<'_>, prompt: &str, answer: &str) -> (f64, f64) {
    let prompt = session.tokenizer.encode(prompt).unwrap().ids;
    let answer = session.tokenizer.encode_continuation(&format!(" {answer}")).unwrap().ids;
    let mut memory = vec![0.0; Sequence::memory_len(&session.transformer.spec(), 256)];
    let mut sequence = Sequence::new(256, &mut memory);
    let (mut right, mut nll) = (0.0, 0.0);
    let text = [prompt.as_slice(), &answer].concat();
    for (index, token) in text.iter().enumerate() {
        let logits = session.transformer.feed(&mut sequence, &[*token]).unwrap();
        if let Some(&next) = text.get(index + 1).filter(|_| index + 1 >= prompt.len()) {
            right += f64::from(u8::from(argmax(logits) == next));
            let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
            nll += sum.ln() - f64::from(logits[next as usize]);
        }
    }
    (right / answer.len() as f64, nll / answer.len() as f64)
}

fn assert_close(one: f64, other: f64, what: &str) {
    assert!((one - other).abs() < 1e-9, "{what}: {one}, not {other}");
}

#[test]
fn likelihoods_are_those_of_the_whole_text() {
    on_the_shipped_model(|session| {
        for record in records("counterfact_500.json", Format::CounterFact).iter().take(4) {
            let clean = Clean::measure(session, record, false).unwrap();
            let measured = measure(session, record, &clean, false).unwrap();
            let compared = measured.counterfact.unwrap();
            assert_eq!((compared.paraphrase.len(), compared.neighbourhood.len()), (2, 10));
            let mut check = |prompt: &str, found: Likelihoods| {
                assert_close(found.new, forced(session, prompt, &record.request.target).1, prompt);
                assert_close(found.truth, forced(session, prompt, &record.truth[0]).1, prompt);
            };
            check(&measured.rewrite.prompt, compared.rewrite);
            record.rephrases.iter().zip(&compared.paraphrase).for_each(|(prompt, found)| check(prompt, *found));
            record.locality.iter().zip(&compared.neighbourhood).for_each(|(asked, found)| check(&asked.prompt, *found));
        }
    });
}

#[test]
fn token_accuracy_is_that_of_the_whole_text() {
    on_the_shipped_model(|session| {
        let mut between = 0;
        for record in records("zsre_650.json", Format::Zsre).iter().take(12) {
            let clean = Clean::measure(session, record, false).unwrap();
            let measured = measure(session, record, &clean, false).unwrap();
            assert!(measured.counterfact.is_none() && measured.fluency.is_none());
            let target = &record.request.target;
            for (answer, wanted) in [
                (&measured.rewrite, target),
                (&measured.rephrase[0], target),
                (&measured.portability[0], &record.portability[0].answers[0]),
            ] {
                assert_close(answer.tokens, forced(session, &answer.prompt, wanted).0, &answer.prompt);
                between += usize::from(answer.tokens > 0.0 && answer.tokens < 1.0);
            }
        }
        assert!(between > 0, "no answer was partly right");
    });
}

#[test]
fn a_fact_is_known_if_it_is_said_to_the_end_of_a_word() {
    on_the_shipped_model(|session| {
        for (truth, known) in [
            (&["Paris"][..], true),
            (&["Lutetia", " Paris "][..], true),
            (&["Pari"][..], false),
            (&["Paris Saint-Germain"][..], false),
            (&["Rome"][..], false),
            (&[""][..], false),
            (&[][..], false),
        ] {
            let record = france("Rome", truth);
            assert_eq!(knows(session, &record).unwrap(), known, "{truth:?}");
            let clean = Clean::measure(session, &record, false).unwrap();
            assert_eq!(clean.known, known, "{truth:?}");
            assert!(clean.before.starts_with("Paris"), "{:?}", clean.before);
        }
        let invented = Record {
            request: EditRequest {
                subject: "Mira Tannhofer".into(),
                prompt: "{} was born in".into(),
                target: "Oslo".into(),
            },
            ..france("Oslo", &["Vienna"])
        };
        assert!(!knows(session, &invented).unwrap());
        let records = records("counterfact_500.json", Format::CounterFact);
        let mut words_begun = 0;
        for record in &records {
            let begin = session.tokenizer.encode_continuation(&format!(" {}", record.truth[0])).unwrap().ids[0];
            let begin = session.tokenizer.decode(&[begin]).trim().to_owned();
            let goes_on =
                record.truth[0].strip_prefix(begin.as_str()).is_some_and(|rest| rest.starts_with(char::is_alphabetic));
            if goes_on && words_begun < 5 && knows(session, record).unwrap() {
                words_begun += 1;
                let begun = Record { truth: vec![begin.clone()], ..record.clone() };
                assert!(!knows(session, &begun).unwrap(), "{begin:?} of {:?}", record.truth);
            }
        }
        assert!(words_begun > 0, "no truth of several tokens begins with one of a word");
        let known = records.iter().take(40).filter(|record| knows(session, record).unwrap()).count();
        assert!(known >= 38, "the model was trained on these facts and knows {known} of 40");
    });
}

#[test]
fn the_best_of_several_answers_counts_and_none_is_no_question() {
    on_the_shipped_model(|session| {
        let record = Record {
            portability: vec![
                asks("The capital of Germany is", &["Bonn", "Berlin"]),
                asks("The capital of Germany is", &["Bonn"]),
                asks("The capital of Germany is", &[]),
            ],
            ..france("Rome", &["Paris"])
        };
        let clean = Clean::measure(session, &record, false).unwrap();
        let measured = measure(session, &record, &clean, false).unwrap();
        let [best, wrong] = measured.portability.as_slice() else { panic!("{:?}", measured.portability) };
        assert!(best.exact && best.tokens == 1.0 && best.said.starts_with("Berlin"), "{best:?}");
        assert!(!wrong.exact && wrong.tokens < 1.0, "{wrong:?}");
        assert!(!measured.rewrite.exact && measured.rewrite.said.starts_with("Paris"), "{:?}", measured.rewrite);
    });
}

#[test]
fn what_stays_is_the_clean_models_answer_and_not_the_data_sets() {
    on_the_shipped_model(|session| {
        let locality = vec![
            asks("The capital of Spain is", &["Oslo"]),
            asks("The capital of Germany is", &[]),
            asks("Rome is", &["x"]),
        ];
        let record = Record { locality, ..france("Rome", &["Paris"]) };
        let clean = Clean::measure(session, &record, false).unwrap();
        let clean: Clean = serde_json::from_str(&serde_json::to_string(&clean).unwrap()).unwrap();
        let unchanged = measure(session, &record, &clean, false).unwrap();
        assert!(unchanged.locality.iter().all(|kept| kept.exact && kept.tokens == 1.0 && kept.before == kept.after));
        assert!(unchanged.locality[0].before.starts_with("Madrid"), "{:?}", unchanged.locality[0]);

        let spec = session.transformer.spec();
        let (u, lambda) = (vec![1.0; spec.d_ff], vec![10.0; spec.d_model]);
        let patch = session.transformer.apply(RankOne { layer: 1, u: &u, lambda: &lambda }).unwrap();
        let broken = measure(session, &record, &clean, false).unwrap();
        assert!(broken.locality.iter().all(|kept| !kept.exact && kept.before != kept.after), "{:?}", broken.locality);
        assert!(broken.locality[1].tokens < 1.0, "{:?}", broken.locality[1]);
        session.transformer.remove(patch).unwrap();
        assert_eq!(measure(session, &record, &clean, false).unwrap(), unchanged);
    });
}

#[test]
fn fluency_is_drawn_from_the_records_number() {
    on_the_shipped_model(|session| {
        let prompts = ["Paris is known for".to_owned(), "Paris is known for".to_owned()];
        let record = Record { generation: prompts[..1].to_vec(), ..france("Rome", &["Paris"]) };
        let repeated = Record { generation: prompts.to_vec(), ..record.clone() };
        let other = Record { number: 1, ..record.clone() };
        let without = Record { generation: Vec::new(), ..record.clone() };
        let mut fluency = |record: &Record| Clean::measure(session, record, true).unwrap().fluency.unwrap();
        let drawn = fluency(&record);
        assert!(drawn > 100.0 && drawn < 663.0, "100 tokens make at most 99 2-grams and 98 3-grams: {drawn}");
        assert_eq!(drawn, fluency(&record));
        assert_eq!(drawn, fluency(&repeated), "each prompt is continued once");
        assert_ne!(drawn, fluency(&other));
        assert!(fluency(&without) > 100.0, "the edit's own prompt");
    });
}

#[test]
fn what_does_not_fit_the_model_is_told() {
    on_the_shipped_model(|session| {
        let long = "word ".repeat(300);
        let record = Record { locality: vec![asks(&long, &[])], ..france("Rome", &["Paris"]) };
        let error = Clean::measure(session, &record, false).unwrap_err();
        assert!(matches!(error, MeasureError::Session(SessionError::TooLong { context: 256, .. })), "{error}");
        let record = Record { locality: vec![asks("Rome is", &[&long])], ..france("Rome", &["Paris"]) };
        let error = Clean::measure(session, &record, false).unwrap_err();
        assert!(matches!(error, MeasureError::Session(SessionError::TooLong { context: 256, .. })), "{error}");
        let record = france(&long, &["Paris"]);
        let clean = Clean::measure(session, &record, false).unwrap();
        let error = measure(session, &record, &clean, false).unwrap_err();
        assert!(matches!(error, MeasureError::Session(SessionError::Prompt(_))), "{error}");
    });
}
