//! Keeps `tests/RULES.md`: which test pins which rule of behaviour.
//!
//! The clauses of the kernel door: 4.1 one place for errors and EINTR, 4.2 descriptors and layouts, 4.3 one contract for all
//! backends, 4.4 interest is free on edges, 4.5 registered when there is something to report, 4.6 readiness is sticky until
//! WouldBlock, 4.7 tokens have generations, 4.8 exact waits with a fallback, 4.9 wakers. Those of the turn: 5.1 its phases,
//! 5.2 and 5.3 ioRatio and its bounds, 5.4 spin, 5.5 limits per channel, 5.6 rebuild, 5.7 timers, 5.8 panics.
//!
//! A test names what it pins in its doc comment (`/// Rules: A25, 6.4`). The table is made from those comments; this
//! test fails when it is out of date (`UPDATE=1 cargo test --test rules` writes it anew), when a rule has neither a test
//! nor a reason, and when it has both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The rules there are: letters are Netty's behaviour (life cycle, pipeline, write, read, loop, futures, bootstrap, codecs and
/// handlers),
/// numbers the design's clauses (4: the kernel door, 5: the turn, 6: the pipeline).
const GROUPS: [(&str, &str, u32); 11] = [
    ("A", "channel life cycle", 46),
    ("B", "pipeline", 30),
    ("C", "write path", 26),
    ("D", "read path", 26),
    ("E", "event loop", 33),
    ("F", "futures and promises", 10),
    ("G", "bootstrap", 11),
    ("H", "codecs and handlers", 62),
    ("4.", "the kernel door", 9),
    ("5.", "the turn of a loop", 8),
    ("6.", "how an event travels", 11),
];

/// Rules that no test pins, and why.
const WITHOUT_A_TEST: &[(&str, &str)] = &[
    (
        "A1",
        "a channel is opened on its loop: there is no register() to call twice",
    ),
    (
        "A3",
        "differs: a registration is no operation that could be cancelled",
    ),
    (
        "A5",
        "differs: a channel stays on its loop, so it is registered once",
    ),
    (
        "A34",
        "not public: a channel that never came to its loop is abandoned (A2, A6)",
    ),
    ("A33", "differs: no deregister and register on another loop"),
    (
        "B21",
        "differs: ownership does what the sharable check does",
    ),
    (
        "B27",
        "differs: messages are owned, nothing is released by hand",
    ),
    (
        "C26",
        "not built: handlers that hold back writes have queues of their own",
    ),
    (
        "D15",
        "differs: data and end of input stay in the kernel until read()",
    ),
    (
        "D25",
        "asking for a read can't fail here: interest that the selector refuses closes the channel",
    ),
    ("E2", "differs: ioRatio (E4) instead of a fixed quantum"),
    ("E3", "differs: ioRatio (E4) instead of a fixed quantum"),
    (
        "E8",
        "differs: a failing wait rebuilds the selector, nothing sleeps",
    ),
    ("E30", "differs: no auto-scaling"),
    ("E32", "differs: no global executor"),
    ("E33", "differs: timers are exact, there is no wheel"),
    (
        "G11",
        "not built: extensions switched on by a property of the process",
    ),
];

/// The same for chapters: group, first, last.
const CHAPTERS_WITHOUT_A_TEST: &[(&str, u32, u32, &str)] = &[
    ("H", 25, 30, "not built: HTTP"),
    ("H", 38, 50, "not built: TLS"),
    ("H", 56, 56, "not built: clients of proxies"),
    ("H", 60, 60, "differs: buffers are those of the crate bytes"),
];

/// Why no test pins a rule.
fn reason(rule: &str) -> Option<&'static str> {
    let alone = WITHOUT_A_TEST.iter().find(|(id, _)| *id == rule);
    let chapter = || {
        CHAPTERS_WITHOUT_A_TEST
            .iter()
            .find(|(group, first, last, _)| {
                let number = rule.strip_prefix(group).and_then(|rest| rest.parse().ok());
                number.is_some_and(|number: u32| (*first..=*last).contains(&number))
            })
    };
    alone
        .map(|(_, reason)| *reason)
        .or_else(|| chapter().map(|(_, _, _, reason)| *reason))
}

#[test]
fn the_table_of_rules_is_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pinned = collect(root);
    let rules = all_rules();
    let known: BTreeSet<&str> = rules.iter().map(String::as_str).collect();
    let mut wrong = Vec::new();
    for (rule, tests) in &pinned {
        // Other references (rules of codecs, whole chapters of the design) are the reader's.
        let ours = GROUPS.iter().any(|(group, _, _)| rule.starts_with(group));
        if ours && !known.contains(rule.as_str()) {
            wrong.push(format!("{} names {rule}, which is no rule", tests[0]));
        }
    }
    for rule in &rules {
        match (pinned.get(rule), reason(rule)) {
            (None, None) => wrong.push(format!("{rule} has neither a test nor a reason")),
            (Some(tests), Some(_)) => {
                wrong.push(format!(
                    "{rule} has a reason to have no test, but {} pins it",
                    tests[0]
                ));
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let table = table(&pinned);
    let path = root.join("tests/RULES.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &table).expect("tests/RULES.md can be written");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == table,
        "tests/RULES.md is out of date; run: UPDATE=1 cargo test --test rules"
    );
}

fn all_rules() -> Vec<String> {
    GROUPS
        .iter()
        .flat_map(|(group, _, last)| (1..=*last).map(move |n| format!("{group}{n}")))
        .collect()
}

fn table(pinned: &BTreeMap<String, Vec<String>>) -> String {
    let mut text = String::from(
        "# Which test pins which rule\n\nMade by `UPDATE=1 cargo test --test rules` from the tests' own comments; do not edit.\n",
    );
    for (group, title, last) in GROUPS {
        let _ = write!(
            text,
            "\n## {}: {title}\n\n| rule | test |\n|---|---|\n",
            group.trim_end_matches('.')
        );
        for n in 1..=last {
            let rule = format!("{group}{n}");
            let cell = match pinned.get(&rule) {
                Some(tests) => tests
                    .iter()
                    .map(|test| format!("`{test}`"))
                    .collect::<Vec<_>>()
                    .join("<br>"),
                None => reason(&rule).map_or(String::new(), |reason| format!("– {reason}")),
            };
            let _ = writeln!(text, "| {rule} | {cell} |");
        }
    }
    text
}

/// Rule -> tests, from the doc comments of functions.
fn collect(root: &Path) -> BTreeMap<String, Vec<String>> {
    let mut pinned: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for folder in ["src", "tests", "sys/src", "sys/tests"] {
        for file in sources(&root.join(folder)) {
            let text = fs::read_to_string(&file).expect("a source file can be read");
            let name = file
                .strip_prefix(root)
                .expect("it is below the root")
                .display()
                .to_string();
            let mut rules: Vec<String> = Vec::new();
            for line in text.lines().map(str::trim) {
                if let Some(comment) = line.strip_prefix("///") {
                    if let Some((_, list)) = comment.split_once("Rules:") {
                        rules.extend(
                            list.split(',')
                                .map(|id| id.trim().trim_end_matches('.').to_string()),
                        );
                    }
                } else if let Some(test) = function_name(line) {
                    for rule in rules.drain(..) {
                        pinned
                            .entry(rule)
                            .or_default()
                            .push(format!("{name}::{test}"));
                    }
                } else if !line.starts_with("#[") && !line.is_empty() {
                    rules.clear();
                }
            }
        }
    }
    for tests in pinned.values_mut() {
        tests.sort();
        tests.dedup();
    }
    pinned
}

fn function_name(line: &str) -> Option<&str> {
    let rest = line
        .strip_prefix("pub ")
        .unwrap_or(line)
        .strip_prefix("fn ")?;
    rest.split(['(', '<']).next()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return files;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs")
            && !path.ends_with("tests/rules.rs")
        {
            files.push(path);
        }
    }
    files.sort();
    files
}
