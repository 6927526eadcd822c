//! Circles: the files of one folder do not import each other in a ring, so that each can be read, and
//! tested, after those that it names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::floors::{Crate, Named};
use crate::paths::Reference;

/// How the file of a folder itself (its mod.rs) is called among the files in it.
const LEGEND: &str = "mod";

/// Complains about circles of imports between the files of one folder. A folder's mod.rs is its legend:
/// re-exporting a file is no arrow, and a name imported through the legend is an arrow to the file that
/// defines it. Tests may look around freely.
pub fn cycles(krate: &Crate<'_>) -> Vec<String> {
    let named = krate.named();
    let legends = legends(&named);
    let mut folders: BTreeMap<Vec<String>, Graph> = BTreeMap::new();
    for Named {
        file,
        module,
        references,
        ..
    } in &named
    {
        let outside_tests = |reference: &&Reference| !file.is_test(reference.line);
        for reference in references.iter().filter(outside_tests) {
            let path = &reference.segments;
            let shared = module.iter().zip(path).take_while(|(a, b)| a == b).count();
            let folder = &module[..shared];
            let from = module.get(shared).map_or(LEGEND, String::as_str);
            let to = path
                .get(shared)
                .map_or(LEGEND, |name| legends.resolve(folder, name));
            let legend_only = from == LEGEND && reference.reexport;
            if shared > 0 && from != to && !legend_only {
                let arrows = folders
                    .entry(folder.to_vec())
                    .or_default()
                    .entry(from.to_owned())
                    .or_default();
                arrows
                    .entry(to.to_owned())
                    .or_insert_with(|| file.complain(reference.line, format!("names {to}")));
            }
        }
    }
    let describe = |(folder, graph): (&Vec<String>, &Graph)| circles(&folder.join("::"), graph);
    folders.iter().flat_map(describe).collect()
}

/// Who knows whom among the files of one folder, each arrow with the place where it was first seen.
type Graph = BTreeMap<String, BTreeMap<String, String>>;

/// For each folder, which of its files a name belongs to.
struct Legends<'a>(BTreeMap<&'a [String], BTreeMap<&'a str, &'a str>>);

/// Reads the mod.rs files: their children, and the names that they import from those.
fn legends<'a>(named: &'a [Named<'_>]) -> Legends<'a> {
    let mut legends = BTreeMap::new();
    for Named {
        module,
        children,
        references,
        ..
    } in named
    {
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        for reference in references.iter().filter(|reference| reference.import) {
            let child = reference
                .segments
                .get(module.len())
                .filter(|_| reference.segments.starts_with(module));
            if let (Some(child), Some(name)) = (child, reference.segments.last())
                && children.contains(child)
            {
                names.insert(name, child);
            }
        }
        names.extend(
            children
                .iter()
                .map(|child| (child.as_str(), child.as_str())),
        );
        legends.insert(module.as_slice(), names);
    }
    Legends(legends)
}

impl Legends<'_> {
    /// The file of `folder` that `name` belongs to, or the legend itself.
    fn resolve(&self, folder: &[String], name: &str) -> &str {
        self.0
            .get(folder)
            .and_then(|names| names.get(name))
            .copied()
            .unwrap_or(LEGEND)
    }
}

/// One complaint for each set of files that form a circle, with the arrows of its shortest form.
fn circles(folder: &str, graph: &Graph) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut complaints = Vec::new();
    for start in graph.keys() {
        let Some(circle) = shortest_circle(graph, start) else {
            continue;
        };
        let members: BTreeSet<&String> = circle.iter().copied().collect();
        if !seen.insert(members) {
            continue;
        }
        let arrows = circle.iter().zip(circle.iter().cycle().skip(1));
        let places: Vec<&str> = arrows
            .map(|(from, to)| graph[*from][*to].as_str())
            .collect();
        let names: Vec<&str> = circle.iter().map(|name| name.as_str()).collect();
        complaints.push(format!(
            "{folder}: circle {} -> {start}: {}",
            names.join(" -> "),
            places.join("; ")
        ));
    }
    complaints
}

/// The shortest way from `start` back to it, without repeating it at the end.
fn shortest_circle<'a>(graph: &'a Graph, start: &'a String) -> Option<Vec<&'a String>> {
    let mut came_from: BTreeMap<&String, &String> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(unit) = queue.pop_front() {
        for next in graph.get(unit).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                let mut way = vec![unit];
                while *way.last()? != start {
                    way.push(came_from[*way.last()?]);
                }
                way.reverse();
                return Some(way);
            }
            if next != start && !came_from.contains_key(next) {
                came_from.insert(next, unit);
                queue.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::cycles;
    use crate::floors::tests::about;

    #[test]
    fn a_circle_of_files_is_caught() {
        let found = about(
            cycles,
            &[
                ("src/low/mod.rs", "mod a;\nmod b;\nmod c;"),
                ("src/low/a.rs", "use super::b::B;"),
                ("src/low/b.rs", "use crate::low::c::C;"),
                ("src/low/c/mod.rs", "mod deep;"),
                ("src/low/c/deep.rs", "use super::super::a::A;"),
            ],
        );
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("circle a -> b -> c -> a"), "{found:?}");
    }

    #[test]
    fn a_circle_through_the_legend_is_caught() {
        let found = about(
            cycles,
            &[
                (
                    "src/low/mod.rs",
                    "mod a;\nmod b;\npub use a::A;\npub use b::B;",
                ),
                ("src/low/a.rs", "use super::B;"),
                ("src/low/b.rs", "use crate::low::A;"),
            ],
        );
        assert_eq!(found.len(), 1, "{found:?}");
        let owner = about(
            cycles,
            &[
                ("src/low/mod.rs", "mod a;\nstruct Whole(a::A);"),
                ("src/low/a.rs", "use super::Whole;"),
            ],
        );
        assert_eq!(owner.len(), 1, "{owner:?}");
    }

    #[test]
    fn a_legend_and_tests_make_no_circle() {
        let found = about(
            cycles,
            &[
                (
                    "src/low/mod.rs",
                    "mod a;\nmod b;\npub use a::A;\npub use b::B;\npub struct Own;",
                ),
                (
                    "src/low/a.rs",
                    "use super::{B, Own};\n#[cfg(test)]\nmod tests {\n    use super::super::b::B;\n}",
                ),
                (
                    "src/low/b.rs",
                    "#[cfg(test)]\nmod tests {\n    use crate::low::a::A;\n}",
                ),
                ("src/low/b/tests.rs", "use crate::low::a::A;"),
            ],
        );
        assert_eq!(found, [""; 0]);
    }
}
