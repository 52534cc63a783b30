//! Where `unsafe` may stand, and the comment that has to stand with it.
//!
//! Clippy asks for the comments too, but not on every target and in every macro. Whether a comment is true is for a
//! reader to judge.

use super::Violation;
use super::source::{Source, words};

/// The files that may hold `unsafe`: a path, or a folder with its slash.
const HOMES: [&str; 13] = [
    "hal-cpu/src/hvx.rs",
    "hal-cpu/src/kernels/x86/",
    "hal-cpu/src/kernels/neon/",
    "hal-qnn/src/sys.rs",
    "hal-qnn/src/sys/",
    "src/capi/",
    "src/host/map.rs",
    "tests/fuzz/targets/c_calls.rs",
    "tests/fuzz/targets/c_calls/",
    "tests/heap/mod.rs",
    "tests/firmware/hexagon-start/src/",
    "tests/firmware/cortex-m/",
    "tests/firmware/hexagon/tests/",
];

/// Crate roots that forbid `unsafe` for good: a mere `deny` can be allowed again further down.
const FORBIDDEN: [&str; 2] = ["core/src/lib.rs", "backends/src/lib.rs"];

/// `unsafe` outside its homes or without its comment.
pub(super) fn check(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources {
        if FORBIDDEN.contains(&source.path.as_str()) && !source.code.contains("#![forbid(unsafe_code)]") {
            violations.push(Violation::new(&source.path, 1, "the crate root lacks `#![forbid(unsafe_code)]`"));
        }
        let home = is_home(&source.path);
        for at in words(&source.code, "unsafe") {
            let mut report = |message: &str| violations.push(Violation::new(&source.path, source.line(at), message));
            if !home {
                report("`unsafe` outside the files that may hold it");
            }
            match comment_wanted(&source.code[at + "unsafe".len()..]) {
                Some("# Safety") if in_trait_impl(&source.code[..at]) => {}
                Some(marker) if !comment_above(source, at, marker) => report(&format!("`unsafe` without `{marker}`")),
                _ => {}
            }
        }
    }
    violations
}

fn is_home(path: &str) -> bool {
    HOMES.iter().any(|home| path == *home || home.ends_with('/') && path.starts_with(home))
}

/// The words that have to be in the comment, judged by what follows `unsafe`. None for a type and an attribute.
fn comment_wanted(after: &str) -> Option<&'static str> {
    let after = after.trim_start();
    let (foreign, declared) = match after.strip_prefix("extern").map(str::trim_start) {
        Some(rest) if rest.starts_with('{') || rest.starts_with("fn") => (true, rest),
        Some(rest) => (true, rest.trim_start_matches('"').trim_start()),
        None => (false, after),
    };
    if after.starts_with('(') {
        return None;
    }
    if let Some(name) = declared.strip_prefix("fn").filter(|rest| !rest.starts_with(|c: char| c.is_alphanumeric())) {
        return (!name.trim_start().starts_with('(')).then_some("# Safety");
    }
    Some(if !foreign && after.starts_with("trait ") { "# Safety" } else { "SAFETY:" })
}

/// Whether the code before ends inside `impl Trait for Type {`: a method there has the contract that the trait documents.
fn in_trait_impl(before: &str) -> bool {
    let mut depth = 0_i32;
    let open = before.rfind(|c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth > 0
    });
    let header = open.map_or("", |open| before[..open].rsplit(['{', '}', ';']).next().unwrap_or(""));
    words(header, "impl").next().is_some() && words(header, "for").next().is_some()
}

/// Whether the comment on the line of `at`, or right above its statement, says `marker`.
fn comment_above(source: &Source, at: usize, marker: &str) -> bool {
    argument(source, at, marker).is_some()
}

/// What that comment says behind `marker`, to its end.
fn argument(source: &Source, at: usize, marker: &str) -> Option<String> {
    let (code, comments): (Vec<&str>, Vec<&str>) = (source.code.lines().collect(), source.comments.lines().collect());
    let own = source.line(at) - 1;
    if let Some((_, said)) = comments[own].split_once(marker) {
        return Some(said.trim().to_owned());
    }
    let mut in_comment = false;
    for line in (0..own).rev() {
        let (code_of_line, comment) = (code[line].trim(), comments[line].trim());
        if code_of_line.is_empty() {
            if let Some((_, said)) = comment.split_once(marker) {
                let more = (line + 1..own).map_while(|line| {
                    let text = comments[line].trim().trim_start_matches('/').trim();
                    code[line].trim().is_empty().then_some(text)
                });
                let said = core::iter::once(said.trim()).chain(more).collect::<Vec<_>>().join(" ");
                return Some(said.trim().to_owned());
            }
            if comment.is_empty() {
                return None;
            }
            in_comment = true;
        } else if code_of_line.starts_with("#[") {
            continue;
        } else if in_comment || code_of_line.ends_with([';', '{', '}', ',']) {
            return None;
        }
    }
    None
}

/// The table's place.
pub(super) const TABLE: &str = "tests/UNSAFE.md";

/// Every `unsafe` that needs an argument, with it: a table for readers, made anew by `cargo xtask unsafe`.
pub(super) fn table(sources: &[Source]) -> String {
    let mut sources: Vec<&Source> = sources.iter().collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    let (mut text, mut all) = (String::new(), 0);
    for source in sources {
        let mut rows = Vec::new();
        for at in words(&source.code, "unsafe") {
            let after = &source.code[at + "unsafe".len()..];
            let Some(marker) = comment_wanted(after) else { continue };
            let what = match after.trim_start() {
                block if block.starts_with('{') => "block".to_owned(),
                item => {
                    let end = item.find(['(', '{', '<', '=']).unwrap_or(item.len());
                    format!("`{}`", item[..end].split_whitespace().collect::<Vec<_>>().join(" "))
                }
            };
            let said = argument(source, at, marker).unwrap_or_else(|| "as its trait says".to_owned());
            rows.push(format!("| {what} | {} |\n", said.replace('|', "\\|")));
        }
        all += rows.len();
        if !rows.is_empty() {
            text += &format!(
                "\n## `{}`\n\n| | why it is sound, or what callers promise |\n|---|---|\n{}",
                source.path,
                rows.concat()
            );
        }
    }
    format!(
        "# Every `unsafe` in the repository\n\nMade by `cargo xtask unsafe` from the comments above each; `cargo xtask tidy` finds out \
         whether it is current.\n{all} of them; `core` and `backends` forbid it.\n{text}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(&[Source::new(path, text)]).into_iter().map(|violation| violation.message).collect()
    }

    #[test]
    fn the_table_has_every_argument_whole() {
        let text = "// SAFETY: len checked,\n// by the caller\nlet x = unsafe { a() };\n\n/// Doc.\n///\n/// # Safety\n/// Aligned.\nunsafe fn f(x: u8) {}";
        let table = table(&[Source::new("hal-cpu/src/a.rs", text), Source::new("core/src/lib.rs", "fn g() {}")]);
        assert!(table.contains("| block | len checked, by the caller |"), "{table}");
        assert!(
            table.contains("| `fn f` | Aligned. |") && table.contains("2 of them") && !table.contains("core/src"),
            "{table}"
        );
    }

    #[test]
    fn every_kind_has_its_comment() {
        let kernels = "hal-cpu/src/kernels/x86/avx2.rs";
        for (text, clean) in [
            ("// SAFETY: len checked\nunsafe { a() }", true),
            ("// SAFETY: len checked,\n// by the caller\nlet x = unsafe { a() };", true),
            ("// SAFETY: ok\nlet x = f(\n    unsafe { a() });", true),
            ("let x = unsafe { a() }; // SAFETY: ok", true),
            ("unsafe { a() }", false),
            ("// because\nunsafe { a() }", false),
            ("// SAFETY: of b\nb();\nunsafe { a() }", false),
            ("// SAFETY: of b\nb(\n// c\nunsafe { a() });", false),
            ("// SAFETY: far\n\nunsafe { a() }", false),
            ("let s = \"SAFETY:\"; unsafe { a() }", false),
            ("/// Adds.\n///\n/// # Safety\n/// AVX2.\n#[inline]\npub unsafe fn a() {}", true),
            ("/// Adds.\npub unsafe fn a() {}", false),
            ("/// Adds.\npub unsafe extern \"C\" fn a() {}", false),
            ("impl A for B { fn b() {} unsafe fn a() {} }", true),
            ("impl B { unsafe fn a() {} }", false),
            ("impl A for B {} unsafe fn a() {}", false),
            ("impl A for B { fn b() { unsafe { c() } } }", false),
            ("type F = unsafe fn(u8);", true),
            ("type F = unsafe extern \"C\" fn(u8);", true),
            ("// SAFETY: ok\nunsafe impl Send for A {}", true),
            ("unsafe impl Send for A {}", false),
            ("unsafe trait A {}", false),
            ("/// # Safety\n/// x\nunsafe trait A {}", true),
            ("unsafe extern \"C\" { fn a(); }", false),
            ("// SAFETY: as in the header\nunsafe extern \"C\" { fn a(); }", true),
            ("// no unsafe here\n#![forbid(unsafe_code)]", true),
        ] {
            assert_eq!(messages(kernels, text).is_empty(), clean, "{text}");
        }
    }

    #[test]
    fn unsafe_stays_at_home() {
        let text = "// SAFETY: ok\nunsafe { a() }";
        for (path, clean) in [
            ("hal-cpu/src/hvx.rs", true),
            ("hal-cpu/src/cpu.rs", false),
            ("hal-cpu/src/kernels/neon/dot.rs", true),
            ("hal-qnn/src/sys/mod.rs", true),
            ("src/capi/edit.rs", true),
            ("src/host/map.rs", true),
            ("tests/firmware/hexagon-start/src/start.rs", true),
            ("tests/firmware/hvx/src/main.rs", false),
            ("src/host/map_more.rs", false),
            ("hal-cpu/src/kernels/x86_more.rs", false),
            ("core/src/editor.rs", false),
            ("tests/edit.rs", false),
            ("tests/heap/mod.rs", true),
            ("tests/load/main.rs", false),
        ] {
            assert_eq!(messages(path, text).is_empty(), clean, "{path}");
        }
    }

    #[test]
    fn core_and_backends_forbid_it() {
        for (path, text, clean) in [
            ("core/src/lib.rs", "#![forbid(unsafe_code)]", true),
            ("core/src/lib.rs", "#![deny(unsafe_code)]", false),
            ("backends/src/lib.rs", "// #![forbid(unsafe_code)]", false),
            ("hal-cpu/src/lib.rs", "#![deny(unsafe_code)]", true),
        ] {
            assert_eq!(messages(path, text).is_empty(), clean, "{path}: {text}");
        }
    }
}
