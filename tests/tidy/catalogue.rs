//! The page that lists codecs and handlers, and the table for Netty users: that the first has every one of them, and that no name
//! in either is one that the library does not have.

use std::collections::BTreeSet;

use crate::source::{Source, Tree};

/// The page that lists them.
const PAGE: &str = "docs/guide/handlers.md";
/// The table whose right column is ours.
const TABLE: &str = "docs/guide/from-netty.md";

/// Where codecs and handlers live.
const FOLDERS: [&str; 2] = ["src/codec/", "src/handler/"];

/// What makes a type a codec or a handler.
const TRAITS: [&str; 6] = [
    "Handler",
    "TypedHandler",
    "Decoder",
    "Encoder",
    "Prepender",
    "ChunkedInput",
];

/// Types that nobody names, since a function makes them; the page lists the function.
const MADE_BY: [(&str, &str); 2] = [("HandlerFn", "handler_fn"), ("EventFn", "event_fn")];

/// Complains about what the two pages leave out or make up.
pub fn check(tree: &Tree) -> Vec<String> {
    let ours: Vec<&Source> = tree
        .rust
        .iter()
        .filter(|file| file.path.starts_with("src/"))
        .collect();
    let page = tree.document(PAGE);
    let wanted = ours
        .iter()
        .filter(|file| FOLDERS.iter().any(|folder| file.path.starts_with(folder)))
        .flat_map(|file| offered(file));
    let mut complaints: Vec<String> = wanted
        .filter(|name| !page.contains(&format!("\n| `{name}` |")))
        .map(|name| format!("{PAGE} has no line for `{name}`"))
        .collect();
    let words = words(&ours);
    let rows = |path: &str, column: usize| -> Vec<String> {
        let lines = tree.document(path).lines().enumerate();
        lines
            .flat_map(|(at, line)| {
                let unknown = unknown_in(line, column, &words);
                unknown
                    .into_iter()
                    .map(move |word| (at, word))
                    .collect::<Vec<_>>()
            })
            .map(|(at, word)| format!("{path}:{}: the library has no `{word}`", at + 1))
            .collect()
    };
    complaints.extend(rows(PAGE, 1));
    complaints.extend(rows(TABLE, 2));
    complaints
}

/// The public codecs and handlers of a file, and its public functions.
fn offered(file: &Source) -> BTreeSet<String> {
    let head = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut names = BTreeSet::new();
    let mut implementing = BTreeSet::new();
    let mut public = BTreeSet::new();
    let mut lines = file.code.lines().zip(&file.test_lines);
    while let Some((line, is_test)) = lines.next() {
        if *is_test {
            continue;
        }
        if let Some(rest) = line.strip_prefix("pub fn ") {
            names.insert(head(rest));
        } else if let Some(rest) = line.strip_prefix("pub struct ") {
            public.insert(head(rest));
        } else if line.starts_with("impl") {
            // To the brace: a long one has several lines.
            let mut text = line.to_owned();
            while !text.contains('{') {
                let Some((more, _)) = lines.next() else { break };
                text.push(' ');
                text.push_str(more.trim_start());
            }
            if let Some((before, after)) = text.split_once(" for ")
                && TRAITS.iter().any(|name| is_of_trait(before, name))
            {
                implementing.insert(head(after));
            }
        }
    }
    let made = |name: &String| MADE_BY.iter().any(|(made, _)| made == name);
    names.extend(
        public
            .intersection(&implementing)
            .filter(|name| !made(name))
            .cloned(),
    );
    names
}

/// Whether what stands before `for` ends with this trait: `impl<T: AsRef<[u8]>> Encoder<T>`, and not `impl<D: Decoder> Debug`.
fn is_of_trait(before: &str, name: &str) -> bool {
    let bare = match before.strip_suffix('>') {
        // Back to the angle bracket that opens the last pair.
        Some(inner) => {
            let mut depth = 1;
            let open = inner.char_indices().rev().find(|(_, c)| {
                depth += match c {
                    '>' => 1,
                    '<' => -1,
                    _ => 0,
                };
                depth == 0
            });
            open.map_or(inner, |(at, _)| &inner[..at])
        }
        None => before,
    };
    bare.rsplit([' ', ':']).next() == Some(name)
}

/// Every name in the code, and in the file names, which are the modules' names.
fn words(files: &[&Source]) -> BTreeSet<String> {
    let part = |c: char| !c.is_alphanumeric() && c != '_';
    let in_code = files.iter().flat_map(|file| file.code.split(part));
    let in_paths = files.iter().flat_map(|file| file.path.split(part));
    in_code.chain(in_paths).map(str::to_owned).collect()
}

/// Names in the code of a table's column (counted from 1) that are none of the library's. Short words are variables.
fn unknown_in(line: &str, column: usize, words: &BTreeSet<String>) -> Vec<String> {
    if !line.starts_with('|') {
        return Vec::new();
    }
    // A closure's bars are written `\|` in a table.
    let line = line.replace("\\|", " ");
    let Some(cell) = line.split('|').nth(column) else {
        return Vec::new();
    };
    // Literals and paths are no names.
    let in_code = cell.split('`').skip(1).step_by(2);
    in_code
        .filter(|code| !code.contains('"') && !code.contains('/'))
        .flat_map(|code| code.split(|c: char| !c.is_alphanumeric() && c != '_'))
        .filter(|word| word.len() > 3 && !word.starts_with(char::is_numeric))
        .filter(|word| !words.contains(*word))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_handlers_and_functions_are_found() {
        let text = "pub struct A<D> {}\nimpl<D: Decoder> fmt::Debug for A<D> {}\nimpl<D> Decoder\n    for A<D>\nwhere\n    D: X,\n{\n}\n\
            pub struct B;\nimpl<T: AsRef<[u8]>> Encoder<T> for B {}\nstruct C;\nimpl Handler for C {}\n\
            pub struct D;\nimpl Debug for D {}\npub fn e() {}\npub struct HandlerFn;\nimpl TypedHandler for HandlerFn {}\n";
        let names = offered(&Source::rust("src/codec/a.rs", text));
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["A", "B", "e"]);
    }

    #[test]
    fn names_that_nobody_has_are_caught() {
        let words = BTreeSet::from(["known".to_owned(), "write_future".to_owned()]);
        let line = "| `Theirs` | `ctx.write_future(msg)`, `known`, `gone_now(\\|x\\| known)` |";
        assert_eq!(unknown_in(line, 2, &words), ["gone_now"]);
        assert_eq!(unknown_in(line, 1, &words), ["Theirs"]);
        assert_eq!(unknown_in("no `table`", 1, &words), [""; 0]);
    }
}
