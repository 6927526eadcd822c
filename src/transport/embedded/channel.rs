//! [`EmbeddedChannel`].

use std::any::Any;
use std::rc::Rc;
use std::time::Duration;

use super::transport::{Collector, Embedded, Ends, Source};
use crate::buffer::{IntoMessage, Message};
use crate::channel::core::Core;
use crate::channel::register;
use crate::channel::shared::Shared;
use crate::channel::{
    Attributes, Channel, ChannelFuture, Direction, OptionSet, Pipeline, Progress,
};
use crate::error::{Error, ErrorKind, Failure};
use crate::event_loop::{EventLoop, LoopCore, ManualClock};

/// A channel without a socket. What handlers write comes out of [`read_outbound`](Self::read_outbound), what no handler
/// keeps out of [`read_inbound`](Self::read_inbound).
///
/// Its loop runs inside each call, until nothing is left to do; its clock stands still until
/// [`advance`](Self::advance) moves it. Errors that reach the tail are kept, and the next call that can fail gives
/// the first one; they close the channel as well, as on the wire, unless `CLOSE_ON_UNHANDLED_ERROR` is off.
///
/// A handler, a listener or a task that panics makes the call panic in which it ran, so that an assertion in a handler
/// fails the test. On the wire such a panic is contained; a test that examines this says so by
/// [`contain_panics`](Self::contain_panics).
///
/// Dropping it closes the channel, as the end of an event loop would, and panics if a handler does then.
///
/// ```
/// use tidegate::{Context, EmbeddedChannel, Handler, HandlerResult, Message};
///
/// struct Shout;
/// impl Handler for Shout {
///     fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
///         let text: String = msg.downcast().map_err(|_| tidegate::Failure::msg("no text"))?;
///         ctx.write_and_flush(Message::new(text.to_uppercase()));
///         Ok(())
///     }
/// }
///
/// let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(Shout))?;
/// channel.write_inbound(Message::new(String::from("tide")))?;
/// assert_eq!(channel.read_outbound_as::<String>(), Some("TIDE".into()));
/// # Ok::<(), tidegate::Failure>(())
/// ```
pub struct EmbeddedChannel {
    lp: Rc<LoopCore>,
    clock: ManualClock,
    core: Rc<Core>,
    channel: Channel,
    ends: Rc<Ends>,
    /// Panics do not come out of the calls.
    contains_panics: bool,
}

impl EmbeddedChannel {
    /// An active channel whose pipeline `init` fills.
    ///
    /// # Errors
    /// What `init` gives, and the first error of the handlers' first callbacks that reached the tail.
    pub fn new<E: Into<Failure>>(
        init: impl FnOnce(&mut Pipeline<'_>) -> Result<(), E>,
    ) -> Result<Self, Failure> {
        Self::with_options(&OptionSet::new(), init)
    }

    /// As [`new`](Self::new), with options set before the pipeline is filled.
    ///
    /// # Errors
    /// As [`new`](Self::new), and an option that can't be set.
    pub fn with_options<E: Into<Failure>>(
        options: &OptionSet,
        init: impl FnOnce(&mut Pipeline<'_>) -> Result<(), E>,
    ) -> Result<Self, Failure> {
        Self::make(options, true, ManualClock::default(), init)
    }

    /// A channel that is not connected yet: `channel().connect(..)` decides, as [`set_connect`](Self::set_connect) says.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn unconnected<E: Into<Failure>>(
        options: &OptionSet,
        init: impl FnOnce(&mut Pipeline<'_>) -> Result<(), E>,
    ) -> Result<Self, Failure> {
        Self::make(options, false, ManualClock::default(), init)
    }

    /// An active channel whose clock somebody else moves as well.
    pub(super) fn on_clock<E: Into<Failure>>(
        options: &OptionSet,
        clock: ManualClock,
        init: impl FnOnce(&mut Pipeline<'_>) -> Result<(), E>,
    ) -> Result<Self, Failure> {
        Self::make(options, true, clock, init)
    }

    fn make<E: Into<Failure>>(
        options: &OptionSet,
        connected: bool,
        clock: ManualClock,
        init: impl FnOnce(&mut Pipeline<'_>) -> Result<(), E>,
    ) -> Result<Self, Failure> {
        let lp = LoopCore::embedded(clock.clone());
        let ends = Rc::new(Ends::default());
        let shared = Shared::new(lp.handle().clone(), None, Attributes::default());
        let guard = lp.enter();
        let transport = Embedded::new(ends.clone(), connected);
        let core = register::attach(&shared, &lp, Box::new(transport));
        let collector = Rc::new(Collector(ends.clone()));
        core.change_rare(|rare| rare.tail = Some(collector));
        let channel = Channel::new(shared);
        let begun = core.begin(options, |pipeline| init(pipeline).map_err(Into::into));
        drop(guard);
        let mut embedded = Self {
            lp,
            clock,
            core,
            channel,
            ends,
            contains_panics: false,
        };
        embedded.run_pending();
        begun?;
        embedded.check()?;
        Ok(embedded)
    }

    // ---- what a test does

    /// Sends a message through the pipeline from the head, and channel_read_complete behind it. True if
    /// [`read_inbound`](Self::read_inbound) has something.
    ///
    /// It arrives as what it is: a text, an array or a `Vec` as `Bytes`, where a socket would give `BytesMut`. Decoders and
    /// typed handlers take both; for a handler of your own that does not, give a `BytesMut`.
    ///
    /// # Errors
    /// The first error that reached the tail; [`ErrorKind::ChannelClosed`] after a close.
    pub fn write_inbound(&mut self, msg: impl IntoMessage) -> Result<bool, Failure> {
        self.check_open()?;
        let msg = msg.into_message();
        self.pipeline(|pipeline| {
            pipeline.fire_channel_read(msg);
            pipeline.fire_channel_read_complete();
        });
        self.check()?;
        Ok(!self.ends.inbound.borrow().is_empty())
    }

    /// Writes a message at the tail and flushes. True if [`read_outbound`](Self::read_outbound) has something.
    ///
    /// # Errors
    /// The write's error, or the first one that reached the tail; [`ErrorKind::ChannelClosed`] after a close.
    pub fn write_outbound(&mut self, msg: impl IntoMessage) -> Result<bool, Failure> {
        self.check_open()?;
        let msg = msg.into_message();
        let future = self.with_loop(|this| this.channel.write_and_flush(msg));
        self.check()?;
        if let Some(error) = future.cause() {
            return Err(error.into());
        }
        Ok(!self.ends.outbound.borrow().is_empty())
    }

    /// The next message that reached the tail.
    pub fn read_inbound(&mut self) -> Option<Message> {
        self.ends.inbound.borrow_mut().pop_front()
    }

    /// The next message that reached the tail, as a `T` ([`Message::into_value`]). A message of another type stays away: it is
    /// dropped.
    pub fn read_inbound_as<T: Any + Send>(&mut self) -> Option<T> {
        self.read_inbound()?.into_value().ok()
    }

    /// The next message that was flushed.
    pub fn read_outbound(&mut self) -> Option<Message> {
        self.ends.outbound.borrow_mut().pop_front()
    }

    /// The next message that was flushed, as a `T` ([`Message::into_value`]). One of another type is dropped.
    pub fn read_outbound_as<T: Any + Send>(&mut self) -> Option<T> {
        self.read_outbound()?.into_value().ok()
    }

    /// The next user event that reached the tail.
    pub fn read_event(&mut self) -> Option<Message> {
        self.ends.events.borrow_mut().pop_front()
    }

    /// Moves the clock and runs what became due, in the order of deadlines. What was asked for before, through
    /// [`channel`](Self::channel), has its turn before the clock moves.
    pub fn advance(&mut self, by: Duration) {
        self.run_pending();
        let end = self.clock.now() + by;
        loop {
            let next = self.lp.next_timer().filter(|due| *due <= end);
            let to = next.unwrap_or(end);
            self.clock.advance(to.saturating_since(self.clock.now()));
            self.run_pending();
            if next.is_none() {
                return;
            }
        }
    }

    /// How long until the next timer is due.
    pub fn next_timer(&self) -> Option<Duration> {
        self.lp
            .next_timer()
            .map(|due| due.saturating_since(self.clock.now()))
    }

    /// Runs the loop until nothing is left to do at this moment of its clock. Every other call does so too.
    pub fn run_pending(&mut self) {
        {
            let _turn = self.lp.enter();
            while self.lp.run_ready()
                + self.lp.run_roots()
                + self.lp.run_timers()
                + self.lp.run_tasks()
                > 0
            {}
        }
        self.let_panic_out();
    }

    /// From now on panics are contained as on the wire, where one ends the handler, listener or task that it was in, and a
    /// handler's closes the channel. [`take_panic`](Self::take_panic) tells of them.
    pub fn contain_panics(&mut self) {
        self.contains_panics = true;
    }

    /// The text of the first panic since the last call, where panics are [contained](Self::contain_panics).
    pub fn take_panic(&mut self) -> Option<String> {
        self.lp.take_panic().map(String::from)
    }

    /// Ends the test: the peer has sent all it wanted to, and the channel is closed. True if messages are left to read on either
    /// side. So decoders see to their last bytes, as at an end of input; behind a close of this side they do not.
    ///
    /// # Errors
    /// The first error that reached the tail.
    pub fn finish(&mut self) -> Result<bool, Failure> {
        if self.channel.is_open() {
            self.channel.shared().end_input(true);
        }
        self.with_loop(|this| this.channel.close());
        self.check()?;
        Ok(!self.ends.inbound.borrow().is_empty() || !self.ends.outbound.borrow().is_empty())
    }

    /// The first error that reached the tail since it was last asked.
    ///
    /// # Errors
    /// That error.
    pub fn check(&mut self) -> Result<(), Failure> {
        self.ends.error.borrow_mut().take().map_or(Ok(()), Err)
    }

    // ---- reading through the transport, with all rules of reading

    /// Lets the next reads bring these messages: a batch of reads as a socket would give it, if reading is wanted. Each
    /// arrives as what it is, as with [`write_inbound`](Self::write_inbound).
    pub fn feed<M: IntoMessage>(&mut self, messages: impl IntoIterator<Item = M>) {
        self.ends.source.borrow_mut().extend(
            messages
                .into_iter()
                .map(|msg| Source::Message(msg.into_message())),
        );
        self.tell_readable();
    }

    /// Lets the read after those find the end of input. The channel learns at once that the peer is closing, as from a
    /// socket.
    pub fn feed_eof(&mut self) {
        self.ends.source.borrow_mut().push_back(Source::Eof);
        self.with_loop(|this| this.signal().peer_closing());
    }

    /// Lets the read after those fail.
    pub fn feed_error(&mut self, error: Error) {
        self.ends
            .source
            .borrow_mut()
            .push_back(Source::Failed(error));
        self.tell_readable();
    }

    /// Messages fed that no read has fetched.
    pub fn unread(&self) -> usize {
        self.ends.source.borrow().len()
    }

    /// How often the transport was asked to read.
    pub fn reads(&self) -> usize {
        self.ends.reads.get()
    }

    /// The two ends, for the link of a pair.
    pub(super) fn ends(&self) -> &Ends {
        &self.ends
    }

    fn tell_readable(&mut self) {
        self.with_loop(|this| this.signal().readable());
    }

    /// The transport's line to the channel, to play transports that finish later.
    pub fn signal(&self) -> crate::channel::Signal {
        crate::channel::Signal::new(self.channel.shared().clone())
    }

    // ---- trouble on the way out

    /// While blocked, flushes take nothing, like a socket whose buffer is full. Unblocking goes on with what waits.
    pub fn block_writes(&mut self, blocked: bool) {
        self.ends.blocked.set(blocked);
        if !blocked {
            self.with_loop(|this| this.signal().writable());
        }
    }

    /// Makes flushes yield after so many messages; 0: never.
    pub fn yield_after(&mut self, messages: usize) {
        self.ends.per_flush.set(messages);
    }

    /// Lets the next flush fail.
    pub fn fail_next_flush(&mut self, error: Error) {
        *self.ends.write_error.borrow_mut() = Some(error);
    }

    /// How the next connect goes: `None` is refused.
    pub fn set_connect(&mut self, progress: Option<Progress>) {
        self.ends.connect.set(progress);
    }

    /// Makes a close wait for `signal().closed()`.
    pub fn close_later(&mut self) {
        self.ends.close_later.set(true);
    }

    /// The shutdowns that the transport was asked for.
    pub fn shutdowns(&self) -> Vec<Direction> {
        self.ends.shutdowns.borrow().clone()
    }

    // ---- reaching in

    /// The channel's handle. Its operations are tasks when called from the test; [`run`](Self::run) makes them immediate.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The channel's loop.
    pub fn event_loop(&self) -> &EventLoop {
        self.lp.handle()
    }

    /// Runs `work` in the loop's turn, then what follows from it.
    pub fn run<R>(&mut self, work: impl FnOnce(&Channel) -> R) -> R {
        self.with_loop(|this| work(&this.channel))
    }

    /// Runs `work` with the pipeline, then what follows from it.
    pub fn pipeline<R>(&mut self, work: impl FnOnce(&mut Pipeline<'_>) -> R) -> R {
        self.with_loop(|this| work(&mut Pipeline::new(&this.core)))
    }

    /// The future of a close that was asked for.
    pub fn close(&mut self) -> ChannelFuture {
        self.with_loop(|this| this.channel.close())
    }

    fn with_loop<R>(&mut self, work: impl FnOnce(&Self) -> R) -> R {
        let result = {
            let _turn = self.lp.enter();
            work(self)
        };
        self.run_pending();
        result
    }

    /// Goes on with a panic that the loop has caught. The panic's own report is there already, with its place in the code.
    fn let_panic_out(&self) {
        if self.contains_panics || std::thread::panicking() {
            return;
        }
        if let Some(panic) = self.lp.take_panic() {
            std::panic::resume_unwind(Box::new(String::from(panic)));
        }
    }

    fn check_open(&mut self) -> Result<(), Failure> {
        self.check()?;
        if self.channel.is_open() {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::ChannelClosed, "the embedded channel is closed").into())
        }
    }
}

impl Drop for EmbeddedChannel {
    fn drop(&mut self) {
        {
            let _turn = self.lp.enter();
            // A test that fails says so without further callbacks.
            if !std::thread::panicking() {
                self.lp.end_now();
            }
            // A channel that could not end (its close is pending) would keep its loop, and be kept by it.
            self.channel.shared().detach(&self.lp);
            self.core.abandon();
        }
        self.lp.handle().shared().terminate(Ok(()));
        // Of the last callbacks: a test that ends here must not pass.
        self.let_panic_out();
    }
}

impl std::fmt::Debug for EmbeddedChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedChannel")
            .field("channel", &self.channel)
            .finish()
    }
}
