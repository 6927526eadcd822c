//! The floors: a module imports only from modules on lower floors, and equal floors do not know each other.
//! Which module is on which floor stands in a block of ARCHITECTURE.md, one for each crate.

use std::collections::{BTreeMap, BTreeSet};

use crate::paths::{Reference, module_of, references};
use crate::source::Source;

/// The module that lib.rs is: what only users name.
const ROOT: &str = "lib";

/// One crate to check.
pub struct Crate<'a> {
    /// Its source folder, with the slash.
    pub folder: &'a str,
    /// What its modules may know.
    pub floors: Floors,
    /// Its Rust files.
    pub files: Vec<&'a Source>,
}

/// The floor of each top module of a crate.
#[derive(Debug)]
pub struct Floors(BTreeMap<String, u32>);

impl Floors {
    /// Reads the block of one crate: the indented or fenced lines after `<!-- floors: NAME -->`, each a floor,
    /// a module and what it is, as far as the next line that is not of this form.
    pub fn parse(document: &str, crate_name: &str) -> Result<Floors, String> {
        let marker = format!("<!-- floors: {crate_name} -->");
        let Some((_, block)) = document.split_once(&marker) else {
            return Err(format!("ARCHITECTURE.md has no line {marker}"));
        };
        let mut floors = BTreeMap::new();
        let lines = block.lines().map(str::trim);
        for line in lines.skip_while(|line| line.is_empty() || line.starts_with("```")) {
            if line.is_empty() || line.starts_with("```") {
                break;
            }
            let mut words = line.split_whitespace();
            let floor = words.next().and_then(|word| word.parse().ok());
            let (Some(floor), Some(module), Some(_)) = (floor, words.next(), words.next()) else {
                return Err(format!(
                    "ARCHITECTURE.md, floors of {crate_name}: not `floor module what`: {line}"
                ));
            };
            if floors.insert(module.to_owned(), floor).is_some() {
                return Err(format!(
                    "ARCHITECTURE.md, floors of {crate_name}: {module} stands there twice"
                ));
            }
        }
        if floors.is_empty() {
            return Err(format!(
                "ARCHITECTURE.md, floors of {crate_name}: the block is empty"
            ));
        }
        Ok(Floors(floors))
    }

    /// The modules, by name.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Why a module of ours may not name `target`, if it may not.
    fn objection(&self, own: &str, own_floor: u32, target: &Reference) -> Option<String> {
        let Some(first) = target.segments.first() else {
            return Some(
                "the root is for users: import from the module that defines it".to_owned(),
            );
        };
        let first = if first == "tidegate_sys" {
            "sys"
        } else {
            first
        };
        if first == own || target.is_macro {
            return None;
        }
        match self.0.get(first) {
            Some(floor) if *floor < own_floor => None,
            Some(floor) if *floor == own_floor => Some(format!(
                "{own} may not know {first}: both are on floor {floor}"
            )),
            Some(floor) => Some(format!(
                "{own} (floor {own_floor}) may not know {first} (floor {floor})"
            )),
            None => Some(format!(
                "crate::{first} is no module of the floors: import from the module that defines it"
            )),
        }
    }
}

/// A file, where it stands, and the paths that it names.
pub struct Named<'a> {
    pub file: &'a Source,
    /// Its module path in the crate.
    pub module: Vec<String>,
    /// The modules right below it.
    pub children: Vec<String>,
    /// The paths that it names.
    pub references: Vec<Reference>,
}

impl Crate<'_> {
    /// The files with what they name.
    pub fn named(&self) -> Vec<Named<'_>> {
        let module = |file: &&Source| module_of(&file.path[self.folder.len()..]);
        let modules: Vec<Vec<String>> = self.files.iter().map(module).collect();
        let mut named = Vec::new();
        for (&file, module) in self.files.iter().zip(&modules) {
            let children = children(&modules, module);
            let references = references(file, module, &children);
            named.push(Named {
                file,
                module: module.clone(),
                children,
                references,
            });
        }
        named
    }
}

/// The names of the modules right below `module`.
fn children(modules: &[Vec<String>], module: &[String]) -> Vec<String> {
    let below = |other: &&Vec<String>| other.len() > module.len() && other.starts_with(module);
    let names: BTreeSet<&String> = modules
        .iter()
        .filter(below)
        .map(|other| &other[module.len()])
        .collect();
    names.into_iter().cloned().collect()
}

/// Complains about every path that leads up, sideways or through the root, tests included: a lower floor
/// that needs an upper one to be tested cannot be built without it either.
pub fn arrows(krate: &Crate<'_>) -> Vec<String> {
    let mut complaints = Vec::new();
    for Named {
        file,
        module,
        references,
        ..
    } in krate.named()
    {
        let own = module.first().map_or(ROOT, String::as_str);
        let Some(&own_floor) = krate.floors.0.get(own) else {
            complaints.push(file.complain(
                0,
                format!("module {own} is missing in ARCHITECTURE.md's floors"),
            ));
            continue;
        };
        if own == ROOT {
            continue;
        }
        for reference in &references {
            if let Some(objection) = krate.floors.objection(own, own_floor, reference) {
                complaints.push(file.complain(reference.line, objection));
            }
        }
    }
    complaints
}

#[cfg(test)]
pub mod tests {
    use super::*;

    const BLOCK: &str = "text\n<!-- floors: demo -->\n\n    0 sys    the kernel\n    1 low    low things\n    \
        2 left   a side\n    2 right  another\n    9 lib    users\n\ntext 7 no module\n";

    /// What `check` says about a crate of these files.
    pub fn about(check: fn(&Crate<'_>) -> Vec<String>, files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<Source> = files
            .iter()
            .map(|(path, text)| Source::rust(path, text))
            .collect();
        let floors = Floors::parse(BLOCK, "demo").unwrap();
        check(&Crate {
            folder: "src/",
            floors,
            files: files.iter().collect(),
        })
    }

    #[test]
    fn the_block_is_read_exactly() {
        let floors = Floors::parse(BLOCK, "demo").unwrap();
        assert_eq!(
            floors.modules().collect::<Vec<_>>(),
            ["left", "lib", "low", "right", "sys"]
        );
        assert!(
            Floors::parse(BLOCK, "other")
                .unwrap_err()
                .contains("no line")
        );
        let twice = "<!-- floors: d -->\n1 a x\n1 a x\n";
        assert!(Floors::parse(twice, "d").unwrap_err().contains("twice"));
        let bare = "<!-- floors: d -->\n```text\n1 a\n```\n";
        assert!(
            Floors::parse(bare, "d")
                .unwrap_err()
                .contains("not `floor module what`")
        );
    }

    #[test]
    fn arrows_down_are_fine() {
        let clean = about(
            arrows,
            &[
                (
                    "src/left/mod.rs",
                    "use crate::low::Thing;\nuse tidegate_sys::os;\nuse crate::left::deep::X;",
                ),
                ("src/lib.rs", "pub use left::X;\npub use crate::right::Y;"),
                (
                    "src/low.rs",
                    "//! See [`crate::left`].\nlet x = \"crate::left\"; crate::go!();",
                ),
            ],
        );
        assert_eq!(clean, [""; 0]);
    }

    #[test]
    fn an_arrow_upward_is_caught() {
        let found = about(arrows, &[("src/low/a.rs", "\nuse crate::left::X;")]);
        assert_eq!(
            found,
            ["src/low/a.rs:2: low (floor 1) may not know left (floor 2)"]
        );
        let hidden = about(
            arrows,
            &[("src/low/a.rs", "fn f() { super::super::right::g() }")],
        );
        assert_eq!(hidden.len(), 1, "{hidden:?}");
        let nested = about(
            arrows,
            &[(
                "src/low/a.rs",
                "use {std::io, crate::{low::Y, left::{self, Z}}};",
            )],
        );
        assert_eq!(nested.len(), 2, "{nested:?}");
    }

    #[test]
    fn an_arrow_between_equal_floors_is_caught() {
        let found = about(arrows, &[("src/left/a.rs", "use crate::right::X;")]);
        assert_eq!(
            found,
            ["src/left/a.rs:1: left may not know right: both are on floor 2"]
        );
    }

    #[test]
    fn imports_through_the_root_are_caught() {
        let found = about(
            arrows,
            &[("src/left/a.rs", "use crate::Error;\nuse crate::*;")],
        );
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("import from the module that defines it"));
    }

    #[test]
    fn a_module_without_a_floor_is_caught() {
        let found = about(arrows, &[("src/attic/mod.rs", "")]);
        assert_eq!(
            found,
            ["src/attic/mod.rs:1: module attic is missing in ARCHITECTURE.md's floors"]
        );
    }
}
