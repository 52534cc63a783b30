//! The page itself. All text that comes from outside is escaped; computes nothing but shares of a record's prompts.

use super::Run;
use super::paper::{PUBLISHED, Published};
use crate::host::eval::line::{Answer, Kept, Line};
use crate::host::eval::summary::{Group, Score, Spread, Summary, number, percent};
use crate::host::plot::Plot;

const STYLE: &str = include_str!("style.css");

/// The whole page. `plots` are with the names of their files.
pub(super) fn page(runs: &[Run], summaries: &[Summary], plots: &[(&str, &Plot)]) -> String {
    let named: Vec<(&Run, &Summary)> = runs.iter().zip(summaries).collect();
    let figures: String = plots.iter().map(|(file, plot)| figure(file, plot)).collect();
    let body = [
        String::from("<h1>Edits, evaluated</h1>"),
        overview(&named),
        section("Answers", &answers(&named)),
        section("CounterFact", &counterfact(&named)),
        section("Cost of the searches", &costs(&named)),
        section("Plots", &figures),
        section("Beside the paper's numbers", &comparison(&named)),
        section("Settings", &runs.iter().map(settings).collect::<String>()),
        section("Records", &runs.iter().map(records).collect::<String>()),
    ];
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Edits, evaluated</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{}\n</body>\n</html>\n",
        body.join("\n")
    )
}

/// Text as it may stand between tags and in quotes. Characters that no page may have are left out.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && !matches!(c, '\n' | '\t') => {}
            c => out.push(c),
        }
    }
    out
}

/// Nothing where there is nothing to say.
fn section(title: &str, content: &str) -> String {
    if content.is_empty() { String::new() } else { format!("<h2>{title}</h2>\n{content}") }
}

/// A table of escaped cells; all columns but the first `texts` hold numbers. Rows may have a class.
fn table(texts: usize, headings: &[&str], rows: &[(&str, Vec<String>)]) -> String {
    let class = |at: usize| if at < texts { "" } else { " class=\"n\"" };
    let head: String = headings.iter().enumerate().map(|(at, h)| format!("<th{}>{h}</th>", class(at))).collect();
    let mut body = String::new();
    for (kind, cells) in rows {
        let cells: String =
            cells.iter().enumerate().map(|(at, cell)| format!("<td{}>{cell}</td>", class(at))).collect();
        body.push_str(&format!("<tr class=\"{kind}\">{cells}</tr>\n"));
    }
    format!("<div class=\"wide\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n")
}

/// A table with a row per run and group of records.
fn by_group(
    runs: &[(&Run, &Summary)],
    headings: &[&str],
    with: impl Fn(&Group) -> bool,
    cells: impl Fn(&Group) -> Vec<String>,
) -> String {
    let mut rows = Vec::new();
    for (run, summary) in runs {
        for (group, figures) in summary.groups().into_iter().filter(|(_, figures)| with(figures)) {
            let mut row = vec![escape(&run.name), group.to_owned(), figures.records.to_string()];
            row.extend(cells(figures));
            rows.push(("", row));
        }
    }
    let headings: Vec<&str> = ["run", "facts", "records"].iter().chain(headings).copied().collect();
    if rows.is_empty() { String::new() } else { table(2, &headings, &rows) }
}

fn overview(runs: &[(&Run, &Summary)]) -> String {
    if runs.is_empty() {
        return String::from("<p>No run was evaluated.</p>");
    }
    let of = |(run, summary): &(&Run, &Summary)| {
        let (known, unknown, refused) = (summary.known.records, summary.unknown.records, summary.refused);
        format!(
            "<li><b>{}</b>: {} records edited, {known} whose true fact the clean model knows and {unknown} whose it does \
             not; {refused} refused</li>",
            escape(&run.name),
            summary.all.records,
        )
    };
    format!("<ul>{}</ul>", runs.iter().map(of).collect::<String>())
}

fn answers(runs: &[(&Run, &Summary)]) -> String {
    let both = |score: &Score| {
        if score.records == 0 {
            return String::from("-");
        }
        format!("{} ({})", percent(score.exact), percent(score.tokens))
    };
    let headings = ["success", "rephrase", "locality", "… other facts", "portability", "fluency before", "after"];
    let table = by_group(
        runs,
        &headings,
        |_| true,
        |of| {
            let scores = [&of.success, &of.rephrase, &of.locality, &of.other_facts, &of.portability];
            let mut cells: Vec<_> = scores.into_iter().map(both).collect();
            cells.extend([number(of.fluency_before, 1), number(of.fluency, 1)]);
            cells
        },
    );
    if table.is_empty() {
        return table;
    }
    format!(
        "<p class=\"note\">Percent. First by free greedy generation: the model says the whole answer, or, for locality, what \
         the clean model says. In brackets by teacher forcing, as EasyEdit measures: the share of the answer's tokens that \
         are most likely when those before them are given. Other facts: locality without the prompts that ask for the edited \
         fact itself. Fluency: weighted entropy of 2- and 3-grams × 100.</p>\n{table}"
    )
}

fn counterfact(runs: &[(&Run, &Summary)]) -> String {
    let headings = ["ES", "EM", "PS", "PM", "NS", "NM", "S"];
    let table = by_group(
        runs,
        &headings,
        |of| of.counterfact.efficacy_score.is_some(),
        |of| {
            let of = &of.counterfact;
            [
                of.efficacy_score,
                of.efficacy_magnitude,
                of.paraphrase_score,
                of.paraphrase_magnitude,
                of.neighbourhood_score,
                of.neighbourhood_magnitude,
                of.harmonic_mean,
            ]
            .map(percent)
            .to_vec()
        },
    );
    if table.is_empty() {
        return table;
    }
    format!(
        "<p class=\"note\">Percent, as ROME's summarize.py has them: efficacy, paraphrase and neighbourhood score (the new \
         object is likelier than the true one; at the neighbourhood the other way round), magnitudes (the difference of the \
         probabilities), and S, the harmonic mean of the scores.</p>\n{table}"
    )
}

fn costs(runs: &[(&Run, &Summary)]) -> String {
    let spread = |of: Option<Spread>, digits: usize| match of {
        Some(of) => format!("{:.digits$} / {:.digits$}", of.median, of.p90),
        None => String::from("-"),
    };
    let mib = |bytes: Option<u64>| number(bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)), 0);
    let headings = ["found %", "steps", "forward passes", "… to success", "rows", "seconds", "peak MiB", "patch bytes"];
    let table = by_group(
        runs,
        &headings,
        |of| of.cost.searches > 0,
        |of| {
            let of = &of.cost;
            vec![
                percent(of.found),
                spread(of.steps, 0),
                spread(of.forward_passes, 0),
                spread(of.passes_to_success, 0),
                spread(of.rows, 0),
                spread(of.seconds, 2),
                mib(of.peak_rss_bytes),
                of.patch_bytes.map_or_else(|| String::from("-"), |bytes| bytes.to_string()),
            ]
        },
    );
    if table.is_empty() {
        return table;
    }
    format!(
        "<p class=\"note\">Median / 90th percentile. A forward pass is the loss of one candidate over all prompts; found: the \
         editor's own success rule was met.</p>\n{table}"
    )
}

fn figure(file: &str, plot: &Plot) -> String {
    let (title, caption) = (escape(plot.title), escape(&plot.caption));
    format!(
        "<figure id=\"{}\">\n<h3>{title}</h3>\n{}<figcaption>{caption}</figcaption>\n</figure>\n",
        file.trim_end_matches(".svg"),
        plot.inline(),
    )
}

fn comparison(runs: &[(&Run, &Summary)]) -> String {
    let rows: Vec<_> = runs.iter().map(ours).chain(PUBLISHED.iter().map(published)).collect();
    let headings =
        ["who", "model", "method", "from", "edit success", "locality", "portability", "seconds", "memory GB"];
    format!(
        "<p class=\"note\"><b>These rows cannot be compared one to one.</b> The shaded ones are measurements of MobiEdit's \
         authors (arXiv 2506.13772), on models of 3 billion parameters and on phones (K60, K70 and OnePlus: MobiEdit on \
         their NPUs, the other methods on their CPUs). Ours are of this page's runs, on this page's model and machine, in \
         percent by teacher forcing, as EasyEdit measures, on which the authors' code is built; by free generation they are \
         in the table above. Seconds: our median; the authors' from the fastest phone to the slowest. A dash is a number \
         that is not known here.</p>\n{}",
        table(4, &headings, &rows)
    )
}

fn ours((run, summary): &(&Run, &Summary)) -> (&'static str, Vec<String>) {
    let model = run.settings.iter().find(|(key, _)| key == "model").map_or("-", |(_, value)| value);
    let (of, cost) = (&summary.all, &summary.all.cost);
    let gb = cost.peak_rss_bytes.map(|bytes| bytes as f64 / 1e9);
    let cells = vec![
        String::from("this page"),
        escape(model),
        escape(&run.name),
        format!("{} records", of.records),
        percent(of.success.tokens),
        percent(of.locality.tokens),
        percent(of.portability.tokens),
        number(cost.seconds.map(|of| of.median), 2),
        number(gb, 2),
    ];
    ("", cells)
}

fn published(of: &Published) -> (&'static str, Vec<String>) {
    let seconds = of.seconds.map_or_else(|| String::from("-"), |(low, high)| format!("{low:.0} to {high:.0}"));
    let cells = vec![
        String::from("the paper"),
        escape(of.on),
        escape(of.method),
        escape(of.source),
        number(of.success, 1),
        number(of.locality, 1),
        number(of.portability, 1),
        seconds,
        number(of.memory, 1),
    ];
    ("paper", cells)
}

fn settings(run: &Run) -> String {
    let rows: Vec<_> = run.settings.iter().map(|(key, value)| ("", vec![escape(key), escape(value)])).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("<h3>{}</h3>\n{}", escape(&run.name), table(2, &["setting", "value"], &rows))
}

fn records(run: &Run) -> String {
    if run.lines.is_empty() {
        return String::new();
    }
    let headings = ["subject", "target", "before", "said", "exact", "rephrase", "locality", "passes", "record"];
    let rows: Vec<_> = run.lines.iter().map(|line| ("", record(line))).collect();
    format!(
        "<details><summary>{}: {} records</summary>\n{}</details>\n",
        escape(&run.name),
        run.lines.len(),
        table(4, &headings, &rows)
    )
}

fn record(line: &Line) -> Vec<String> {
    let said = match (&line.refused, &line.rewrite) {
        (Some(why), _) => format!("<i>refused: {}</i>", escape(why)),
        (None, Some(answer)) => escape(&answer.said),
        (None, None) => String::from("-"),
    };
    let of = |exact: Vec<bool>| match exact.len() {
        0 => String::from("-"),
        all => format!("{} of {all}", exact.iter().filter(|exact| **exact).count()),
    };
    let exact = |answer: &Answer| answer.exact;
    let kept = |kept: &Kept| kept.exact;
    vec![
        escape(&line.subject),
        escape(&line.target),
        format!("{}{}", escape(&line.before), if line.known { "" } else { " <i>(not the truth)</i>" }),
        said,
        line.rewrite.as_ref().map_or("-", |answer| if answer.exact { "yes" } else { "no" }).to_owned(),
        of(line.rephrase.iter().map(exact).collect()),
        of(line.locality.iter().map(kept).collect()),
        line.cost.as_ref().map_or_else(|| String::from("-"), |cost| cost.forward_passes.to_string()),
        line.record.to_string(),
    ]
}
