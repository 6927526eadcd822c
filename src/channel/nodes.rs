//! The nodes of one pipeline: a slab with links, two sentinels, and tombstones.
//!
//! | index | what |
//! |---|---|
//! | 0 | HEAD: stops every outbound walk |
//! | 1 | TAIL: stops every inbound walk |
//! | 2.. | handlers, in the order of their links, not of their indices |
//!
//! A removed node stays as a tombstone until no dispatch can name it: its mask is empty, so that walks pass it,
//! and its links still lead to its old neighbours (after a replace: to the new node). Events name nodes by index;
//! what outlives a dispatch (timers, handles, promises) names them by [`NodeId`] with the generation.

use std::any::{Any, TypeId, type_name};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::mask::{self, Mask};

/// The index of a node. Valid while a dispatch runs.
pub(crate) type Index = u16;

pub(crate) const HEAD: Index = 0;
pub(crate) const TAIL: Index = 1;

/// Names a node beyond a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodeId {
    pub(crate) index: Index,
    pub(crate) generation: u32,
}

impl NodeId {
    pub(crate) fn to_bits(self) -> u64 {
        (u64::from(self.generation) << 16) | u64::from(self.index)
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self {
            index: (bits & 0xFFFF) as Index,
            generation: (bits >> 16) as u32,
        }
    }
}

/// What a node is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In the free list.
    Vacant,
    /// HEAD or TAIL.
    Sentinel,
    /// Linked; its handler is in place and was told so.
    Here,
    /// Linked; `handler_added` has not run yet.
    Added,
    /// Its handler is on the stack.
    Busy,
    /// A tombstone.
    Removed,
}

/// Where a node stands with `resume`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resume {
    /// It did not ask.
    Idle,
    /// It asked; the event waits behind what was emitted.
    Asked,
    /// It asked, and a read() was consumed by it meanwhile.
    AskedWithCredit,
    /// It asked, but reading was not wanted.
    Parked,
}

/// What a node needs to know of its handler's type while the handler itself is away on the stack.
#[derive(Clone, Copy)]
pub(crate) struct Kind(fn() -> (TypeId, &'static str));

impl Kind {
    pub(crate) fn of<H: Any>() -> Self {
        Self(|| (TypeId::of::<H>(), short_type_name::<H>()))
    }

    fn is<H: Any>(self) -> bool {
        self.0().0 == TypeId::of::<H>()
    }

    pub(crate) fn name(self) -> &'static str {
        self.0().1
    }
}

/// One place of a pipeline. `H` is the handler's trait object; the links need not know more of it.
pub(crate) struct Node<H: ?Sized> {
    /// `Some` unless Busy, Vacant, Sentinel or Removed.
    pub(crate) handler: Option<Box<H>>,
    pub(crate) kind: Kind,
    pub(crate) mask: Mask,
    pub(crate) generation: u32,
    pub(crate) next: Index,
    pub(crate) prev: Index,
    /// Distinguishes generated names: `Type#ordinal`.
    pub(crate) ordinal: u16,
    pub(crate) state: State,
    pub(crate) resume: Resume,
}

const _: () = assert!(
    size_of::<Node<dyn Any>>() == 40,
    "one hop computes an index times this size"
);

/// The slab. See the module's page.
pub(crate) struct Nodes<H: ?Sized> {
    slab: Vec<Node<H>>,
    /// What most pipelines do without, and is kept per connection.
    extras: Option<Box<Extras>>,
}

#[derive(Default)]
struct Extras {
    /// Names that the user gave; a handler without one is called by its type and ordinal.
    labels: Vec<(Index, Box<str>)>,
    /// For handlers of which handles exist: whether they are still there.
    presences: Vec<(Index, Arc<AtomicBool>)>,
}

impl<H: ?Sized> Nodes<H> {
    pub(crate) fn new() -> Self {
        let sentinel = |mask, next, prev| Node {
            handler: None,
            kind: Kind(|| (TypeId::of::<()>(), "")),
            mask,
            generation: 0,
            next,
            prev,
            ordinal: 0,
            state: State::Sentinel,
            resume: Resume::Idle,
        };
        // Head, tail, an initializer and three handlers: what a small pipeline needs without growing.
        let mut slab = Vec::with_capacity(6);
        slab.push(sentinel(mask::OUTBOUND, TAIL, HEAD));
        slab.push(sentinel(mask::INBOUND, TAIL, HEAD));
        Self { slab, extras: None }
    }

    #[inline]
    pub(crate) fn get(&self, index: Index) -> &Node<H> {
        &self.slab[index as usize]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: Index) -> &mut Node<H> {
        &mut self.slab[index as usize]
    }

    /// The next node toward the tail whose mask has `bit`; TAIL has every inbound bit.
    #[inline]
    pub(crate) fn next_with(&self, from: Index, bit: Mask) -> Index {
        let slab = self.slab.as_slice();
        let mut index = slab[from as usize].next;
        loop {
            let node = &slab[index as usize];
            if node.mask & bit != 0 {
                return index;
            }
            index = node.next;
        }
    }

    /// The next node toward the head whose mask has `bit`; HEAD has every outbound bit.
    #[inline]
    pub(crate) fn prev_with(&self, from: Index, bit: Mask) -> Index {
        let slab = self.slab.as_slice();
        let mut index = slab[from as usize].prev;
        loop {
            let node = &slab[index as usize];
            if node.mask & bit != 0 {
                return index;
            }
            index = node.prev;
        }
    }

    /// The node that `id` names, unless it is gone.
    pub(crate) fn resolve(&self, id: NodeId) -> Option<Index> {
        let node = self.slab.get(id.index as usize)?;
        let linked = matches!(node.state, State::Here | State::Added | State::Busy);
        (linked && node.generation == id.generation).then_some(id.index)
    }

    pub(crate) fn id(&self, index: Index) -> NodeId {
        NodeId {
            index,
            generation: self.get(index).generation,
        }
    }

    /// Indices of the linked handlers, head to tail.
    pub(crate) fn linked(&self) -> impl Iterator<Item = Index> + '_ {
        let mut index = self.get(HEAD).next;
        std::iter::from_fn(move || {
            let here = index;
            (here != TAIL).then(|| {
                index = self.get(here).next;
                here
            })
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.get(HEAD).next == TAIL
    }

    /// For a node that was taken out of the links: the linked node (or HEAD) that it leads to, toward the head.
    pub(crate) fn place_before(&self, index: Index) -> Option<Index> {
        let mut at = self.get(index).prev;
        if self.get(at).next == index {
            return None;
        }
        while self.is_unlinked(at) {
            at = self.get(at).prev;
        }
        Some(at)
    }

    fn is_unlinked(&self, index: Index) -> bool {
        index != HEAD && self.get(self.get(index).prev).next != index
    }

    /// True while some handler between `index` and the head (itself included) is on the stack.
    pub(crate) fn busy_toward_head(&self, index: Index) -> bool {
        let mut at = index;
        while at != HEAD {
            if self.get(at).state == State::Busy {
                return true;
            }
            at = self.get(at).prev;
        }
        false
    }

    pub(crate) fn any_busy(&self) -> bool {
        self.slab.iter().any(|node| node.state == State::Busy)
    }

    // ---- links

    /// Puts a new node behind `prev`. `None` when the pipeline is full (65,533 handlers).
    pub(crate) fn insert_after(
        &mut self,
        prev: Index,
        handler: Box<H>,
        mask: Mask,
        name: Option<&str>,
        kind: Kind,
    ) -> Option<Index> {
        let ordinal = self.next_ordinal(kind.name());
        let next = self.get(prev).next;
        let node = Node {
            handler: Some(handler),
            kind,
            mask,
            generation: 0,
            next,
            prev,
            ordinal,
            state: State::Added,
            resume: Resume::Idle,
        };
        let index = match self
            .slab
            .iter()
            .position(|node| node.state == State::Vacant)
        {
            Some(vacant) => {
                let generation = self.slab[vacant].generation;
                self.slab[vacant] = Node { generation, ..node };
                vacant as Index
            }
            None => {
                let index = Index::try_from(self.slab.len()).ok()?;
                if self.slab.len() == self.slab.capacity() {
                    self.slab.reserve_exact(2);
                }
                self.slab.push(node);
                index
            }
        };
        self.get_mut(prev).next = index;
        self.get_mut(next).prev = index;
        if let Some(name) = name {
            self.extras
                .get_or_insert_default()
                .labels
                .push((index, name.into()));
        }
        Some(index)
    }

    /// Takes a node out of the links; its own links keep leading to its old neighbours.
    pub(crate) fn unlink(&mut self, index: Index) -> Option<Box<H>> {
        let (next, prev) = (self.get(index).next, self.get(index).prev);
        self.get_mut(prev).next = next;
        self.get_mut(next).prev = prev;
        self.bury(index)
    }

    /// Swaps `old` for `new`, which was linked right behind it: the tombstone leads to the new node both ways.
    pub(crate) fn supersede(&mut self, old: Index, new: Index) -> Option<Box<H>> {
        let prev = self.get(old).prev;
        self.get_mut(prev).next = new;
        self.get_mut(new).prev = prev;
        let handler = self.bury(old);
        let tomb = self.get_mut(old);
        tomb.next = new;
        tomb.prev = new;
        handler
    }

    /// Takes a node that is on the stack out of the walk, keeping its handler's place until it returns.
    pub(crate) fn detach_links(&mut self, index: Index) {
        let (next, prev) = (self.get(index).next, self.get(index).prev);
        self.get_mut(prev).next = next;
        self.get_mut(next).prev = prev;
        self.get_mut(index).mask = 0;
        self.unlabel(index);
    }

    /// The same for a node that `new`, linked right behind it, replaces.
    pub(crate) fn detach_links_to(&mut self, old: Index, new: Index) {
        self.detach_links(old);
        let node = self.get_mut(old);
        node.next = new;
        node.prev = new;
    }

    /// Buries a node whose links were taken before.
    pub(crate) fn bury_detached(&mut self, index: Index) -> Option<Box<H>> {
        self.bury(index)
    }

    /// Buries nodes that were taken out while on the stack and whose return a panic has prevented.
    pub(crate) fn bury_lost(&mut self) -> Vec<(String, Box<H>)> {
        let lost: Vec<Index> = (0..self.slab.len())
            .filter(|at| self.slab[*at].state == State::Busy)
            .map(|at| at as Index)
            .collect();
        let bury = |index| Some((self.name(index), self.bury(index)?));
        lost.into_iter().filter_map(bury).collect()
    }

    fn unlabel(&mut self, index: Index) {
        if let Some(extras) = &mut self.extras {
            extras.labels.retain(|(labelled, _)| *labelled != index);
        }
    }

    /// Whether the handler is still there, for its handles.
    pub(crate) fn presence(&mut self, index: Index) -> Arc<AtomicBool> {
        if matches!(self.get(index).state, State::Removed | State::Vacant) {
            return Arc::default();
        }
        let presences = &mut self.extras.get_or_insert_default().presences;
        if let Some((_, presence)) = presences.iter().find(|(at, _)| *at == index) {
            return presence.clone();
        }
        let presence = Arc::new(AtomicBool::new(true));
        presences.push((index, presence.clone()));
        presence
    }

    fn end_presence(&mut self, index: Index) {
        let Some(extras) = &mut self.extras else {
            return;
        };
        extras.presences.retain(|(at, presence)| {
            if *at == index {
                presence.store(false, Ordering::Release);
            }
            *at != index
        });
    }

    fn bury(&mut self, index: Index) -> Option<Box<H>> {
        self.unlabel(index);
        self.end_presence(index);
        let node = self.get_mut(index);
        node.mask = 0;
        node.state = State::Removed;
        node.resume = Resume::Idle;
        node.handler.take()
    }

    /// Frees the tombstones. Only when no dispatch runs and no event waits.
    pub(crate) fn free_dead(&mut self) {
        for node in self
            .slab
            .iter_mut()
            .filter(|node| node.state == State::Removed)
        {
            node.state = State::Vacant;
            node.generation = node.generation.wrapping_add(1);
        }
    }

    // ---- names and types

    /// The smallest number that makes a free name together with the type.
    fn next_ordinal(&self, short_type: &str) -> u16 {
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
                    (node.kind.name() == short_type).then_some(node.ordinal)
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

    fn label(&self, index: Index) -> Option<&str> {
        let labels = &self.extras.as_ref()?.labels;
        labels
            .iter()
            .find(|(labelled, _)| *labelled == index)
            .map(|(_, name)| &**name)
    }

    /// The name of a linked node: its own, or its type with an ordinal.
    pub(crate) fn name(&self, index: Index) -> String {
        match index {
            HEAD => "head".into(),
            TAIL => "tail".into(),
            _ => match self.label(index) {
                Some(name) => name.into(),
                None => format!(
                    "{}#{}",
                    self.get(index).kind.name(),
                    self.get(index).ordinal
                ),
            },
        }
    }

    /// The linked node of that name.
    pub(crate) fn find(&self, name: &str) -> Option<Index> {
        self.linked().find(|index| match self.label(*index) {
            Some(own) => own == name,
            None => {
                let node = self.get(*index);
                name.strip_prefix(node.kind.name())
                    .and_then(|rest| rest.strip_prefix('#'))
                    .is_some_and(|ordinal| ordinal.parse() == Ok(node.ordinal))
            }
        })
    }

    /// The first linked node, from the head, whose handler is an `H`.
    pub(crate) fn find_type<T: Any>(&self) -> Option<Index> {
        self.linked().find(|index| self.get(*index).kind.is::<T>())
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

/// The last segment of a type's path, with its generic parameters left out.
pub(crate) fn short_type_name<T: ?Sized>() -> &'static str {
    let full = type_name::<T>();
    let bare = full.split('<').next().unwrap_or(full);
    bare.rsplit("::").next().unwrap_or(bare)
}
