//! One place of a pipeline, and the two steps of every walk.
//!
//! A node's mask stands in the links that lead to the node, because a walk is to learn whether it stops there before
//! it goes there: a handler that is passed over costs six instructions so, and seven at best if the mask stands in the
//! node itself. In its life a node only loses bits; a link that was not told of the last ones is not wrong, only slow.
//!
//! Who keeps nodes, and how they are linked, is in `nodes`.

use std::any::Any;
use std::cell::Cell;

use tidegate_sys::mem::{self, Berth};

use super::kind::Kind;
use super::mask::{self, Mask};

/// The index of a node. Valid while a dispatch runs.
pub(crate) type Index = u16;

/// Both ends of a pipeline are one node: its link toward the tail leads to the first handler, the one toward the head to
/// the last, and every walk stops there. What tells the ends apart is the direction.
pub(crate) const HEAD: Index = 0;
pub(crate) const TAIL: Index = HEAD;

/// No slab is as long as this.
pub(super) const NOWHERE: Index = Index::MAX;

/// What a node is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// In the free list.
    Vacant,
    /// HEAD and TAIL.
    Sentinel,
    /// Its handler was told that it is there. It is in place, or on the stack.
    Here,
    /// Linked; `handler_added` has not run yet. The handler waits elsewhere, so that every walk that stops here finds
    /// none.
    Added,
    /// A panic passed its handler on the stack. It is back in place, and nobody may call it: the catch boundary buries it.
    Lost = State::Here as u8 | LOSE,
    /// A tombstone. Remains one when its handler is lost in its farewell.
    Removed = 7,
}

/// What makes a handler that was on the stack a lost one: a bit, so that it is one instruction.
const LOSE: u8 = 4;

const _: () = assert!(State::Removed as u8 & LOSE != 0 && State::Here as u8 & LOSE == 0);

/// Where a node stands with `resume`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
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

/// The small facts of a node in a byte.
///
/// | bits | what |
/// |---|---|
/// | 0 to 2 | [`State`] |
/// | 3 | it was taken out: nothing stops at it any more |
/// | 4, 5 | [`Resume`] |
/// | 6 | its handler has declared its mask |
/// | 7 | of a handler: what called it has to look around when it returns, because operations wait there or the slab is
/// outgrown; of the ends: nothing stops a read() of the tail on its way to the head |
#[derive(Clone, Copy)]
pub(super) struct Facts(pub(super) u8);

impl Facts {
    pub(super) const GONE: u8 = 1 << 3;
    pub(super) const DECLARED: u8 = 1 << 6;
    const AWAITED: u8 = 1 << 7;
    const STRAIGHT: u8 = 1 << 7;

    pub(super) const fn new(state: State) -> Self {
        Self(state as u8)
    }

    fn state(self) -> State {
        const STATES: [State; 8] = [
            State::Vacant,
            State::Sentinel,
            State::Here,
            State::Added,
            State::Vacant,
            State::Vacant,
            State::Lost,
            State::Removed,
        ];
        STATES[usize::from(self.0 & 7)]
    }

    fn with_state(self, state: State) -> Self {
        Self(self.0 & !7 | state as u8)
    }

    fn resume(self) -> Resume {
        const RESUMES: [Resume; 4] = [
            Resume::Idle,
            Resume::Asked,
            Resume::AskedWithCredit,
            Resume::Parked,
        ];
        RESUMES[usize::from(self.0 >> 4 & 3)]
    }

    fn with_resume(self, resume: Resume) -> Self {
        Self(self.0 & !(3 << 4) | (resume as u8) << 4)
    }
}

/// Where a node stands, and all that an event has to remember of the node which emits it: eight bytes, copied in one move.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    /// Toward the tail, and which inbound events stop there.
    pub(super) next: Index,
    pub(super) next_mask: Mask,
    /// Toward the head.
    pub(super) prev: Index,
    /// The node's own, which never changes.
    index: Index,
}

const _: () = assert!(size_of::<Link>() == 8);

impl Link {
    /// The node whose it is.
    #[inline(always)]
    pub(crate) fn index(self) -> Index {
        self.index
    }
}

/// The nodes of a pipeline, for those who deliver.
pub(crate) type Slab<H> = [Node<H>];

/// One place of a pipeline. `H` is the handler's trait object; the links need not know more of it.
///
/// The handler is in its berth only in the state Here, and lent while it is on the stack. A walk needs no other test: it
/// borrows what it finds. The berth's tag is the lower byte of the generation.
pub(crate) struct Node<H: ?Sized>(Berth<H, Known>);

/// A handler on the stack.
pub(crate) type Loan<'a, H> = mem::Loan<'a, H, Known>;

/// What there is of a node beside its handler.
#[derive(Clone)]
pub(crate) struct Known {
    link: Cell<Link>,
    /// How often the node was used, above its lower byte.
    used: Cell<u16>,
    name: Cell<Name>,
    /// Which operations stop at the node toward the head: the upper half of a mask, where the outbound bits are.
    prev_mask: Cell<u8>,
    facts: Cell<Facts>,
}

/// What a handler without a name of its own is called by: its kind in the upper 12 bits; below, what distinguishes handlers
/// of one kind: `Type#ordinal`.
#[derive(Clone, Copy)]
struct Name(u16);

/// The largest ordinal that a node keeps itself.
pub(super) const ORDINAL_MAX: u16 = 0xF;

const _: () = assert!(
    size_of::<Node<dyn Any>>() == 32,
    "one hop computes an index times this size, and an idle channel has several"
);
const _: () = assert!(
    mask::OUTBOUND & 0xFF == 0 && mask::INBOUND & mask::OUTBOUND == 0,
    "prev_mask has room for all outbound bits and nothing else"
);

/// The half of a mask with the outbound bits.
pub(super) const fn upper(mask: Mask) -> u8 {
    (mask >> 8) as u8
}

impl<H: ?Sized> Node<H> {
    pub(super) fn vacant(index: usize) -> Self {
        let known = Known {
            link: Cell::new(Link {
                next: TAIL,
                next_mask: mask::INBOUND,
                prev: HEAD,
                index: index as Index,
            }),
            used: Cell::new(0),
            name: Cell::new(Name(Kind::NONE.number() << 4)),
            prev_mask: Cell::new(upper(mask::OUTBOUND)),
            facts: Cell::new(Facts::new(State::Vacant)),
        };
        Self(Berth::empty(0, known))
    }

    /// HEAD and TAIL of an empty pipeline.
    pub(super) fn sentinel() -> Self {
        let sentinel = Self::vacant(HEAD.into());
        sentinel.set_facts(Facts::new(State::Sentinel));
        sentinel
    }

    /// The same node for a larger slab. A handler that is in place moves along.
    pub(super) fn moved(&self) -> Self {
        let moved = Self(Berth::empty(self.0.tag.get(), self.known().clone()));
        if let Some(handler) = self.take() {
            moved.put(handler);
        }
        moved
    }

    #[inline(always)]
    fn known(&self) -> &Known {
        &self.0.known
    }

    // ---- the handler

    /// Has the handler on the stack; `None` if it is there already, or does not know of its addition, or if this is no
    /// handler's node.
    #[inline(always)]
    pub(crate) fn lend(&self) -> Option<Loan<'_, H>> {
        self.0.lend()
    }

    /// Takes the handler out, if it is in place.
    pub(crate) fn take(&self) -> Option<Box<H>> {
        self.0.take()
    }

    /// Puts a handler into a node that has none.
    pub(crate) fn put(&self, handler: Box<H>) {
        self.0.put(handler);
    }

    /// Looks at the handler, if it is in place.
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&H) -> R) -> Option<R> {
        self.lend().map(|handler| look(&handler))
    }

    /// True while the handler is on the stack, and for one that a panic has passed there.
    pub(crate) fn is_busy(&self) -> bool {
        match self.state() {
            State::Here => !self.0.is_in_place(),
            State::Lost => true,
            State::Vacant | State::Sentinel | State::Added | State::Removed => false,
        }
    }

    /// A panic passes the handler. Nothing but a store: a call would need a register of its caller's in the code that runs
    /// without a panic, four instructions for each handler on the way of an operation.
    #[inline(always)]
    pub(crate) fn lose(&self) {
        self.add_fact(LOSE);
    }

    /// The handler, if a panic has passed it. The node counts as being on the stack then.
    pub(super) fn take_lost(&self) -> Option<Box<H>> {
        match self.state() {
            State::Lost => self.set_state(State::Here),
            // Only a farewell puts a handler there.
            State::Removed => {}
            State::Vacant | State::Sentinel | State::Here | State::Added => return None,
        }
        self.take()
    }

    // ---- what is known of it

    #[inline(always)]
    pub(crate) fn index(&self) -> Index {
        self.known().link.get().index
    }

    #[inline(always)]
    pub(crate) fn link(&self) -> Link {
        self.known().link.get()
    }

    /// Which operations stop at the node toward the head: the upper half of a mask.
    #[inline(always)]
    pub(super) fn prev_mask(&self) -> u8 {
        self.known().prev_mask.get()
    }

    pub(super) fn set_prev_mask(&self, mask: u8) {
        self.known().prev_mask.set(mask);
    }

    #[inline(always)]
    fn facts(&self) -> Facts {
        self.known().facts.get()
    }

    #[inline(always)]
    pub(super) fn set_facts(&self, facts: Facts) {
        self.known().facts.set(facts);
    }

    pub(crate) fn next(&self) -> Index {
        self.known().link.get().next
    }

    pub(crate) fn prev(&self) -> Index {
        self.known().link.get().prev
    }

    pub(crate) fn kind(&self) -> Kind {
        Kind::numbered(self.known().name.get().0 >> 4)
    }

    pub(super) fn ordinal(&self) -> u16 {
        self.known().name.get().0 & ORDINAL_MAX
    }

    /// Notes whose node it is. An ordinal that is too large for that is cut; whoever has one has a name written down.
    pub(super) fn set_name(&self, kind: Kind, ordinal: u16) {
        let name = Name(kind.number() << 4 | ordinal.min(ORDINAL_MAX));
        self.known().name.set(name);
    }

    /// How often the node was used before, wrapping at 2^24: a name that is older than that many handlers in one place of
    /// one channel may mean another one.
    pub(super) fn generation(&self) -> u32 {
        u32::from(self.known().used.get()) << 8 | u32::from(self.0.tag.get())
    }

    /// Whether it has had no user yet.
    pub(super) fn is_unused(&self) -> bool {
        self.state() == State::Vacant && self.generation() == 0
    }

    /// Its next user is another one.
    pub(super) fn renew(&self) {
        let next = self.generation().wrapping_add(1);
        self.0.tag.set(next as u8);
        self.known().used.set((next >> 8) as u16);
    }

    pub(crate) fn state(&self) -> State {
        self.facts().state()
    }

    #[inline(always)]
    pub(crate) fn set_state(&self, state: State) {
        self.set_facts(self.facts().with_state(state));
    }

    pub(crate) fn resume(&self) -> Resume {
        self.facts().resume()
    }

    pub(crate) fn set_resume(&self, resume: Resume) {
        self.set_facts(self.facts().with_resume(resume));
    }

    /// True once the handler was taken out of the pipeline.
    pub(crate) fn is_gone(&self) -> bool {
        self.facts().0 & Facts::GONE != 0
    }

    /// Whether the handler said which callbacks it has.
    pub(crate) fn is_declared(&self) -> bool {
        self.facts().0 & Facts::DECLARED != 0
    }

    #[inline(always)]
    pub(super) fn add_fact(&self, fact: u8) {
        self.set_facts(Facts(self.facts().0 | fact));
    }

    /// Whether a read() of the tail is known to come to the head at once. Asked of the ends.
    #[inline]
    pub(crate) fn is_straight(&self) -> bool {
        self.facts().0 & Facts::STRAIGHT != 0
    }

    /// Notes whether it does.
    pub(crate) fn set_straight(&self, straight: bool) {
        let others = self.facts().0 & !Facts::STRAIGHT;
        let straight = if straight { Facts::STRAIGHT } else { 0 };
        self.set_facts(Facts(others | straight));
    }

    /// Whether something is due when the handler leaves the stack: it was taken out meanwhile, operations wait for it, or its
    /// slab is outgrown.
    #[inline(always)]
    pub(crate) fn is_awaited(&self) -> bool {
        self.facts().0 & (Facts::GONE | Facts::AWAITED) != 0
    }

    /// Whether an operation goes on to a handler behind the next one toward the head.
    #[inline(always)]
    pub(crate) fn passes_next(&self, bit: Mask) -> bool {
        self.known().prev_mask.get() & upper(bit) == 0
    }

    /// Notes whether operations wait for the handler.
    pub(crate) fn set_awaited(&self, awaited: bool) {
        let others = self.facts().0 & !Facts::AWAITED;
        let awaited = if awaited { Facts::AWAITED } else { 0 };
        self.set_facts(Facts(others | awaited));
    }

    /// The node's slab is outgrown: no operation finds a way from here, and its handler is looked after when it leaves the
    /// stack.
    pub(super) fn outgrow(&self) {
        self.set_prev(NOWHERE);
        self.known().prev_mask.set(0);
        self.set_awaited(true);
    }

    // ---- links

    /// Links toward the tail.
    pub(super) fn link_next(&self, to: Index, mask: Mask) {
        self.known().link.set(Link {
            next: to,
            next_mask: mask & mask::INBOUND,
            ..self.known().link.get()
        });
    }

    /// Links toward the head.
    pub(super) fn link_prev(&self, to: Index, mask: Mask) {
        self.set_prev(to);
        self.known().prev_mask.set(upper(mask & mask::OUTBOUND));
    }

    /// Takes over the link of another node toward the tail.
    pub(super) fn link_next_like(&self, other: &Self) {
        self.link_next(other.next(), other.link().next_mask);
    }

    /// Takes over the link of another node toward the head.
    pub(super) fn link_prev_like(&self, other: &Self) {
        self.set_prev(other.prev());
        self.known().prev_mask.set(other.prev_mask());
    }

    fn set_prev(&self, to: Index) {
        let link = self.known().link.get();
        self.known().link.set(Link { prev: to, ..link });
    }
}

/// The next node toward the tail where `bit` stops, from the node whose link this is; TAIL stops every inbound event.
/// `None` if the slab is not the node's.
#[inline(always)]
pub(crate) fn next_with<H: ?Sized>(slab: &Slab<H>, from: Link, bit: Mask) -> Option<&Node<H>> {
    // The first step apart from the loop: an event stops at the next node more often than not, and loops are aligned.
    // Indices are widened at once: a u16 that is carried around is extended at every use.
    let mut to = usize::from(from.next);
    if from.next_mask & bit == 0 {
        loop {
            let link = slab.get(to)?.link();
            to = usize::from(link.next);
            if link.next_mask & bit != 0 {
                break;
            }
        }
    }
    slab.get(to)
}

/// The next node toward the head where `bit` stops; HEAD stops every operation. `None` if the slab is not the node's.
#[inline(always)]
pub(crate) fn prev_with<'a, H: ?Sized>(
    slab: &'a Slab<H>,
    from: &Node<H>,
    bit: Mask,
) -> Option<&'a Node<H>> {
    let bit = upper(bit);
    let mut to = usize::from(from.prev());
    if from.prev_mask() & bit == 0 {
        loop {
            let node = slab.get(to)?;
            to = usize::from(node.prev());
            if node.prev_mask() & bit != 0 {
                break;
            }
        }
    }
    slab.get(to)
}
