//! [`IdleState`]: tells the pipeline that nothing was read or written for a while. It closes nothing; what to do about it
//! is the next handler's affair: a heartbeat, or a close.

use std::time::Duration;

use super::period::{Alarm, may_begin, period};
use crate::buffer::Message;
use crate::channel::{Context, Handler, HandlerResult, OutboundMark};
use crate::error::Error;
use crate::event_loop::Time;
use crate::future::Promise;

/// What did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdleKind {
    /// Nothing was read.
    Reader,
    /// No write was completed.
    Writer,
    /// Neither.
    All,
}

/// The user event of [`IdleState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdleEvent {
    /// What did not happen.
    pub kind: IdleKind,
    /// True for the first event since something happened, false for those that repeat it.
    pub is_first: bool,
}

/// Fires an [`IdleEvent`] as a user event when nothing was read, no write was completed, or neither, for as long as was
/// asked; and again after each further period.
///
/// While a batch of reads is under way the reader is not idle; what counts is the end of the batch. A write counts when
/// it is completed or has failed, not when it was asked for. What has come by the end of a period is read before anything
/// is told, and what then finds room is sent, also if the loop was held for long. A read costs two stores; a write costs a
/// promise of its own where it had none, and only if writes are watched.
///
/// With [`observe_output`](Self::observe_output) the repeated events of writer and all stay away while the channel gets on
/// with sending something large.
///
/// ```
/// use std::time::Duration;
/// use tidegate::handler::timeout::{IdleEvent, IdleKind, IdleState};
/// use tidegate::EmbeddedChannel;
///
/// let minute = Duration::from_secs(60);
/// let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(IdleState::new().reader(minute)))?;
/// channel.advance(minute);
/// let event: IdleEvent = channel.read_event().and_then(|event| event.downcast().ok()).unwrap();
/// assert_eq!((event.kind, event.is_first), (IdleKind::Reader, true));
/// # Ok::<(), tidegate::Failure>(())
/// ```
#[derive(Debug)]
pub struct IdleState {
    watches: [Watch; 3],
    observe_output: bool,
    has_begun: bool,
    /// A batch of reads is under way.
    is_reading: bool,
    last_read: Time,
    last_write: Time,
    seen: Seen,
}

/// One of the three kinds, at its place in `watches`.
#[derive(Debug, Default)]
struct Watch {
    period: Option<Duration>,
    alarm: Alarm,
    /// Nothing has been told since something happened.
    is_first: bool,
}

/// What was known of the output when it was last looked at (H36).
#[derive(Debug, Default)]
struct Seen {
    last_write: Time,
    mark: OutboundMark,
    pending: usize,
}

const READER: usize = 0;
const WRITER: usize = 1;
const ALL: usize = 2;
const KINDS: [IdleKind; 3] = [IdleKind::Reader, IdleKind::Writer, IdleKind::All];

/// Keys of `timer`: the kind, and from here on the kind for whom the channel was looked at once more.
const CAUGHT_UP: u64 = KINDS.len() as u64;

/// Keys of `write_done`: whether somebody else waits for the write.
const OBSERVED: u64 = 0;
const UNOBSERVED: u64 = 1;

impl IdleState {
    /// Watches nothing yet.
    pub fn new() -> Self {
        Self {
            watches: Default::default(),
            observe_output: false,
            has_begun: false,
            is_reading: false,
            last_read: Time::ZERO,
            last_write: Time::ZERO,
            seen: Seen::default(),
        }
    }

    /// Tells when nothing was read for so long. Zero: not at all.
    #[must_use]
    pub fn reader(mut self, after: Duration) -> Self {
        self.watches[READER].period = period(after);
        self
    }

    /// Tells when no write was completed for so long. Zero: not at all.
    #[must_use]
    pub fn writer(mut self, after: Duration) -> Self {
        self.watches[WRITER].period = period(after);
        self
    }

    /// Tells when nothing was read and no write was completed for so long. Zero: not at all.
    #[must_use]
    pub fn all(mut self, after: Duration) -> Self {
        self.watches[ALL].period = period(after);
        self
    }

    /// Keeps repeated events of writer and all back while sending gets on (H36). Off by default.
    #[must_use]
    pub fn observe_output(mut self, on: bool) -> Self {
        self.observe_output = on;
        self
    }

    /// H31: once, when the channel is active.
    fn begin(&mut self, ctx: &mut Context<'_>) {
        if self.has_begun {
            return;
        }
        self.has_begun = true;
        self.last_read = ctx.now();
        self.last_write = ctx.now();
        // What waits already was not written in this handler's time.
        self.output_has_changed(ctx);
        for kind in 0..KINDS.len() {
            self.watches[kind].is_first = true;
            if let Some(period) = self.watches[kind].period {
                self.set(ctx, kind, period);
            }
        }
    }

    fn watches_writes(&self) -> bool {
        self.watches[WRITER].period.is_some() || self.watches[ALL].period.is_some()
    }

    /// Since when nothing of this kind has happened.
    fn since(&self, kind: usize) -> Time {
        match kind {
            READER => self.last_read,
            WRITER => self.last_write,
            _ => self.last_read.max(self.last_write),
        }
    }

    fn wrote(&mut self, ctx: &Context<'_>) {
        self.last_write = ctx.now();
        self.watches[WRITER].is_first = true;
        self.watches[ALL].is_first = true;
    }

    /// Whether sending got on since this was last asked, or there is something else to send (H36).
    fn output_has_changed(&mut self, ctx: &Context<'_>) -> bool {
        let now = Seen {
            last_write: self.last_write,
            mark: ctx.outbound_mark(),
            pending: ctx.pending_bytes(),
        };
        let before = std::mem::replace(&mut self.seen, now);
        self.seen.last_write != before.last_write
            || self.seen.pending != before.pending
            || self.seen.mark.has_progressed_since(before.mark)
    }

    fn set(&mut self, ctx: &mut Context<'_>, kind: usize, left: Duration) {
        let since = self.since(kind);
        self.watches[kind].alarm.set(ctx, left, since, kind as u64);
    }

    /// One of the timers is due (H34). What has come by now is looked for first, once.
    fn due(&mut self, ctx: &mut Context<'_>, kind: usize, may_catch_up: bool) {
        self.watches[kind].alarm.rings();
        let Some(period) = self.watches[kind].period else {
            return;
        };
        let is_busy = kind != WRITER && self.is_reading;
        let left = if is_busy {
            period
        } else {
            let alarm = &self.watches[kind].alarm;
            alarm.left(period, self.since(kind), ctx.now())
        };
        if !left.is_zero() {
            return self.set(ctx, kind, left);
        }
        if !ctx.channel().is_open() || may_catch_up && ctx.catch_up(kind as u64 + CAUGHT_UP) {
            return;
        }
        self.set(ctx, kind, period);
        let is_first = std::mem::take(&mut self.watches[kind].is_first);
        if kind != READER && self.observe_output && self.output_has_changed(ctx) && !is_first {
            return;
        }
        let event = IdleEvent {
            kind: KINDS[kind],
            is_first,
        };
        ctx.fire_user_event_triggered(Message::new(event));
    }
}

impl Default for IdleState {
    fn default() -> Self {
        Self::new()
    }
}

impl Handler for IdleState {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if may_begin(ctx) {
            self.begin(ctx);
        }
        Ok(())
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        for watch in &mut self.watches {
            watch.alarm.cancel(ctx);
        }
        Ok(())
    }

    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if ctx.is_active() {
            self.begin(ctx);
        }
        ctx.fire_channel_registered();
        Ok(())
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.begin(ctx);
        ctx.fire_channel_active();
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        for watch in &mut self.watches {
            watch.alarm.cancel(ctx);
        }
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.is_reading = true;
        self.watches[READER].is_first = true;
        self.watches[ALL].is_first = true;
        ctx.fire_channel_read(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if std::mem::take(&mut self.is_reading) {
            self.last_read = ctx.now();
        }
        ctx.fire_channel_read_complete();
        Ok(())
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        if !self.watches_writes() {
            ctx.write_with(msg, promise);
            return Ok(());
        }
        if promise.is_void() {
            let promise = ctx.new_promise();
            ctx.notify(&promise, UNOBSERVED);
            ctx.write_with(msg, promise);
        } else {
            ctx.notify(&promise, OBSERVED);
            ctx.write_with(msg, promise);
        }
        Ok(())
    }

    fn timer(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        match key {
            0..CAUGHT_UP => self.due(ctx, key as usize, true),
            _ => self.due(ctx, (key - CAUGHT_UP) as usize, false),
        }
        Ok(())
    }

    fn write_done(
        &mut self,
        ctx: &mut Context<'_>,
        key: u64,
        result: Result<(), Error>,
    ) -> HandlerResult {
        self.wrote(ctx);
        if let (UNOBSERVED, Err(error)) = (key, result) {
            ctx.count_unobserved_failure(&error);
        }
        Ok(())
    }
}
