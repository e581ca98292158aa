//! A Rust file as the rules see it: its text with comments and literals blanked (same length, same
//! lines), which lines are test code, and where its functions begin and end. Not a parser: it knows
//! literals, comments and brackets, relies on what rustfmt leaves, and where it errs it errs for
//! one file, visibly.

use std::ops::Range;

/// Attributes after which an item is test code.
const TEST_ATTRIBUTES: [&str; 4] = ["#[cfg(test)]", "#[cfg(all(test", "#[test]", "#[tokio::test"];

pub struct Scan {
    pub text: String,
    /// The text with every byte of a comment or literal, line breaks aside, a space.
    pub code: String,
    pub functions: Vec<Function>,
    /// The whole file is under `#![cfg(test)]`.
    pub all_tests: bool,
    tests: Vec<Range<usize>>,
    starts: Vec<usize>,
}

/// A function with a body: its name and its lines, first and last, counted from 1.
pub struct Function {
    pub name: String,
    pub first: usize,
    pub last: usize,
}

impl Scan {
    pub fn of(text: &str) -> Self {
        let code = mask(text);
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let mut scan = Self {
            starts: std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect(),
            all_tests: code.contains("#![cfg(test)]"),
            tests: Vec::new(),
            functions: Vec::new(),
            text: text.to_owned(),
            code,
        };
        scan.tests = scan.find_tests();
        scan.functions = scan.find_functions();
        scan
    }

    /// The line, counted from 1, that holds the byte at `at`.
    pub fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    pub fn in_tests(&self, line: usize) -> bool {
        self.tests.iter().any(|lines| lines.contains(&line))
    }

    /// The lines of inline test code, one range an item.
    pub fn tests(&self) -> &[Range<usize>] {
        &self.tests
    }

    fn find_tests(&self) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        for attribute in TEST_ATTRIBUTES {
            for (at, _) in self.code.match_indices(attribute) {
                let end = item_end(self.code.as_bytes(), at);
                found.push(self.line(at)..self.line(end) + 1);
            }
        }
        found
    }

    fn find_functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for at in words(&self.code, "fn") {
            let name: String =
                self.code[at + 2..].trim_start().chars().take_while(|c| is_word(*c)).collect();
            if name.is_empty() {
                continue; // the type of a function pointer
            }
            let bytes = self.code.as_bytes();
            if let Some(open) = body_start(bytes, at) {
                let last = self.line(closing(bytes, open));
                found.push(Function { name, first: self.line(at), last });
            }
        }
        found
    }
}

/// Where `pattern` stands as whole words: what touches its ends is no part of a word.
pub fn words<'a>(code: &'a str, pattern: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(pattern).map(|(at, _)| at).filter(move |at| {
        let before = code[..*at].chars().next_back();
        let after = code[at + pattern.len()..].chars().next();
        let free = |inner: Option<char>, outer: Option<char>| {
            !(inner.is_some_and(is_word) && outer.is_some_and(is_word))
        };
        free(pattern.chars().next(), before) && free(pattern.chars().next_back(), after)
    })
}

pub fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The bracket that closes the one at `open`, or the end of the code.
pub fn closing(code: &[u8], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.iter().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return at;
        }
    }
    code.len().saturating_sub(1)
}

/// The end of the item whose attributes begin at `at`: the `;` or `}` that closes it.
fn item_end(code: &[u8], mut at: usize) -> usize {
    while at < code.len() {
        match code[at] {
            b'#' if code.get(at + 1) == Some(&b'[') => at = closing(code, at + 1),
            b'(' | b'[' => at = closing(code, at),
            b'{' => return closing(code, at),
            b';' | b'}' => return at,
            _ => {}
        }
        at += 1;
    }
    code.len().saturating_sub(1)
}

/// The `{` that opens the body of the function whose `fn` stands at `at`; none for a declaration.
fn body_start(code: &[u8], mut at: usize) -> Option<usize> {
    while at < code.len() {
        match code[at] {
            b'(' | b'[' => at = closing(code, at),
            b'{' => return Some(at),
            b';' | b'}' => return None,
            _ => {}
        }
        at += 1;
    }
    None
}

fn mask(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut masked = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let Some(end) = literal_or_comment(bytes, at) else {
            at += 1;
            continue;
        };
        let end = end.min(bytes.len());
        for byte in &mut masked[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(masked).expect("literals and comments begin and end between characters")
}

/// The end of the literal or comment that begins at `at`, if one does.
fn literal_or_comment(bytes: &[u8], at: usize) -> Option<usize> {
    match (bytes[at], bytes.get(at + 1)) {
        (b'/', Some(b'/')) => Some(find(bytes, at, b'\n')),
        (b'/', Some(b'*')) => Some(block_comment(bytes, at)),
        (b'"', _) => Some(quoted(bytes, at, b'"')),
        (b'r', _) => raw_string(bytes, at),
        (b'\'', Some(b'\\')) => Some(quoted(bytes, at, b'\'')),
        (b'\'', Some(first)) => {
            // A lifetime has no closing quote right after its first letter.
            let width = match first {
                0..0x80 => 1,
                0x80..0xe0 => 2,
                0xe0..0xf0 => 3,
                _ => 4,
            };
            let close = at + 1 + width;
            (bytes.get(close) == Some(&b'\'')).then_some(close + 1)
        }
        _ => None,
    }
}

fn find(bytes: &[u8], from: usize, wanted: u8) -> usize {
    let rest = &bytes[from..];
    from + rest.iter().position(|byte| *byte == wanted).unwrap_or(rest.len())
}

fn quoted(bytes: &[u8], open: usize, quote: u8) -> usize {
    let mut at = open + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

fn block_comment(bytes: &[u8], open: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = open;
    while at < bytes.len() {
        match &bytes[at..bytes.len().min(at + 2)] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            break;
        }
    }
    at
}

/// `r"…"`, `r#"…"#` and so on, also behind `b` or `c`; not an identifier that ends in r.
fn raw_string(bytes: &[u8], at: usize) -> Option<usize> {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let prefix = bytes[..at].iter().rev().take_while(|byte| word(byte)).count();
    if prefix > 1 || (prefix == 1 && !matches!(bytes[at - 1], b'b' | b'c')) {
        return None;
    }
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    let body = &bytes[open + 1..];
    let length = body.windows(close.len()).position(|window| window == close);
    Some(length.map_or(bytes.len(), |length| open + 1 + length + close.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_mask(text: &str, expected: &str) {
        assert_eq!(mask(text), expected);
    }

    #[test]
    fn comments_and_literals_are_blanked_and_nothing_else() {
        check_mask("a // b\nc", "a     \nc");
        check_mask("a /* b /* c */ d */ e", "a                   e");
        check_mask(r#"f("x \" y", 'a')"#, "f(        ,    )");
        check_mask(r##"br#"a"b"# + r"\" + c"##, "b         +      + c");
        check_mask(r"'\'' '\n' '\u{1f600}'", &" ".repeat(21));
        check_mask("&'a str, <'b>, 'c: loop", "&'a str, <'b>, 'c: loop");
        check_mask("'é' 'ß", "     'ß");
        check_mask("r#type for_r\"x\"", "r#type for_r   ");
        check_mask("\"open", "     ");
    }

    #[test]
    fn words_are_whole() {
        let found: Vec<usize> = words("fs::a std::fs::b offs::c fsx", "fs::").collect();
        assert_eq!(found, [0, 11]);
        assert_eq!(words("async asynchronous r_async", "async").count(), 1);
    }

    #[test]
    fn functions_have_bodies() {
        let scan = Scan::of(
            "fn a() -> [u8; 2] {\n x\n}\ntrait T {\n fn b(&self);\n}\nlet f: fn(u8) = g;\n\
             fn c<F>(f: F)\nwhere\n F: Fn(),\n{\n fn d() {}\n}\n",
        );
        let found: Vec<_> =
            scan.functions.iter().map(|f| (f.name.as_str(), f.first, f.last)).collect();
        assert_eq!(found, [("a", 1, 3), ("c", 8, 13), ("d", 12, 12)]);
    }

    #[test]
    fn test_items_end_where_they_end() {
        let scan = Scan::of(
            "#[cfg(test)]\nmod tests;\nfn a() {}\n#[cfg(test)]\n#[rustfmt::skip]\nmod b {\n \
             fn c() {}\n}\nfn d() {}\n",
        );
        let lines: Vec<usize> = (1..=9).filter(|line| scan.in_tests(*line)).collect();
        assert_eq!(lines, [1, 2, 4, 5, 6, 7, 8]);
    }
}
