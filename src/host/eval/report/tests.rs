//! What a reader of a report would notice: a page that is whole, plots that open, and nothing of a record's text at work.

use std::fs;

use super::{Drift, FILES, Run, write};
use crate::host::eval::line::{Answer, Cost, Kept, Line, Point};

const HOSTILE: &str = "<script>alert('x')</script> \"quoted\" ]]> & \u{0} \u{1b}[31m </details>";

fn line(record: usize, text: &str, passes: u64) -> Line {
    let answer = |exact: bool| Answer { prompt: text.into(), tokens: 0.5, exact, said: text.into() };
    let curve = (1..=20).map(|at| Point {
        step: at,
        forward_passes: u64::from(at) * passes / 20,
        loss: 8.0 / at as f32,
        nll: 7.0 / at as f32,
    });
    Line {
        record,
        line: record + 1,
        subject: text.into(),
        target: text.into(),
        known: !record.is_multiple_of(3),
        before: text.into(),
        refused: None,
        rewrite: Some(answer(!record.is_multiple_of(4))),
        rephrase: vec![answer(true), answer(false)],
        portability: Vec::new(),
        locality: vec![Kept {
            prompt: text.into(),
            tokens: 1.0,
            exact: true,
            before: text.into(),
            after: text.into(),
            asks_the_edit: false,
        }],
        counterfact: None,
        fluency_before: None,
        fluency: None,
        patch_bytes: 4096,
        cost: Some(Cost {
            found: !record.is_multiple_of(4),
            steps: (passes / 10) as u32,
            forward_passes: passes,
            rows: passes * 31,
            seconds: passes as f64 / 400.0,
            peak_rss_bytes: Some(300 << 20),
            p_target: 0.9,
            curve: curve.collect(),
        }),
    }
}

fn refused(record: usize) -> Line {
    let nothing = line(record, "France", 10);
    let refused = Some(String::from("the target has too many tokens"));
    Line { refused, rewrite: None, rephrase: vec![], locality: vec![], cost: None, patch_bytes: 0, ..nothing }
}

fn run(name: &str, lines: Vec<Line>) -> Run {
    Run { name: name.into(), settings: vec![(String::from("seed"), String::from("1"))], lines, drift: Vec::new() }
}

/// Writes a report and reads the page and those of the plots that are there.
fn written(runs: &[Run]) -> (String, Vec<(&'static str, String)>) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("made").join("on the way");
    write(&folder, runs).unwrap();
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    let read = |file: &'static str| Some((file, fs::read_to_string(folder.join(file)).ok()?));
    (page, FILES.into_iter().filter_map(read).collect())
}

/// Goes through a text's tags: each that is opened is closed, in order, and text between them has no bare `<` or `&`.
fn check_nesting(text: &str, void: &[&str]) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once('<') {
        for (at, _) in before.match_indices('&') {
            let entity = before[at..].split_once(';').unwrap_or_else(|| panic!("a bare & in {before:?}")).0;
            assert!(["&amp", "&lt", "&gt", "&quot", "&apos", "&#39"].contains(&entity), "{entity}");
        }
        let (tag, after) = from.split_once('>').expect("a tag that ends");
        let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap_or_default();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '!'), "a tag named {name:?}");
        match tag {
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name)),
            _ if tag.ends_with('/') || void.contains(&name) => {}
            _ => open.push(name),
        }
        rest = after;
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

fn check_page(page: &str) {
    check_nesting(page, &["!doctype", "meta"]);
    for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<link", "<script"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("prefers-color-scheme: dark"));
}

fn check_svg(svg: &str) {
    check_nesting(svg, &[]);
    assert!(svg.starts_with("<svg ") && svg.contains("xmlns=\"http://www.w3.org/2000/svg\""), "{svg}");
    assert!(svg.contains("prefers-color-scheme") && svg.contains("currentColor") && !svg.contains("#010203"));
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    assert!(!svg.chars().any(|c| c.is_control() && c != '\n'));
}

#[test]
fn two_runs_have_every_plot_and_table() {
    let lines = |factor: u64| (0..40).map(|at| line(at, "France", factor * (at as u64 + 5))).collect::<Vec<_>>();
    let mut ours = run("default", lines(10));
    ours.drift = (0..30).map(|step| Drift { step, cached: 0.0, recomputed: f64::from(step) / 100.0 }).collect();
    let (page, svgs) = written(&[run("paper", lines(200)), ours]);
    check_page(&page);
    assert_eq!(svgs.iter().map(|(file, _)| *file).collect::<Vec<_>>(), FILES);
    for (_, svg) in &svgs {
        check_svg(svg);
    }
    // Passes are 5 to 44 times 200 and 10: the 20th and the 36th of 40 records.
    for shown in
        ["known", "unknown", "4800 / 8000", "240 / 400", "1/20", "the paper", "cannot be compared", "80.1", "exactly 0"]
    {
        assert!(page.contains(shown), "{shown}");
    }
    assert_eq!(page.matches("<svg ").count(), FILES.len());
}

#[test]
fn hostile_text_stays_text() {
    let mut run =
        run(HOSTILE, vec![line(1, HOSTILE, 100), Line { refused: Some(HOSTILE.into()), ..line(2, HOSTILE, 9) }]);
    run.settings.push((HOSTILE.into(), HOSTILE.into()));
    run.drift.push(Drift { step: 1, cached: 0.0, recomputed: 0.1 });
    let (page, svgs) = written(&[run.clone(), run]);
    check_page(&page);
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)"));
    assert!(!page.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')));
    assert_eq!(svgs.len(), FILES.len());
    svgs.iter().for_each(|(_, svg)| check_svg(svg));
}

#[test]
fn nothing_one_record_and_refused_records_make_a_page() {
    let zero_passes = Line { cost: line(1, "France", 0).cost, ..line(1, "France", 1) };
    let cases = [
        (vec![], 0),
        (vec![run("empty", vec![])], 0),
        (vec![run("refused", vec![refused(0), refused(1)])], 0),
        (vec![run("refused", vec![refused(0)]), run("refused too", vec![refused(0)])], 0),
        (vec![run("one", vec![line(1, "France", 120)])], 3),
        (vec![run("no passes", vec![zero_passes])], 3),
        (vec![run("one", vec![line(1, "France", 120)]), run("empty", vec![])], 4),
    ];
    for (runs, plots) in cases {
        let (page, svgs) = written(&runs);
        check_page(&page);
        svgs.iter().for_each(|(_, svg)| check_svg(svg));
        assert_eq!(svgs.len(), plots, "{:?}", runs.iter().map(|run| &run.name).collect::<Vec<_>>());
    }
}

#[test]
fn a_new_report_leaves_no_plot_of_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let one = run("one", vec![line(1, "France", 120)]);
    write(folder.path(), &[one.clone(), one]).unwrap();
    assert!(folder.path().join("ablation.svg").exists());
    write(folder.path(), &[run("empty", vec![])]).unwrap();
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["report.html"]);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "here").unwrap();
    let error = write(&file, &[]).unwrap_err().to_string();
    assert!(error.contains("file"), "{error}");
}
