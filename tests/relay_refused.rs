//! Operations on their way between the loops of two groups that a loop does not take: who waits for one learns why.

use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tidegate::channel::HandlerHandle;
use tidegate::{
    Bootstrap, Channel, Context, EmbeddedChannel, Error, ErrorKind, EventLoop, EventLoopGroup,
    Handler, HandlerResult, Message,
};

/// Long enough for a machine that does other things; nothing waits for it when all is well.
const DEADLINE: Duration = Duration::from_secs(20);

/// The smallest bound there is.
const PENDING: usize = 16;

fn group() -> EventLoopGroup {
    let builder = EventLoopGroup::builder().threads(1);
    builder.max_pending_tasks(PENDING).build().unwrap()
}

/// Keeps the loop busy until it is dropped, with a queue that is full.
struct Full(Option<mpsc::Sender<()>>, tidegate::future::TaskFuture<()>);

impl Full {
    fn new(event_loop: &EventLoop) -> Self {
        let (go, gone) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let busy = event_loop.submit(move || {
            tell.send(()).unwrap();
            let _ = gone.recv_timeout(DEADLINE);
        });
        told.recv_timeout(DEADLINE).unwrap();
        while event_loop.execute(|| ()).is_ok() {}
        Self(Some(go), busy)
    }

    fn end(mut self) {
        drop(self.0.take());
        self.1.sync().unwrap();
    }
}

struct Passes;

impl Handler for Passes {}

/// When it returns, what the loops had begun is done, also where it goes on on the other one and comes back.
fn settle(own: &EventLoopGroup, others: &EventLoopGroup) {
    for group in [own, others, own] {
        group.next().submit(|| ()).sync_timeout(DEADLINE).unwrap();
    }
}

fn kind(result: Option<Error>) -> Option<ErrorKind> {
    result.map(|error| error.kind())
}

/// Rules: B12, B23
#[test]
fn an_operation_that_the_handlers_loop_does_not_take_is_rejected() {
    let group = group();
    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last_on(&group, || Passes)).unwrap();
    let full = Full::new(&group.next());
    let write = channel.channel().write_future("x");
    let close = channel.channel().close();
    channel.run_pending();
    assert_eq!(kind(write.cause()), Some(ErrorKind::Rejected));
    assert_eq!(kind(close.cause()), Some(ErrorKind::Rejected));
    full.end();
    let close = channel.channel().close();
    let deadline = Instant::now() + DEADLINE;
    while !close.is_done() && Instant::now() < deadline {
        channel.run_pending();
        std::thread::yield_now();
    }
    assert!(close.is_success(), "the channel is as it was");
}

/// Rules: B12, B23
#[test]
fn an_operation_to_a_loop_that_has_ended_is_terminated() {
    let group = group();
    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last_on(&group, || Passes)).unwrap();
    let write = channel.pipeline(|pipeline| {
        group.stop().sync_timeout(DEADLINE).unwrap();
        // Before the channel hears that it has lost a handler.
        pipeline.channel().write_future("x")
    });
    assert_eq!(kind(write.cause()), Some(ErrorKind::Terminated));
}

/// Hands out its channel, as a handler sees it.
struct Writes(mpsc::Sender<Option<ErrorKind>>);

impl Handler for Writes {
    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, _event: Message) -> HandlerResult {
        let write = ctx.write_future("x");
        let _ = self.0.send(kind(write.cause()));
        Ok(())
    }
}

/// The same on the way back, from the handler to the channel.
///
/// Rules: B12, B23
#[test]
fn an_operation_that_the_channels_loop_does_not_take_is_rejected() {
    let (own, others) = (group(), group());
    let (tell, told) = mpsc::channel();
    let (handle, handles) = mpsc::channel();
    let elsewhere = others.clone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let channel = Bootstrap::new(&own)
        .handler(move |pipeline| {
            let keeps = Keeps(Writes(tell.clone()), handle.clone());
            pipeline.add_last_on(&elsewhere, move || keeps)
        })
        .connect(listener.local_addr().unwrap())
        .sync_timeout(DEADLINE)
        .unwrap();
    let handle = handles.recv_timeout(DEADLINE).unwrap();
    // The first read is asked for on the other loop, and a channel that cannot be read any more is at its end.
    settle(&own, &others);
    let full = Full::new(&own.next());
    handle
        .run(|keeps: &mut Keeps, ctx| keeps.0.user_event_triggered(ctx, Message::new(0_u8)))
        .unwrap();
    assert_eq!(told.recv_timeout(DEADLINE), Ok(Some(ErrorKind::Rejected)));
    // And who comes back by a handle.
    let back = handle.run(|_, _| Ok(()));
    assert!(back.is_ok(), "its loop is idle");
    full.end();
    let full = Full::new(&others.next());
    let back = handle.run(|_, _| Ok(()));
    assert_eq!(kind(back.err()), Some(ErrorKind::Rejected));
    full.end();
    channel.close();
}

/// Hands out its handle, and which key comes back.
struct Notified(mpsc::Sender<HandlerHandle<Self>>, mpsc::Sender<u64>);

impl Handler for Notified {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let _ = self.0.send(ctx.handle());
        Ok(())
    }

    fn write_done(
        &mut self,
        _ctx: &mut Context<'_>,
        key: u64,
        _result: Result<(), Error>,
    ) -> HandlerResult {
        let _ = self.1.send(key);
        Ok(())
    }
}

fn client<H: Handler>(
    group: &EventLoopGroup,
    handler: impl Fn() -> H + Send + Sync + 'static,
) -> (Channel, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = Bootstrap::new(group)
        .handler(move |pipeline| pipeline.add_last(handler()))
        .connect(listener.local_addr().unwrap());
    (connected.sync_timeout(DEADLINE).unwrap(), listener)
}

/// As a story: a proxy asked to be told on one connection when a write on another was done, and never was.
///
/// Rules: 6.11, E19, F3
#[test]
fn a_notice_from_another_loop_finds_room_in_a_full_queue() {
    let (own, others) = (group(), group());
    let (tell, told) = mpsc::channel();
    let (handle, handles) = mpsc::channel();
    let (_near, _nears_peer) = client(&own, move || Notified(handle.clone(), tell.clone()));
    let (far, _fars_peer) = client(&others, || Passes);
    let handle = handles.recv_timeout(DEADLINE).unwrap();
    let (go, gone) = mpsc::channel::<()>();
    let busy = others
        .next()
        .submit(move || _ = gone.recv_timeout(DEADLINE));
    let asks = handle.run(move |_, ctx| {
        let promise = far.new_promise();
        ctx.notify(&promise, 7);
        far.write_with("x", promise);
        far.flush();
        Ok(())
    });
    asks.unwrap();
    own.next().submit(|| ()).sync().unwrap();
    let full = Full::new(&own.next());
    drop(go);
    busy.sync().unwrap();
    for _ in 0..3 {
        others.next().submit(|| ()).sync().unwrap();
    }
    full.end();
    assert_eq!(told.recv_timeout(DEADLINE), Ok(7));
}

struct Keeps(Writes, mpsc::Sender<HandlerHandle<Self>>);

impl Handler for Keeps {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let _ = self.1.send(ctx.handle());
        Ok(())
    }
}
