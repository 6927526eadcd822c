//! What the nodes of a pipeline are called: by the name that the user gave, or by their type and an ordinal. Edits and
//! look-ups come here, and errors and logs, which show the pipeline as it is. Hops never do.

use std::any::Any;

use super::node::{HEAD, Index, NOWHERE, ORDINAL_MAX};
use super::nodes::{Nodes, Run};

impl<H: ?Sized> Nodes<H> {
    /// The smallest number that makes a free name together with the type. Found among the nodes once for many in a row, which
    /// take thousands of additions as long as a few.
    pub(super) fn next_ordinal(&self, short_type: &'static str) -> u16 {
        if let Some(next) = self.next_of_run(short_type) {
            return next;
        }
        let mut taken: Vec<u16> = self
            .linked()
            .filter_map(|index| {
                self.with_label(index, |own| match own {
                    Some(own) => own
                        .strip_prefix(short_type)?
                        .strip_prefix('#')?
                        .parse()
                        .ok(),
                    None => {
                        let node = self.get(index);
                        (node.kind().name() == short_type).then_some(node.ordinal())
                    }
                })
            })
            .collect();
        taken.sort_unstable();
        taken.dedup();
        let in_a_row = taken.iter().zip(0..).take_while(|(at, row)| **at == *row);
        let next = in_a_row.count() as u16;
        // The few that nodes keep themselves are found as fast.
        if next > ORDINAL_MAX {
            let end = taken.get(usize::from(next)).copied().unwrap_or(NOWHERE);
            self.extend(|extras| {
                extras.runs.push(Run {
                    type_name: short_type,
                    next: next + 1,
                    end,
                });
            });
        }
        next
    }

    /// The next number of a run, if there is one for the type. The run is over with its last number.
    fn next_of_run(&self, short_type: &str) -> Option<u16> {
        if self.extras().as_ref()?.runs.is_empty() {
            return None;
        }
        self.extend(|extras| {
            let runs = &mut extras.runs;
            let at = runs.iter().position(|run| run.type_name == short_type)?;
            let run = &mut runs[at];
            let next = run.next;
            if next < run.end {
                run.next += 1;
                return Some(next);
            }
            runs.swap_remove(at);
            None
        })
    }

    /// Looks at the name of a node that is written down, if it is.
    fn with_label<R>(&self, index: Index, look: impl FnOnce(Option<&str>) -> R) -> R {
        let extras = self.extras();
        let labels = extras.as_ref().map_or(&[][..], |extras| &extras.labels);
        let found = labels.binary_search_by_key(&index, |(labelled, _)| *labelled);
        look(found.ok().map(|at| &*labels[at].1))
    }

    /// The name of a linked node: its own, or its type with an ordinal.
    pub(crate) fn name(&self, index: Index) -> String {
        match index {
            HEAD => "head".into(),
            _ => self.with_label(index, |own| match own {
                Some(name) => name.into(),
                None => format!(
                    "{}#{}",
                    self.get(index).kind().name(),
                    self.get(index).ordinal()
                ),
            }),
        }
    }

    /// The linked node of that name.
    pub(crate) fn find(&self, name: &str) -> Option<Index> {
        self.linked().find(|index| {
            self.with_label(*index, |own| match own {
                Some(own) => *own == *name,
                None => {
                    let node = self.get(*index);
                    name.strip_prefix(node.kind().name())
                        .and_then(|rest| rest.strip_prefix('#'))
                        .is_some_and(|ordinal| ordinal.parse() == Ok(node.ordinal()))
                }
            })
        })
    }

    /// The first linked node, from the head, whose handler is an `H`.
    pub(crate) fn find_type<T: Any>(&self) -> Option<Index> {
        self.linked()
            .find(|index| self.get(*index).kind().is::<T>())
    }

    /// All names, head to tail.
    pub(crate) fn names(&self) -> Vec<String> {
        self.linked().map(|index| self.name(index)).collect()
    }

    /// The pipeline in one line, for errors and logs.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::from("head");
        for index in self.linked() {
            text.push_str(" -> ");
            text.push_str(&self.name(index));
        }
        text.push_str(" -> tail");
        text
    }
}
