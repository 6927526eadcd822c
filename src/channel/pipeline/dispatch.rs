//! How an inbound event travels: the trampoline.
//!
//! A callback's `ctx.fire_*` only records what it emits. The first emission goes to a slot in the core, further
//! ones to a list (`slow`). When the callback has returned, the trampoline delivers the slot,
//! then the list, each with all that follows from it, before anything that was waiting: depth first, in program
//! order, on a flat stack. So exactly one inbound handler of a pipeline is on the stack at any time, and `&mut self`
//! is never handed out twice.

use std::mem;

use super::super::core::{Context, Core, Handler, attention};
use super::super::entry::CAUGHT;
use super::super::handler::HandlerResult;
use super::super::lifetime::Life;
use super::super::mask::{self, Mask};
use super::super::node::{self, HEAD, Index, Node, Slab, State};
use super::super::reading::BatchEnd;
use super::super::root::Quiet;
use super::super::slow::{Event, Inbound};
use super::visit::Visit;
use crate::buffer::Message;
use crate::error::Failure;

/// How far the trampoline came.
enum Turn {
    /// Nothing is left, or the dispatch was suspended.
    Over,
    /// The pipeline has got a larger slab.
    Regrown,
}

/// What there is besides the slot.
enum Rest {
    /// Nothing, and nothing more comes.
    Over,
    /// The end of the batch, which is in the slot now.
    BatchEnds,
    /// Events or a resume.
    Waiting,
}

/// How a callback ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Quietly,
    /// Something was seen to, and may have changed what the dispatch goes by.
    Attention,
}

/// A panic has passed handlers of the channel and was caught before it had come to the channel's own boundary: by the entry of
/// another channel, whose handler had called, or by a handler. The channel ends all the same; from here it goes on to
/// there.
#[cold]
#[inline(never)]
fn go_on_panicking() -> ! {
    std::panic::resume_unwind(Box::new(CAUGHT));
}

impl Core {
    // ---- recording emissions

    /// Records an event without a payload that goes to the successor of `from`.
    #[inline]
    pub(crate) fn emit(&self, kind: Inbound, from: Index) {
        self.nodes.with(from, |from| self.emit_from(kind, from));
    }

    /// The same from HEAD, where every batch begins and ends.
    #[inline(always)]
    pub(crate) fn emit_from_head(&self, kind: Inbound) {
        if self.first_kind.get() == Inbound::None {
            self.first_kind.set(kind);
            self.first_from.set(self.nodes.head_link());
        } else {
            self.emit_event(Event::Plain(kind, HEAD));
        }
    }

    /// The same from the node itself.
    #[inline]
    pub(crate) fn emit_from(&self, kind: Inbound, from: &Node<dyn Handler>) {
        if self.first_kind.get() == Inbound::None {
            self.first_kind.set(kind);
            // Its link is not looked at here, only copied: else it is taken apart and put together again.
            self.first_from.set(from.link());
        } else {
            self.emit_event(Event::Plain(kind, from.index()));
        }
    }

    /// A message from HEAD.
    #[inline(always)]
    pub(crate) fn emit_message_from_head(&self, msg: Message) {
        if self.first_kind.get() == Inbound::None {
            self.fill_slot(msg);
        } else {
            self.emit_event(Event::Message(Inbound::Read, HEAD, msg));
        }
    }

    /// The same where the slot is known to be empty.
    #[inline(always)]
    pub(crate) fn fill_slot(&self, msg: Message) {
        self.first_kind.set(Inbound::Read);
        self.first_from.set(self.nodes.head_link());
        mem::forget(self.first_msg.replace(Some(msg)));
    }

    /// Records a message or user event that goes to the successor of `from`.
    #[inline]
    pub(crate) fn emit_message(&self, kind: Inbound, from: Index, msg: Message) {
        self.nodes
            .with(from, |from| self.emit_message_from(kind, from, msg));
    }

    /// The same from the node itself.
    #[inline]
    pub(crate) fn emit_message_from(&self, kind: Inbound, from: &Node<dyn Handler>, msg: Message) {
        if self.first_kind.get() == Inbound::None {
            self.first_kind.set(kind);
            self.first_from.set(from.link());
            // The slot is empty while its kind is None; forgetting the old value spares the drop check.
            mem::forget(self.first_msg.replace(Some(msg)));
        } else {
            self.emit_event(Event::Message(kind, from.index(), msg));
        }
    }

    /// A node was linked: the event in the slot goes where the links lead now (rule 8). A removal needs no such care: what
    /// was taken out has no handler any more when the event comes to it, and so it goes the careful way.
    pub(crate) fn relink_first(&self) {
        let from = self.first_from.get().index();
        self.nodes
            .with(from, |from| self.first_from.set(from.link()));
    }

    /// Records any event behind what was emitted before.
    #[cold]
    #[inline(never)]
    pub(crate) fn emit_event(&self, event: Event) {
        if self.first_kind.get() == Inbound::None {
            self.first_kind.set(Inbound::Spilled);
        }
        self.with_slow(|slow| slow.list.push(event));
        self.attend(attention::LIST);
    }

    /// Records what follows when everything emitted by the current callback was handled.
    pub(crate) fn emit_tail(&self, event: Event) {
        if self.attention.get() & attention::JUST_ASKED != 0 {
            self.resume_in_turn();
        }
        self.with_slow(|slow| slow.tail.push(event));
        self.attend(attention::LIST);
    }

    // ---- delivering

    /// Delivers until nothing is left, or until the dispatch is suspended.
    #[inline]
    pub(crate) fn run(&self) {
        if self.first_kind.get() != Inbound::None
            || self.resume_last.get() != HEAD
            || self.has_waiting()
        {
            self.walk();
        }
    }

    /// Delivers the message that was emitted, which is a batch of its own, and the end of that batch, if nothing keeps them
    /// apart: in one walk. In two of them they cost 140 instructions more. False if the end is still to come.
    #[inline]
    pub(crate) fn deliver_batch(&self) -> bool {
        self.attend(attention::BATCH_ENDS);
        self.walk();
        if self.attention.get() & attention::BATCH_ENDS != 0 {
            self.something_came_between();
            return false;
        }
        true
    }

    /// Between a message and the end of its batch.
    #[cold]
    #[inline(never)]
    fn something_came_between(&self) {
        if self.attention.get() & attention::ROOTS != 0 {
            self.run_roots();
        }
        self.attention
            .set(self.attention.get() & !attention::BATCH_ENDS);
        self.finish_batch(BatchEnd::Quiet);
    }

    /// Whether there is anything behind the slot.
    #[inline]
    fn has_waiting(&self) -> bool {
        let attention = self.attention.get();
        attention & attention::LIST != 0
            || attention & attention::SLOW != 0
                && self.slow.with(|slow| slow.stack.is_empty()) == Some(false)
    }

    fn walk(&self) {
        if self.attention.get() & attention::BEFORE_WALK != 0 && !self.prepare_walk() {
            return;
        }
        self.walk_on::<false>();
    }

    /// Whether the walk may begin.
    #[cold]
    #[inline(never)]
    fn prepare_walk(&self) -> bool {
        if self.attention.get() & attention::LOST != 0 {
            go_on_panicking();
        }
        // What is emitted while the dispatch is suspended stays in the slot and the list, in order.
        if self.attention.get() & attention::SUSPENDED != 0 {
            return false;
        }
        if self.attention.get() & attention::LIST != 0 {
            self.spill();
        }
        if self.is_watched() {
            let _held = self.hold_for_walk();
            self.walk_on::<true>();
            return false;
        }
        true
    }

    /// `NAMES`: whether handlers are named to the stall watcher.
    #[inline(always)]
    fn walk_on<const NAMES: bool>(&self) {
        loop {
            if self.attention.get() & attention::REGROWN != 0 {
                // Whoever has emitted it may have gone by the slab that was.
                self.relink_first();
            }
            if let Turn::Over = self.deliver_along::<NAMES>(&self.nodes.slab()) {
                return;
            }
        }
    }

    /// The trampoline itself. Everything that happens once per hop is inlined here. Tried: a hop that leaves its node to
    /// the context instead of a register; one instruction more with a message, none less without. A hop that reads the slab from
    /// the context, so that it needs no registers during a call: two more.
    #[inline(always)]
    fn deliver_along<const NAMES: bool>(&self, slab: &Slab<dyn Handler>) -> Turn {
        // One context for all hops: only its node changes from one to the next. Operations take the long way where handlers
        // are named.
        let way = if NAMES { &slab[..0] } else { slab };
        let mut ctx = Context::new(self, way, &slab[usize::from(HEAD)]);
        loop {
            let left = match self.first_kind.replace(Inbound::None) {
                Inbound::Read => match self.claim_next::<NAMES>(slab, mask::READ) {
                    Some(mut visit) => {
                        ctx.move_to(visit.node);
                        // The message goes from the slot to where the call expects it, and nowhere between.
                        let Some(msg) = self.first_msg.take() else {
                            visit.put_back();
                            continue;
                        };
                        let result = visit.handler().channel_read(&mut ctx, msg);
                        let node = visit.put_back();
                        // Here and not in a function that says so: its answer would be looked at once more, which took
                        // three instructions from each hop.
                        if self.is_quiet(&result) {
                            continue;
                        }
                        self.leave_slow(result, node)
                    }
                    None => self.deliver_message_slow(mask::READ),
                },
                Inbound::ReadComplete => {
                    match self.claim_next::<NAMES>(slab, mask::READ_COMPLETE) {
                        Some(mut visit) => {
                            ctx.move_to(visit.node);
                            let result = visit.handler().channel_read_complete(&mut ctx);
                            let node = visit.put_back();
                            if self.is_quiet(&result) {
                                continue;
                            }
                            if self.ends_with_flush(&result) {
                                return Turn::Over;
                            }
                            self.leave_slow(result, node)
                        }
                        None => self.deliver_elsewhere::<NAMES>(
                            mask::READ_COMPLETE,
                            Inbound::ReadComplete,
                            |handler, ctx| handler.channel_read_complete(ctx),
                        ),
                    }
                }
                Inbound::None | Inbound::Spilled => match self.rest() {
                    Rest::BatchEnds => continue,
                    Rest::Over => return Turn::Over,
                    Rest::Waiting => match self.deliver_waiting::<NAMES>(slab, &mut ctx) {
                        Some(left) => left,
                        None => return Turn::Over,
                    },
                },
                kind => self.deliver_rare::<NAMES>(slab, &mut ctx, kind),
            };
            if left == Left::Attention
                && self.attention.get() & attention::REGROWN != 0
                && self.nodes.is_outgrown(slab)
            {
                return Turn::Regrown;
            }
        }
    }

    /// A message whose next node was found without a handler, and every user event.
    #[cold]
    #[inline(never)]
    fn deliver_message_slow(&self, bit: Mask) -> Left {
        // Out of the slot first: the search may run handler_added, which may emit.
        if let Some(msg) = self.first_msg.take() {
            match self.find_next(self.first_from.get().index(), bit) {
                Some(index) if bit == mask::READ => {
                    self.call(index, |handler, ctx| handler.channel_read(ctx, msg));
                }
                Some(index) => {
                    self.call(index, |handler, ctx| handler.user_event_triggered(ctx, msg));
                }
                None if bit == mask::READ => self.tail_message(msg),
                None => self.tail_user_event(msg),
            }
        }
        Left::Attention
    }

    #[inline]
    fn deliver<'a, const NAMES: bool>(
        &'a self,
        slab: &'a Slab<dyn Handler>,
        ctx: &mut Context<'a>,
        bit: Mask,
        kind: Inbound,
        call: impl FnOnce(&mut dyn Handler, &mut Context<'_>) -> HandlerResult,
    ) -> Left {
        if let Some(mut visit) = self.claim_next::<NAMES>(slab, bit) {
            ctx.move_to(visit.node);
            let result = call(visit.handler(), ctx);
            return self.leave(visit, result);
        }
        self.deliver_elsewhere::<NAMES>(bit, kind, call)
    }

    /// An event whose next node was found without a handler.
    fn deliver_elsewhere<const NAMES: bool>(
        &self,
        bit: Mask,
        kind: Inbound,
        call: impl FnOnce(&mut dyn Handler, &mut Context<'_>) -> HandlerResult,
    ) -> Left {
        match self.find_next(self.first_from.get().index(), bit) {
            Some(index) => {
                self.call_by::<NAMES>(index, mask::name(bit), call);
            }
            None => self.tail_plain(kind),
        }
        Left::Attention
    }

    #[inline(never)]
    fn deliver_rare<'a, const NAMES: bool>(
        &'a self,
        slab: &'a Slab<dyn Handler>,
        ctx: &mut Context<'a>,
        kind: Inbound,
    ) -> Left {
        match kind {
            Inbound::Registered => {
                self.deliver::<NAMES>(slab, ctx, mask::REGISTERED, kind, |h, ctx| {
                    h.channel_registered(ctx)
                })
            }
            Inbound::Unregistered => {
                self.deliver::<NAMES>(slab, ctx, mask::UNREGISTERED, kind, |h, ctx| {
                    ctx.heard_of_the_end(mask::UNREGISTERED);
                    h.channel_unregistered(ctx)
                })
            }
            Inbound::Active => self.deliver::<NAMES>(slab, ctx, mask::ACTIVE, kind, |h, ctx| {
                h.channel_active(ctx)
            }),
            Inbound::Inactive => {
                self.deliver::<NAMES>(slab, ctx, mask::INACTIVE, kind, |h, ctx| {
                    ctx.heard_of_the_end(mask::INACTIVE);
                    h.channel_inactive(ctx)
                })
            }
            Inbound::Writability => {
                self.deliver::<NAMES>(slab, ctx, mask::WRITABILITY, kind, |h, ctx| {
                    h.channel_writability_changed(ctx)
                })
            }
            Inbound::UserEvent => self.deliver_message_slow(mask::USER_EVENT),
            Inbound::Read | Inbound::ReadComplete | Inbound::None | Inbound::Spilled => {
                Left::Attention
            }
        }
    }

    fn deliver_exception(&self, from: Index, cause: Failure) {
        match self.find_next(from, mask::EXCEPTION) {
            Some(index) => self.call_exception_caught(index, cause),
            None => self.tail_exception(cause),
        }
    }

    fn call_exception_caught(&self, index: Index, cause: Failure) {
        let text = cause.to_string();
        self.call(index, |handler, ctx| {
            // If the handler closes for what the peer did wrong, so do the writes fail that were waiting.
            let outer = self.blame(Self::peers_doing(&cause));
            let caught = handler.exception_caught(ctx, cause);
            self.blame(outer);
            if let Err(second) = caught {
                self.report_failed_exception_caught(index, &text, &second);
            }
            // An error of exception_caught itself ends here.
            Ok(())
        });
    }

    /// Calls one handler by its node, from outside of the walk. False if it is not there to be called.
    #[inline]
    pub(crate) fn call(
        &self,
        index: Index,
        call: impl FnOnce(&mut dyn Handler, &mut Context<'_>) -> HandlerResult,
    ) -> bool {
        if self.is_watched() {
            self.call_by::<true>(index, "", call)
        } else {
            self.call_by::<false>(index, "", call)
        }
    }

    /// The same, where it is known whether the handler is named to the stall watcher.
    #[inline]
    fn call_by<const NAMES: bool>(
        &self,
        index: Index,
        callback: &'static str,
        call: impl FnOnce(&mut dyn Handler, &mut Context<'_>) -> HandlerResult,
    ) -> bool {
        if NAMES {
            return self.named(index, callback, || self.call_now(index, call));
        }
        self.call_now(index, call)
    }

    fn call_now(
        &self,
        index: Index,
        call: impl FnOnce(&mut dyn Handler, &mut Context<'_>) -> HandlerResult,
    ) -> bool {
        self.ensure_added(index);
        let slab = self.nodes.slab();
        let node = &slab[usize::from(index)];
        let Some(mut visit) = Visit::begin(self, node) else {
            if self.attention.get() & attention::LOST != 0 {
                go_on_panicking();
            }
            if node.state() == State::Here {
                panic!(
                    "Tidegate's invariant broke: an inbound event reached a handler that is on the stack"
                )
            }
            return false;
        };
        let mut ctx = Context::new(self, self.slab_to_go_by(&slab), node);
        let result = call(visit.handler(), &mut ctx);
        self.leave(visit, result);
        true
    }

    // ---- what waits

    /// What there is besides the slot: events that wait, or else the resume in its slot. `None` when nothing is left or the
    /// dispatch is suspended. Not inlined: inside of the walk it took 7 instructions from every hop.
    #[inline(never)]
    fn deliver_waiting<'a, const NAMES: bool>(
        &'a self,
        slab: &'a Slab<dyn Handler>,
        ctx: &mut Context<'a>,
    ) -> Option<Left> {
        if !self.has_waiting() {
            if let Some(mut visit) = self.claim_resume(slab) {
                ctx.move_to(visit.node);
                if NAMES {
                    self.note_visit(visit.node, "resume");
                }
                let result = visit.handler().resume(ctx);
                if self.first_kind.get() == Inbound::None {
                    self.resumed(visit.node.index(), false, false, false);
                }
                return Some(self.leave(visit, result));
            }
            if self.resume_last.get() == HEAD {
                return self.end_batch_quietly().then_some(Left::Quietly);
            }
            self.resume_in_turn();
        }
        self.run_waiting().then_some(Left::Attention)
    }

    /// What comes when the slot is empty. Not inlined, nor what delivers what waits: inside of the walk they took 7 instructions
    /// from every hop.
    #[inline(never)]
    fn rest(&self) -> Rest {
        let nothing_waits = self.attention.get() & (attention::LIST | attention::SLOW) == 0
            && self.resume_last.get() == HEAD;
        if !nothing_waits {
            return Rest::Waiting;
        }
        if self.end_batch_quietly() {
            return Rest::BatchEnds;
        }
        Rest::Over
    }

    /// All that followed from the only message of a batch has been handled: the end of the batch is next, unless something
    /// waits that may not run in the middle of a walk.
    #[inline]
    fn end_batch_quietly(&self) -> bool {
        const LOOK: u16 = attention::BATCH_ENDS | attention::ROOTS | attention::SUSPENDED;
        let attention = self.attention.get();
        if attention & LOOK != attention::BATCH_ENDS || self.life.get() >= Life::Closing {
            return false;
        }
        self.attention.set(attention & !attention::BATCH_ENDS);
        self.emit_from_head(Inbound::ReadComplete);
        true
    }

    /// Takes the next waiting event and delivers it. False when there is none or the dispatch is suspended.
    #[cold]
    #[inline(never)]
    fn run_waiting(&self) -> bool {
        if self.attention.get() & attention::LIST != 0 {
            self.spill();
        }
        let event = self.slow.with(|slow| slow.stack.pop());
        let Some(event) = event.flatten() else {
            return false;
        };
        if matches!(event, Event::Resume { .. }) && self.attention.get() & attention::ROOTS != 0 {
            // What may not run in the middle of something runs before each resume (rule 6).
            match self.root_before_resume() {
                Quiet::Nothing => {}
                Quiet::Item(root) => {
                    self.with_slow(|slow| slow.stack.push(event));
                    self.run_root(root);
                    self.flush_put_off();
                    self.spill_what_came();
                    return true;
                }
                Quiet::Enough => {
                    self.suspend(event);
                    return false;
                }
            }
        }
        match event {
            // Into the slot, which is free, and from there like everything else.
            Event::Plain(kind, from) => self.emit(kind, from),
            Event::Message(kind, from, msg) => self.emit_message(kind, from, msg),
            Event::Exception(from, cause) => self.deliver_exception(from, cause),
            Event::ExceptionAt(index, cause) => {
                self.ensure_added(index);
                let is_there = self.nodes.get(index).state() == State::Here;
                if is_there && self.nodes.has_mask(index, mask::EXCEPTION) {
                    self.call_exception_caught(index, cause);
                } else {
                    self.deliver_exception(index, cause);
                }
            }
            Event::Added(index) => self.ensure_added(index),
            Event::After(index, key) => {
                self.call(index, |handler, ctx| handler.after(ctx, key));
            }
            Event::Resume {
                node,
                unparked,
                emitted,
            } => return self.run_resume(node, unparked, emitted),
            Event::ReadOp(from) => self.op_read(from),
        }
        // What came about outside of a walk: no callback has left that would have seen to it.
        self.spill_what_came();
        true
    }

    fn spill_what_came(&self) {
        if self.attention.get() & attention::LOST != 0 {
            go_on_panicking();
        }
        if self.attention.get() & attention::LIST != 0 {
            self.spill();
        }
    }

    /// Ends the dispatch before `event`; it goes on from the ready list.
    pub(super) fn suspend(&self, event: Event) {
        self.with_slow(|slow| slow.stack.push(event));
        self.attend(attention::SUSPENDED);
        self.push_ready();
    }

    /// Puts what the callback emitted beyond its first emission on the stack, last first.
    #[cold]
    #[inline(never)]
    fn spill(&self) {
        self.attention.set(self.attention.get() & !attention::LIST);
        self.with_slow(|slow| {
            while let Some(event) = slow.tail.pop() {
                slow.stack.push(event);
            }
            while let Some(event) = slow.list.pop() {
                slow.stack.push(event);
            }
        });
        if self.first_kind.get() == Inbound::Spilled {
            self.first_kind.set(Inbound::None);
        }
    }

    // ---- entering and leaving handlers

    /// Takes the handler onto the stack that the event in the slot goes to, if it is in place.
    #[inline(always)]
    fn claim_next<'a, const NAMES: bool>(
        &'a self,
        slab: &'a Slab<dyn Handler>,
        bit: Mask,
    ) -> Option<Visit<'a>> {
        let node = node::next_with(slab, self.first_from.get(), bit)?;
        if NAMES {
            self.note_event(node, bit);
        }
        Visit::begin(self, node)
    }

    /// The next handler that an event stops at, with its `handler_added` run and its handler in place. For when the
    /// walk of a hop found a node without a handler.
    #[cold]
    #[inline(never)]
    fn find_next(&self, from: Index, bit: Mask) -> Option<Index> {
        loop {
            let node = self.nodes.next_linked(from, bit);
            match node.state() {
                State::Sentinel => return None,
                // handler_added may take the handler out again: look once more.
                State::Added => {
                    self.ensure_added(node.index());
                    if self.attention.get() & attention::LOST != 0 {
                        go_on_panicking();
                    }
                }
                State::Here | State::Removed | State::Vacant | State::Lost => {
                    return Some(node.index());
                }
            }
        }
    }

    /// Ends an inbound callback.
    #[inline(always)]
    fn leave(&self, visit: Visit<'_>, result: HandlerResult) -> Left {
        let node = visit.put_back();
        if self.is_quiet(&result) {
            return Left::Quietly;
        }
        self.leave_slow(result, node)
    }

    /// Whether nothing has to be seen to after a callback.
    #[inline(always)]
    fn is_quiet(&self, result: &HandlerResult) -> bool {
        result.is_ok() && self.attention.get() & attention::AFTER_CALL == 0
    }

    /// Whether a callback has flushed, and nothing else is left of the dispatch: the way of most answers, without the 80
    /// instructions of looking for more.
    #[inline(always)]
    fn ends_with_flush(&self, result: &HandlerResult) -> bool {
        result.is_ok()
            && self.attention.get() == attention::FLUSH
            && self.first_kind.get() == Inbound::None
            && self.resume_last.get() == HEAD
    }

    #[cold]
    #[inline(never)]
    fn leave_slow(&self, result: HandlerResult, node: &Node<dyn Handler>) -> Left {
        if self.attention.get() & attention::LOST != 0 {
            go_on_panicking();
        }
        if !self.is_last(&result) {
            self.flush_put_off();
        }
        let attention = self.attention.get();
        if result.is_ok() && attention & attention::AFTER_CALL_MORE == 0 {
            self.attention.set(attention & !attention::JUST_ASKED);
            return Left::Quietly;
        }
        if let Err(failure) = result {
            let event = Event::ExceptionAt(node.index(), failure);
            self.with_slow(|slow| slow.tail.insert(0, event));
            self.attend(attention::LIST);
        }
        self.after_call(node);
        if self.attention.get() & attention::LOST != 0 {
            // In a farewell, say, which has caught it.
            go_on_panicking();
        }
        self.attention
            .set(self.attention.get() & !attention::JUST_ASKED);
        if self.attention.get() & attention::LIST != 0 {
            self.spill();
        }
        Left::Attention
    }

    /// Whether nothing is delivered any more in this dispatch, whose outermost entry does the flush then, from the flattest
    /// stack.
    #[inline]
    fn is_last(&self, result: &HandlerResult) -> bool {
        result.is_ok()
            && self.first_kind.get() == Inbound::None
            && self.attention.get() & !(attention::FLUSH | attention::ROOTS | attention::WATCHED)
                == 0
            && self.resume_last.get() == HEAD
    }

    /// What is due when a handler has left the stack: the way into a larger slab, its removal, and operations that waited
    /// for it.
    pub(crate) fn after_call(&self, node: &Node<dyn Handler>) {
        if self.attention.get() & attention::REGROWN != 0 {
            self.nodes.carry_over(node);
        }
        if self.attention.get() & attention::REMOVED_BUSY != 0 {
            self.finish_removal(node.index());
        }
        if self.attention.get() & attention::WAITING != 0 {
            self.run_waiting_ops(node.index());
        }
    }

    /// The slab that a new context goes by. None while operations wait for a handler, which others may not overtake, or while
    /// a panic comes by, with handlers in place that may not be called, or where handlers are named to the stall watcher:
    /// then each operation looks at everything.
    pub(super) fn slab_to_go_by<'a>(&self, slab: &'a Slab<dyn Handler>) -> &'a Slab<dyn Handler> {
        const LOOK: u16 = attention::WAITING | attention::WATCHED | attention::LOST;
        if self.attention.get() & LOOK != 0 {
            return &slab[..0];
        }
        slab
    }
}
