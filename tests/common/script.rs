//! [`Script`]: a handler whose callbacks are closures.

use tidegate::{Address, Context, Error, Failure, Handler, HandlerResult, Message, Promise};

use super::{Dropped, Log, text};

type Plain = Box<dyn FnMut(&mut Context<'_>) -> HandlerResult>;
type WithMessage = Box<dyn FnMut(&mut Context<'_>, Message) -> HandlerResult>;
type WithFailure = Box<dyn FnMut(&mut Context<'_>, Failure) -> HandlerResult>;
type WithPromise = Box<dyn FnMut(&mut Context<'_>, Promise) -> HandlerResult>;
type WithWrite = Box<dyn FnMut(&mut Context<'_>, Message, Promise) -> HandlerResult>;
type WithKey = Box<dyn FnMut(&mut Context<'_>, u64) -> HandlerResult>;
type WithResult = Box<dyn FnMut(&mut Context<'_>, u64, Result<(), Error>) -> HandlerResult>;

/// The closures; a callback without one passes the event on.
#[derive(Default)]
struct Hooks {
    added: Option<Plain>,
    removed: Option<Plain>,
    registered: Option<Plain>,
    unregistered: Option<Plain>,
    active: Option<Plain>,
    inactive: Option<Plain>,
    read: Option<WithMessage>,
    read_complete: Option<Plain>,
    event: Option<WithMessage>,
    writability: Option<Plain>,
    error: Option<WithFailure>,
    close: Option<WithPromise>,
    disconnect: Option<WithPromise>,
    read_op: Option<Plain>,
    write: Option<WithWrite>,
    flush: Option<Plain>,
    after: Option<WithKey>,
    resume: Option<Plain>,
    timer: Option<WithKey>,
    write_done: Option<WithResult>,
}

/// A handler that does what its closures say. A callback with a closure is logged as `name callback argument`
/// before the closure runs; one without passes the event on, and is logged only by a [`loud`](Script::loud) script.
pub struct Script {
    name: &'static str,
    log: Log,
    is_loud: bool,
    hooks: Hooks,
    dropped: Option<Dropped>,
}

macro_rules! hooks {
    ($($method:ident => $field:ident: ($($arg:ty),*);)*) => {
        $(
            pub fn $method(
                mut self,
                hook: impl FnMut(&mut Context<'_>, $($arg),*) -> HandlerResult + 'static,
            ) -> Self {
                self.hooks.$field = Some(Box::new(hook));
                self
            }
        )*
    };
}

impl Script {
    pub fn new(name: &'static str, log: &Log) -> Self {
        Self {
            name,
            log: log.clone(),
            is_loud: false,
            hooks: Hooks::default(),
            dropped: None,
        }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Logs every callback.
    pub fn loud(mut self) -> Self {
        self.is_loud = true;
        self
    }

    /// Something that is dropped with the handler.
    pub fn holding(mut self, dropped: Dropped) -> Self {
        self.dropped = Some(dropped);
        self
    }

    hooks! {
        on_added => added: ();
        on_removed => removed: ();
        on_registered => registered: ();
        on_unregistered => unregistered: ();
        on_active => active: ();
        on_inactive => inactive: ();
        on_read => read: (Message);
        on_read_complete => read_complete: ();
        on_event => event: (Message);
        on_writability => writability: ();
        on_error => error: (Failure);
        on_close => close: (Promise);
        on_disconnect => disconnect: (Promise);
        on_read_op => read_op: ();
        on_write => write: (Message, Promise);
        on_flush => flush: ();
        on_after => after: (u64);
        on_resume => resume: ();
        on_timer => timer: (u64);
        on_write_done => write_done: (u64, Result<(), Error>);
    }

    fn tell(&self, is_hooked: bool, what: impl FnOnce() -> String) {
        if is_hooked || self.is_loud {
            self.log.add(format_args!("{} {}", self.name, what()));
        }
    }
}

/// Tells, then runs the closure or what stands for it.
macro_rules! play {
    ($self:ident, $field:ident, $what:expr, ($($arg:expr),*), $default:expr) => {{
        $self.tell($self.hooks.$field.is_some(), || $what);
        match &mut $self.hooks.$field {
            Some(hook) => hook($($arg),*),
            None => {
                let () = $default;
                Ok(())
            }
        }
    }};
}

impl Handler for Script {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        play!(self, added, "added".into(), (ctx), ())
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        play!(self, removed, "removed".into(), (ctx), ())
    }

    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        play!(
            self,
            registered,
            "registered".into(),
            (ctx),
            ctx.fire_channel_registered()
        )
    }

    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        play!(
            self,
            unregistered,
            "unregistered".into(),
            (ctx),
            ctx.fire_channel_unregistered()
        )
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        play!(
            self,
            active,
            "active".into(),
            (ctx),
            ctx.fire_channel_active()
        )
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        play!(
            self,
            inactive,
            "inactive".into(),
            (ctx),
            ctx.fire_channel_inactive()
        )
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let what = format!("read {}", text(&msg));
        play!(self, read, what, (ctx, msg), ctx.fire_channel_read(msg))
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        play!(
            self,
            read_complete,
            "read_complete".into(),
            (ctx),
            ctx.fire_channel_read_complete()
        )
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        let what = format!("event {}", text(&event));
        play!(
            self,
            event,
            what,
            (ctx, event),
            ctx.fire_user_event_triggered(event)
        )
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let what = format!("writable {}", ctx.is_writable());
        play!(
            self,
            writability,
            what,
            (ctx),
            ctx.fire_channel_writability_changed()
        )
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        let what = format!("error {cause}");
        play!(
            self,
            error,
            what,
            (ctx, cause),
            ctx.fire_exception_caught(cause)
        )
    }

    fn bind(&mut self, ctx: &mut Context<'_>, local: Address, promise: Promise) -> HandlerResult {
        self.tell(false, || format!("bind {local}"));
        ctx.bind(local, promise);
        Ok(())
    }

    fn connect(
        &mut self,
        ctx: &mut Context<'_>,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) -> HandlerResult {
        self.tell(false, || format!("connect {remote}"));
        ctx.connect(remote, local, promise);
        Ok(())
    }

    fn disconnect(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        play!(
            self,
            disconnect,
            "disconnect".into(),
            (ctx, promise),
            ctx.disconnect(promise)
        )
    }

    fn close(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        play!(
            self,
            close,
            "close".into(),
            (ctx, promise),
            ctx.close_with(promise)
        )
    }

    fn read(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        play!(self, read_op, "read()".into(), (ctx), ctx.read())
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        let what = format!("write {}", text(&msg));
        play!(
            self,
            write,
            what,
            (ctx, msg, promise),
            ctx.write_with(msg, promise)
        )
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        play!(self, flush, "flush".into(), (ctx), ctx.flush())
    }

    fn after(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        play!(self, after, format!("after {key}"), (ctx, key), ())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        play!(self, resume, "resume".into(), (ctx), ())
    }

    fn timer(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        play!(self, timer, format!("timer {key}"), (ctx, key), ())
    }

    fn write_done(
        &mut self,
        ctx: &mut Context<'_>,
        key: u64,
        result: Result<(), Error>,
    ) -> HandlerResult {
        let outcome = match &result {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        };
        play!(
            self,
            write_done,
            format!("write_done {key} {outcome}"),
            (ctx, key, result),
            ()
        )
    }
}
