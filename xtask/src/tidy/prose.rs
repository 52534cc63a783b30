//! How files open, how long they are, and what must not be left in them.
//!
//! Third-party data is not ours to word and is left out.

use super::Violation;
use super::source::{Source, words};

/// Lines that a file may have.
const LONGEST: usize = 600;

/// Files that may be longer, and why.
const LONG_FILES: [(&str, &str); 1] = [("include/mobiedit.h", "generated: one header for the whole interface")];

/// Data as others published it.
const THIRD_PARTY: [&str; 2] = ["tests/fixtures/data/", "tests/fixtures/qwen2.5-tokenizer/"];

/// The one source of packages that the lock file names.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Folders of somebody's machine, and hosts and options that name a package registry. Split, or this file breaks its rule.
const MACHINES: [&str; 13] = [
    concat!("/", "work/"),
    concat!("/", "tmp/"),
    concat!("/", "root/"),
    concat!("/", "home/"),
    concat!("/", "Users/"),
    concat!("C:", "\\Users"),
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("pypi.", "org"),
    concat!("files.", "pythonhosted.org"),
    concat!("registry.", "npmjs.org"),
    concat!("index", "-url"),
    concat!("://", "localhost"),
];

const LEFTOVERS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Checks all tracked texts; `sources` are the Rust files among them.
pub(super) fn check(texts: &[(String, String)], sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (path, text) in texts.iter().filter(|(path, _)| !THIRD_PARTY.iter().any(|folder| path.starts_with(folder))) {
        violations.extend(opening(path, text));
        violations.extend(length(path, text, &LONG_FILES));
        violations.extend(leftovers(path, text));
    }
    violations.extend(sources.iter().flat_map(ignored_tests));
    violations.extend(sources.iter().flat_map(allowed_dead_code));
    let unknown = LONG_FILES.iter().filter(|(path, _)| !texts.iter().any(|(known, _)| known == path));
    violations.extend(unknown.map(|(path, _)| Violation::new(path, 1, "listed as a long file, but not tracked")));
    violations
}

/// A Rust file opens with `//!` and a Python file of the tests with a docstring.
fn opening(path: &str, text: &str) -> Option<Violation> {
    if path.ends_with(".rs") {
        let first = text.lines().next().unwrap_or("").strip_prefix("//!");
        let says = first.is_some_and(|line| line.split_whitespace().count() > 1);
        return (!says)
            .then(|| Violation::new(path, 1, "the file does not open with a `//!` line that says what it is"));
    }
    if path.starts_with("tests/") && path.ends_with(".py") {
        let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with('#')).unwrap_or("");
        let documented = first.starts_with("\"\"\"") || first.starts_with("'''");
        return (!documented).then(|| Violation::new(path, 1, "the file does not open with a docstring"));
    }
    None
}

/// A source has a length that is read in one sitting, or a reason not to; a reason that is not needed goes.
fn length(path: &str, text: &str, long_files: &[(&str, &str)]) -> Option<Violation> {
    let lines = text.lines().count();
    let source = [".rs", ".py", ".c", ".h"].iter().any(|ending| path.ends_with(ending));
    match long_files.iter().any(|(known, _)| *known == path) {
        false if source && lines > LONGEST => Some(Violation::new(
            path,
            LONGEST + 1,
            format!("{lines} lines, and no reason listed for more than {LONGEST}"),
        )),
        true if lines <= LONGEST => Some(Violation::new(path, 1, "listed as a long file, but is not long")),
        _ => None,
    }
}

/// Paths of a machine, registries, and notes to self.
fn leftovers(path: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let lock = path.ends_with("Cargo.lock");
    // Words in data are names of things: there is a film of that name.
    let data = [".json", ".jsonl"].iter().any(|ending| path.ends_with(ending));
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        for marker in MACHINES.iter().filter(|marker| names_machine(line, marker)) {
            violations.push(Violation::new(path, number, format!("`{marker}` names a machine or a registry")));
        }
        for marker in LEFTOVERS.iter().filter(|marker| !data && words(line, marker).next().is_some()) {
            violations.push(Violation::new(path, number, format!("`{marker}`: do it, or write it up as an issue")));
        }
        let source = line.strip_prefix("source = ").filter(|_| lock);
        if source.is_some_and(|source| source.trim_matches('"') != REGISTRY) {
            violations.push(Violation::new(path, number, "a package from another source than crates.io"));
        }
    }
    violations
}

/// A folder counts where a path starts, so that an address on the web with the same word in it does not.
fn names_machine(line: &str, marker: &str) -> bool {
    let inside_path = |before: &str| before.ends_with(|c: char| c.is_alphanumeric() || "._-}".contains(c));
    line.match_indices(marker).any(|(at, _)| !marker.starts_with('/') || !inside_path(&line[..at]))
}

/// Tests that are there and do not run.
fn ignored_tests(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for at in words(&source.code, "ignore") {
        let line_start = source.code[..at].rfind('\n').map_or(0, |newline| newline + 1);
        if source.code[line_start..at].trim_start().starts_with("#[") {
            violations.push(Violation::new(
                &source.path,
                source.line(at),
                "an ignored test: run it, or report it as not run",
            ));
        }
    }
    for (at, _) in source.comments.match_indices(concat!("```", "ignore")) {
        violations.push(Violation::new(&source.path, source.line(at), "an example that is not compiled"));
    }
    violations
}

/// Code that nobody calls, and that the compiler was told not to mention.
fn allowed_dead_code(source: &Source) -> Vec<Violation> {
    let hidden = words(&source.code, "dead_code");
    hidden.map(|at| Violation::new(&source.path, source.line(at), "dead code is deleted, not allowed")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_code_is_not_hidden() {
        for (text, clean) in [
            ("#[allow(dead_code)]\nfn f() {}", false),
            ("#![expect(dead_code, reason = \"later\")]", false),
            ("// dead_code\nfn f() {}", true),
            ("fn f() { g(\"dead_code\") }", true),
        ] {
            assert_eq!(allowed_dead_code(&Source::new("a.rs", text)).is_empty(), clean, "{text}");
        }
    }

    #[test]
    fn files_say_what_they_are() {
        for (path, text, clean) in [
            ("core/src/a.rs", "//! The key.\n", true),
            ("core/src/a.rs", "//! x\n", false),
            ("core/src/a.rs", "// The key.\n", false),
            ("core/src/a.rs", "", false),
            ("core/src/a.rs", "\n//! The key.\n", false),
            ("tests/a.py", "#!/usr/bin/env python3\n\n\"\"\"Trains.\"\"\"\n", true),
            ("tests/a.py", "import json\n\"\"\"Trains.\"\"\"\n", false),
            ("tests/a.py", "", false),
            ("README.md", "MobiEdit", true),
        ] {
            assert_eq!(opening(path, text).is_none(), clean, "{path}: {text}");
        }
    }

    #[test]
    fn long_files_have_a_reason() {
        let (short, long) = ("a\n".repeat(LONGEST), "a\n".repeat(LONGEST + 1));
        let listed = [("core/src/b.rs", "a table")];
        for (path, text, clean) in [
            ("core/src/a.rs", &short, true),
            ("core/src/a.rs", &long, false),
            ("tests/a.py", &long, false),
            ("core/src/b.rs", &long, true),
            ("core/src/b.rs", &short, false),
            ("Cargo.lock", &long, true),
        ] {
            assert_eq!(length(path, text, &listed).is_none(), clean, "{path}");
        }
    }

    #[test]
    fn nothing_of_a_machine_and_no_notes_to_self() {
        let lock = format!("source = \"{REGISTRY}\"");
        for (path, line, clean) in [
            ("a.md", concat!("see /", "home/me/x"), false),
            ("a.md", concat!("`/", "work/x`"), false),
            ("a.md", concat!("out = \"/", "tmp/x\""), false),
            ("a.md", concat!("https://example.org/", "home/x"), true),
            ("a.md", concat!("../", "work/x"), true),
            ("a.txt", concat!("--index", "-url https://example.org"), false),
            ("a.txt", concat!("https://pypi.", "org/simple"), false),
            ("a.rs", concat!("// TO", "DO: later"), false),
            ("a.rs", concat!("// FIX", "ME later"), false),
            ("a.rs", "// todo lists are fine", true),
            ("a.jsonl", concat!("\"XX", "X\""), true),
            ("a.jsonl", concat!("\"/", "home/me\""), false),
            ("Cargo.lock", lock.as_str(), true),
            ("Cargo.lock", "source = \"registry+https://example.org/index\"", false),
            ("Cargo.lock", "source = \"git+https://example.org/a\"", false),
        ] {
            assert_eq!(leftovers(path, line).is_empty(), clean, "{path}: {line}");
        }
    }

    #[test]
    fn no_test_is_switched_off() {
        for (text, clean) in [
            ("#[test]\nfn f() {}", true),
            ("#[test]\n#[ignore]\nfn f() {}", false),
            ("#[ignore = \"slow\"]\nfn f() {}", false),
            ("#[cfg_attr(not(feature = \"a\"), ignore)]\nfn f() {}", false),
            ("fn f() { let ignore = 1; }", true),
            (concat!("/// ```", "ignore\n/// f();\n/// ```\nfn f() {}"), false),
            ("/// ```\n/// f();\n/// ```\nfn f() {}", true),
        ] {
            assert_eq!(ignored_tests(&Source::new("a.rs", text)).is_empty(), clean, "{text}");
        }
    }

    #[test]
    fn third_party_data_is_left_out() {
        let line = concat!("TO", "DO").to_owned();
        let mut files = vec![(format!("{}a.txt", THIRD_PARTY[0]), line.clone()), ("a.txt".to_owned(), line)];
        // Those that are listed have to be there.
        files.extend(LONG_FILES.map(|(path, _)| (path.to_owned(), "a\n".repeat(LONGEST + 1))));
        assert_eq!(check(&files, &[]).iter().map(|violation| violation.path.as_str()).collect::<Vec<_>>(), ["a.txt"]);
    }
}
