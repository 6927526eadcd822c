//! The nodes of one pipeline: a slab with links in a ring, one sentinel for both ends, and tombstones.
//!
//! | index | what |
//! |---|---|
//! | 0 | HEAD, which stops every outbound walk, and TAIL, which stops every inbound walk |
//! | 1.. | handlers, in the order of their links, not of their indices |
//!
//! Every hop goes through here. Nodes are cells in a [`Slab`] that never moves: whoever delivers holds a reference to it,
//! walks it without borrow flags, and puts a handler back where it took it from without looking it up. When a pipeline
//! outgrows its slab, a larger one takes over all that is in place; a handler that is on the stack then comes back into
//! the old one and is carried over ([`Nodes::carry_over`]; `attention::REGROWN` says that this may be necessary). Tried
//! before: a `RefCell` around a `Vec` of nodes, borrowed twice per hop, and visits that lived in memory; then a hop cost
//! 119 instructions with a message, 95 without, and 147 for a write, about twice of what it does now (`make hops`).
//!
//! A removed node stays as a tombstone until no dispatch can name it: nothing stops at it, so that walks pass it, and
//! its links still lead to its old neighbours (after a replace: to the new node). `next` links lead only over handlers
//! that are in the pipeline. `prev` links also lead over one that was taken out while it was on the stack or while
//! operations waited at it, until they have gone on: so later ones do not overtake them.
//!
//! Events name nodes by index; what outlives a dispatch (timers, handles, promises) names them by [`NodeId`] with the
//! generation. One node, with the masks of its links, is in `node`; what nodes are called is in `names`.

use std::cell::{Ref, RefCell};
use std::mem;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_sys::mem::{RcSlice, prefetch};

use super::kind::Kind;
use super::mask::{self, Mask};
use super::node::{
    Facts, HEAD, Index, Link, NOWHERE, Node, ORDINAL_MAX, Resume, Slab, State, TAIL, upper,
};

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

/// How many places a slab of this length grows by. Debug builds: one, so that every test of an edit is one of growing as
/// well.
fn room_at(len: usize) -> usize {
    if cfg!(debug_assertions) {
        1
    } else {
        (len / 2).max(4)
    }
}

/// The nodes and what is known of them. See the module's page.
pub(crate) struct Nodes<H: ?Sized> {
    kept: RefCell<Kept<H>>,
}

struct Kept<H: ?Sized> {
    slab: RcSlice<Node<H>>,
    /// What most pipelines do without.
    extras: Option<Box<Extras<H>>>,
}

pub(super) struct Extras<H: ?Sized> {
    /// Names that the user gave, and those with an ordinal that is too large for a node; a handler without one is called by its
    /// type and ordinal. By index, so that one is found among thousands.
    pub(super) labels: Vec<(Index, Box<str>)>,
    /// Ordinals that are known to be free.
    pub(super) runs: Vec<Run>,
    /// For handlers of which handles exist: whether they are still there.
    presences: Vec<(Index, Arc<AtomicBool>)>,
    /// Handlers whose `handler_added` has to wait.
    fresh: Vec<(Index, Box<H>)>,
    /// Handlers that a panic has passed on the stack, where it may have been caught on its way.
    lost: Vec<(Index, Box<H>)>,
    /// Slabs that somebody on the stack still goes by.
    outgrown: Vec<RcSlice<Node<H>>>,
}

impl<H: ?Sized> Default for Extras<H> {
    fn default() -> Self {
        Self {
            labels: Vec::new(),
            runs: Vec::new(),
            presences: Vec::new(),
            fresh: Vec::new(),
            lost: Vec::new(),
            outgrown: Vec::new(),
        }
    }
}

/// Free ordinals in a row. True until a node or a label goes, or a label comes that may be one of these names.
pub(super) struct Run {
    pub(super) type_name: &'static str,
    /// The smallest number that is free.
    pub(super) next: u16,
    /// The first behind it that is not known to be.
    pub(super) end: u16,
}

/// One node, found by its index.
pub(crate) struct At<H: ?Sized> {
    slab: RcSlice<Node<H>>,
    index: Index,
}

impl<H: ?Sized> Deref for At<H> {
    type Target = Node<H>;

    fn deref(&self) -> &Node<H> {
        &self.slab[usize::from(self.index)]
    }
}

impl<H: ?Sized> Nodes<H> {
    /// The ends, and room for what else the first `places` take.
    pub(crate) fn new(places: usize) -> Self {
        let slab = RcSlice::from_fn(places.max(1), |index| match index as Index {
            HEAD => Node::sentinel(),
            _ => Node::vacant(index),
        });
        Self {
            kept: RefCell::new(Kept { slab, extras: None }),
        }
    }

    /// How many places have been in use so far. Of those that are vacant the first is taken first.
    pub(crate) fn taken(&self) -> usize {
        let slab = self.slab();
        let unused = slab.iter().rev().take_while(|node| node.is_unused());
        slab.len() - unused.count()
    }

    /// The nodes as they are kept now.
    #[inline]
    pub(crate) fn slab(&self) -> RcSlice<Node<H>> {
        self.kept.borrow().slab.clone()
    }

    /// Has the nodes fetched into the cache.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(&*self.kept.borrow().slab);
    }

    /// The link of HEAD.
    #[inline(always)]
    pub(crate) fn head_link(&self) -> Link {
        self.kept.borrow().slab[usize::from(HEAD)].link()
    }

    /// Does something with a node; nothing that changes the pipeline.
    #[inline]
    pub(crate) fn with<R>(&self, index: Index, work: impl FnOnce(&Node<H>) -> R) -> R {
        work(&self.kept.borrow().slab[usize::from(index)])
    }

    /// The node at `index`, for everything but the hop.
    pub(crate) fn get(&self, index: Index) -> At<H> {
        At {
            slab: self.slab(),
            index,
        }
    }

    /// True if the slab is not the pipeline's any more.
    #[cold]
    #[inline(never)]
    pub(crate) fn is_outgrown(&self, slab: &Slab<H>) -> bool {
        !std::ptr::eq(&raw const *self.kept.borrow().slab, slab)
    }

    /// A handler has come back from the stack into a node of a slab that the pipeline may have outgrown.
    #[cold]
    pub(crate) fn carry_over(&self, old: &Node<H>) {
        let now = self.get(old.index());
        if !std::ptr::eq(&raw const *now, old)
            && let Some(handler) = old.take()
        {
            now.put(handler);
        }
    }

    /// The node that `id` names, unless it is gone.
    pub(crate) fn resolve(&self, id: NodeId) -> Option<Index> {
        let kept = self.kept.borrow();
        let node = kept.slab.get(usize::from(id.index))?;
        let is_there = matches!(node.state(), State::Here | State::Added);
        (is_there && node.generation() == id.generation).then_some(id.index)
    }

    pub(crate) fn id(&self, index: Index) -> NodeId {
        NodeId {
            index,
            generation: self.get(index).generation(),
        }
    }

    /// Indices of the linked handlers, head to tail.
    pub(crate) fn linked(&self) -> impl Iterator<Item = Index> + use<H> {
        let slab = self.slab();
        let mut index = slab[usize::from(HEAD)].next();
        std::iter::from_fn(move || {
            let here = index;
            (here != TAIL).then(|| {
                index = slab[usize::from(here)].next();
                here
            })
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.get(HEAD).next() == TAIL
    }

    /// The handler before a linked node (or TAIL); HEAD if it is the first.
    pub(crate) fn before(&self, index: Index) -> Index {
        let slab = self.slab();
        let mut at = slab[usize::from(index)].prev();
        while slab[usize::from(at)].is_gone() {
            at = slab[usize::from(at)].prev();
        }
        at
    }

    /// True while some handler between `index` and the head (itself included) is on the stack.
    pub(crate) fn busy_toward_head(&self, index: Index) -> bool {
        let slab = self.slab();
        let mut at = index;
        while at != HEAD {
            let node = &slab[usize::from(at)];
            if node.is_busy() {
                return true;
            }
            at = node.prev();
        }
        false
    }

    pub(crate) fn any_busy(&self) -> bool {
        self.slab().iter().any(Node::is_busy)
    }

    // ---- the careful walk, which knows of tombstones

    /// The next linked node toward the tail (or TAIL) where `bit` stops.
    pub(crate) fn next_linked(&self, from: Index, bit: Mask) -> At<H> {
        let slab = self.slab();
        let mut from = from;
        loop {
            let node = &slab[usize::from(from)];
            from = node.next();
            if node.link().next_mask & bit != 0 && !slab[usize::from(from)].is_gone() {
                return At { slab, index: from };
            }
        }
    }

    /// The node before this one on the way of operations, linked or not, and whether `bit` stops there.
    pub(crate) fn step_toward_head(&self, from: Index, bit: Mask) -> (At<H>, bool) {
        let slab = self.slab();
        let node = &slab[usize::from(from)];
        let (index, stops) = (node.prev(), node.prev_mask() & upper(bit) != 0);
        let stops = stops && !slab[usize::from(index)].is_gone();
        (At { slab, index }, stops)
    }

    /// The node whose link toward the head leads to this one, if it is on the way of operations.
    fn after_on_the_way(&self, index: Index) -> Option<At<H>> {
        let slab = self.slab();
        let mut at = TAIL;
        loop {
            let prev = slab[usize::from(at)].prev();
            if prev == index {
                return Some(At { slab, index: at });
            }
            if prev == HEAD {
                return None;
            }
            at = prev;
        }
    }

    /// Whether an event or operation stops at a node.
    pub(crate) fn has_mask(&self, index: Index, bit: Mask) -> bool {
        if self.get(index).is_gone() {
            return false;
        }
        let inbound = self.get(self.before(index)).link().next_mask;
        let outbound = self.after_on_the_way(index);
        inbound & bit != 0 || outbound.is_some_and(|after| after.prev_mask() & upper(bit) != 0)
    }

    /// The events and operations of `bits` pass a node from now on.
    pub(crate) fn clear_mask(&self, index: Index, bits: Mask) {
        if self.get(index).is_gone() {
            return;
        }
        let before = self.get(self.before(index));
        before.link_next(before.next(), before.link().next_mask & !bits);
        if let Some(after) = self.after_on_the_way(index) {
            after.set_prev_mask(after.prev_mask() & !upper(bits));
        }
    }

    // ---- edits

    /// Puts a new node behind the linked node `prev`, for a handler that is not there yet. Without a declaration
    /// everything stops there. `None` when the pipeline is full (65,534 handlers).
    pub(crate) fn insert_after(
        &self,
        prev: Index,
        declared: Option<Mask>,
        name: Option<&str>,
        kind: Kind,
    ) -> Option<Index> {
        let mask = declared.unwrap_or(mask::ALL);
        let index = self.make(declared.is_some(), name, kind)?;
        let (node, before) = (self.get(index), self.get(prev));
        let after = self.get(before.next());
        node.link_next_like(&before);
        node.link_prev_like(&after);
        before.link_next(index, mask);
        after.link_prev(index, mask);
        self.with(TAIL, |ends| ends.set_straight(false));
        Some(index)
    }

    /// Puts a new node in the place of `old`, which is taken out: both its links lead to the new one.
    pub(crate) fn insert_for(
        &self,
        old: Index,
        declared: Option<Mask>,
        name: Option<&str>,
        kind: Kind,
    ) -> Option<Index> {
        let mask = declared.unwrap_or(mask::ALL);
        let index = self.make(declared.is_some(), name, kind)?;
        let (node, tomb) = (self.get(index), self.get(old));
        node.link_next_like(&tomb);
        node.link_prev_like(&tomb);
        self.get(self.before(old)).link_next(index, mask);
        self.retire(&tomb);
        tomb.link_next(index, mask);
        tomb.link_prev(index, mask);
        self.with(TAIL, |ends| ends.set_straight(false));
        Some(index)
    }

    /// A node that is not linked yet.
    fn make(&self, is_declared: bool, name: Option<&str>, kind: Kind) -> Option<Index> {
        let index = self.vacancy()?;
        let node = self.get(index);
        let ordinal = match name {
            Some(_) => 0,
            None => self.next_ordinal(kind.name()),
        };
        // One of so many of a type has its name written down.
        let spelled = (ordinal > ORDINAL_MAX).then(|| format!("{}#{ordinal}", kind.name()));
        node.set_name(kind, ordinal);
        node.set_facts(Facts::new(State::Added));
        if is_declared {
            node.add_fact(Facts::DECLARED);
        }
        if let Some(label) = name.or(spelled.as_deref()) {
            self.extend(|extras| {
                let place = extras.labels.partition_point(|(at, _)| *at < index);
                extras.labels.insert(place, (index, label.into()));
                if name.is_some() {
                    extras.runs.clear();
                }
            });
        }
        Some(index)
    }

    /// The index of a vacant node, in a larger slab if there is none in this.
    fn vacancy(&self) -> Option<Index> {
        let slab = self.slab();
        let vacant = slab.iter().position(|node| node.state() == State::Vacant);
        if let Some(vacant) = vacant {
            return Some(vacant as Index);
        }
        let len = slab.len();
        let room = room_at(len).min(usize::from(NOWHERE) - len);
        if room == 0 {
            return None;
        }
        let index = len as Index;
        let larger = RcSlice::from_fn(len + room, |at| match slab.get(at) {
            Some(node) => node.moved(),
            None => Node::vacant(at),
        });
        self.kept.borrow_mut().slab = larger;
        Some(index)
    }

    /// Takes a node out of the way of events; its own links keep leading to its old neighbours. It stays on the way
    /// of operations, which may wait there, until it is released.
    pub(crate) fn take_out(&self, index: Index) {
        let node = self.get(index);
        self.get(self.before(index)).link_next_like(&node);
        self.retire(&node);
    }

    /// Nothing stops at the node any more. It keeps its name as long as it may have something to say.
    fn retire(&self, node: &Node<H>) {
        if let Some(after) = self.after_on_the_way(node.index()) {
            after.set_prev_mask(0);
        }
        node.add_fact(Facts::GONE);
        // Its name is free.
        if let Some(extras) = &mut self.kept.borrow_mut().extras {
            extras.runs.clear();
        }
    }

    /// Takes a node that was taken out before off the way of operations as well.
    pub(crate) fn release(&self, index: Index) {
        if let Some(after) = self.after_on_the_way(index) {
            after.link_prev_like(&self.get(index));
        }
    }

    /// Gives up the handler of a node that was taken out, if it is in place.
    pub(crate) fn bury(&self, index: Index) -> Option<Box<H>> {
        self.end_presence(index);
        let node = self.get(index);
        let handler = match node.state() {
            State::Added => self.take_fresh(index),
            _ => node.take(),
        };
        node.set_state(State::Removed);
        node.set_resume(Resume::Idle);
        handler
    }

    /// Keeps the handler of a new node until it can be told that it is there.
    pub(crate) fn keep_fresh(&self, index: Index, handler: Box<H>) {
        self.extend(|extras| extras.fresh.push((index, handler)));
    }

    /// The handler of a node that does not know yet that it is there.
    pub(crate) fn take_fresh(&self, index: Index) -> Option<Box<H>> {
        let mut kept = self.kept.borrow_mut();
        let fresh = &mut kept.extras.as_mut()?.fresh;
        let position = fresh.iter().position(|(at, _)| *at == index)?;
        Some(fresh.remove(position).1)
    }

    /// Somebody on the stack goes by a slab that was: it leads nowhere any more, and is kept for the handlers that a panic
    /// may leave in it.
    #[cold]
    pub(crate) fn keep_outgrown(&self, slab: RcSlice<Node<H>>) {
        slab.iter().for_each(Node::outgrow);
        self.extend(|extras| extras.outgrown.push(slab));
    }

    /// Nobody goes by a slab that was any more.
    #[cold]
    pub(crate) fn forget_outgrown(&self) {
        drop(self.take_outgrown());
    }

    fn take_outgrown(&self) -> Vec<RcSlice<Node<H>>> {
        let mut kept = self.kept.borrow_mut();
        let extras = kept.extras.as_mut();
        extras.map_or_else(Vec::new, |extras| mem::take(&mut extras.outgrown))
    }

    /// Takes the handlers that a panic has passed out of their nodes, which stay busy: nobody comes to them any more.
    #[cold]
    pub(crate) fn set_aside_lost(&self) {
        let mut slabs = vec![self.slab()];
        if let Some(extras) = &self.kept.borrow().extras {
            slabs.extend(extras.outgrown.iter().cloned());
        }
        let nodes = slabs.iter().flat_map(|slab| slab.iter());
        for node in nodes {
            if let Some(handler) = node.take_lost() {
                self.extend(|extras| extras.lost.push((node.index(), handler)));
            }
        }
    }

    /// Buries what a panic has passed, in their order from the head, those that had been taken out last. Their names, and
    /// the handlers, to be dropped with care.
    pub(crate) fn bury_lost(&self) -> (Vec<String>, Vec<Box<H>>) {
        self.set_aside_lost();
        drop(self.take_outgrown());
        let mut lost = self.extend(|extras| mem::take(&mut extras.lost));
        let linked: Vec<Index> = self.linked().collect();
        lost.sort_by_key(|(index, _)| {
            let position = linked.iter().position(|at| at == index);
            position.unwrap_or(linked.len())
        });
        let names = lost.iter().map(|(index, _)| self.name(*index)).collect();
        for (index, _) in &lost {
            if !self.get(*index).is_gone() {
                self.take_out(*index);
            }
            self.bury(*index);
        }
        self.release_all();
        // What waited for a handler is forgotten together with what was emitted.
        self.slab().iter().for_each(|node| node.set_awaited(false));
        (
            names,
            lost.into_iter().map(|(_, handler)| handler).collect(),
        )
    }

    /// Only linked nodes stay on the way of operations.
    fn release_all(&self) {
        let slab = self.slab();
        let mut at = TAIL;
        loop {
            let node = &slab[usize::from(at)];
            let prev = &slab[usize::from(node.prev())];
            if prev.is_gone() {
                node.link_prev_like(prev);
            } else if prev.index() == HEAD {
                return;
            } else {
                at = prev.index();
            }
        }
    }

    /// The names of these nodes are given up.
    fn unlabel(&self, is_free: impl Fn(Index) -> bool) {
        if let Some(extras) = &mut self.kept.borrow_mut().extras {
            extras.labels.retain(|(labelled, _)| !is_free(*labelled));
        }
    }

    /// Whether the handler is still there, for its handles.
    pub(crate) fn presence(&self, index: Index) -> Arc<AtomicBool> {
        if matches!(self.get(index).state(), State::Removed | State::Vacant) {
            return Arc::default();
        }
        self.extend(|extras| {
            let presences = &mut extras.presences;
            if let Some((_, presence)) = presences.iter().find(|(at, _)| *at == index) {
                return presence.clone();
            }
            let presence = Arc::new(AtomicBool::new(true));
            presences.push((index, presence.clone()));
            presence
        })
    }

    fn end_presence(&self, index: Index) {
        let mut kept = self.kept.borrow_mut();
        let Some(extras) = &mut kept.extras else {
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
    pub(crate) fn free_dead(&self) {
        let slab = self.slab();
        for node in slab.iter() {
            if node.state() == State::Removed {
                node.set_facts(Facts::new(State::Vacant));
                node.renew();
            }
        }
        self.unlabel(|index| slab[usize::from(index)].state() == State::Vacant);
    }

    pub(super) fn extras(&self) -> Ref<'_, Option<Box<Extras<H>>>> {
        Ref::map(self.kept.borrow(), |kept| &kept.extras)
    }

    /// Changes what most pipelines do without. `change` gets at the nodes by other ways only.
    pub(super) fn extend<R>(&self, change: impl FnOnce(&mut Extras<H>) -> R) -> R {
        change(self.kept.borrow_mut().extras.get_or_insert_default())
    }
}
