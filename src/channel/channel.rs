//! The handle of a channel.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::address::Address;
use super::attributes::{AttributeKey, Attributes};
use super::core::{Core, Root};
use super::entry::refuse_foreign;
use super::errand::{Errand, Load};
use super::future::ChannelFuture;
use super::node::TAIL;
use super::op::Op;
use super::outbound::ENTRY_OVERHEAD;
use super::pipeline::Pipeline;
use super::shared::{Channel, ChannelId, Shared};
use super::slow::Inbound;
use super::{ChannelOption, OptionType};
use crate::buffer::{IntoMessage, Message};
use crate::error::{Error, ErrorKind, Failure};
use crate::event_loop::EventLoop;
use crate::future::{Promise, TaskFuture, TaskPromise};

impl Channel {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    // ---- what it is

    /// The channel's number.
    pub fn id(&self) -> ChannelId {
        self.shared.id()
    }

    /// The loop on which the channel lives.
    pub fn event_loop(&self) -> &EventLoop {
        self.shared.event_loop()
    }

    /// The server channel that accepted this one, or the channel whose stream it is.
    pub fn parent(&self) -> Option<&Channel> {
        self.shared.parent()
    }

    /// The local address, once bound or connected; still there after a close. Of a datagram channel it may be another one
    /// after each connect and disconnect: the kernel chooses what was left open.
    pub fn local_address(&self) -> Option<Address> {
        self.shared.local_address()
    }

    /// The peer's address, once connected; still there after a close. After a disconnect there is none, and after another
    /// connect another one (datagrams).
    pub fn remote_address(&self) -> Option<Address> {
        self.shared.remote_address()
    }

    /// True if a connect of this channel can be undone, and its peer become another one: it carries datagrams.
    pub fn has_disconnect(&self) -> bool {
        self.shared.has_disconnect()
    }

    /// True until a close begins.
    pub fn is_open(&self) -> bool {
        self.shared.is_open()
    }

    /// True while connected (clients, children) or bound (servers).
    pub fn is_active(&self) -> bool {
        self.shared.is_active()
    }

    /// True from the registration with the loop until the end.
    pub fn is_registered(&self) -> bool {
        self.shared.is_registered()
    }

    /// True if writing more is welcome. What other threads have submitted counts at once.
    pub fn is_writable(&self) -> bool {
        self.shared.is_writable()
    }

    /// How many more bytes may be written before the channel turns unwritable; 0 if it is.
    pub fn bytes_before_unwritable(&self) -> usize {
        self.shared.bytes_before_unwritable()
    }

    /// How many bytes must be sent before the channel turns writable; 0 if it is, `usize::MAX` if it never will.
    pub fn bytes_before_writable(&self) -> usize {
        self.shared.bytes_before_writable()
    }

    /// True for a channel that accepts others instead of carrying data. Known once it is on its loop.
    pub fn is_server(&self) -> bool {
        self.shared.is_server()
    }

    /// True while reading goes on by itself.
    pub fn is_auto_read(&self) -> bool {
        self.shared.auto_read()
    }

    /// The value that was attached under `key`.
    pub fn attr<T: std::any::Any + Send + Sync>(&self, key: &AttributeKey<T>) -> Option<Arc<T>> {
        self.shared.attributes().get(key)
    }

    /// What users attach to the channel.
    pub fn attributes(&self) -> &Attributes {
        self.shared.attributes()
    }

    // ---- operations

    /// Writes a message; nobody waits for the result. From another thread it does not wake the loop: flush does.
    pub fn write(&self, msg: impl IntoMessage) {
        self.submit_write(msg.into_message(), Promise::void(), false);
    }

    /// Writes a message and settles `promise`.
    pub fn write_with(&self, msg: impl IntoMessage, promise: Promise) {
        let home = Arc::as_ptr(&self.shared).cast();
        if promise.is_void() || !promise.is_done() && !refuse_foreign(&promise, [home; 2]) {
            self.submit_write(msg.into_message(), promise, false);
        }
    }

    /// Writes a message; the future tells when it was handed to the kernel.
    pub fn write_future(&self, msg: impl IntoMessage) -> ChannelFuture {
        let (promise, future) = self.new_future();
        self.submit_write(msg.into_message(), promise, false);
        future
    }

    /// Sends what was written.
    pub fn flush(&self) {
        self.run_op(Op::Flush);
    }

    /// Writes and flushes.
    pub fn write_and_flush(&self, msg: impl IntoMessage) -> ChannelFuture {
        let (promise, future) = self.new_future();
        self.submit_write(msg.into_message(), promise, true);
        future
    }

    /// Asks for one read, where auto-read is off.
    pub fn read(&self) {
        self.run_op(Op::Read);
    }

    /// Closes the channel. Writes that were not sent fail; to send them first, close when the last one is done.
    ///
    /// That a write is done says that the kernel has it, not that the peer does. If the peer may still be sending when a TCP
    /// connection is closed (requests one after the other, the rest of a body that was refused), what nobody has read makes
    /// the kernel reset the connection, and the peer may lose the answer. [`drain`](Self::drain) closes without that.
    pub fn close(&self) -> ChannelFuture {
        let (promise, future) = self.new_future();
        self.run_op_with(Op::Close, promise);
        future
    }

    /// Disconnects; a close where the transport has no such thing.
    pub fn disconnect(&self) -> ChannelFuture {
        let (promise, future) = self.new_future();
        self.run_op_with(Op::Disconnect, promise);
        future
    }

    /// Binds to a local address. Bootstraps do this.
    pub fn bind(&self, local: impl Into<Address>) -> ChannelFuture {
        let (promise, future) = self.new_future();
        let local = Box::new(local.into());
        self.run_op_with(|promise| Op::Bind(local, promise), promise);
        future
    }

    /// Connects to a remote address. Bootstraps do this, and resolve names first.
    pub fn connect(&self, remote: impl Into<Address>, local: Option<Address>) -> ChannelFuture {
        let (promise, future) = self.new_future();
        let addresses = Box::new((remote.into(), local));
        self.run_op_with(|promise| Op::Connect(addresses, promise), promise);
        future
    }

    /// As [`bind`](Self::bind), settling a promise that is there already.
    pub(crate) fn bind_with(&self, local: Address, promise: Promise) {
        self.run_op_with(|promise| Op::Bind(Box::new(local), promise), promise);
    }

    /// As [`connect`](Self::connect), settling a promise that is there already.
    pub(crate) fn connect_with(&self, remote: Address, local: Option<Address>, promise: Promise) {
        self.run_op_with(
            |promise| Op::Connect(Box::new((remote, local)), promise),
            promise,
        );
    }

    /// Ends the output side; the peer sees the end after what was sent. Pending writes fail, so end it behind the last one: an
    /// empty write is done when all before it are. The channel stays open until it is closed, also if its input has ended.
    ///
    /// ```
    /// # let mut channel = tidegate::EmbeddedChannel::new(|_pipeline| Ok::<_, tidegate::Error>(()))?;
    /// # let handle = channel.channel().clone();
    /// # let channel = &handle;
    /// channel.write("the last words");
    /// channel.write_and_flush("").add_listener(|channel, _sent| {
    ///     channel.shutdown_output();
    /// });
    /// # Ok::<(), tidegate::Failure>(())
    /// ```
    pub fn shutdown_output(&self) -> ChannelFuture {
        let (promise, future) = self.new_future();
        self.send(promise, |core, promise| {
            core.shutdown_output(None, &promise)
        });
        future
    }

    /// Ends the input side.
    pub fn shutdown_input(&self) -> ChannelFuture {
        let (promise, future) = self.new_future();
        self.send(promise, |core, promise| core.shutdown_input(&promise));
        future
    }

    /// Ends both sides, output first (A43). The channel stays open until it is closed.
    pub fn shutdown(&self) -> ChannelFuture {
        let output = self.shutdown_output();
        let input = self.shutdown_input();
        let (promise, future) = self.new_future();
        output
            .completion()
            .add_listener(move |out: &Result<(), Error>| {
                let out = out.clone();
                input
                    .completion()
                    .add_listener(move |input: &Result<(), Error>| {
                        promise.complete(&out.and_then(|()| input.clone()));
                    });
            });
        future
    }

    /// Completes when the channel has closed, for whatever reason. It never fails: where the loop ends while the transport
    /// still closes, it completes as well, and the promise of the [`close`](Self::close) is the one that tells.
    pub fn close_future(&self) -> ChannelFuture {
        ChannelFuture::new(self.clone(), self.shared.close_future())
    }

    /// A promise of this channel.
    pub fn new_promise(&self) -> Promise {
        Promise::new(self.shared.clone())
    }

    // ---- settings

    /// Switches auto-read.
    pub fn set_auto_read(&self, on: bool) {
        self.shared
            .on_loop(move |core| core.enter(|core| core.set_auto_read(on)));
    }

    /// Sets or clears one of the user-defined writability bits (1 to 31).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for another index.
    pub fn set_user_writability(&self, index: u32, writable: bool) -> Result<(), Error> {
        if !(1..=31).contains(&index) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("user-defined writability bit {index}: use 1 to 31 (0 is the watermark's)"),
            ));
        }
        self.shared.on_loop(move |core| {
            core.enter(|core| {
                let _ = core.set_user_writability(index, writable);
            });
        });
        Ok(())
    }

    /// Sets an option on the live channel.
    pub fn set_option<T: OptionType>(&self, option: ChannelOption<T>, value: T) -> TaskFuture<()> {
        let (promise, future) = TaskPromise::pair(self.shared.clone());
        match option.erase(value) {
            Ok(value) => self.send(promise, move |core, promise| {
                if promise.set_uncancellable() {
                    promise.complete(core.set_option(option.id(), &value));
                }
            }),
            Err(error) => {
                promise.try_failure(error);
            }
        }
        future
    }

    /// Reads an option of the live channel.
    pub fn option<T: OptionType>(&self, option: ChannelOption<T>) -> TaskFuture<T> {
        let (promise, future) = TaskPromise::pair(self.shared.clone());
        self.send(promise, move |core, promise| {
            let value = core.option(option.id()).and_then(|value| {
                option.restore(&value).ok_or_else(|| {
                    Error::new(
                        ErrorKind::InvalidArgument,
                        format!("option {} has another type", option.name()),
                    )
                })
            });
            promise.complete(value);
        });
        future
    }

    // ---- the pipeline

    /// Runs `edit` on the loop with the pipeline: at once if this is the loop's turn, else as a task. If the channel is not
    /// registered yet, its pipeline is filled before.
    pub fn edit<R: Send + 'static>(
        &self,
        edit: impl FnOnce(&mut Pipeline<'_>) -> R + Send + 'static,
    ) -> TaskFuture<R> {
        let (promise, future) = TaskPromise::pair(self.shared.clone());
        self.send(promise, move |core, promise| {
            if promise.set_uncancellable() {
                promise.complete(Ok(edit(&mut Pipeline::new(core))));
            }
        });
        future
    }

    /// Sends a message through the pipeline, from the head.
    pub fn fire_channel_read(&self, msg: impl IntoMessage) {
        let msg = msg.into_message();
        self.shared
            .on_loop(move |core| core.fire_from_outside(Root::Message(Inbound::Read, msg)));
    }

    /// Sends channel_read_complete through the pipeline, from the head.
    pub fn fire_channel_read_complete(&self) {
        self.shared
            .on_loop(|core| core.fire_from_outside(Root::Fire(Inbound::ReadComplete)));
    }

    /// Sends a user event through the pipeline, from the head.
    pub fn fire_user_event_triggered(&self, event: Message) {
        self.shared
            .on_loop(move |core| core.fire_from_outside(Root::Message(Inbound::UserEvent, event)));
    }

    /// Sends an error through the pipeline, from the head.
    pub fn fire_exception_caught(&self, cause: impl Into<Failure>) {
        let cause = cause.into();
        self.shared
            .on_loop(move |core| core.fire_from_outside(Root::Exception(cause)));
    }

    // ---- how operations get there

    pub(crate) fn new_future(&self) -> (Promise, ChannelFuture) {
        let promise = self.new_promise();
        let future = ChannelFuture::new(self.clone(), promise.completion());
        (promise, future)
    }

    fn run_op(&self, op: Op) {
        self.shared
            .on_loop(move |core| core.enter(|core| core.op(TAIL, op)));
    }

    fn run_op_with(&self, op: impl FnOnce(Promise) -> Op, promise: Promise) {
        let errand = Errand::new(&self.shared, op(promise));
        if self.shared.in_event_loop() {
            errand.operate();
        } else {
            // A refused errand is dropped, and tells its promise.
            let _ = self.shared.event_loop().execute(move || errand.operate());
        }
    }

    /// Brings a promise to the loop, with what is to be done for it there.
    fn send<L: Load + Send + 'static>(&self, load: L, act: impl FnOnce(&Core, L) + Send + 'static) {
        let errand = Errand::new(&self.shared, load);
        if self.shared.in_event_loop() {
            errand.arrive(act);
        } else {
            let _ = self.shared.event_loop().execute(move || errand.arrive(act));
        }
    }

    fn submit_write(&self, msg: Message, promise: Promise, flush: bool) {
        let is_here = self.shared.in_event_loop();
        if is_here {
            if let Some(core) = self.shared.core() {
                core.enter(|core| {
                    core.op_write(TAIL, msg, promise);
                    if flush {
                        core.op_flush(TAIL);
                    }
                });
                return;
            }
            if !self.shared.is_to_come() {
                return drop(Errand::new(&self.shared, Op::Write(msg, promise)));
            }
        }
        let size = msg.estimated_size() + ENTRY_OVERHEAD;
        let before = self.shared.submitted.fetch_add(size, Ordering::Relaxed);
        let crossed =
            before + size + self.shared.queued.load(Ordering::Relaxed) > self.shared.high_mark();
        let errand = Errand::new(&self.shared, Op::Write(msg, promise));
        let event_loop = self.shared.event_loop();
        let act = move |core: &Core, op| {
            core.submitted_write(op);
            if flush {
                core.op_flush(TAIL);
            }
        };
        let sent = if is_here {
            // It waits for the registration, and counts until then like one from another thread.
            errand.arrive(act);
            Ok(())
        } else if flush {
            event_loop.execute(move || errand.arrive(act))
        } else if crossed {
            event_loop.execute(move || errand.arrive(Core::submitted_write))
        } else {
            event_loop.execute_lazy(move || errand.arrive(Core::submitted_write))
        };
        // A lazy write waits for the flush that follows it. None will come for a channel that is closed, and if its loop
        // sleeps already, nothing else tells the promise. (If it closes after this look, its loop is awake.)
        if !flush && !self.shared.is_open() {
            let _awake = event_loop.execute(|| {});
        }
        if sent.is_err() {
            self.shared.submitted.fetch_sub(size, Ordering::Relaxed);
        }
        // Somebody else may have counted on what was refused, and waits for the event.
        let unsettled = match sent {
            Ok(()) => crossed && self.shared.mark_unwritable(),
            Err(_) => self.shared.is_above_mark(),
        };
        if unsettled {
            self.shared.recheck_writability();
        }
    }
}

impl Core {
    /// A write that another thread submitted has arrived; from here on the outbound buffer accounts it.
    fn submitted_write(&self, op: Op) {
        if let Op::Write(msg, _) = &op {
            let size = msg.estimated_size() + ENTRY_OVERHEAD;
            self.shared.submitted.fetch_sub(size, Ordering::Relaxed);
        }
        self.op(TAIL, op);
        // It may have been dropped on the way, or the mark was crossed by the sum alone.
        let total = self.pending_bytes();
        self.check_low(total);
    }
}

impl PartialEq for Channel {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Channel {}

impl std::hash::Hash for Channel {
    fn hash<S: std::hash::Hasher>(&self, state: &mut S) {
        self.id().hash(state);
    }
}

/// `[#7 10.0.0.1:80 -> 10.0.0.2:4711]`, with what is known.
impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.id())?;
        if let Some(local) = self.local_address() {
            write!(f, " {local}")?;
        }
        if let Some(remote) = self.remote_address() {
            write!(f, " -> {remote}")?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
