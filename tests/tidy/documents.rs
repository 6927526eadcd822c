//! The documents: that they are there, that the commands, files, examples and rooms which they name are, and that their
//! programs are compiled.

use std::collections::BTreeSet;

use crate::floors::Floors;
use crate::source::{Source, Tree};

/// What a reader expects in the root.
const EXPECTED: [&str; 8] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "Makefile",
    ".ci/run",
];

/// Complains about everything missing or untrue in the documents.
pub fn check(tree: &Tree) -> Vec<String> {
    let mut complaints: Vec<String> = EXPECTED
        .iter()
        .filter(|path| !tree.exists(path))
        .map(|path| format!("{path} is missing"))
        .collect();
    let targets = make_targets(tree.document("Makefile"));
    let guide = tree
        .rust
        .iter()
        .find(|file| file.path == "src/guide.rs")
        .map_or("", |file| &file.text);
    for document in tree.texts.iter().filter(|text| text.path.ends_with(".md")) {
        complaints.extend(unknown_commands(document, &targets));
        complaints.extend(dead_links(document, |path| tree.exists(path)));
        complaints.extend(uncompiled(document, guide));
        if document.path.starts_with("docs/guide/") {
            complaints.extend(unmoved_labels(document, guide));
        }
    }
    for command in ["`make run`", "`make test`"] {
        if !tree.document("README.md").contains(command) {
            complaints.push(format!("README.md does not name {command}"));
        }
    }
    if !tree
        .document("CHANGELOG.md")
        .contains("\n## [Unreleased]\n")
    {
        complaints.push("CHANGELOG.md has no [Unreleased] section".to_owned());
    }
    complaints.extend(examples(&tree.rust, tree.document("README.md")));
    complaints.extend(rooms(tree.document("ARCHITECTURE.md")));
    complaints
}

/// The targets that a Makefile defines.
fn make_targets(makefile: &str) -> BTreeSet<&str> {
    let is_name =
        |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '-');
    let rules = makefile.lines().filter_map(|line| line.split_once(':'));
    rules
        .filter(|(_, rest)| !rest.starts_with('='))
        .map(|(name, _)| name)
        .filter(is_name)
        .collect()
}

/// `make x` in code of a document, where there is no target x.
fn unknown_commands(document: &Source, targets: &BTreeSet<&str>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (at, line) in document.text.lines().enumerate() {
        let quoted = line
            .match_indices("`make ")
            .map(|(start, _)| &line[start + 6..]);
        let indented = line
            .strip_prefix("    make ")
            .or(line.strip_prefix("make "));
        for command in quoted.chain(indented) {
            let name: String = command
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '-')
                .collect();
            if !name.is_empty() && !targets.contains(name.as_str()) {
                complaints
                    .push(document.complain(at, format!("the Makefile has no target {name}")));
            }
        }
    }
    complaints
}

/// Links to files that are not there.
fn dead_links(document: &Source, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let folder = document
        .path
        .rsplit_once('/')
        .map_or(String::new(), |(folder, _)| format!("{folder}/"));
    // In the reference, of which the guide is a part, there are no files: only labels have two meanings.
    let is_page =
        document.path.starts_with("docs/guide/") && !document.path.ends_with("/README.md");
    let mut complaints = Vec::new();
    for (at, line) in document.text.lines().enumerate() {
        let label = line.strip_prefix('[').and_then(|line| line.find("]: "));
        for (start, _) in line.match_indices("](").chain(label.map(|at| (at + 2, ""))) {
            let target = line[start + 2..]
                .split([')', '#', ' '])
                .next()
                .unwrap_or_default();
            if target.is_empty() || target.contains(':') {
                continue;
            }
            if !exists(&format!("{folder}{target}")) {
                complaints
                    .push(document.complain(at, format!("the link to {target} leads nowhere")));
            } else if is_page && label.is_none() {
                complaints.push(document.complain(
                    at,
                    format!("the link to {target} is dead in the reference: give it a label"),
                ));
            }
        }
    }
    complaints
}

/// Programs that no doc test compiles: in a document that src/guide.rs does not take in, or marked to be left out.
fn uncompiled(document: &Source, guide: &str) -> Vec<String> {
    let taken_in = guide.contains(&format!("include_str!(\"../{}\")", document.path));
    let mut complaints = Vec::new();
    let mut open = false;
    for (at, line) in document.text.lines().enumerate() {
        let Some(language) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        open = !open;
        let mut words = language.split(',').map(str::trim);
        // rustdoc takes a block without a language for Rust.
        if !open || !matches!(words.next(), Some("" | "rust")) {
            continue;
        }
        if !taken_in {
            complaints.push(document.complain(at, "src/guide.rs does not take this program in"));
        } else if words.any(|word| word.starts_with("ignore")) {
            complaints.push(document.complain(at, "this program is not compiled"));
        }
    }
    complaints
}

/// Labels of links to files, in a page of the guide, that src/guide.rs does not point to a page of the reference.
fn unmoved_labels(document: &Source, guide: &str) -> Vec<String> {
    let include = format!("include_str!(\"../{}\")", document.path);
    let attributes = guide
        .split("mod ")
        .find(|item| item.contains(&include))
        .unwrap_or_default();
    let mut complaints = Vec::new();
    for (at, line) in document.text.lines().enumerate() {
        let Some((label, target)) = line.split_once("]: ") else {
            continue;
        };
        let is_file = label.starts_with('[') && target.ends_with(".md");
        if is_file && !attributes.contains(&format!("\"{label}]: crate::")) {
            let text = format!("src/guide.rs has no {label}]: for this page");
            complaints.push(document.complain(at, text));
        }
    }
    complaints
}

/// Each example opens with the command that runs it and stands in the README's list.
fn examples(files: &[Source], readme: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        let Some(name) = file
            .path
            .strip_prefix("examples/")
            .and_then(|name| name.strip_suffix(".rs"))
        else {
            continue;
        };
        let Some(name) = name
            .strip_suffix("/main")
            .or((!name.contains('/')).then_some(name))
        else {
            continue;
        };
        let mut head = file.text.lines().take_while(|line| line.starts_with("//!"));
        let command = format!("--example {name}");
        if !head.any(|line| line.contains(&command) || line.contains("make run")) {
            complaints.push(file.complain(
                0,
                format!("the head does not give the command (cargo run {command})"),
            ));
        }
        if !readme.contains(&format!("`{name}`")) {
            complaints.push(format!("README.md does not list the example `{name}`"));
        }
    }
    complaints
}

/// Each module of the floors has a section in ARCHITECTURE.md with what must stay true there.
fn rooms(architecture: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (crate_name, prefix, skipped) in [
        ("tidegate", "", ["lib", "sys"]),
        ("tidegate-sys", "sys::", ["lib", ""]),
    ] {
        let Ok(floors) = Floors::parse(architecture, crate_name) else {
            continue; // The floors test says so.
        };
        for module in floors.modules().filter(|module| !skipped.contains(module)) {
            let heading = format!("\n### `{prefix}{module}`\n");
            let section = architecture
                .split_once(&heading)
                .map(|(_, rest)| rest.split("\n#").next());
            match section.flatten() {
                None => complaints.push(format!("ARCHITECTURE.md has no room {}", heading.trim())),
                Some(text) if !text.contains("\nInvariant: ") => {
                    complaints.push(format!(
                        "ARCHITECTURE.md, {}: no line `Invariant: ...`",
                        heading.trim()
                    ));
                }
                Some(_) => {}
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_from_the_makefile() {
        let makefile = "CARGO ?= cargo\nA:=b:c\nrun: ## runs (FILE=x)\n\t@x: y\nfmt-check: run\n# no: comment\n.PHONY: z\n";
        assert_eq!(make_targets(makefile), BTreeSet::from(["run", "fmt-check"]));
    }

    #[test]
    fn commands_that_do_not_exist_are_caught() {
        let document = Source::plain(
            "a.md",
            "Say `make run FILE=x` or\n\n    make dance\n\nto make sure.\n",
        );
        assert_eq!(
            unknown_commands(&document, &BTreeSet::from(["run"])),
            ["a.md:3: the Makefile has no target dance"]
        );
    }

    #[test]
    fn links_that_lead_nowhere_are_caught() {
        let text = "[a](src/a.rs) [b](https://b.org/x) [c](#here) [d](gone.md#part)";
        let document = Source::plain("docs/x.md", text);
        let complaints = dead_links(&document, |path| path == "docs/src/a.rs");
        assert_eq!(
            complaints,
            ["docs/x.md:1: the link to gone.md leads nowhere"]
        );
    }

    #[test]
    fn links_between_pages_of_the_guide_have_labels_with_two_meanings() {
        let exists = |path: &str| path == "docs/guide/b.md";
        let inline = Source::plain("docs/guide/a.md", "[b](b.md)");
        assert_eq!(dead_links(&inline, exists).len(), 1);
        let labelled = Source::plain("docs/guide/a.md", "[b]\n\n[b]: b.md\n[c]: gone.md");
        let complaints = dead_links(&labelled, exists);
        assert_eq!(
            complaints,
            ["docs/guide/a.md:4: the link to gone.md leads nowhere"]
        );
        let of_another = "#[doc = \"[b]: crate::b\"]\nmod b {}\n#[doc = include_str!(\"../docs/guide/a.md\")]\nmod a {}";
        assert_eq!(unmoved_labels(&labelled, of_another).len(), 2);
        let both = "#[doc = \"[b]: crate::b\"]\n#[doc = \"[c]: crate::c\"]\n#[doc = include_str!(\"../docs/guide/a.md\")]\nmod a {}";
        assert_eq!(unmoved_labels(&labelled, both), [""; 0]);
    }

    #[test]
    fn a_program_that_nobody_compiles_is_caught() {
        let guide = "#[doc = include_str!(\"../a.md\")]";
        let text = "```rust,no_run\nf();\n```\n\n```text\nx\n```\n```\ng();\n```\n```rust,ignore\nh();\n```\n";
        assert_eq!(
            uncompiled(&Source::plain("a.md", text), guide),
            ["a.md:11: this program is not compiled"]
        );
        let lines: Vec<String> = uncompiled(&Source::plain("b.md", text), guide);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[1].starts_with("b.md:8: "));
    }

    #[test]
    fn an_example_gives_its_command_and_is_listed() {
        let good = Source::rust(
            "examples/echo.rs",
            "//! Echo.\n//!\n//!     cargo run --release --example echo\n",
        );
        assert_eq!(examples(&[good], "- `echo`"), [""; 0]);
        let bad = Source::rust(
            "examples/echo.rs",
            "//! Echo.\nfn main() {} // --example echo\n",
        );
        assert_eq!(examples(&[bad], "").len(), 2);
    }

    #[test]
    fn a_room_without_an_invariant_is_caught() {
        let text = "<!-- floors: tidegate -->\n1 a x\n1 b x\n1 c x\n\n### `a`\n\nA.\n\nInvariant: true.\n\n### `b`\n\nB.\n\n## C\n\nInvariant: no.\n";
        let complaints = rooms(text);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints[0].contains("`b`: no line"));
        assert!(complaints[1].contains("no room ### `c`"));
    }
}
