//! The figures of a run: means over its records. Prints and measures nothing.
//!
//! Refused records are counted and left out of everything else. A record without prompts of a kind (a dataset without
//! portability, say) is left out of that mean. All shares are between 0 and 1.
//!
//! | figure | definition | source |
//! |---|---|---|
//! | edit success, rephrase, portability: `tokens` | mean over records of the mean over prompts of the share of the answer's tokens that are the argmax, those before it given | EasyEdit, `compute_rewrite_or_rephrase_quality` |
//! | locality: `tokens` | the same, of positions whose argmax is the clean model's | EasyEdit, `compute_locality_quality` |
//! | locality, other facts | the same without the prompts that ask for the edited fact itself, which a good edit changes | ours: `measure` |
//! | all of these: `exact` | the same mean of: free greedy generation says the answer (locality: what the clean model says) | ours, as teacher forcing gives a model answers away |
//! | efficacy and paraphrase score | share of prompts with P(new) > P(true) | ROME, section 3.4; `experiments/summarize.py` |
//! | neighbourhood score | share of prompts with P(true) > P(new) | the same |
//! | magnitudes | mean of P(new) − P(true), at the neighbourhood of P(true) − P(new) | the same |
//! | S | harmonic mean of the three scores | the same |
//! | fluency | weighted entropy of 2- and 3-grams × 100, bits | ROME, section 3.4; MobiEdit's table 2 |
//!
//! P is exp(−mean NLL per token). ROME's scores are means over records of means over prompts, as are these.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::line::{Answer, Cost, Kept, Likelihoods, Line};

/// The figures of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Records that could not be edited, in no group.
    pub refused: usize,
    /// Records whose true fact the clean model knows.
    pub known: Group,
    /// Records whose true fact it does not know.
    pub unknown: Group,
    /// Both.
    pub all: Group,
}

/// The figures of some records. `None` where there is nothing to average.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Edited records.
    pub records: usize,
    /// At the edit's own prompt.
    pub success: Score,
    /// At other wordings.
    pub rephrase: Score,
    /// Where the answer should stay, by the data set.
    pub locality: Score,
    /// Those of them that do not ask for the edited fact itself.
    pub other_facts: Score,
    /// Where the answer should follow.
    pub portability: Score,
    /// ROME's comparison of the new object with the true one.
    pub counterfact: Objects,
    /// n-gram entropy of the clean model's texts, in bits × 100.
    pub fluency_before: Option<f64>,
    /// … of the edited model's.
    pub fluency: Option<f64>,
    /// What the searches cost.
    pub cost: Costs,
}

/// One property under both ways of measuring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Records that have prompts for it.
    pub records: usize,
    /// Token accuracy under teacher forcing.
    pub tokens: Option<f64>,
    /// Exact match of free greedy generation.
    pub exact: Option<f64>,
}

/// CounterFact's scores and magnitudes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Objects {
    /// ES.
    pub efficacy_score: Option<f64>,
    /// EM.
    pub efficacy_magnitude: Option<f64>,
    /// PS.
    pub paraphrase_score: Option<f64>,
    /// PM.
    pub paraphrase_magnitude: Option<f64>,
    /// NS.
    pub neighbourhood_score: Option<f64>,
    /// NM.
    pub neighbourhood_magnitude: Option<f64>,
    /// S: the harmonic mean of ES, PS and NS; 0 where one of them is.
    pub harmonic_mean: Option<f64>,
}

/// What the searches cost, over the records that were searched for (a patch from a file costs nothing).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// Records with a search.
    pub searches: usize,
    /// Share of them that met the editor's own success rule.
    pub found: Option<f64>,
    /// Optimiser steps.
    pub steps: Option<Spread>,
    /// Loss evaluations of one candidate over all prompts.
    pub forward_passes: Option<Spread>,
    /// … of the searches that met the rule, until they ended.
    pub passes_to_success: Option<Spread>,
    /// Token rows computed.
    pub rows: Option<Spread>,
    /// Seconds of the search alone.
    pub seconds: Option<Spread>,
    /// Most physical memory of any process, in bytes.
    pub peak_rss_bytes: Option<u64>,
    /// Bytes of the largest patch.
    pub patch_bytes: Option<u64>,
}

/// The smallest number that this share of the numbers does not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Of half.
    pub median: f64,
    /// Of 90 %.
    pub p90: f64,
}

impl Summary {
    /// The figures of `lines`, in any order.
    pub fn of(lines: &[Line]) -> Self {
        let edited = || lines.iter().filter(|line| line.refused.is_none());
        Self {
            refused: lines.iter().filter(|line| line.refused.is_some()).count(),
            known: Group::of(&edited().filter(|line| line.known).collect::<Vec<_>>()),
            unknown: Group::of(&edited().filter(|line| !line.known).collect::<Vec<_>>()),
            all: Group::of(&edited().collect::<Vec<_>>()),
        }
    }

    /// The groups with records, named; all of them together last, where it is not the only other one again.
    pub fn groups(&self) -> Vec<(&'static str, &Group)> {
        let both = self.known.records > 0 && self.unknown.records > 0;
        [("known", &self.known), ("unknown", &self.unknown), ("all", &self.all)]
            .into_iter()
            .filter(|(name, group)| group.records > 0 && (*name != "all" || both))
            .collect()
    }
}

impl Group {
    fn of(lines: &[&Line]) -> Self {
        Self {
            records: lines.len(),
            success: Score::of(lines, |line| line.rewrite.iter().map(answer).collect()),
            rephrase: Score::of(lines, |line| line.rephrase.iter().map(answer).collect()),
            locality: Score::of(lines, |line| line.locality.iter().map(kept).collect()),
            other_facts: Score::of(lines, |line| {
                line.locality.iter().filter(|of| !of.asks_the_edit).map(kept).collect()
            }),
            portability: Score::of(lines, |line| line.portability.iter().map(answer).collect()),
            counterfact: Objects::of(lines),
            fluency_before: mean(lines.iter().filter_map(|line| line.fluency_before)),
            fluency: mean(lines.iter().filter_map(|line| line.fluency)),
            cost: Costs::of(lines),
        }
    }
}

fn answer(answer: &Answer) -> (f64, bool) {
    (answer.tokens, answer.exact)
}

fn kept(kept: &Kept) -> (f64, bool) {
    (kept.tokens, kept.exact)
}

impl Score {
    fn of(lines: &[&Line], prompts: impl Fn(&Line) -> Vec<(f64, bool)>) -> Self {
        let prompts: Vec<_> = lines.iter().map(|line| prompts(line)).filter(|of| !of.is_empty()).collect();
        Self {
            records: prompts.len(),
            tokens: mean(prompts.iter().filter_map(|of| mean(of.iter().map(|(tokens, _)| *tokens)))),
            exact: mean(prompts.iter().filter_map(|of| mean(of.iter().map(|(_, exact)| share(*exact))))),
        }
    }
}

impl Objects {
    fn of(lines: &[&Line]) -> Self {
        let records: Vec<_> = lines.iter().filter_map(|line| line.counterfact.as_ref()).collect();
        let rewrite = || records.iter().map(|of| std::slice::from_ref(&of.rewrite));
        let paraphrase = || records.iter().map(|of| of.paraphrase.as_slice());
        let neighbourhood = || records.iter().map(|of| of.neighbourhood.as_slice());
        let new_wins = |of: &Likelihoods| share(of.new < of.truth);
        let truth_wins = |of: &Likelihoods| share(of.truth < of.new);
        let new_leads = |of: &Likelihoods| (-of.new).exp() - (-of.truth).exp();
        let (efficacy_score, paraphrase_score, neighbourhood_score) = (
            mean_of_means(rewrite(), new_wins),
            mean_of_means(paraphrase(), new_wins),
            mean_of_means(neighbourhood(), truth_wins),
        );
        Self {
            efficacy_score,
            efficacy_magnitude: mean_of_means(rewrite(), new_leads),
            paraphrase_score,
            paraphrase_magnitude: mean_of_means(paraphrase(), new_leads),
            neighbourhood_score,
            neighbourhood_magnitude: mean_of_means(neighbourhood(), |of| -new_leads(of)),
            harmonic_mean: harmonic_mean([efficacy_score, paraphrase_score, neighbourhood_score]),
        }
    }
}

impl Costs {
    fn of(lines: &[&Line]) -> Self {
        let costs: Vec<&Cost> = lines.iter().filter_map(|line| line.cost.as_ref()).collect();
        let found = || costs.iter().filter(|cost| cost.found);
        Self {
            searches: costs.len(),
            found: mean(costs.iter().map(|cost| share(cost.found))),
            steps: Spread::of(costs.iter().map(|cost| f64::from(cost.steps))),
            forward_passes: Spread::of(costs.iter().map(|cost| cost.forward_passes as f64)),
            passes_to_success: Spread::of(found().map(|cost| cost.forward_passes as f64)),
            rows: Spread::of(costs.iter().map(|cost| cost.rows as f64)),
            seconds: Spread::of(costs.iter().map(|cost| cost.seconds)),
            peak_rss_bytes: costs.iter().filter_map(|cost| cost.peak_rss_bytes).max(),
            patch_bytes: lines.iter().map(|line| line.patch_bytes).max(),
        }
    }
}

impl Spread {
    fn of(numbers: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.filter(|number| number.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        Some(Self { median: quantile(&sorted, 0.5)?, p90: quantile(&sorted, 0.9)? })
    }
}

/// The smallest of `sorted` that at least this share of them does not exceed.
pub(super) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

fn share(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// `None` for no numbers, or where the mean is no number.
fn mean(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = numbers.fold((0.0, 0_u32), |(sum, count), number| (sum + number, count + 1));
    Some(sum / f64::from(count)).filter(|mean| mean.is_finite())
}

fn mean_of_means<'a>(
    records: impl Iterator<Item = &'a [Likelihoods]>,
    of: impl Fn(&Likelihoods) -> f64,
) -> Option<f64> {
    mean(records.filter_map(|prompts| mean(prompts.iter().map(&of))))
}

fn harmonic_mean(scores: [Option<f64>; 3]) -> Option<f64> {
    let [Some(a), Some(b), Some(c)] = scores else { return None };
    // A score of 0 makes its reciprocal infinite and the mean 0.
    Some(3.0 / (1.0 / a + 1.0 / b + 1.0 / c))
}

/// Summaries of named runs side by side, for a terminal: a row per run and group.
pub fn table(runs: &[(&str, &Summary)]) -> String {
    let mut rows = vec![HEADINGS.map(String::from).to_vec()];
    for (name, summary) in runs {
        for (group, figures) in summary.groups() {
            rows.push(row(name, group, figures));
        }
    }
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|at| rows.iter().filter_map(|row| Some(row.get(at)?.chars().count())).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| pad(cell, *width, at < 2)).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    for (name, summary) in runs.iter().filter(|(_, summary)| summary.refused > 0) {
        let _ = writeln!(text, "{name}: {} refused, in no row", summary.refused);
    }
    text
}

const HEADINGS: [&str; 14] = [
    "run",
    "facts",
    "records",
    "success",
    "rephrase",
    "locality",
    "other facts",
    "portability",
    "S",
    "fluency",
    "found",
    "passes",
    "p90",
    "seconds",
];

/// Success to portability: free generation, and teacher forcing in brackets.
fn row(name: &str, group: &str, of: &Group) -> Vec<String> {
    let both = |score: &Score| match (score.exact, score.tokens) {
        (None, _) => String::from("-"),
        (exact, tokens) => format!("{} ({})", percent(exact), percent(tokens)),
    };
    let passes = of.cost.forward_passes;
    vec![
        name.into(),
        group.into(),
        of.records.to_string(),
        both(&of.success),
        both(&of.rephrase),
        both(&of.locality),
        both(&of.other_facts),
        both(&of.portability),
        percent(of.counterfact.harmonic_mean),
        number(of.fluency, 1),
        percent(of.cost.found),
        number(passes.map(|of| of.median), 0),
        number(passes.map(|of| of.p90), 0),
        number(of.cost.seconds.map(|of| of.median), 2),
    ]
}

/// A share as a percentage with one digit, or a dash.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| String::from("-"), |share| format!("{:.1}", share * 100.0))
}

/// A number with so many digits after the point, or a dash.
pub(super) fn number(number: Option<f64>, digits: usize) -> String {
    number.map_or_else(|| String::from("-"), |number| format!("{number:.digits$}"))
}

fn pad(cell: &str, width: usize, left: bool) -> String {
    if left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
}

#[cfg(test)]
mod tests;
