//! The paths that a Rust file names, as absolute module paths of its crate: `use` trees, paths in the
//! middle of code, `self` and `super` resolved. Names of other crates are left out, but for tidegate_sys.

use crate::source::Source;

/// A path written in a file.
#[derive(Debug, PartialEq)]
pub struct Reference {
    /// The line, counted from 0.
    pub line: usize,
    /// From the crate's root, as far as it was written; `tidegate_sys` stands first in paths into that crate.
    pub segments: Vec<String>,
    /// Whether it stands in a `use`.
    pub import: bool,
    /// Whether that `use` re-exports (`pub use`, `pub(crate) use`).
    pub reexport: bool,
    /// Whether a macro's `!` follows.
    pub is_macro: bool,
}

/// The module path of a file below its crate's source folder: `a/b.rs` and `a/b/mod.rs` are `[a, b]`.
pub fn module_of(path_in_crate: &str) -> Vec<String> {
    let stem = path_in_crate.strip_suffix(".rs").unwrap_or(path_in_crate);
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    if stem == "lib" || stem == "mod" {
        return Vec::new();
    }
    stem.split('/').map(str::to_owned).collect()
}

/// Every path that the file names. `children` are the modules right below the file's own.
pub fn references(source: &Source, module: &[String], children: &[String]) -> Vec<Reference> {
    let mut reader = Reader {
        tokens: tokens(&source.code),
        at: 0,
        modules: vec![(module.to_vec(), 0)],
        depth: 0,
        children,
        found: Vec::new(),
    };
    reader.run();
    reader.found
}

/// A word, `::`, or a single other character.
struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// Cuts code (already without comments and literals) into tokens.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            let length = match word.unwrap_or(rest.len()) {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                length => length,
            };
            let (text, after) = rest.split_at(length);
            found.push(Token { text, line });
            rest = after.trim_start();
        }
    }
    found
}

/// Walks the tokens of one file and remembers which inline module it is in.
struct Reader<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    /// The modules around the current token, each with the brace depth outside it.
    modules: Vec<(Vec<String>, usize)>,
    depth: usize,
    children: &'a [String],
    found: Vec<Reference>,
}

impl Reader<'_> {
    fn run(&mut self) {
        while self.at < self.tokens.len() {
            match self.word(0) {
                "mod" if self.word(2) == "{" => self.enter_module(),
                "{" => (self.depth, self.at) = (self.depth + 1, self.at + 1),
                "}" => self.leave_brace(),
                "use" => self.use_statement(),
                _ if self.starts_path() => {
                    let prefix = self.module();
                    self.tree(prefix, true, false, false);
                }
                _ => self.at += 1,
            }
        }
    }

    fn word(&self, ahead: usize) -> &str {
        self.tokens
            .get(self.at + ahead)
            .map_or("", |token| token.text)
    }

    fn module(&self) -> Vec<String> {
        self.modules
            .last()
            .map(|(path, _)| path.clone())
            .unwrap_or_default()
    }

    fn enter_module(&mut self) {
        let mut inner = self.module();
        inner.push(self.word(1).to_owned());
        self.modules.push((inner, self.depth));
        self.depth += 1;
        self.at += 3;
    }

    fn leave_brace(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self.modules.len() > 1
            && self
                .modules
                .last()
                .is_some_and(|(_, outside)| *outside == self.depth)
        {
            self.modules.pop();
        }
        self.at += 1;
    }

    /// Whether the current word begins a path that we can resolve: it is followed by `::` and not preceded by it.
    fn starts_path(&self) -> bool {
        let inside = self.at > 0 && self.tokens[self.at - 1].text == "::";
        self.word(1) == "::" && !inside && self.is_anchor(self.word(0))
    }

    fn is_anchor(&self, word: &str) -> bool {
        let child = self.modules.len() == 1 && self.children.iter().any(|name| name == word);
        child || matches!(word, "crate" | "self" | "super" | "tidegate_sys")
    }

    fn use_statement(&mut self) {
        let reexport = self.at > 0 && matches!(self.tokens[self.at - 1].text, "pub" | ")");
        self.at += 1;
        let prefix = self.module();
        self.tree(prefix, true, true, reexport);
    }

    /// One branch of a `use` tree, or a path in code; `first` while nothing of the path has been read.
    fn tree(&mut self, mut path: Vec<String>, mut first: bool, import: bool, reexport: bool) {
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        loop {
            let word = self.word(0).to_owned();
            match word.as_str() {
                "crate" if first => path.clear(),
                "self" => {}
                "super" => drop(path.pop()),
                "tidegate_sys" if first => path = vec![word],
                "{" if import => return self.branches(path, first, reexport),
                "*" => {}
                "::" => {
                    // A leading `::` names another crate.
                    self.skip_path();
                    return;
                }
                _ if first && !self.is_anchor(&word) => {
                    self.skip_path();
                    return;
                }
                _ => path.push(word),
            }
            first = false;
            self.at += 1;
            if self.word(0) != "::" {
                break;
            }
            self.at += 1;
            if !import && self.word(0) == "<" {
                break;
            }
        }
        let is_macro = self.word(0) == "!" && self.word(1) != "=";
        self.found.push(Reference {
            line,
            segments: path,
            import,
            reexport,
            is_macro,
        });
    }

    /// The branches of `{…}` in a `use` tree.
    fn branches(&mut self, path: Vec<String>, first: bool, reexport: bool) {
        self.at += 1;
        while self.at < self.tokens.len() && self.word(0) != "}" {
            self.tree(path.clone(), first, true, reexport);
            // Over `as name` and the comma.
            while !matches!(self.word(0), "," | "}" | "") {
                self.at += 1;
            }
            if self.word(0) == "," {
                self.at += 1;
            }
        }
        self.at += 1;
    }

    /// Over the rest of a path of another crate, with the braces of its tree.
    fn skip_path(&mut self) {
        self.at += 1;
        while self.word(0) == "::" {
            self.at += 1;
            if self.word(0) == "{" {
                let mut open = 0;
                loop {
                    match self.word(0) {
                        "{" => open += 1,
                        "}" => open -= 1,
                        _ => {}
                    }
                    self.at += 1;
                    if open == 0 || self.at >= self.tokens.len() {
                        return;
                    }
                }
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths named by `text`, standing in module a::b with the child module `kid`.
    fn named(text: &str) -> Vec<String> {
        let module = ["a".to_owned(), "b".to_owned()];
        let source = Source::rust("src/a/b/mod.rs", text);
        let found = references(&source, &module, &["kid".to_owned()]);
        found
            .iter()
            .map(|reference| reference.segments.join("::"))
            .collect()
    }

    #[test]
    fn files_know_their_module() {
        assert_eq!(module_of("a/b.rs"), ["a", "b"]);
        assert_eq!(module_of("a/b/mod.rs"), ["a", "b"]);
        assert_eq!(module_of("a/mod.rs"), ["a"]);
        assert!(module_of("lib.rs").is_empty());
    }

    #[test]
    fn use_trees_are_read_to_their_leaves() {
        assert_eq!(
            named("use crate::x::{Y, z::{self, W as V}, *};"),
            ["x::Y", "x::z", "x::z::W", "x"]
        );
        assert_eq!(
            named("use {crate::x, super::y, kid::Z};"),
            ["x", "a::y", "a::b::kid::Z"]
        );
        assert_eq!(
            named("use tidegate_sys::os::{Token, Ready};"),
            ["tidegate_sys::os::Token", "tidegate_sys::os::Ready"]
        );
    }

    #[test]
    fn other_crates_are_left_out() {
        assert!(named("use std::io::{self, Read}; use bytes::Bytes; use ::tracing::info; let x = std::mem::take(y);").is_empty());
        assert_eq!(
            named("use std::{fmt, io::{self, Read}};\nuse crate::x::Y;"),
            ["x::Y"]
        );
    }

    #[test]
    fn paths_in_the_middle_of_code_count() {
        assert_eq!(
            named("fn f() -> crate::x::Y<u8> { super::super::z::g(self::kid::h::<u8>()) }"),
            ["x::Y", "z::g", "a::b::kid::h"]
        );
        assert_eq!(
            named("let a = kid::h(); let b = other::h(); b.kid();"),
            ["a::b::kid::h"]
        );
        assert_eq!(named("pub(crate) fn f() { $crate::x::g() }"), ["x::g"]);
    }

    #[test]
    fn inline_modules_shift_super() {
        assert_eq!(
            named("mod inner { use super::X; fn f() {} } use super::Y;"),
            ["a::b::X", "a::Y"]
        );
    }

    #[test]
    fn reexports_and_macros_are_told_apart() {
        let source = Source::rust(
            "src/a/mod.rs",
            "pub use b::C;\npub(crate) use b::D;\nuse b::E;\ncrate::go!(1)",
        );
        let found = references(&source, &["a".to_owned()], &["b".to_owned()]);
        let flags: Vec<_> = found
            .iter()
            .map(|r| (r.line, r.import, r.reexport, r.is_macro))
            .collect();
        assert_eq!(
            flags,
            [
                (0, true, true, false),
                (1, true, true, false),
                (2, true, false, false),
                (3, false, false, true)
            ]
        );
    }
}
