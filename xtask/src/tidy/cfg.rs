//! Which parts of a file are compiled only for tests, or only with a feature that brings `std`.
//!
//! It evaluates no `cfg` in full: it asks whether a predicate can hold without the names it is given. A part that is
//! not surely left out counts as compiled.

use super::source::Source;

/// The byte ranges of items under a `cfg` that needs `test` or one of `features`. An inner `#![cfg]` covers the file.
pub(super) fn gated(source: &Source, features: &[String]) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    for (opening, inner) in [("#[cfg(", false), ("#![cfg(", true)] {
        for (at, _) in source.code.match_indices(opening) {
            let predicate = at + opening.len();
            let end = closing(&source.code, predicate);
            if needs(&source.text[predicate..end], features) {
                let item = if inner { 0..source.code.len() } else { at..item_end(&source.code, end + 2) };
                ranges.push(item);
            }
        }
    }
    ranges
}

/// Whether a predicate can only hold with `test` or one of `features`.
fn needs(predicate: &str, features: &[String]) -> bool {
    let predicate = predicate.trim();
    let arguments = |name: &str| {
        let inside = predicate.strip_prefix(name)?.trim_start().strip_prefix('(')?.strip_suffix(')')?;
        Some(split(inside))
    };
    if let Some(all) = arguments("all") {
        return all.iter().any(|one| needs(one, features));
    }
    if let Some(any) = arguments("any") {
        return any.iter().all(|one| needs(one, features));
    }
    let feature = || predicate.strip_prefix("feature")?.trim_start().strip_prefix('=').map(|name| name.trim());
    predicate == "test" || feature().is_some_and(|name| features.iter().any(|known| name == format!("\"{known}\"")))
}

/// Splits at the commas outside parentheses.
fn split(list: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let parts = list.split(|c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    parts.filter(|part| !part.trim().is_empty()).collect()
}

/// Where the parenthesis that is open at `from` closes.
fn closing(code: &str, from: usize) -> usize {
    let mut depth = 1_i32;
    let end = code[from..].find(|c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    });
    from + end.unwrap_or(code.len() - from)
}

/// The end of the item, field, statement or expression after an attribute that ends at `from`.
fn item_end(code: &str, from: usize) -> usize {
    let (mut rest, mut start) = (&code[from..], from);
    while rest.trim_start().starts_with("#[") {
        let open = start + rest.find('[').unwrap_or(0) + 1;
        let mut depth = 1_i32;
        let length = code[open..].find(|c: char| {
            depth += i32::from(c == '[') - i32::from(c == ']');
            depth == 0
        });
        start = open + length.map_or(code.len() - open, |length| length + 1);
        rest = &code[start..];
    }
    let (ends_at_brace, ends_at_comma) = endings(rest);
    let mut depth = 0_i32;
    for (at, c) in rest.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return start + at,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        let ended = c == ';' || (c == '}' && ends_at_brace) || (c == ',' && ends_at_comma);
        if depth == 0 && ended {
            return start + at + 1;
        }
    }
    code.len()
}

/// Whether what starts here ends with its braces, and whether with a comma.
fn endings(rest: &str) -> (bool, bool) {
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix("pub").map(str::trim_start) {
        Some(after) if after.starts_with('(') => after.split_once(')').map_or("", |(_, after)| after.trim_start()),
        Some(after) => after,
        None => rest,
    };
    let mut words = rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
    match words.next().unwrap_or("") {
        "use" | "let" | "static" | "type" => (false, false),
        "const" => (["fn", "unsafe", "extern"].contains(&words.next().unwrap_or("")), false),
        "fn" | "mod" | "impl" | "struct" | "enum" | "union" | "trait" | "unsafe" | "extern" | "async"
        | "macro_rules" => (true, false),
        _ => (true, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code that is left when the gated parts are cut out.
    fn left(text: &str) -> String {
        let source = Source::new("a.rs", text);
        let ranges = gated(&source, &["std".into()]);
        let kept = source.code.char_indices().filter(|(at, _)| !ranges.iter().any(|range| range.contains(at)));
        kept.map(|(_, c)| c).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_item_ends_where_rust_ends_it() {
        for (text, expected) in [
            ("#[cfg(test)] mod tests { fn a() {} } b", "b"),
            ("#[cfg(test)] mod tests; b", "b"),
            ("#[cfg(test)] #[rustfmt::skip] pub(crate) fn a<T, U>(x: [u8; 3]) -> T { x; } b", "b"),
            ("#[cfg(feature = \"std\")] extern crate std; b", "b"),
            ("#[cfg(feature = \"std\")] use std::{a, b}; b", "b"),
            ("#[cfg(feature = \"std\")] const A: B = B { c: 1 }; b", "b"),
            ("#[cfg(feature = \"std\")] pub const fn a() {} b", "b"),
            ("struct A { #[cfg(feature = \"std\")] pub x: Vec<u8>, y: u8 }", "struct A { y: u8 }"),
            ("match a { #[cfg(test)] A::B { .. } => f(1, 2), c => d }", "match a { => f(1, 2), c => d }"),
            ("f(#[cfg(test)] x)", "f()"),
            ("#![cfg(test)] b", ""),
        ] {
            assert_eq!(left(text), expected, "{text}");
        }
    }

    #[test]
    fn a_predicate_gates_only_when_it_must() {
        for (predicate, gates) in [
            ("test", true),
            ("feature = \"std\"", true),
            ("all(feature = \"std\", target_arch = \"x86_64\")", true),
            ("any(test, feature = \"std\")", true),
            ("any(test, target_arch = \"x86_64\")", false),
            ("not(test)", false),
            ("not(feature = \"std\")", false),
            ("feature = \"defmt\"", false),
            ("all(any(test, feature = \"defmt\"), not(test))", false),
        ] {
            assert_eq!(needs(predicate, &["std".into()]), gates, "{predicate}");
        }
    }
}
