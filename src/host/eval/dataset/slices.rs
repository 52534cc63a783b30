//! Where the objects of a JSON array, or of JSON lines, begin and end. Reads nothing that is in them.
//!
//! Knows strings and brackets, and where JSON has no place for another object: so a record whose closing bracket or quote
//! is missing, or that a cut-off download left behind, ends where the next one begins. Each byte is looked at once.

use serde_json::Value;

/// A piece of the file that should be a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice<'a> {
    /// Line of the file that it begins at, counted from 1.
    pub(super) line: usize,
    /// An object, or what lies between objects and is none.
    pub(super) bytes: &'a [u8],
}

impl Slice<'_> {
    /// The object as a JSON value, or what is wrong with it, at which line of the file.
    pub(super) fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(self.bytes).map_err(|error| {
            let said = error.to_string();
            let what = said.rsplit_once(" at line ").map_or(said.as_str(), |(what, _)| what);
            let line = self.line + error.line().saturating_sub(1);
            format!("not valid JSON at line {line}: {what}")
        })
    }
}

/// Splits a file into its objects. Anything between them but brackets, commas and white space is a piece of its own.
pub(super) fn split(bytes: &[u8]) -> Vec<Slice<'_>> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut scanner =
        Scanner { bytes, found: Vec::new(), line: 1, begin: None, open: Vec::new(), string: None, last: 0 };
    for (at, &byte) in bytes.iter().enumerate() {
        scanner.step(at, byte);
        scanner.line += usize::from(byte == b'\n');
    }
    scanner.end_at(bytes.len());
    scanner.found
}

/// Inside a string, whether the next byte is escaped.
#[derive(Clone, Copy, PartialEq)]
enum InString {
    Plain,
    Escaped,
}

struct Scanner<'a> {
    bytes: &'a [u8],
    found: Vec<Slice<'a>>,
    /// Line of the current byte.
    line: usize,
    /// Begin and line of the current piece.
    begin: Option<(usize, usize)>,
    /// Brackets that are open in the current object, outermost first; none in a piece that is no object.
    open: Vec<u8>,
    string: Option<InString>,
    /// The last byte outside of strings that is no white space.
    last: u8,
}

impl Scanner<'_> {
    fn step(&mut self, at: usize, byte: u8) {
        if self.open.is_empty() {
            return self.between(at, byte);
        }
        match (self.string, byte) {
            // No string of JSON goes over a line's end: its closing quote is missing.
            (Some(_), b'\n') => self.string = None,
            (Some(InString::Escaped), _) => self.string = Some(InString::Plain),
            (Some(InString::Plain), b'\\') => self.string = Some(InString::Escaped),
            (Some(InString::Plain), b'"') => self.string = None,
            (Some(InString::Plain), _) => {}
            (None, b' ' | b'\t' | b'\r' | b'\n') => {}
            (None, _) => self.structure(at, byte),
        }
    }

    /// A byte outside of any object.
    fn between(&mut self, at: usize, byte: u8) {
        match byte {
            b'{' => self.begin_object(at),
            b'[' | b']' | b',' => self.end_at(at),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ if self.begin.is_none() => self.begin = Some((at, self.line)),
            _ => {}
        }
    }

    /// A byte of an object, outside of its strings.
    fn structure(&mut self, at: usize, byte: u8) {
        match byte {
            b'"' => self.string = Some(InString::Plain),
            b'{' if !self.takes_a_value() => return self.begin_object(at),
            b'{' | b'[' => self.open.push(byte),
            b'}' => self.close(at, b'{'),
            b']' => self.close(at, b'['),
            _ => {}
        }
        self.last = byte;
    }

    /// Whether JSON may have a value here: after a colon, or in a list at its begin or after a comma.
    fn takes_a_value(&self) -> bool {
        match self.last {
            b':' | b'[' => true,
            b',' => self.open.last() == Some(&b'['),
            _ => false,
        }
    }

    /// Closes the innermost bracket of this kind, with those inside it that were left open. Where there is none, it is
    /// the whole array's: the object was left open.
    fn close(&mut self, at: usize, kind: u8) {
        match self.open.iter().rposition(|&open| open == kind) {
            Some(outer) => {
                self.open.truncate(outer);
                if outer == 0 {
                    self.end_at(at + 1);
                }
            }
            None => self.end_at(at),
        }
    }

    fn begin_object(&mut self, at: usize) {
        self.end_at(at);
        self.begin = Some((at, self.line));
        self.open.push(b'{');
        self.last = b'{';
    }

    /// The current piece, if there is one, ends before this byte.
    fn end_at(&mut self, at: usize) {
        if let Some((begin, line)) = self.begin.take() {
            self.found.extend(self.bytes.get(begin..at).map(|bytes| Slice { line, bytes }));
        }
        self.open.clear();
        self.string = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines and texts of the pieces.
    fn pieces(text: &str) -> Vec<(usize, &str)> {
        split(text.as_bytes()).iter().map(|s| (s.line, std::str::from_utf8(s.bytes).unwrap().trim_end())).collect()
    }

    #[test]
    fn arrays_and_lines_give_the_same_objects() {
        let objects = [r#"{"a": "}{", "b": [{"c": "\"}"}, {}]}"#, r#"{"a": {"b": {}}}"#];
        for (text, second) in [
            (format!("[{}, {}]", objects[0], objects[1]), 1),
            (format!("[\n{},\n\n{}\n]\n", objects[0], objects[1]), 4),
            (format!("{}\n{}\n", objects[0], objects[1]), 2),
            (format!("\u{FEFF}{}{}", objects[0], objects[1]), 1),
        ] {
            let first = second.min(text.lines().position(|line| line.contains("}{")).unwrap() + 1);
            assert_eq!(pieces(&text), [(first, objects[0]), (second, objects[1])], "{text}");
        }
        assert_eq!(pieces(" [ ]\n"), []);
    }

    #[test]
    fn a_broken_object_ends_where_the_next_one_begins() {
        for broken in [
            r#"{"a": "b""#,
            r#"{"a": "b}"#,
            r#"{"a": ["b"}"#,
            r#"{"a": "b"]}"#,
            r#"{"a": [{"b": 1}"#,
            "{",
            "garbage",
            "\0\0\0",
        ] {
            for between in ["\n", ",\n"] {
                let text = format!("[{{\"x\": 1}}{between}{broken}{between}{{\"y\": [2]}}]");
                let found = pieces(&text);
                assert_eq!(found.first(), Some(&(1, r#"{"x": 1}"#)), "{text}");
                assert!(found.iter().any(|&(line, _)| line == 2), "{text}: {found:?}");
                let swallowed = broken.contains("[{") && between == ",\n";
                assert!(swallowed || found.last() == Some(&(3, r#"{"y": [2]}"#)), "{text}: {found:?}");
            }
        }
    }
}
