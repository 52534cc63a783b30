//! No `std`, no allocation (but where the hardware's own library allocates) and no deliberate panic in the crates that run without an operating system.
//!
//! Tests, documentation, and modules that only a feature with `std` compiles are left out. That the crates link
//! without `std` is shown by the build in `cargo xtask test`, not here; panics in arithmetic and indexing are not seen.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::cfg::gated;
use super::source::{Source, words};

/// Crates that may allocate: what they drive does, and does not run without a heap.
const ALLOCATE: [&str; 1] = ["hal-qnn"];

const PANICS: [&str; 7] = ["panic", "todo", "unimplemented", "unreachable", "assert", "assert_eq", "assert_ne"];
const UNWRAPS: [&str; 4] = ["unwrap", "expect", "unwrap_err", "expect_err"];

/// Checks one crate: the sources in its folder, with the features of its manifest.
pub(super) fn check(sources: &[Source], folder: &str, features: &BTreeMap<String, Vec<String>>) -> Vec<Violation> {
    let root = format!("{folder}/src/");
    let mut hosted: Vec<String> = features.keys().filter(|name| brings_std(name, features)).cloned().collect();
    // The suite that tests a backend runs on the host.
    hosted.push("conformance".into());
    let sources: Vec<&Source> = sources.iter().filter(|source| source.path.starts_with(&root)).collect();
    let left_out = gated_files(&sources, &format!("{root}lib.rs"), &hosted);
    let mut violations = Vec::new();
    for source in sources {
        if source.path == format!("{root}lib.rs") && !source.code.contains("#![no_std]") {
            violations.push(Violation::new(&source.path, 1, "the crate root lacks `#![no_std]`"));
        }
        if !left_out.contains(source.path.as_str()) {
            violations.extend(file(source, &hosted, ALLOCATE.contains(&folder)));
        }
    }
    violations
}

/// Whether a feature is `std` or switches it on.
fn brings_std(name: &str, features: &BTreeMap<String, Vec<String>>) -> bool {
    let (mut seen, mut open) = (BTreeSet::new(), vec![name]);
    while let Some(name) = open.pop() {
        if name == "std" {
            return true;
        }
        if seen.insert(name) {
            open.extend(features.get(name).into_iter().flatten().map(String::as_str));
        }
    }
    false
}

/// The files of modules whose `mod` line is gated, and of the modules in those.
fn gated_files(sources: &[&Source], root: &str, hosted: &[String]) -> BTreeSet<String> {
    let mut left_out = BTreeSet::new();
    let mut open = vec![(root.to_owned(), false)];
    while let Some((path, within_gated)) = open.pop() {
        let Some(source) = sources.iter().find(|source| source.path == path) else { continue };
        let ranges = gated(source, hosted);
        let whole = within_gated || ranges.contains(&(0..source.code.len()));
        if whole {
            left_out.insert(path);
        }
        for (at, name) in declared_modules(&source.code) {
            let is_gated = whole || ranges.iter().any(|range| range.contains(&at));
            open.extend(module_paths(&source.path, name).map(|child| (child, is_gated)));
        }
    }
    left_out
}

/// The `mod name;` lines of a file.
fn declared_modules(code: &str) -> impl Iterator<Item = (usize, &str)> {
    words(code, "mod").filter_map(|at| {
        let name = code[at + "mod".len()..].split_once(';')?.0.trim();
        name.chars().all(|c| c.is_alphanumeric() || c == '_').then_some((at, name))
    })
}

/// The two places where the module `name` of the file at `path` can be.
fn module_paths(path: &str, name: &str) -> [String; 2] {
    let folder = ["/lib.rs", "/mod.rs"].into_iter().find_map(|root| path.strip_suffix(root));
    let folder = folder.or(path.strip_suffix(".rs")).unwrap_or(path);
    [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")]
}

fn file(source: &Source, hosted: &[String], may_allocate: bool) -> Vec<Violation> {
    let ranges = gated(source, hosted);
    let code = &source.code;
    let mut violations = Vec::new();
    let mut report = |at: usize, what: &str| {
        if !ranges.iter().any(|range| range.contains(&at)) {
            violations.push(Violation::new(&source.path, source.line(at), format!("{what} in no_std code")));
        }
    };
    for root in ["std", "alloc"].into_iter().filter(|root| *root != "alloc" || !may_allocate) {
        for at in words(code, root) {
            let after = code[at + root.len()..].trim_start();
            let imported = ["extern crate", "use"].iter().any(|before| code[..at].trim_end().ends_with(before));
            if imported || after.starts_with("::") && !is_inner_segment(code, at) {
                report(at, &format!("`{root}`"));
            }
        }
    }
    for name in PANICS {
        words(code, name)
            .filter(|at| code[at + name.len()..].starts_with('!'))
            .for_each(|at| report(at, &format!("`{name}!`")));
    }
    for name in UNWRAPS {
        let called = |at: &usize| code[..*at].ends_with(['.', ':']);
        words(code, name).filter(called).for_each(|at| report(at, &format!("`{name}`")));
    }
    violations
}

/// Tells the `alloc` of `core::alloc::Layout` from the crate's.
fn is_inner_segment(code: &str, at: usize) -> bool {
    code[..at].strip_suffix("::").is_some_and(|before| before.ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features() -> BTreeMap<String, Vec<String>> {
        let list = [("std", vec!["dep:rayon"]), ("default", vec!["std"]), ("defmt", vec![])];
        list.into_iter().map(|(name, on)| (name.into(), on.into_iter().map(String::from).collect())).collect()
    }

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        check(&sources, "core", &features()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn words_that_have_no_place_without_std() {
        for (text, clean) in [
            ("use core::fmt;", true),
            ("use std::fmt;", false),
            ("fn f() -> ::std::string::String {}", false),
            ("extern crate alloc;", false),
            ("extern crate std;", false),
            ("use alloc::vec::Vec;", false),
            ("use core::alloc::Layout;", true),
            ("fn f() { a.unwrap() }", false),
            ("fn f() { a.unwrap_or(1) }", true),
            ("fn f() { a.expect(\"b\") }", false),
            ("fn f() { a.map(Option::unwrap) }", false),
            ("fn f() { panic!() }", false),
            ("fn f() { todo!() }", false),
            ("fn f() { unimplemented!() }", false),
            ("fn f() { unreachable!() }", false),
            ("fn f() { assert!(a) }", false),
            ("fn f() { assert_eq!(a, b) }", false),
            ("fn f() { debug_assert!(a) }", true),
            ("fn f() { a(\"std::fmt\") }", true),
            ("/// `a.unwrap()` and std::fmt\nfn f() {}", true),
            ("#[cfg(test)]\nmod tests { extern crate std; fn f() { a.unwrap() } }", true),
            ("#[cfg(test)]\nmod tests { }\nfn f() { a.unwrap() }", false),
            ("#[cfg(feature = \"std\")]\nextern crate std;", true),
            ("#[cfg(feature = \"defmt\")]\nuse std::fmt;", false),
            ("#[cfg(not(test))]\nuse std::fmt;", false),
        ] {
            assert_eq!(found(&[("core/src/a.rs", text)]).is_empty(), clean, "{text}");
        }
    }

    #[test]
    fn a_module_is_left_out_with_its_own_modules() {
        let root = "#![no_std]\n#[cfg(feature = \"std\")]\nmod threads;\nmod plain;\n#[cfg(test)]\nmod tests;";
        let bad = "use std::fmt;";
        assert_eq!(
            found(&[
                ("core/src/lib.rs", root),
                ("core/src/threads.rs", "mod pool;"),
                ("core/src/threads/pool.rs", bad),
                ("core/src/tests.rs", bad),
                ("core/src/plain/mod.rs", bad),
                ("core/src/orphan.rs", bad),
                ("elsewhere/src/lib.rs", bad),
            ]),
            ["core/src/plain/mod.rs:1: `std` in no_std code", "core/src/orphan.rs:1: `std` in no_std code"]
        );
    }

    #[test]
    fn the_crate_whose_library_allocates_may_do_so_too() {
        let source = |folder: &str| [Source::new(&format!("{folder}/src/a.rs"), "use alloc::vec::Vec;\nuse std::fmt;")];
        let count = |folder| check(&source(folder), folder, &features()).len();
        assert_eq!((count("core"), count("hal-qnn")), (2, 1));
    }

    #[test]
    fn a_root_says_no_std() {
        assert_eq!(found(&[("core/src/lib.rs", "//! x")]), ["core/src/lib.rs:1: the crate root lacks `#![no_std]`"]);
    }

    #[test]
    fn features_are_followed() {
        assert!(brings_std("default", &features()));
        assert!(!brings_std("defmt", &features()));
    }
}
