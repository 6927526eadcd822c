//! What the tests of channels share: a log, a handler that writes everything down, and a handler made of closures.

use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::channel::OptionType;
use tidegate::channel::events::{
    ChannelInputShutdown, ChannelInputShutdownReadComplete, ChannelOutputShutdown, PeerClosing,
};
use tidegate::{
    Channel, ChannelFuture, ChannelOption, Context, EmbeddedChannel, Error, ErrorKind, Failure,
    Handler, HandlerResult, Message, OptionSet, Promise,
};

/// No test waits for a time; this is when a wait that hangs becomes a failure.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// What happened, in order.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn add(&self, what: impl Display) {
        self.0.lock().unwrap().push(what.to_string());
    }

    /// What was written down since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Writes down when `future` is done: its name, and how it failed if it did.
    pub fn watch(&self, name: &'static str, future: &ChannelFuture) {
        future.add_listener(self.listener(name));
    }

    pub fn listener(
        &self,
        name: &'static str,
    ) -> impl FnOnce(&Channel, &Result<(), Error>) + Send + use<> {
        let log = self.clone();
        move |_, result| match result {
            Ok(()) => log.add(name),
            Err(error) => log.add(format!("{name}: {}", error.kind())),
        }
    }
}

/// The text of a message of bytes.
pub fn text(msg: &Message) -> String {
    let bytes = msg.as_bytes().expect("a message of bytes");
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Everything that was flushed since the last call.
pub fn sent(channel: &mut EmbeddedChannel) -> Vec<String> {
    std::iter::from_fn(|| channel.read_outbound())
        .map(|msg| text(&msg))
        .collect()
}

/// Everything that reached the tail since the last call.
pub fn received(channel: &mut EmbeddedChannel) -> Vec<String> {
    std::iter::from_fn(|| channel.read_inbound())
        .map(|msg| text(&msg))
        .collect()
}

/// Writes down every inbound event and passes it on.
pub struct Recorder(pub Log);

impl Handler for Recorder {
    fn handler_added(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.0.add("added");
        Ok(())
    }

    fn handler_removed(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.0.add("removed");
        Ok(())
    }

    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.add("registered");
        ctx.fire_channel_registered();
        Ok(())
    }

    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.add("unregistered");
        ctx.fire_channel_unregistered();
        Ok(())
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.add("active");
        ctx.fire_channel_active();
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.add("inactive");
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.0.add(format!("read {}", text(&msg)));
        ctx.fire_channel_read(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.add("complete");
        ctx.fire_channel_read_complete();
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        self.0.add(event_name(&event));
        ctx.fire_user_event_triggered(event);
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.add(if ctx.is_writable() {
            "writable"
        } else {
            "unwritable"
        });
        ctx.fire_channel_writability_changed();
        Ok(())
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.0.add(format!("error {}", cause.kind()));
        Ok(())
    }
}

fn event_name(event: &Message) -> String {
    if event.is::<PeerClosing>() {
        "peer closing".into()
    } else if event.is::<ChannelInputShutdown>() {
        "input shutdown".into()
    } else if event.is::<ChannelInputShutdownReadComplete>() {
        "input shutdown read complete".into()
    } else if event.is::<ChannelOutputShutdown>() {
        "output shutdown".into()
    } else {
        format!("event {}", event.type_name())
    }
}

type Plain = Box<dyn FnMut(&mut Context<'_>)>;
type WithMessage = Box<dyn FnMut(&mut Context<'_>, Message)>;
type WithPromise = Box<dyn FnMut(&mut Context<'_>, Promise)>;

/// A handler made of closures. What has none is passed on; what has one is passed on by the closure, if it likes.
#[derive(Default)]
pub struct Hooks {
    inactive: Option<Plain>,
    registered: Option<Plain>,
    complete: Option<Plain>,
    writability: Option<Plain>,
    read: Option<WithMessage>,
    event: Option<WithMessage>,
    close: Option<WithPromise>,
}

macro_rules! hooks {
    ($($name:ident: $field:ident($($arg:ty),*);)*) => {
        $(pub fn $name(mut self, hook: impl FnMut(&mut Context<'_>, $($arg),*) + 'static) -> Self {
            self.$field = Some(Box::new(hook));
            self
        })*
    };
}

impl Hooks {
    pub fn new() -> Self {
        Self::default()
    }

    hooks! {
        on_inactive: inactive();
        on_registered: registered();
        on_complete: complete();
        on_writability: writability();
        on_read: read(Message);
        on_event: event(Message);
        on_close: close(Promise);
    }
}

impl Handler for Hooks {
    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if let Some(hook) = &mut self.registered {
            hook(ctx);
        }
        ctx.fire_channel_registered();
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if let Some(hook) = &mut self.inactive {
            hook(ctx);
        }
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        match &mut self.read {
            Some(hook) => hook(ctx, msg),
            None => ctx.fire_channel_read(msg),
        }
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if let Some(hook) = &mut self.complete {
            hook(ctx);
        }
        ctx.fire_channel_read_complete();
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        match &mut self.event {
            Some(hook) => hook(ctx, event),
            None => ctx.fire_user_event_triggered(event),
        }
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if let Some(hook) = &mut self.writability {
            hook(ctx);
        }
        ctx.fire_channel_writability_changed();
        Ok(())
    }

    fn close(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        match &mut self.close {
            Some(hook) => hook(ctx, promise),
            None => ctx.close_with(promise),
        }
        Ok(())
    }
}

/// A set with one option.
pub fn option<T: OptionType>(option: ChannelOption<T>, value: T) -> OptionSet {
    let mut set = OptionSet::new();
    set.set(option, value).expect("a good option");
    set
}

/// A connected channel whose only handler writes everything down; the log is empty.
pub fn recorded() -> (EmbeddedChannel, Log) {
    recorded_with(&OptionSet::new())
}

/// As [`recorded`], with options.
pub fn recorded_with(options: &OptionSet) -> (EmbeddedChannel, Log) {
    let log = Log::default();
    let channel =
        EmbeddedChannel::with_options(options, |pipeline| pipeline.add_last(Recorder(log.clone())))
            .expect("an embedded channel opens");
    log.take();
    (channel, log)
}

/// A channel that is not connected, whose only handler writes everything down; the log is empty.
pub fn unconnected() -> (EmbeddedChannel, Log) {
    unconnected_with(&OptionSet::new())
}

/// As [`unconnected`], with options.
pub fn unconnected_with(options: &OptionSet) -> (EmbeddedChannel, Log) {
    let log = Log::default();
    let channel =
        EmbeddedChannel::unconnected(options, |pipeline| pipeline.add_last(Recorder(log.clone())))
            .expect("an embedded channel opens");
    log.take();
    (channel, log)
}

/// A connected channel with `handler`, and behind it one that writes everything down; the log is empty.
pub fn hooked(handler: impl Handler) -> (EmbeddedChannel, Log) {
    hooked_with(&OptionSet::new(), handler)
}

/// As [`hooked`], with options.
pub fn hooked_with(options: &OptionSet, handler: impl Handler) -> (EmbeddedChannel, Log) {
    let log = Log::default();
    let channel = EmbeddedChannel::with_options(options, |pipeline| {
        pipeline.add_last(handler)?;
        pipeline.add_last(Recorder(log.clone()))
    })
    .expect("an embedded channel opens");
    log.take();
    (channel, log)
}

/// An error of the network.
pub fn reset() -> Error {
    Error::new(ErrorKind::ConnectionReset, "reset by the test")
}

/// The kind that a future failed with.
#[track_caller]
pub fn kind(future: &ChannelFuture) -> ErrorKind {
    assert!(future.is_done(), "the future is not done");
    future.cause().expect("the future failed").kind()
}
