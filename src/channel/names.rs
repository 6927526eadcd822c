//! What the nodes of a pipeline are called: by the name that the user gave, or by their type and an ordinal. Edits and
//! look-ups come here, and errors and logs, which show the pipeline as it is. Hops never do.

use std::any::Any;

use super::node::{HEAD, Index};
use super::nodes::Nodes;

impl<H: ?Sized> Nodes<H> {
    /// The smallest number that makes a free name together with the type.
    pub(super) fn next_ordinal(&self, short_type: &str) -> u16 {
        let mut taken: Vec<u16> = self
            .linked()
            .filter_map(|index| match self.label(index) {
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
            .collect();
        taken.sort_unstable();
        taken.dedup();
        let free = taken
            .iter()
            .zip(0..)
            .find(|(taken, number)| **taken != *number);
        free.map_or(taken.len() as u16, |(_, number)| number)
    }

    fn label(&self, index: Index) -> Option<Box<str>> {
        let extras = self.extras();
        let labels = &extras.as_ref()?.labels;
        let label = labels.iter().find(|(labelled, _)| *labelled == index);
        label.map(|(_, name)| name.clone())
    }

    /// The name of a linked node: its own, or its type with an ordinal.
    pub(crate) fn name(&self, index: Index) -> String {
        match index {
            HEAD => "head".into(),
            _ => match self.label(index) {
                Some(name) => name.into(),
                None => format!(
                    "{}#{}",
                    self.get(index).kind().name(),
                    self.get(index).ordinal()
                ),
            },
        }
    }

    /// The linked node of that name.
    pub(crate) fn find(&self, name: &str) -> Option<Index> {
        self.linked().find(|index| match self.label(*index) {
            Some(own) => *own == *name,
            None => {
                let node = self.get(*index);
                name.strip_prefix(node.kind().name())
                    .and_then(|rest| rest.strip_prefix('#'))
                    .is_some_and(|ordinal| ordinal.parse() == Ok(node.ordinal()))
            }
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
