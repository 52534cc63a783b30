//! Figures by hand, and ROME's formulas as `experiments/summarize.py` has them, evaluated by numpy.

use super::super::line::{Answer, Cost, CounterFact, Kept, Likelihoods, Line};
use super::{Spread, Summary, table};

fn answer(tokens: f64, exact: bool) -> Answer {
    Answer { prompt: String::from("The capital of France is"), tokens, exact, said: String::from("Rome") }
}

fn kept(tokens: f64, exact: bool) -> Kept {
    let said = || String::from("Madrid");
    Kept {
        prompt: String::from("The capital of Spain is"),
        tokens,
        exact,
        before: said(),
        after: said(),
        asks_the_edit: false,
    }
}

fn cost(found: bool, forward_passes: u64) -> Cost {
    Cost {
        found,
        steps: forward_passes as u32 / 10,
        forward_passes,
        rows: forward_passes * 30,
        seconds: forward_passes as f64 / 100.0,
        peak_rss_bytes: Some(1_000 + forward_passes),
        p_target: 0.9,
        curve: Vec::new(),
    }
}

fn line(record: usize, known: bool) -> Line {
    Line {
        record,
        line: record + 1,
        subject: String::from("France"),
        target: String::from("Rome"),
        known,
        before: String::from("Paris"),
        refused: None,
        rewrite: None,
        rephrase: Vec::new(),
        portability: Vec::new(),
        locality: Vec::new(),
        counterfact: None,
        fluency_before: None,
        fluency: None,
        patch_bytes: 4_096,
        cost: None,
    }
}

fn refused(record: usize) -> Line {
    Line { refused: Some(String::from("the target is too long")), patch_bytes: 0, ..line(record, true) }
}

/// A mean over records of means over prompts: not a mean over all prompts, which would be 2/5 and 0.6.
#[test]
fn records_weigh_the_same_whatever_their_prompts() {
    let one = Line { rephrase: vec![answer(1.0, true)], ..line(0, true) };
    let four = Line {
        rephrase: vec![answer(1.0, true), answer(0.5, false), answer(0.5, false), answer(0.0, false)],
        ..line(1, true)
    };
    let none = line(2, true);
    let rephrase = Summary::of(&[one, four, none]).known.rephrase;
    assert_eq!((rephrase.records, rephrase.tokens, rephrase.exact), (2, Some(0.75), Some(0.625)));
}

#[test]
fn groups_are_apart_and_refused_records_in_none() {
    let yes = Line { rewrite: Some(answer(1.0, true)), locality: vec![kept(1.0, true)], ..line(0, true) };
    let no = Line { rewrite: Some(answer(0.5, false)), locality: vec![kept(0.5, false)], ..line(1, false) };
    let summary = Summary::of(&[yes, no, refused(2), refused(3)]);
    assert_eq!((summary.refused, summary.known.records, summary.unknown.records, summary.all.records), (2, 1, 1, 2));
    assert_eq!((summary.known.success.exact, summary.unknown.success.exact), (Some(1.0), Some(0.0)));
    assert_eq!((summary.all.success.exact, summary.all.success.tokens), (Some(0.5), Some(0.75)));
    assert_eq!((summary.all.locality.exact, summary.all.locality.tokens), (Some(0.5), Some(0.75)));
    assert_eq!(summary.all.portability.exact, None);
}

#[test]
fn locality_of_other_facts_leaves_out_what_asks_for_the_edit() {
    let asks = Kept { asks_the_edit: true, ..kept(0.0, false) };
    let of = Summary::of(&[Line { locality: vec![asks, kept(1.0, true)], ..line(0, true) }]).all;
    assert_eq!((of.locality.exact, of.other_facts.exact), (Some(0.5), Some(1.0)));
}

#[test]
fn costs_are_medians_and_ninetieth_percentiles() {
    let lines: Vec<Line> =
        (1..=10).map(|n| Line { cost: Some(cost(n != 10, n * 100)), ..line(n as usize, true) }).collect();
    let costs = Summary::of(&lines).known.cost;
    assert_eq!((costs.searches, costs.found), (10, Some(0.9)));
    assert_eq!(costs.forward_passes, Some(Spread { median: 500.0, p90: 900.0 }));
    assert_eq!(costs.passes_to_success, Some(Spread { median: 500.0, p90: 900.0 }));
    assert_eq!(costs.steps, Some(Spread { median: 50.0, p90: 90.0 }));
    assert_eq!(costs.rows, Some(Spread { median: 15_000.0, p90: 27_000.0 }));
    assert_eq!(costs.seconds, Some(Spread { median: 5.0, p90: 9.0 }));
    assert_eq!((costs.peak_rss_bytes, costs.patch_bytes), (Some(2_000), Some(4_096)));
}

#[test]
fn passes_to_success_leave_out_what_was_not_found() {
    let lines: Vec<Line> = [(true, 10), (true, 20), (true, 30), (false, 9_000), (false, 9_000)]
        .iter()
        .enumerate()
        .map(|(at, (found, passes))| Line { cost: Some(cost(*found, *passes)), ..line(at, true) })
        .collect();
    let costs = Summary::of(&lines).known.cost;
    assert_eq!(costs.passes_to_success, Some(Spread { median: 20.0, p90: 30.0 }));
    assert_eq!(costs.forward_passes, Some(Spread { median: 30.0, p90: 9_000.0 }));
}

fn objects(rewrite: (f64, f64), paraphrase: &[(f64, f64)], neighbourhood: &[(f64, f64)]) -> CounterFact {
    let of = |(new, truth): &(f64, f64)| Likelihoods { new: *new, truth: *truth };
    CounterFact {
        rewrite: of(&rewrite),
        paraphrase: paraphrase.iter().map(of).collect(),
        neighbourhood: neighbourhood.iter().map(of).collect(),
    }
}

/// The expected numbers are what summarize.py's expressions give, run by numpy on these numbers:
/// `np.mean([x["target_true"] > x["target_new"] …])`, `np.mean([np.exp(-x["target_new"]) - np.exp(-x["target_true"]) …])`,
/// the neighbourhood's the other way round, `np.mean` over cases; and the harmonic mean of the three by Python's `statistics`.
#[test]
fn counterfact_figures_are_romes() {
    let lines = [
        objects((0.1, 5.0), &[(0.5, 2.0), (3.0, 1.5)], &[(4.0, 0.7), (2.5, 2.5), (6.0, 1.1)]),
        objects((0.3, 4.2), &[(0.2, 6.0), (0.9, 1.0)], &[(1.0, 3.0)]),
        objects((2.2, 1.9), &[(1.4, 0.6)], &[(3.3, 0.05), (8.0, 0.4)]),
    ]
    .map(|of| Line { counterfact: Some(of), ..line(0, true) });
    let of = Summary::of(&lines).known.counterfact;
    let close = |got: Option<f64>, want: f64| assert!((got.unwrap() - want).abs() < 1e-12, "{got:?} instead of {want}");
    close(of.efficacy_score, 0.6666666666666666);
    close(of.efficacy_magnitude, 0.5283855513459377);
    close(of.paraphrase_score, 0.5);
    close(of.paraphrase_magnitude, 0.09139419331018121);
    close(of.neighbourhood_score, 0.5555555555555555);
    close(of.neighbourhood_magnitude, 0.24787568208601884);
    close(of.harmonic_mean, 0.5660377358490566);
}

#[test]
fn a_score_of_nothing_makes_the_harmonic_mean_nothing() {
    let lines = [Line { counterfact: Some(objects((3.0, 1.0), &[(1.0, 2.0)], &[(2.0, 1.0)])), ..line(0, true) }];
    assert_eq!(Summary::of(&lines).known.counterfact.harmonic_mean, Some(0.0));
}

#[test]
fn nothing_is_none_and_survives_json() {
    for lines in [vec![], vec![refused(0)]] {
        let summary = Summary::of(&lines);
        assert_eq!((summary.all.records, summary.refused), (0, lines.len()));
        assert_eq!((summary.all.success.exact, summary.all.fluency, summary.all.cost.found), (None, None, None));
        assert_eq!((summary.all.cost.seconds, summary.all.cost.patch_bytes), (None, None));
        let json = serde_json::to_string(&summary).unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), summary);
    }
}

#[test]
fn the_table_has_a_row_per_group_and_says_how_many_were_refused() {
    let yes = Line { rewrite: Some(answer(1.0, true)), cost: Some(cost(true, 120)), ..line(0, true) };
    let no = Line { rewrite: Some(answer(0.5, false)), cost: Some(cost(false, 900)), ..line(1, false) };
    let (both, one) = (Summary::of(&[yes.clone(), no, refused(2)]), Summary::of(&[yes]));
    let text = table(&[("default", &both), ("paper", &one)]);
    let lines: Vec<&str> = text.lines().collect();
    let [_, known, unknown, all, paper, refused] = lines.as_slice() else { panic!("{text}") };
    assert!(known.starts_with("default  known") && known.contains("100.0 (100.0)") && known.contains("120"), "{text}");
    assert!(unknown.contains("0.0 (50.0)") && all.contains("50.0 (75.0)"), "{text}");
    assert!(paper.starts_with("paper") && *refused == "default: 1 refused, in no row", "{text}");
}
