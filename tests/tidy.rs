//! The source is tested too: floors, cycles, file heads, SAFETY lines, banned words, file sizes, documents.
//!
//! Each test below runs one rule over the whole checkout and prints every place that breaks it. The rules
//! themselves live in tests/tidy/, each with small cases of what it must catch and must let pass. They read
//! text, not types: what needs the compiler is left to clippy.

#[path = "tidy/catalogue.rs"]
mod catalogue;
#[path = "tidy/cycles.rs"]
mod cycles;
#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/paths.rs"]
mod paths;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use floors::{Crate, Floors};
use source::{Source, Tree};

/// Rust files that may be longer than `rules::LINES_MAX`, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Fails with every complaint on a line of its own.
fn expect_none(rule: &str, complaints: Vec<String>) {
    assert!(
        complaints.is_empty(),
        "{rule}: {} complaint(s)\n{}\n",
        complaints.len(),
        complaints.join("\n")
    );
}

/// Runs one rule over every Rust file of the checkout.
fn over_rust(rule: &str, check: impl Fn(&Source) -> Vec<String>) {
    let tree = Tree::read();
    assert!(tree.rust.len() > 5, "the checkout was not found");
    expect_none(rule, tree.rust.iter().flat_map(check).collect());
}

/// The two crates with their blocks of ARCHITECTURE.md and their files.
fn crates(tree: &Tree) -> Vec<Crate<'_>> {
    let architecture = tree.document("ARCHITECTURE.md");
    [("tidegate", "src/"), ("tidegate-sys", "sys/src/")]
        .into_iter()
        .map(|(name, folder)| Crate {
            folder,
            floors: Floors::parse(architecture, name).unwrap_or_else(|error| panic!("{error}")),
            files: tree
                .rust
                .iter()
                .filter(|file| file.path.starts_with(folder))
                .collect(),
        })
        .collect()
}

#[test]
fn a_module_imports_only_from_lower_floors() {
    let tree = Tree::read();
    let complaints = crates(&tree).iter().flat_map(floors::arrows).collect();
    expect_none("floors", complaints);
}

#[test]
fn files_of_one_folder_have_no_import_cycle() {
    let tree = Tree::read();
    let complaints = crates(&tree).iter().flat_map(cycles::cycles).collect();
    expect_none("cycles", complaints);
}

#[test]
fn every_file_opens_with_what_it_is_about() {
    over_rust("file heads", rules::head);
}

#[test]
fn unsafe_code_stays_in_sys_and_says_why_it_is_sound() {
    over_rust("unsafe", rules::unsafe_code);
}

#[test]
fn nothing_unfinished_is_left_behind() {
    over_rust("unfinished", rules::unfinished);
    let tree = Tree::read();
    let complaints = tree.texts.iter().flat_map(rules::unfinished_text).collect();
    expect_none("unfinished", complaints);
}

#[test]
fn the_library_does_not_print() {
    over_rust("printing", rules::printing);
}

#[test]
fn wildcard_imports_of_the_parent_are_for_tests() {
    over_rust("use super::*", rules::super_glob);
}

#[test]
fn platforms_are_named_only_in_sys() {
    over_rust("platforms", rules::platforms);
}

#[test]
fn no_test_is_switched_off() {
    over_rust("ignored tests", rules::ignored_tests);
}

#[test]
fn files_stay_small() {
    let tree = Tree::read();
    expect_none("file sizes", rules::sizes(&tree.rust, LONG_FILES));
}

#[test]
fn no_path_of_a_builders_machine_is_written_down() {
    let tree = Tree::read();
    let everything = tree.rust.iter().chain(&tree.texts);
    expect_none(
        "machine paths",
        everything.flat_map(rules::machine_paths).collect(),
    );
}

#[test]
fn every_dependency_has_its_reason() {
    let tree = Tree::read();
    let manifests = tree
        .texts
        .iter()
        .filter(|text| text.path.ends_with("Cargo.toml"));
    expect_none(
        "dependencies",
        manifests.flat_map(rules::dependencies).collect(),
    );
}

#[test]
fn the_documents_are_there_and_tell_the_truth() {
    expect_none("documents", documents::check(&Tree::read()));
}

#[test]
fn the_guide_names_every_codec_and_handler_and_nothing_else() {
    expect_none("catalogue", catalogue::check(&Tree::read()));
}
