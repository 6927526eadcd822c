//! Whatever a handler does in whatever callback: what it had flushed before is sent, its channel ends as channels do, and the
//! loop goes on. Over real sockets, because a put-off flush, a close and a panic meet the kernel's edges there.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::panic::resume_unwind;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::bootstrap::Bootstrap;
use tidegate::buffer::Message;
use tidegate::channel::options::{WRITE_BUFFER_WATER_MARK, WaterMark};
use tidegate::channel::{Channel, ChannelFuture, Context, Handler, HandlerResult, Pipeline};
use tidegate::error::{Error, Failure};
use tidegate::event_loop::{Backend, EventLoopGroup};
use tidegate::future::Promise;

use crate::plain::{accept_plain, plain_listener};
use crate::probe::{DEADLINE, until};

/// Where a handler acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Added,
    Removed,
    Registered,
    Unregistered,
    Active,
    Inactive,
    Read,
    ReadComplete,
    Event,
    Writability,
    Error,
    Close,
    ReadOp,
    Write,
    Flush,
    After,
    Resume,
    Timer,
    WriteDone,
}

const CALLBACKS: [At; 19] = [
    At::Added,
    At::Removed,
    At::Registered,
    At::Unregistered,
    At::Active,
    At::Inactive,
    At::Read,
    At::ReadComplete,
    At::Event,
    At::Writability,
    At::Error,
    At::Close,
    At::ReadOp,
    At::Write,
    At::Flush,
    At::After,
    At::Resume,
    At::Timer,
    At::WriteDone,
];

/// What it does there, after it has written and flushed its [`MARK`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Nothing,
    Fail,
    Panic,
    Close,
    CloseByHandle,
    Remove,
    Replace,
    EndOutput,
    Pause,
    WriteByHandle,
    AddAndFire,
}

const ACTS: [Act; 11] = [
    Act::Nothing,
    Act::Fail,
    Act::Panic,
    Act::Close,
    Act::CloseByHandle,
    Act::Remove,
    Act::Replace,
    Act::EndOutput,
    Act::Pause,
    Act::WriteByHandle,
    Act::AddAndFire,
];

const MARK: &[u8] = b"W";

/// What the handlers have seen and done.
#[derive(Clone, Default)]
struct Story(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    /// The life of the channel so far.
    life: Vec<&'static str>,
    /// What has come to the head, in order.
    written: Vec<u8>,
    futures: Vec<ChannelFuture>,
}

impl Story {
    fn with<R>(&self, look: impl FnOnce(&mut Told) -> R) -> R {
        look(&mut self.0.lock().expect("no test panics with it"))
    }

    fn lived(&self, event: &'static str) -> HandlerResult {
        self.with(|told| told.life.push(event));
        Ok(())
    }
}

/// Next to the head, where nothing is lost in a panic of the others.
struct Guard {
    story: Story,
    ended: Sender<()>,
}

impl Handler for Guard {
    fn handler_removed(&mut self, _: &mut Context<'_>) -> HandlerResult {
        // The test may have failed already.
        let _ = self.ended.send(());
        self.story.lived("removed")
    }

    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_registered();
        self.story.lived("registered")
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_active();
        self.story.lived("active")
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_inactive();
        self.story.lived("inactive")
    }

    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_unregistered();
        self.story.lived("unregistered")
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        let bytes = msg.as_bytes().unwrap_or_default();
        self.story.with(|told| told.written.extend(bytes));
        ctx.write_with(msg, promise);
        Ok(())
    }
}

/// Next to the tail: takes what would close the channel there.
struct Last;

impl Handler for Last {
    fn channel_read(&mut self, _: &mut Context<'_>, _: Message) -> HandlerResult {
        Ok(())
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, _: Failure) -> HandlerResult {
        Ok(())
    }
}

/// Comes in the place of others.
struct Passes;

impl Handler for Passes {}

/// Does one thing, once.
struct Actor {
    at: At,
    act: Act,
    /// The promise of the mark is somebody's.
    observed: bool,
    story: Story,
    acted: Option<Sender<()>>,
}

impl Actor {
    fn come(&mut self, at: At, ctx: &mut Context<'_>) -> HandlerResult {
        let acted = self.acted.take_if(|_| at == self.at);
        let Some(acted) = acted else {
            return Ok(());
        };
        // The test may have failed already.
        let _ = acted.send(());
        if self.observed {
            let future = ctx.write_and_flush_future(MARK);
            self.story.with(|told| told.futures.push(future));
        } else {
            ctx.write_and_flush(MARK);
        }
        match self.act {
            Act::Nothing => {}
            Act::Fail => return Err(Failure::msg("as the test wants it")),
            // No hook is called, so that nothing is printed.
            Act::Panic => resume_unwind(Box::new("as the test wants it")),
            Act::Close => ctx.close(),
            Act::CloseByHandle => {
                let future = ctx.channel().close();
                self.story.with(|told| told.futures.push(future));
            }
            Act::Remove => drop(ctx.pipeline().remove_type::<Self>()),
            Act::Replace => drop(ctx.pipeline().replace_type::<Self, _>(Passes)),
            Act::EndOutput => {
                let future = ctx.channel().shutdown_output();
                self.story.with(|told| told.futures.push(future));
            }
            Act::Pause => ctx.set_auto_read(false),
            Act::WriteByHandle => {
                let future = ctx.channel().write_and_flush("h");
                self.story.with(|told| told.futures.push(future));
            }
            Act::AddAndFire => {
                let _ = ctx.pipeline().add_last(Passes);
                ctx.fire_channel_read("fired");
                ctx.fire_user_event_triggered(Message::new(1_u8));
            }
        }
        Ok(())
    }
}

impl Handler for Actor {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.come(At::Added, ctx)
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.come(At::Removed, ctx)
    }

    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_registered();
        self.come(At::Registered, ctx)
    }

    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_unregistered();
        self.come(At::Unregistered, ctx)
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_active();
        self.come(At::Active, ctx)
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_inactive();
        self.come(At::Inactive, ctx)
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        match self.at {
            At::After => ctx.after(1),
            At::Resume => ctx.resume(),
            _ => {}
        }
        ctx.fire_channel_read(msg);
        self.come(At::Read, ctx)
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_read_complete();
        self.come(At::ReadComplete, ctx)
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        if self.at == At::Timer {
            ctx.timer(Duration::ZERO, 1);
        }
        ctx.fire_user_event_triggered(event);
        self.come(At::Event, ctx)
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_writability_changed();
        self.come(At::Writability, ctx)
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        ctx.fire_exception_caught(cause);
        self.come(At::Error, ctx)
    }

    fn close(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        self.come(At::Close, ctx)?;
        ctx.close_with(promise);
        Ok(())
    }

    fn read(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        // Auto-read asks before there is a connection, too.
        if ctx.is_active() {
            self.come(At::ReadOp, ctx)?;
        }
        ctx.read();
        Ok(())
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        if self.at == At::WriteDone {
            ctx.notify(&promise, 1);
        }
        self.come(At::Write, ctx)?;
        ctx.write_with(msg, promise);
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.come(At::Flush, ctx)?;
        ctx.flush();
        Ok(())
    }

    fn after(&mut self, ctx: &mut Context<'_>, _: u64) -> HandlerResult {
        self.come(At::After, ctx)
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.come(At::Resume, ctx)
    }

    fn timer(&mut self, ctx: &mut Context<'_>, _: u64) -> HandlerResult {
        self.come(At::Timer, ctx)
    }

    fn write_done(&mut self, ctx: &mut Context<'_>, _: u64, _: Result<(), Error>) -> HandlerResult {
        self.come(At::WriteDone, ctx)
    }
}

/// One act in one callback, on a channel of its own.
struct Case<'a> {
    group: &'a EventLoopGroup,
    story: Story,
    what: String,
    at: At,
    act: Act,
    observed: bool,
    /// The handler lives on a loop of this group.
    elsewhere: Option<EventLoopGroup>,
}

impl Case<'_> {
    fn run(&self) {
        // Of its own: a channel that is closed while it connects may leave a connection in the queue.
        let (listener, address) = plain_listener();
        let (tell_acted, acted) = mpsc::channel();
        let (tell_ended, ended) = mpsc::channel();
        let actor = Mutex::new(Some(Actor {
            at: self.at,
            act: self.act,
            observed: self.observed,
            story: self.story.clone(),
            acted: Some(tell_acted),
        }));
        let actor = Arc::new(actor);
        let (in_pipeline, story) = (actor.clone(), self.story.clone());
        let elsewhere = self.elsewhere.clone();
        let is_added_later = self.at == At::Added;
        // A channel that is not writable is flushed at once, and others when the callback has returned.
        let is_tight = self.at == At::Writability;
        let (low, high) = if is_tight { (1, 2) } else { (1 << 10, 1 << 20) };
        let mark = WaterMark::new(low, high).expect("low is not above high");
        let connect = Bootstrap::new(self.group)
            .option(WRITE_BUFFER_WATER_MARK, mark)
            .handler(move |pipeline| {
                pipeline.add_last(Guard {
                    story: story.clone(),
                    ended: tell_ended.clone(),
                })?;
                let actor = in_pipeline.lock().unwrap().take_if(|_| !is_added_later);
                match (actor, &elsewhere) {
                    (Some(actor), Some(group)) => pipeline.add_last_on(group, move || actor)?,
                    (Some(actor), None) => pipeline.add_last(actor)?,
                    (None, _) => {}
                }
                pipeline.add_last(Last)
            })
            .connect(address);
        let channel = connect.channel().clone();
        let peer = connect
            .sync_timeout(DEADLINE)
            .map(|_| accept_plain(&listener));
        match peer {
            Ok(peer) => self.play(&channel, peer, &acted, &actor),
            // It was closed before it had begun to connect.
            Err(error) => assert_eq!(self.at, At::Registered, "{}: {error}", self.what),
        }
        self.look_back(&channel, &ended);
    }

    fn play(
        &self,
        channel: &Channel,
        mut peer: TcpStream,
        acted: &Receiver<()>,
        actor: &Arc<Mutex<Option<Actor>>>,
    ) {
        self.bring_about(channel, &mut peer, actor);
        let come = acted.recv_timeout(DEADLINE);
        come.unwrap_or_else(|_| panic!("{}: it is not called", self.what));
        let mut got = Vec::new();
        let is_active = !matches!(self.at, At::Registered | At::Inactive | At::Unregistered);
        while is_active && !got.ends_with(MARK) {
            let mut room = [0];
            let count = peer.read(&mut room);
            let count =
                count.unwrap_or_else(|error| panic!("{}: {error} after {got:?}", self.what));
            assert_eq!(count, 1, "{}: the mark is lost: {got:?}", self.what);
            got.extend(room);
        }
        // Most channels are still there; these end in two ways.
        let _ = peer.shutdown(Shutdown::Write);
        if !self.observed || self.hears_no_end() {
            channel.close();
        }
        // A reset is no matter: it closes with something unread.
        let _ = peer.read_to_end(&mut got);
        let written = self.story.with(|told| told.written.clone());
        // What is flushed before there is a connection fails, and what comes behind it does not.
        let may_begin_later = self.at == At::Registered && written.ends_with(&got);
        assert!(
            may_begin_later || written.starts_with(&got),
            "{}: {got:?} of {written:?}",
            self.what
        );
    }

    /// Has the callback called.
    fn bring_about(
        &self,
        channel: &Channel,
        peer: &mut TcpStream,
        actor: &Arc<Mutex<Option<Actor>>>,
    ) {
        let edit = |edit: fn(&mut Pipeline<'_>)| drop(channel.edit(edit));
        match self.at {
            At::Registered | At::Active | At::ReadOp => {}
            At::Added => {
                let actor = actor.lock().unwrap().take().expect("it was kept");
                drop(channel.edit(move |pipeline| {
                    let _ = pipeline.add_after_type::<Guard, _>(actor);
                }));
            }
            At::Removed => edit(|pipeline| drop(pipeline.remove_type::<Actor>())),
            At::Read | At::ReadComplete | At::After | At::Resume => {
                peer.write_all(b"hello").expect("the connection is there");
            }
            At::Event | At::Timer => {
                edit(|pipeline| pipeline.fire_user_event_triggered(Message::new(0_u8)));
            }
            At::Error => edit(|pipeline| pipeline.fire_exception_caught(Failure::msg("an error"))),
            At::Writability | At::Write | At::Flush | At::WriteDone => {
                let future = channel.write_and_flush("app");
                self.story.with(|told| told.futures.push(future));
            }
            At::Close => {
                let future = channel.close();
                self.story.with(|told| told.futures.push(future));
            }
            At::Inactive | At::Unregistered => {
                peer.shutdown(Shutdown::Write).expect("it is connected");
            }
        }
    }

    /// Nothing is read any more, so that the peer's end is not either.
    fn hears_no_end(&self) -> bool {
        self.act == Act::Pause || self.act == Act::Fail && self.at == At::ReadOp
    }

    fn look_back(&self, channel: &Channel, ended: &Receiver<()>) {
        let what = &self.what;
        let closed = channel.close_future().sync_timeout(DEADLINE);
        assert!(closed.is_ok(), "{what}: it closes");
        let end = ended.recv_timeout(DEADLINE);
        assert!(end.is_ok(), "{what}: the handlers leave");
        let futures = self.story.with(|told| std::mem::take(&mut told.futures));
        for future in futures {
            until(what, || future.is_done());
        }
        let lp = channel.event_loop();
        assert_eq!(lp.submit(|| 7).sync_timeout(DEADLINE).unwrap(), 7);
        let life = self.story.with(|told| told.life.clone());
        let whole = [
            "registered",
            "active",
            "inactive",
            "unregistered",
            "removed",
        ];
        let stillborn = ["registered", "unregistered", "removed"];
        assert!(life == whole || life == stillborn, "{what}: {life:?}");
    }
}

/// Rules: A25, A30, 5.8, 6.8
#[test]
fn whatever_is_done_in_whatever_callback_what_was_flushed_is_sent_and_the_channel_ends_well() {
    for backend in Backend::available() {
        let builder = EventLoopGroup::builder().threads(1).selector(*backend);
        let group = builder.build().expect("a group");
        for at in CALLBACKS {
            for act in ACTS {
                for observed in [false, true] {
                    let story = Story::default();
                    let mark = if observed { "observed" } else { "void" };
                    let case = Case {
                        group: &group,
                        story,
                        what: format!("{backend}, {act:?} in {at:?}, the mark {mark}"),
                        at,
                        act,
                        observed,
                        elsewhere: None,
                    };
                    case.run();
                }
            }
        }
        group.stop();
        assert!(group.await_termination(DEADLINE).expect("not a loop"));
    }
}

/// The same where the handler lives on another group's loop: what it asks for travels, in order. Its own place in the
/// pipeline is not its to change there.
///
/// Rules: A25, A30, 5.8
#[test]
fn the_same_is_true_of_a_handler_on_another_loop() {
    let groups = [(); 2].map(|()| EventLoopGroup::new(1).expect("a group"));
    let [group, other] = &groups;
    let is_edit = |act: &Act| matches!(act, Act::Remove | Act::Replace | Act::AddAndFire);
    let is_place = |at: &At| matches!(at, At::Added | At::Removed);
    for at in CALLBACKS.into_iter().filter(|at| !is_place(at)) {
        for act in ACTS.into_iter().filter(|act| !is_edit(act)) {
            for observed in [false, true] {
                let mark = if observed { "observed" } else { "void" };
                let case = Case {
                    group,
                    story: Story::default(),
                    what: format!("{act:?} in {at:?} elsewhere, the mark {mark}"),
                    at,
                    act,
                    observed,
                    elsewhere: Some(other.clone()),
                };
                case.run();
            }
        }
    }
    for group in groups {
        group.stop();
        assert!(group.await_termination(DEADLINE).expect("not a loop"));
    }
}
