//! The nodes of one pipeline: a slab with links, two sentinels, and tombstones.
//!
//! | index | what |
//! |---|---|
//! | 0 | HEAD: stops every outbound walk |
//! | 1 | TAIL: stops every inbound walk |
//! | 2.. | handlers, in the order of their links, not of their indices |
//!
//! A removed node stays as a tombstone until no dispatch can name it: its mask is empty, so that walks pass it,
//! and its links still lead to its old neighbours (after a replace: to the new node). `next` links lead only over
//! handlers that are in the pipeline. `prev` links also lead over one that was taken out while it was on the stack or
//! while operations waited at it, until they have gone on: so later ones do not overtake them.
//!
//! Events name nodes by index; what outlives a dispatch (timers, handles, promises) names them by [`NodeId`] with the generation.

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

    /// The handler before a linked node (or TAIL); HEAD if it is the first.
    pub(crate) fn before(&self, index: Index) -> Index {
        let mut at = self.get(index).prev;
        while self.get(at).mask & mask::GONE != 0 {
            at = self.get(at).prev;
        }
        at
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

    /// Puts a new node behind the linked node `prev`. `None` when the pipeline is full (65,533 handlers).
    pub(crate) fn insert_after(
        &mut self,
        prev: Index,
        handler: Box<H>,
        mask: Mask,
        name: Option<&str>,
        kind: Kind,
    ) -> Option<Index> {
        let index = self.make(handler, mask, name, kind)?;
        let next = self.get(prev).next;
        let before = self.get(next).prev;
        self.link(index, before, next);
        self.get_mut(prev).next = index;
        self.get_mut(next).prev = index;
        Some(index)
    }

    /// Puts a new node in the place of `old`, which is taken out: both its links lead to the new one.
    pub(crate) fn insert_for(
        &mut self,
        old: Index,
        handler: Box<H>,
        mask: Mask,
        name: Option<&str>,
        kind: Kind,
    ) -> Option<Index> {
        let index = self.make(handler, mask, name, kind)?;
        let (prev, next) = (self.get(old).prev, self.get(old).next);
        let before = self.before(old);
        self.link(index, prev, next);
        self.get_mut(before).next = index;
        self.unlabel(old);
        let tomb = self.get_mut(old);
        tomb.mask = mask::GONE;
        tomb.next = index;
        tomb.prev = index;
        Some(index)
    }

    fn link(&mut self, index: Index, prev: Index, next: Index) {
        let node = self.get_mut(index);
        node.prev = prev;
        node.next = next;
    }

    /// A node that is not linked yet.
    fn make(
        &mut self,
        handler: Box<H>,
        mask: Mask,
        name: Option<&str>,
        kind: Kind,
    ) -> Option<Index> {
        let node = Node {
            handler: Some(handler),
            kind,
            mask,
            generation: 0,
            next: TAIL,
            prev: HEAD,
            ordinal: self.next_ordinal(kind.name()),
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
        if let Some(name) = name {
            self.extras
                .get_or_insert_default()
                .labels
                .push((index, name.into()));
        }
        Some(index)
    }

    /// Takes a node out of the way of events; its own links keep leading to its old neighbours. It stays on the way
    /// of operations, which may wait there, until it is released.
    pub(crate) fn take_out(&mut self, index: Index) {
        let before = self.before(index);
        self.get_mut(before).next = self.get(index).next;
        self.get_mut(index).mask = mask::GONE;
        self.unlabel(index);
    }

    /// Takes a node that was taken out before off the way of operations as well.
    pub(crate) fn release(&mut self, index: Index) {
        let mut at = TAIL;
        while at != HEAD {
            let prev = self.get(at).prev;
            if prev == index {
                self.get_mut(at).prev = self.get(index).prev;
                return;
            }
            at = prev;
        }
    }

    /// Gives up the handler of a node that was taken out.
    pub(crate) fn bury(&mut self, index: Index) -> Option<Box<H>> {
        self.end_presence(index);
        let node = self.get_mut(index);
        node.state = State::Removed;
        node.resume = Resume::Idle;
        node.handler.take()
    }

    /// After a panic: buries all that were on the stack, in their order from the head, those that had been taken out
    /// last. Their names, and the handlers.
    pub(crate) fn bury_busy(&mut self) -> (Vec<String>, Vec<Box<H>>) {
        let all = self.linked().chain(0..self.slab.len() as Index);
        let mut busy: Vec<Index> = Vec::new();
        for index in all.filter(|index| self.get(*index).state == State::Busy) {
            if !busy.contains(&index) {
                busy.push(index);
            }
        }
        let names = busy.iter().map(|index| self.name(*index)).collect();
        let mut handlers = Vec::new();
        for index in busy {
            if self.get(index).mask & mask::GONE == 0 {
                self.take_out(index);
            }
            handlers.extend(self.bury(index));
        }
        self.release_all();
        (names, handlers)
    }

    /// Only linked nodes stay on the way of operations.
    fn release_all(&mut self) {
        let linked: Vec<Index> = self.linked().collect();
        let mut prev = HEAD;
        for index in linked.into_iter().chain([TAIL]) {
            self.get_mut(index).prev = prev;
            prev = index;
        }
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
