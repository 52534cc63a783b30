//! `cargo xtask tidy`: the house rules that neither rustc nor clippy knows.
//!
//! It reads what git tracks and `cargo metadata`. It does not parse Rust: comments and strings are told from code, and
//! the rules look for words. Where words could be read both ways, a rule reports.

mod arrows;
mod cfg;
mod dependencies;
mod no_std;
mod prose;
mod source;
mod unsafety;

use std::fmt;

use xshell::{Shell, cmd};

use crate::workspace;
use source::Source;

/// One broken rule, where it is broken.
#[derive(Debug, PartialEq)]
struct Violation {
    path: String,
    line: usize,
    message: String,
}

impl Violation {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Checks every rule and prints every violation; an error if there is one.
pub(crate) fn run(sh: &Shell) -> anyhow::Result<()> {
    let texts = tracked_texts(sh)?;
    let sources: Vec<Source> =
        texts.iter().filter(|(path, _)| path.ends_with(".rs")).map(|(path, text)| Source::new(path, text)).collect();
    let metadata = workspace::metadata()?;
    let mut violations = arrows::check(&arrows::edges(&metadata));
    violations.extend(unsafety::check(&sources));
    for (package, folder) in workspace::NO_STD {
        let features = workspace::package(&metadata, package)?.features.clone();
        violations.extend(no_std::check(&sources, folder, &features));
    }
    violations.extend(prose::check(&texts, &sources));
    let list = texts.iter().find(|(path, _)| path == dependencies::LIST).map_or("", |(_, text)| text);
    violations.extend(dependencies::check(list, &dependencies::names(&metadata)));
    let kept = texts.iter().find(|(path, _)| path == unsafety::TABLE).map(|(_, text)| text.as_str());
    if kept != Some(&unsafety::table(&sources)) {
        violations.push(Violation::new(unsafety::TABLE, 1, "it is not current: `cargo xtask unsafe` writes it"));
    }
    for violation in &violations {
        println!("{violation}");
    }
    anyhow::ensure!(violations.is_empty(), "{} violations of the house rules", violations.len());
    println!("tidy: {} files, no violations", texts.len());
    Ok(())
}

/// Writes the table of every `unsafe`.
pub(crate) fn write_unsafe_table(sh: &Shell) -> anyhow::Result<()> {
    let texts = tracked_texts(sh)?;
    let rust = texts.iter().filter(|(path, _)| path.ends_with(".rs"));
    let sources: Vec<Source> = rust.map(|(path, text)| Source::new(path, text)).collect();
    std::fs::write(workspace::root().join(unsafety::TABLE), unsafety::table(&sources))?;
    println!("{}", unsafety::TABLE);
    Ok(())
}

/// Path and content of each tracked file that is text. A file that is staged but deleted is left out.
fn tracked_texts(sh: &Shell) -> anyhow::Result<Vec<(String, String)>> {
    let list = cmd!(sh, "git ls-files -z").quiet().read()?;
    let root = workspace::root();
    let texts = list.split('\0').filter(|path| !path.is_empty()).filter_map(|path| {
        let text = String::from_utf8(std::fs::read(root.join(path)).ok()?).ok()?;
        (!text.contains('\0')).then(|| (path.to_owned(), text))
    });
    Ok(texts.collect())
}
