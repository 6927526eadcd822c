//! Draining: channels send what they have before they are closed (`EventLoopGroup::drain`).
//!
//! 1. Servers are closed, on all loops. What they accepted before has reached its loop when the last of them is closed.
//! 2. Each loop goes through its channels. One that is connected hears [`Draining`], and is closed as soon as that event
//!    has been let go of and nothing waits to be sent; it is woken for both and never asked in between. The others are
//!    closed at once. Streams of a connection come before the connection. When all are gone the loop looks again: some
//!    may have come meanwhile. A close of a connection lingers until its peer has ended too (`linger`).
//! 3. At the deadline what is left is closed without asking its handlers; also what the first two steps have not come to,
//!    because they wait behind the tasks of their loop (`drain_watch`).
//!
//! Whatever ends a channel, what it had not sent by then is in the report. Everything here is loop-confined but the
//! report (`drain_report`), which is complete when the last [`Drain`] is dropped: so it comes in any case, also where a
//! loop ends first.
//!
//! It is no step of a loop's end, and the loops go on afterwards: shutting them down is another call.

use std::any::Any;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, Weak as SyncWeak};

use tidegate_sys::mem::{LocalTask, Task};
use tidegate_sys::os::clock;

use super::core::{Core, Root};
use super::drain_report::{Drain, DrainReport, Leaving, Tally, Unsent};
use super::drain_times::DrainTimes;
use super::drain_watch::{Turn, Watch, deadline};
use super::group::Loops;
use super::lifetime::Life;
use super::node::TAIL;
use super::op::Op;
use super::shared::{Channel, ChannelId, Shared};
use super::slow::Inbound;
use crate::buffer::Message;
use crate::error::Error;
use crate::event_loop::{EventLoop, EventLoopGroup, LoopCore};
use crate::future::{Promise, TaskFuture, TaskPromise};

impl EventLoopGroup {
    /// Ends the service without losing an answer: closes the servers on these loops, lets every channel send what waits,
    /// closes each when it has and its peer has got it, and after `within` those that are left. The report says what was
    /// left unsent, and to whom, and how many were closed before anybody could know.
    ///
    /// Each connected channel hears the user event [`Draining`] first; a handler that keeps a clone of it keeps its channel
    /// open, up to the deadline. Reading goes on meanwhile. What a handler sends when it is asked to close goes out as well.
    /// Channels that are connecting are closed at once.
    ///
    /// A connection is closed by ending its output (the peer reads everything, and then the end), reading on until the peer
    /// ends its side too, and dropping what comes: a *lingering close*. Requests that the peer had sent before it saw the end
    /// get no answer; but those that have one keep it. Without this a peer that sends without waiting could lose them: when a
    /// socket is closed while something unread is in it, or something comes for it later, TCP resets the connection (RST),
    /// the kernel drops what it had not sent, and the peer may drop what it had not read. For the handlers such a channel is
    /// closing: they hear nothing more until `channel_inactive`. The same goes for a channel that a handler closes while it
    /// drains.
    ///
    /// A peer that neither ends its side nor sends anything for 5 s is not waited for ([`silent`](DrainReport::silent)): so
    /// with clients that keep idle connections a drain takes 5 s, or `within` if that is shorter, or what
    /// [`DrainTimes::silence`] says. One that sends on and on is cut off after `within` ([`cut`](DrainReport::cut)). Where
    /// there is no end of the output alone (datagrams), or nothing that a close could cost the peer (channels inside of the
    /// process), or nobody knows ([`oio::Stream`](crate::transport::oio::Stream), a transport of one's own: see
    /// [`Transport::lingers`](crate::channel::Transport::lingers)), a channel is closed plainly.
    ///
    /// What was asked of the channels before is done first: the drain waits behind the tasks of each loop. `within` counts from
    /// this call all the same, and what has not had its turn by then is closed unasked, and [`late`](DrainReport::late). (But
    /// for `io_ratio(100)`, where tasks that wait run before anything else is looked at.)
    ///
    /// Close a server on another group's loops before: its children live here. The loops go on, and what comes to them
    /// after the report lives; [`shutdown_gracefully`](Self::shutdown_gracefully) ends them. It does not wait for peers: a
    /// shutdown in the middle of a drain cuts off those that are waited for.
    ///
    /// Where drains overlap, a channel is in the reports of all of them, and the first deadline closes it, as does the
    /// shortest silence.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidegate::EventLoopGroup;
    ///
    /// let group = EventLoopGroup::new(2)?;
    /// let report = group.drain(Duration::from_secs(5)).sync()?;
    /// for rest in &report.unsent {
    ///     eprintln!("{rest}");
    /// }
    /// group.shutdown_gracefully(Duration::ZERO, Duration::from_secs(5)).sync()?;
    /// # Ok::<(), tidegate::Error>(())
    /// ```
    pub fn drain(&self, within: impl Into<DrainTimes>) -> TaskFuture<DrainReport> {
        drain(self.iter().cloned().collect(), within.into())
    }
}

impl EventLoop {
    /// As [`EventLoopGroup::drain`], for the channels of one loop.
    pub fn drain(&self, within: impl Into<DrainTimes>) -> TaskFuture<DrainReport> {
        drain(vec![self.clone()], within.into())
    }
}

impl Channel {
    /// As [`EventLoopGroup::drain`], for this channel: sends what waits, then closes without losing it. The way to close a
    /// connection whose peer may still be sending, after an answer that is to be the last one.
    ///
    /// A channel that has closed is no channel in the report.
    pub fn drain(&self, within: impl Into<DrainTimes>) -> TaskFuture<DrainReport> {
        let (drain, future) = new_drain(vec![self.event_loop().clone()], within.into());
        let watch = Arc::<Watch>::default();
        let turn = Turn {
            watch: watch.clone(),
            drain: Arc::downgrade(&drain),
            event_loop: self.event_loop().clone(),
        };
        let shared = self.shared().clone();
        run_on(self.event_loop(), move |_| {
            shared.meet(move |core| {
                let Some(drain) = turn.begin(&core.lp) else {
                    // It came to its loop behind the deadline.
                    return core.enter(|core| core.head_close(Promise::void()));
                };
                let tally = tally(&core.lp, drain, true);
                core.enter(|core| _ = core.begin_drain(&tally));
                if tally.left.get() == 0 {
                    tally.end(&core.lp);
                }
            });
        });
        let shared = self.shared().clone();
        watch.keep(self.event_loop(), drain, move |_, drain| {
            let core = shared.core();
            if let Some(core) = core.filter(|core| core.life.get() != Life::Closed) {
                let tally = late_tally(drain, true);
                core.enter(|core| core.drain_late(&tally));
            }
        });
        future
    }
}

/// A user event: the channel is about to be closed, as soon as what it has to send is sent.
///
/// The channel waits until the event and all clones of it are dropped. So a handler that works on an answer keeps a clone
/// until it has written it, and one that has nothing to say passes the event on. It is not waited for longer than the
/// drain's deadline. Handlers on another group's loop get it like any event.
#[derive(Clone)]
pub struct Draining(Arc<Held>);

/// Tells the channel when nobody has the event any more.
struct Held(Arc<Shared>);

impl Drop for Held {
    fn drop(&mut self) {
        let shared = self.0.clone();
        // Never refused, and never on the stack of whoever drops it.
        self.0.event_loop().host().run_listener(Task::new(move || {
            if let Some(core) = shared.core() {
                core.enter(Core::drain_on);
            }
        }));
    }
}

/// For a handler with a queue: keeps the channel open while something is in it. Writes may come to it from a handler that
/// holds the event after it has let go of it itself, so it remembers the event without holding it.
#[derive(Default)]
pub(crate) struct DrainHold {
    event: SyncWeak<Held>,
    held: Option<Draining>,
}

impl DrainHold {
    /// Whether `event` says that the channel drains.
    pub(crate) fn hears(&mut self, event: &Message) -> bool {
        let draining = event.downcast_ref::<Draining>();
        if let Some(draining) = draining {
            self.event = Arc::downgrade(&draining.0);
        }
        draining.is_some()
    }

    /// Something waits.
    pub(crate) fn keep(&mut self) {
        if self.held.is_none() {
            self.held = self.event.upgrade().map(Draining);
        }
    }

    /// Nothing waits. What was written is the channel's to wait for.
    pub(crate) fn let_go(&mut self) {
        self.held = None;
    }
}

impl fmt::Debug for Draining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Draining")
    }
}

fn new_drain(loops: Vec<EventLoop>, times: DrainTimes) -> (Arc<Drain>, TaskFuture<DrainReport>) {
    let (promise, future) = TaskPromise::pair(Arc::new(Loops(loops)));
    promise.set_uncancellable();
    let begun = clock::now();
    let drain = Drain {
        begun,
        deadline: begun + times.within,
        silence: times.silence,
        promise,
        report: Mutex::default(),
    };
    (Arc::new(drain), future)
}

fn drain(loops: Vec<EventLoop>, times: DrainTimes) -> TaskFuture<DrainReport> {
    let (drain, future) = new_drain(loops.clone(), times);
    let parts = loops.into_iter().map(|each| (each, Arc::default()));
    let doors = Arc::new(Doors {
        parts: parts.collect(),
        drain: Arc::downgrade(&drain),
    });
    for (event_loop, watch) in doors.started() {
        let doors = doors.clone();
        run_on(event_loop, move |lp| close_servers(lp, &doors));
        watch.keep(event_loop, drain.clone(), cut_off_all);
    }
    future
}

/// Runs `call` on a loop, behind the tasks that wait there. A loop that has ended has nothing to drain.
fn run_on(event_loop: &EventLoop, call: impl FnOnce(&LoopCore) + Send + 'static) {
    let id = event_loop.id();
    let task = Task::new(move || {
        if let Some(lp) = LoopCore::current().filter(|lp| lp.id() == id) {
            call(&lp);
        }
    });
    // A full queue is no reason to let nobody go.
    let _ended = event_loop.execute_beyond(task);
}

/// Dropped when the last server is closed: then the channels' turn has come.
struct Doors {
    parts: Vec<(EventLoop, Arc<Watch>)>,
    drain: SyncWeak<Drain>,
}

impl Doors {
    fn started(&self) -> impl Iterator<Item = &(EventLoop, Arc<Watch>)> {
        self.parts.iter().filter(|(each, _)| each.has_started())
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        // The deadline was first, on all loops.
        let Some(drain) = self.drain.upgrade() else {
            return;
        };
        for (event_loop, watch) in self.started() {
            let (ours, weak) = (watch.clone(), self.drain.clone());
            run_on(event_loop, move |lp| {
                if let Some(drain) = ours.begin(lp, &weak) {
                    begin(lp, drain);
                }
            });
            // For those that have started meanwhile.
            watch.keep(event_loop, drain.clone(), cut_off_all);
        }
    }
}

/// The first step, on one loop.
fn close_servers(lp: &LoopCore, doors: &Arc<Doors>) {
    // The deadline has closed them.
    let Some(deadline) = doors.drain.upgrade().map(|drain| deadline(lp, &drain)) else {
        return;
    };
    for core in cores(lp).into_iter().filter(|core| core.shared.is_server()) {
        let doors = doors.clone();
        let closed = Channel::new(core.shared.clone()).close_future();
        closed.add_listener(move |_, _| drop(doors));
        core.enter(|core| core.op(TAIL, Op::Close(Promise::void())));
        if core.life.get() != Life::Closed {
            let core = core.me.clone();
            let close = move || close_now(&core);
            let _runs_out = lp.add_timer(deadline, LocalTask::new(close));
        }
    }
}

/// The second step, on one loop.
fn begin(lp: &LoopCore, drain: Arc<Drain>) {
    tally(lp, drain, false).look();
}

/// A loop's part of a drain, with a timer for the deadline.
fn tally(lp: &LoopCore, drain: Arc<Drain>, is_of_one: bool) -> Rc<Tally> {
    let deadline = deadline(lp, &drain);
    let tally = Rc::new(Tally {
        drain,
        is_of_one,
        left: Cell::new(0),
        is_late: Cell::new(false),
        timer: Cell::new(None),
    });
    let late = Rc::downgrade(&tally);
    let timer = lp.add_timer(
        deadline,
        LocalTask::new(move || {
            if let Some(tally) = late.upgrade() {
                tally.cut_off();
            }
        }),
    );
    tally.timer.set(Some(timer));
    tally
}

/// The deadline of a loop whose turn has not come.
fn cut_off_all(lp: &LoopCore, drain: Arc<Drain>) {
    for core in cores(lp).into_iter().filter(|core| core.shared.is_server()) {
        core.enter(|core| core.head_close(Promise::void()));
    }
    late_tally(drain, false).cut_off();
}

/// A part of a drain that begins with its deadline.
fn late_tally(drain: Arc<Drain>, is_of_one: bool) -> Rc<Tally> {
    Rc::new(Tally {
        drain,
        is_of_one,
        left: Cell::new(0),
        is_late: Cell::new(true),
        timer: Cell::new(None),
    })
}

/// The channels of a loop; not the far sides of relays, which go with their channels.
fn cores(lp: &LoopCore) -> Vec<Rc<Core>> {
    let handles = lp.attached_handles().into_iter();
    let cores = handles.filter_map(|handle| handle.into_any().downcast::<Core>().ok());
    cores
        .filter(|core| core.life.get() != Life::Closed && !core.shared.serves_another())
        .collect()
}

fn close_now(core: &Weak<Core>) {
    if let Some(core) = core.upgrade() {
        core.enter(|core| core.head_close(Promise::void()));
    }
}

impl Tally {
    /// Begins with the channels that are not drained yet, innermost first. Without any the loop's part is over, and the
    /// deadline with it; where all of them close at once it looks again.
    fn look(self: &Rc<Self>) {
        let Some(lp) = LoopCore::current() else {
            return;
        };
        // The deadline has closed what there was.
        if self.is_late.get() {
            return;
        }
        let all = cores(&lp);
        let parents: HashSet<ChannelId> = all
            .iter()
            .filter_map(|core| core.shared.parent())
            .filter(|parent| !parent.is_server())
            .map(Channel::id)
            .collect();
        let mut begun = 0;
        // Counts itself meanwhile: not each of those that close at once is to have everybody looked for.
        self.left.set(self.left.get() + 1);
        for core in &all {
            if !parents.contains(&core.shared.id()) {
                core.enter(|core| begun += usize::from(core.begin_drain(self)));
            }
        }
        if begun > 0 || self.left.get() > 1 {
            return self.one_ended();
        }
        self.left.set(0);
        self.end(&lp);
    }

    /// Nobody is left; whoever else has the tally lets go of it soon.
    fn end(&self, lp: &LoopCore) {
        if let Some(timer) = self.timer.take() {
            lp.cancel_timer(timer);
        }
    }

    fn one_ended(self: &Rc<Self>) {
        self.left.set(self.left.get() - 1);
        if self.left.get() > 0 || self.is_late.get() {
            return;
        }
        let Some(lp) = LoopCore::current() else {
            return;
        };
        if self.is_of_one {
            return self.end(&lp);
        }
        // Not on the stack of the one that has ended.
        let tally = self.clone();
        lp.push_local(LocalTask::new(move || tally.look()));
    }

    /// The deadline.
    fn cut_off(self: &Rc<Self>) {
        let Some(lp) = LoopCore::current() else {
            return;
        };
        self.is_late.set(true);
        for core in cores(&lp) {
            if !self.is_of_one || core.is_drained_by(self) {
                core.enter(|core| core.drain_late(self));
            }
        }
    }
}

impl Core {
    /// False if there is nothing to begin with.
    fn begin_drain(&self, tally: &Rc<Tally>) -> bool {
        if self.is_drained_by(tally) || self.life.get() == Life::Closed {
            return false;
        }
        match self.life.get() {
            // Another drain has asked it before.
            _ if self.is_leaving() => {
                self.join_drain(tally, None);
                self.linger_for_another();
            }
            Life::Active => {
                let held = Arc::new(Held(self.shared.clone()));
                let watched = Arc::downgrade(&held);
                self.join_drain(tally, Some(watched));
                let event = Message::new(Draining(held));
                self.push_root(Root::Message(Inbound::UserEvent, event));
            }
            Life::Open | Life::Connecting => {
                self.join_drain(tally, None);
                self.op(TAIL, Op::Close(Promise::void()));
            }
            Life::Closing | Life::Closed => self.join_drain(tally, None),
        }
        true
    }

    fn join_drain(&self, tally: &Rc<Tally>, held: Option<SyncWeak<Held>>) {
        tally.left.set(tally.left.get() + 1);
        tally.drain.report().channels += 1;
        self.change_rare(|rare| match &mut rare.leaving {
            Some(leaving) => leaving.tallies.push(tally.clone()),
            none => {
                *none = Some(Leaving {
                    tallies: vec![tally.clone()],
                    held: held.map(|held| held as SyncWeak<dyn Any + Send + Sync>),
                    is_asked: false,
                    lingering: None,
                });
            }
        });
    }

    fn is_drained_by(&self, tally: &Rc<Tally>) -> bool {
        let is_it = |other: &Rc<Tally>| Rc::ptr_eq(other, tally);
        self.look_at_rare(|rare| Some(rare.leaving.as_ref()?.tallies.iter().any(is_it)))
            == Some(true)
    }

    /// Whether the channel drains.
    fn is_leaving(&self) -> bool {
        self.look_at_rare(|rare| rare.leaving.as_ref().map(drop))
            .is_some()
    }

    /// Closes the channel if nothing waits to be sent; else comes back when the last of it is.
    fn drain_on(&self) {
        if !self.is_leaving() {
            return;
        }
        self.op(TAIL, Op::Flush);
        if self.life.get() != Life::Active {
            return;
        }
        if self.after_last_write(Self::drain_on) {
            return;
        }
        self.look_at_rare(|rare| {
            rare.leaving.as_mut()?.is_asked = true;
            Some(())
        });
        self.op(TAIL, Op::Close(Promise::void()));
    }

    /// Comes back when the last of what waits is sent; false if nothing waits. If it fails the channel closes by itself, and
    /// nothing is left to be done.
    pub(crate) fn after_last_write(&self, next: impl FnOnce(&Self) + Send + 'static) -> bool {
        let last = {
            let mut outbound = self.outbound.hold();
            let last = outbound.as_deref_mut().and_then(|out| out.last_promise());
            last.map(|(promise, is_flushed)| {
                let was_void = promise.is_void();
                // One that is done tells nothing of the write, unless it was cancelled just now: then that is not sent.
                let is_spent = promise.is_done() && (is_flushed || !promise.is_cancelled());
                if was_void || is_spent {
                    *promise = self.new_promise();
                    promise.set_uncancellable();
                }
                (promise.completion(), was_void)
            })
        };
        let Some((last, was_void)) = last else {
            return false;
        };
        let (shared, home) = (self.shared.clone(), self.shared.event_loop().clone());
        let go_on = move |sent: Result<(), Error>| {
            let Some(core) = shared.core() else { return };
            if let Err(error) = sent
                && was_void
            {
                // Nobody else learns of it.
                core.count_void_failure("outbound buffer", &error);
            }
            core.enter(next);
        };
        last.add_listener(move |sent: &Result<(), Error>| {
            let sent = sent.clone();
            if home.in_event_loop() {
                return go_on(sent);
            }
            // The promise of a handler elsewhere, or of no loop. Never refused.
            home.host().run_listener(Task::new(move || go_on(sent)));
        });
        true
    }

    /// The deadline is over.
    fn drain_late(&self, tally: &Rc<Tally>) {
        if !self.is_drained_by(tally) {
            self.join_drain(tally, None);
        }
        if self.is_lingering() {
            self.linger_no_longer();
        } else {
            self.look_at_rare(|rare| {
                let leaving = rare.leaving.as_ref()?;
                leaving.note(|report| report.late += 1);
                Some(())
            });
            self.head_close(Promise::void());
        }
        // A transport that takes its time has had it; other drains have theirs.
        self.leave_drain(tally);
    }

    /// This drain waits no longer for the channel.
    fn leave_drain(&self, tally: &Rc<Tally>) {
        let is_held = self.look_at_rare(|rare| {
            let leaving = rare.leaving.as_mut()?;
            let is_held = leaving.is_held();
            leaving.tallies.retain(|other| !Rc::ptr_eq(other, tally));
            if leaving.tallies.is_empty() {
                rare.leaving = None;
            }
            Some(is_held)
        });
        if let Some(is_held) = is_held {
            self.report_unsent(std::slice::from_ref(tally), is_held);
            tally.one_ended();
        }
    }

    /// The channel is closed, and what it has not sent is about to fail.
    pub(crate) fn end_drain(&self) {
        let Some(leaving) = self.look_at_rare(|rare| rare.leaving.take()) else {
            return;
        };
        self.report_unsent(&leaving.tallies, leaving.is_held());
        for tally in &leaving.tallies {
            tally.one_ended();
        }
    }

    fn report_unsent(&self, tallies: &[Rc<Tally>], is_held: bool) {
        let (bytes, messages) = match self.outbound.hold().as_deref() {
            Some(outbound) => outbound.unsent(),
            None => (0, 0),
        };
        if messages == 0 && !is_held {
            return;
        }
        for tally in tallies {
            tally.drain.report().unsent.push(Unsent {
                channel: self.shared.id(),
                remote: self.shared.remote_address(),
                local: self.shared.local_address(),
                bytes,
                messages,
                is_held,
            });
        }
    }
}
