//! The checkout as text: every file of ours, and for Rust files the code without comments and literals,
//! the comments without code, and which lines are test code. It parses no further than that.

use std::fs;
use std::path::Path;

/// Endings of the files that the text rules look at, besides Rust files and those named here in full.
const TEXT_ENDINGS: [&str; 6] = ["md", "toml", "sh", "Makefile", "run", "yml"];

/// Every file of the checkout that is ours.
pub struct Tree {
    /// The Rust files, in the order of their paths.
    pub rust: Vec<Source>,
    /// Documents, manifests and scripts; their `code` is the text itself.
    pub texts: Vec<Source>,
}

/// One file.
pub struct Source {
    /// From the root of the checkout, with `/` between folders.
    pub path: String,
    /// The file as it is.
    pub text: String,
    /// The text with comments and the contents of literals blanked; line for line the same.
    pub code: String,
    /// The text with everything but comments blanked; line for line the same.
    pub comments: String,
    /// For each line, whether it is compiled only for tests.
    pub test_lines: Vec<bool>,
}

impl Tree {
    /// Reads the checkout that this test was built from.
    pub fn read() -> Tree {
        let mut tree = Tree {
            rust: Vec::new(),
            texts: Vec::new(),
        };
        tree.walk(Path::new(env!("CARGO_MANIFEST_DIR")), "");
        tree.rust.sort_by(|a, b| a.path.cmp(&b.path));
        tree.texts.sort_by(|a, b| a.path.cmp(&b.path));
        tree
    }

    /// The text of a document in the root; an absent one is empty, which `documents` complains about.
    pub fn document(&self, path: &str) -> &str {
        let found = self.texts.iter().find(|source| source.path == path);
        found.map_or("", |source| &source.text)
    }

    /// Whether the checkout has a file or folder of this path.
    pub fn exists(&self, path: &str) -> bool {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists()
    }

    fn walk(&mut self, folder: &Path, prefix: &str) {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{prefix}: {error}"));
        for entry in entries.map(|entry| entry.expect("a readable folder")) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
            if entry.path().is_dir() {
                if !hidden && name != "target" {
                    self.walk(&entry.path(), &format!("{path}/"));
                }
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(entry.path()).expect("a Rust file in UTF-8");
                self.rust.push(Source::rust(&path, &text));
            } else if TEXT_ENDINGS.contains(&name.rsplit('.').next().unwrap_or_default()) {
                let text = fs::read_to_string(entry.path()).expect("a text in UTF-8");
                self.texts.push(Source::plain(&path, &text));
            }
        }
    }
}

impl Source {
    /// A Rust file.
    pub fn rust(path: &str, text: &str) -> Source {
        let (code, comments) = split(text);
        let whole_file = path.starts_with("tests/")
            || path.contains("/tests/")
            || path.ends_with("/tests.rs")
            || path.ends_with("_tests.rs");
        let test_lines = test_lines(&code, whole_file);
        Source {
            path: path.into(),
            text: text.into(),
            code,
            comments,
            test_lines,
        }
    }

    /// Any other text.
    pub fn plain(path: &str, text: &str) -> Source {
        Source {
            path: path.into(),
            text: text.into(),
            code: text.into(),
            comments: String::new(),
            test_lines: vec![false; text.lines().count()],
        }
    }

    /// Whether a line (counted from 0) is test code.
    pub fn is_test(&self, line: usize) -> bool {
        self.test_lines.get(line).copied().unwrap_or(false)
    }

    /// A complaint about a line (counted from 0), in the form that editors can jump to.
    pub fn complain(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{}: {what}", self.path, line + 1)
    }
}

/// Whether `text` contains `word` with no letter, digit or underscore at either end of it.
pub fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

/// What a character of a Rust file belongs to.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Code,
    Comment,
    Literal,
}

/// Splits a Rust file into (code, comments), each as long in lines as the file.
fn split(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let mut parts = vec![Part::Code; chars.len()];
    let mut at = 0;
    while at < chars.len() {
        let (end, part) = next_piece(&chars, at);
        parts[at..end].fill(part);
        at = end;
    }
    let keep = |wanted: Part| -> String {
        chars
            .iter()
            .zip(&parts)
            .map(|(&c, &part)| if part == wanted || c == '\n' { c } else { ' ' })
            .collect()
    };
    (keep(Part::Code), keep(Part::Comment))
}

/// The end of the comment, literal or single character that starts at `at`, and what it is.
fn next_piece(chars: &[char], at: usize) -> (usize, Part) {
    let peek = |ahead: usize| chars.get(at + ahead).copied().unwrap_or('\0');
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match peek(0) {
        '/' if peek(1) == '/' => {
            let rest = chars[at..].iter().position(|&c| c == '\n');
            (rest.map_or(chars.len(), |n| at + n), Part::Comment)
        }
        '/' if peek(1) == '*' => (block_comment_end(chars, at), Part::Comment),
        '"' => (quoted_end(chars, at, '"'), Part::Literal),
        'b' | 'c' if !in_word && peek(1) == '"' => (quoted_end(chars, at + 1, '"'), Part::Literal),
        'b' if !in_word && peek(1) == '\'' => (quoted_end(chars, at + 1, '\''), Part::Literal),
        'r' if !in_word => raw_end(chars, at, at + 1),
        'b' | 'c' if !in_word && peek(1) == 'r' => raw_end(chars, at, at + 2),
        // 'x' and '\n' are characters; 'static and 'a are lifetimes.
        '\'' if peek(1) == '\\' || peek(2) == '\'' => (quoted_end(chars, at, '\''), Part::Literal),
        _ => (at + 1, Part::Code),
    }
}

/// The end of a block comment; Rust's nest.
fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(chars.len())
}

/// The end of a literal whose opening quote is at `start`.
fn quoted_end(chars: &[char], start: usize, quote: char) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// The end of a raw string whose hashes may start at `hashes`, or one character of code if it is none.
fn raw_end(chars: &[char], start: usize, hashes: usize) -> (usize, Part) {
    let count = chars[hashes..].iter().take_while(|&&c| c == '#').count();
    if chars.get(hashes + count) != Some(&'"') {
        return (start + 1, Part::Code);
    }
    let mut at = hashes + count + 1;
    while at < chars.len() {
        let closing = &chars[at + 1..chars.len().min(at + 1 + count)];
        if chars[at] == '"' && closing.len() == count && closing.iter().all(|&c| c == '#') {
            return (at + 1 + count, Part::Literal);
        }
        at += 1;
    }
    (chars.len(), Part::Literal)
}

/// Marks the lines of items under `#[cfg(test)]` and its combinations.
fn test_lines(code: &str, whole_file: bool) -> Vec<bool> {
    let lines: Vec<&str> = code.lines().collect();
    let mut marks = vec![whole_file; lines.len()];
    let mut at = 0;
    while at < lines.len() {
        if !is_test_only(lines[at]) {
            at += 1;
            continue;
        }
        let end = item_end(&lines, at);
        marks[at..=end].fill(true);
        at = end + 1;
    }
    marks
}

/// Whether a line starts with `#[cfg(test)]` or with an `all(…)` that asks for test.
fn is_test_only(line: &str) -> bool {
    let Some(condition) = line.trim_start().strip_prefix("#[cfg(") else {
        return false;
    };
    let all = condition
        .strip_prefix("all(")
        .into_iter()
        .flat_map(|terms| terms.split(','));
    condition.starts_with("test)")
        || all
            .map(|term| term.trim_end_matches([')', ']']))
            .any(|term| term.trim() == "test")
}

/// The last line of the item whose attribute is on line `start`: its closing brace, or its semicolon.
fn item_end(lines: &[&str], start: usize) -> usize {
    let mut depth = 0;
    for (at, line) in lines.iter().enumerate().skip(start) {
        for c in line.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 1 => return at,
                '}' => depth -= 1,
                ';' if depth == 0 => return at,
                _ => {}
            }
        }
    }
    lines.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let text = "let a = \"// no\"; // yes \"x\"\nlet b = r#\"un\"safe\"#; /* in /* deep */ */ let c;\n";
        let source = Source::rust("src/x.rs", text);
        assert_eq!(
            source.code.lines().next().unwrap().trim_end(),
            "let a =        ;"
        );
        assert!(source.comments.contains("// yes \"x\""));
        assert!(!source.code.contains("safe"));
        assert!(source.code.contains("let c;"));
        assert!(source.comments.contains("in /* deep */ */"));
        assert_eq!(source.code.lines().count(), text.lines().count());
    }

    #[test]
    fn lifetimes_are_not_characters() {
        let code = Source::rust(
            "src/x.rs",
            "fn f<'a>(x: &'a str) { g('\"', '\\'', b'x') } // z",
        )
        .code;
        assert!(code.contains("fn f<'a>(x: &'a str) { g("));
        assert!(code.contains(") }"), "{code}");
        assert!(!code.contains('z'));
    }

    #[test]
    fn raw_identifiers_and_words_that_end_in_r_are_code() {
        let code = Source::rust("src/x.rs", "let r#type = for_bar; attr(\"q\")").code;
        assert!(code.contains("r#type = for_bar; attr("));
    }

    #[test]
    fn test_modules_end_where_their_brace_does() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod more;\nfn d() {}";
        let marks = Source::rust("src/x.rs", text).test_lines;
        assert_eq!(
            marks,
            [false, true, true, true, true, false, true, true, false]
        );
        assert!(Source::rust("src/a/tests.rs", "fn a() {}").is_test(0));
        for (condition, test) in [
            ("all(test, loom)", true),
            ("all(loom, test)", true),
            ("not(test)", false),
            ("not(all(loom, test))", false),
            ("all(unix, not(test))", false),
        ] {
            let text = format!("#[cfg({condition})]\nfn a() {{}}");
            assert_eq!(
                Source::rust("src/a.rs", &text).is_test(1),
                test,
                "{condition}"
            );
        }
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("an unsafe block", "unsafe"));
        assert!(!has_word("forbid(unsafe_code)", "unsafe"));
    }
}
