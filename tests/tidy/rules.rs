//! The rules that look at one file at a time. Each returns its complaints as `path:line: sentence`.

use std::fmt::Display;

use crate::source::{Source, has_word};

/// The longest a Rust file may be without being listed with a reason.
pub const LINES_MAX: usize = 800;

/// Words that mark work as unfinished. (Cut in two here, because this file is checked as well.)
const UNFINISHED: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];

/// Macros that stand for code not written yet or not meant to stay.
const UNFINISHED_MACROS: [&str; 3] = ["dbg!", "todo!", "unimplemented!"];

/// Folders that exist on a builder's machine and on no other.
const MACHINE_FOLDERS: [&str; 4] = [
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
];

/// Complains about every line of code that `wrong` finds something in.
fn code_lines<D: Display>(
    source: &Source,
    wrong: impl Fn(usize, &str) -> Option<D>,
) -> Vec<String> {
    let lines = source.code.lines().enumerate();
    lines
        .filter_map(|(at, line)| wrong(at, line).map(|what| source.complain(at, what)))
        .collect()
}

/// A file opens with `//!`: what lives here, who calls it, what it refuses to do.
pub fn head(source: &Source) -> Vec<String> {
    let first = source.text.lines().next().unwrap_or_default();
    if first.starts_with("//! ") {
        return Vec::new();
    }
    vec![source.complain(0, "the file does not open with a //! head")]
}

/// Unsafe code is only in sys/; each block and impl has its SAFETY line, and each unsafe fn and trait says what
/// it asks for: a public one in a `# Safety` section, a private one in any comment.
pub fn unsafe_code(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.code.lines().collect();
    code_lines(source, |at, line| {
        if !has_word(line, "unsafe") {
            return None;
        }
        if !source.path.starts_with("sys/") {
            return Some("unsafe code belongs into sys/");
        }
        let after = line
            .rsplit_once("unsafe")
            .map_or("", |(_, after)| after)
            .trim_start();
        let next = if after.is_empty() {
            lines.get(at + 1).map_or("", |line| line.trim())
        } else {
            after
        };
        if next.starts_with('{') || next.starts_with("impl") {
            let told = told_above(source, at, "SAFETY:");
            return (!told).then_some("no SAFETY line right above this unsafe");
        }
        let declared = next.strip_prefix("fn ").or(next.strip_prefix("trait "))?;
        let named = declared.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let public = line.trim_start().starts_with("pub");
        let told = told_above(source, at, if public { "# Safety" } else { "//" });
        (named && !told).then_some("nothing above says what the caller must promise")
    })
}

/// Whether a comment on the line or right above its statement contains `words`.
fn told_above(source: &Source, at: usize, words: &str) -> bool {
    let code: Vec<&str> = source.code.lines().collect();
    let comments: Vec<&str> = source.comments.lines().collect();
    if comments[at].contains(words) {
        return true;
    }
    for line in (0..at).rev() {
        let text = code[line].trim();
        if text.ends_with([';', '{', '}', ','])
            || (text.is_empty() && comments[line].trim().is_empty())
        {
            return false;
        }
        if comments[line].contains(words) {
            return true;
        }
    }
    false
}

/// Nothing says that it will be done later.
pub fn unfinished(source: &Source) -> Vec<String> {
    let macros = code_lines(source, |_, line| {
        let found = UNFINISHED_MACROS
            .iter()
            .find(|name| line.contains(*name) && has_word(line, name.trim_end_matches('!')))?;
        Some(format!("{found} is left over"))
    });
    let comments = source
        .comments
        .lines()
        .enumerate()
        .filter_map(|(at, line)| {
            let word = UNFINISHED.iter().find(|word| has_word(line, word))?;
            Some(source.complain(at, format!("{word}: do it, or write an issue")))
        });
    macros.into_iter().chain(comments).collect()
}

/// The same for documents, manifests and scripts.
pub fn unfinished_text(source: &Source) -> Vec<String> {
    code_lines(source, |_, line| {
        UNFINISHED
            .iter()
            .find(|word| has_word(line, word))
            .map(|word| format!("{word} is left over"))
    })
}

/// The library tells what it does through tracing; only programs print.
pub fn printing(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/") && !source.path.starts_with("sys/src/") {
        return Vec::new();
    }
    code_lines(source, |at, line| {
        let prints = ["print", "println", "eprint", "eprintln"]
            .iter()
            .any(|name| has_word(line, name) && line.contains(&format!("{name}!")));
        (prints && !source.is_test(at)).then_some("a library does not print: use tracing")
    })
}

/// `use super::*` hides where names come from; test modules may.
pub fn super_glob(source: &Source) -> Vec<String> {
    code_lines(source, |at, line| {
        let glob = line.contains("use super::*") || line.contains("use super::super::*");
        (glob && !source.is_test(at)).then_some("use super::* outside tests: name what you need")
    })
}

/// What differs between systems is decided in sys/. Tests and benches may ask where they run.
pub fn platforms(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/") && !source.path.starts_with("examples/") {
        return Vec::new();
    }
    code_lines(source, |_, line| {
        let word = ["target_os", "target_vendor", "target_env"]
            .iter()
            .find(|word| has_word(line, word))?;
        Some(format!("{word} above sys/: let sys decide"))
    })
}

/// A test that is switched off tests nothing.
pub fn ignored_tests(source: &Source) -> Vec<String> {
    code_lines(source, |_, line| {
        let attribute = line.contains("#[ignore")
            || line.contains(", ignore)]")
            || line.trim_start().starts_with("ignore = ")
            || line.contains(", ignore = ");
        attribute.then_some("#[ignore]: repair the test or remove it")
    })
}

/// Files have at most `LINES_MAX` lines, but for those in `exceptions`, which must need it.
pub fn sizes(files: &[Source], exceptions: &[(&str, &str)]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        let lines = file.text.lines().count();
        let excepted = exceptions.iter().any(|(path, _)| *path == file.path);
        if lines > LINES_MAX && !excepted {
            complaints.push(file.complain(
                LINES_MAX,
                format!("{lines} lines: cut it at the seam of jobs"),
            ));
        } else if lines <= LINES_MAX && excepted {
            complaints
                .push(file.complain(0, format!("{lines} lines: it needs no exception any more")));
        }
    }
    for (path, reason) in exceptions {
        if reason.is_empty() || !files.iter().any(|file| file.path == *path) {
            complaints.push(format!("{path}: an exception needs a file and a reason"));
        }
    }
    complaints
}

/// No path that only one machine has.
pub fn machine_paths(source: &Source) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    let found = lines.filter_map(|(at, line)| {
        let folder = MACHINE_FOLDERS.iter().find(|folder| {
            let inside_url = |at: usize| line[..at].ends_with(|c: char| c.is_alphanumeric());
            line.match_indices(**folder).any(|(at, _)| !inside_url(at))
        })?;
        Some(source.complain(at, format!("{folder} is a path of one machine")))
    });
    found.collect()
}

/// Each dependency of a manifest stands under a comment with its reason; those that the workspace names
/// are reasoned there.
pub fn dependencies(source: &Source) -> Vec<String> {
    let mut section = "";
    let mut above = "";
    let mut complaints = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        let entry = !line.is_empty() && !line.starts_with(['#', '[', ' ', ']']);
        if line.starts_with('[') {
            section = line;
        } else if entry && section.ends_with("dependencies]") && !above.starts_with('#') {
            let inherited = line.contains(".workspace = true") || line.contains("workspace = true");
            if !inherited {
                complaints.push(source.complain(at, "a dependency without a reason above it"));
            }
        }
        above = line;
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines (from 1) that a rule complains about.
    fn lines(complaints: Vec<String>) -> Vec<usize> {
        let line = |complaint: String| complaint.split(':').nth(1).unwrap().parse().unwrap();
        complaints.into_iter().map(line).collect()
    }

    fn sys(text: &str) -> Source {
        Source::rust("sys/src/os/x.rs", text)
    }

    #[test]
    fn a_missing_head_is_caught() {
        assert_eq!(lines(head(&sys("use std::io;\n//! late"))), [1]);
        assert_eq!(lines(head(&sys("//! What lives here.\n"))), [0; 0]);
    }

    #[test]
    fn unsafe_above_sys_is_caught() {
        let text = "// SAFETY: no.\nlet x = unsafe { f() };\n#![forbid(unsafe_code)]\n// unsafe\n";
        assert_eq!(lines(unsafe_code(&Source::rust("src/x.rs", text))), [2]);
    }

    #[test]
    fn an_unsafe_block_needs_its_safety_line() {
        let told = "// SAFETY: the fd is open.\nlet x = unsafe { f() };\n\
            // SAFETY: two lines\n// of reason.\nunsafe impl Send for X {}\n\
            // SAFETY: above the statement.\nlet y =\n    unsafe { g() };\nunsafe { h() } // SAFETY: behind it.\n";
        assert_eq!(lines(unsafe_code(&sys(told))), [0; 0]);
        let untold = "// SAFETY: the first.\nlet x = unsafe { f() };\nlet y = unsafe { g() };\n\n\
            // SAFETY: too far.\n\nunsafe impl Send for X {}\nlet z = unsafe\n{ h() };\n";
        assert_eq!(lines(unsafe_code(&sys(untold))), [3, 7, 8]);
    }

    #[test]
    fn an_unsafe_fn_needs_its_conditions() {
        let text = "/// Runs.\n///\n/// # Safety\n/// Once only.\n#[inline]\npub unsafe fn run() {}\n\
            unsafe fn bare() {}\nstruct V { run: unsafe fn(*mut u8) }\n\
            // The payload is an F.\nunsafe fn told() {}\n/// Runs.\npub(super) unsafe fn short() {}\n";
        assert_eq!(lines(unsafe_code(&sys(text))), [7, 12]);
    }

    #[test]
    fn unfinished_work_is_caught() {
        let text = format!(
            "// {}: later\nlet s = \"{0}\";\ntodo!();\nx.dbg!(y);\nmy_todo!();\n",
            UNFINISHED[0]
        );
        assert_eq!(lines(unfinished(&sys(&text))), [3, 4, 1]);
        assert_eq!(
            lines(unfinished_text(&Source::plain("a.md", UNFINISHED[1]))),
            [1]
        );
    }

    #[test]
    fn a_printing_library_is_caught() {
        let text =
            "println!(\"x\");\n#[cfg(test)]\nmod tests {\n    fn f() { eprintln!(\"y\") }\n}\n";
        assert_eq!(lines(printing(&Source::rust("src/x.rs", text))), [1]);
        assert_eq!(
            lines(printing(&Source::rust("examples/x.rs", text))),
            [0; 0]
        );
    }

    #[test]
    fn super_globs_are_for_tests() {
        let text = "use super::*;\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n";
        assert_eq!(lines(super_glob(&sys(text))), [1]);
    }

    #[test]
    fn platforms_above_sys_are_caught() {
        let text = "#[cfg(target_os = \"linux\")]\nfn f() {}\n";
        assert_eq!(lines(platforms(&Source::rust("src/x.rs", text))), [1]);
        assert_eq!(lines(platforms(&sys(text))), [0; 0]);
    }

    #[test]
    fn ignored_tests_are_caught() {
        let text = "#[ignore]\n#[ignore = \"slow\"]\n#[cfg_attr(miri, ignore)]\n#[cfg_attr(miri, ignore = \"slow\")]\nfn ignore() {}\n";
        assert_eq!(lines(ignored_tests(&sys(text))), [1, 2, 3, 4]);
    }

    #[test]
    fn long_files_and_stale_exceptions_are_caught() {
        let long = sys(&"//! x\n".repeat(LINES_MAX + 1));
        assert_eq!(sizes(&[sys("//! x\n")], &[]).len(), 0);
        assert_eq!(sizes(&[sys(&long.text)], &[]).len(), 1);
        assert_eq!(
            sizes(&[sys(&long.text)], &[("sys/src/os/x.rs", "the heart")]).len(),
            0
        );
        assert_eq!(
            sizes(&[sys("//! x\n")], &[("sys/src/os/x.rs", "the heart")]).len(),
            1
        );
        assert_eq!(sizes(&[], &[("src/gone.rs", "the heart")]).len(), 1);
    }

    #[test]
    fn machine_paths_are_caught() {
        let text = format!("see {}me/x\nhttps://a.org{0}y\n", MACHINE_FOLDERS[0]);
        assert_eq!(lines(machine_paths(&Source::plain("a.md", &text))), [1]);
    }

    #[test]
    fn dependencies_without_a_reason_are_caught() {
        let text = "[package]\nname = \"x\"\n[dependencies]\n# Bytes.\nbytes = \"1\"\nlibc = \"0.2\"\n\
            tracing.workspace = true\n[target.'cfg(loom)'.dependencies]\nloom = \"0.7\"\n";
        assert_eq!(
            lines(dependencies(&Source::plain("Cargo.toml", text))),
            [6, 9]
        );
    }
}
