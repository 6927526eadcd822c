//! What a channel allocates in the steady state, counted on the thread of its loop (`make allocs`).
//!
//! Nothing: reading, handing a message through handlers, writing it, sending it; `after`, `resume`, timers, local
//! handles, promises with their futures and listeners, and coming back by a key. By their nature allocate, and are counted
//! here as well:
//!
//! | what | allocations | what for |
//! |---|---|---|
//! | a promise beyond the 256 of a thread that were used before | 1 | its state, shared with the future |
//! | a promise with a value | 1 | the same: its size is the value's |
//! | a message larger than 24 bytes that is neither bytes nor a file region | 1 | its box |
//! | a handler's first `after`, `resume`, second emission, … | a few | the pipeline's lists, once |
//!
//! Each count is taken after a hundred rounds of the same, so that queues and lists have their size.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate::buffer::{Arena, Bytes, BytesMut};
use tidegate::channel::LocalHandle;
use tidegate::event_loop::{Backend, TimerKey};
use tidegate::future::OnCaller;
use tidegate::transport::local::{Local, LocalAddress};
use tidegate::{
    Bootstrap, Context, EmbeddedChannel, Error, Failure, Handler, HandlerResult, LocalEventLoop,
    Message, Pipeline, Promise, ServerBootstrap,
};

// The allocator is unsafe code, and that lives under sys/.
#[path = "../sys/tests/support/counting.rs"]
mod counting;

#[global_allocator]
static COUNTING: counting::Counting = counting::Counting;

const WARM_UP: usize = 100;
const COUNTED: usize = 1000;

/// The allocations of [`COUNTED`] rounds after the first ones.
fn allocations_of(mut round: impl FnMut()) -> u64 {
    (0..WARM_UP).for_each(|_| round());
    counting::allocations(|| (0..COUNTED).for_each(|_| round())).0
}

/// Overrides what messages pass and passes it on, so that it is never skipped.
struct Forward;

impl Handler for Forward {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.fire_channel_read(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_read_complete();
        Ok(())
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        ctx.write_with(msg, promise);
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }
}

/// Writes what it reads, and flushes when a batch ends.
struct Echo;

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }
}

fn three_and_echo(pipeline: &mut Pipeline<'_>) -> Result<(), Error> {
    for _ in 0..3 {
        pipeline.add_last(Forward)?;
    }
    pipeline.add_last(Echo)
}

// ---- messages

/// A message as a transport reads it.
fn received(arena: &mut Arena, bytes: usize) -> BytesMut {
    static DATA: [u8; 16 << 10] = [7; 16 << 10];
    let read = arena.read(bytes, |room: &mut BytesMut, max| {
        room.extend_from_slice(&DATA[..bytes.min(max)]);
        Ok(bytes.min(max))
    });
    read.expect("the closure does not fail")
}

#[test]
fn a_message_through_three_handlers_and_back_allocates_nothing() -> Result<(), Failure> {
    for bytes in [64, 16 << 10] {
        let mut channel = EmbeddedChannel::new(three_and_echo)?;
        let mut arena = Arena::new();
        let mut batch = |size: usize| {
            channel.feed((0..size).map(|_| received(&mut arena, bytes)));
            for _ in 0..size {
                let echoed = channel.read_outbound().expect("the echo");
                assert_eq!(echoed.readable_bytes(), Some(bytes));
            }
        };
        for size in [1, 16] {
            assert_eq!(
                allocations_of(|| batch(size)),
                0,
                "{size} messages of {bytes} bytes at a time"
            );
        }
    }
    Ok(())
}

#[test]
fn a_message_from_the_channels_handle_allocates_nothing() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(three_and_echo)?;
    let bytes = Bytes::from(vec![7; 16 << 10]);
    let count = allocations_of(|| {
        channel.run(|channel| {
            channel.write(bytes.clone());
            channel.flush();
        });
        assert!(channel.read_outbound().is_some());
    });
    assert_eq!(count, 0);
    Ok(())
}

#[test]
fn small_objects_travel_without_a_box_and_large_ones_with_one() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(three_and_echo)?;
    let small = allocations_of(|| {
        channel.feed([Message::new([1_u64; 3])]);
        assert!(channel.read_outbound_as::<[u64; 3]>().is_some());
    });
    let large = allocations_of(|| {
        channel.feed([Message::new([1_u64; 4])]);
        assert!(channel.read_outbound_as::<[u64; 4]>().is_some());
    });
    assert_eq!((small, large), (0, COUNTED as u64));
    Ok(())
}

// ---- coming back

/// What a [`Worker`] does when it is triggered, and how often it came back.
type Work = fn(&mut Worker, &mut Context<'_>) -> HandlerResult;

/// Does its work in channel_read_complete.
struct Worker {
    work: Work,
    /// Callbacks that followed from the work.
    returns: Rc<Cell<usize>>,
    timer: Option<TimerKey>,
    handle: Option<LocalHandle<Worker>>,
    left: u32,
}

impl Worker {
    fn came_back(&self) -> HandlerResult {
        self.returns.set(self.returns.get() + 1);
        Ok(())
    }
}

impl Handler for Worker {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.handle = Some(ctx.local_handle());
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        (self.work)(self, ctx)
    }

    fn after(&mut self, _ctx: &mut Context<'_>, _key: u64) -> HandlerResult {
        self.came_back()
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_read(Message::new(self.left));
        self.left -= 1;
        if self.left > 0 {
            ctx.resume();
        }
        self.came_back()
    }

    fn timer(&mut self, _ctx: &mut Context<'_>, _key: u64) -> HandlerResult {
        self.came_back()
    }

    fn write_done(
        &mut self,
        _ctx: &mut Context<'_>,
        _key: u64,
        result: Result<(), Error>,
    ) -> HandlerResult {
        assert!(result.is_ok());
        self.came_back()
    }
}

/// Allocations of [`COUNTED`] triggers of this work, each of which comes back so many times.
fn allocations_of_work(work: Work, returns_each: usize) -> Result<u64, Failure> {
    let returns = Rc::new(Cell::new(0));
    let worker = Worker {
        work,
        returns: returns.clone(),
        timer: None,
        handle: None,
        left: 0,
    };
    let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(worker))?;
    // The first channel_read_complete came with the activation.
    channel.advance(Duration::from_secs(10));
    returns.set(0);
    let count = allocations_of(|| {
        channel.pipeline(|pipeline| pipeline.fire_channel_read_complete());
        channel.advance(Duration::from_secs(10));
        while channel.read_inbound().is_some() {}
        while channel.read_outbound().is_some() {}
    });
    assert_eq!(returns.get(), (WARM_UP + COUNTED) * returns_each);
    Ok(count)
}

#[test]
fn after_allocates_nothing() -> Result<(), Failure> {
    let count = allocations_of_work(
        |_, ctx| {
            ctx.fire_channel_read_complete();
            ctx.after(1);
            Ok(())
        },
        1,
    )?;
    assert_eq!(count, 0);
    Ok(())
}

#[test]
fn resume_and_further_emissions_allocate_nothing() -> Result<(), Failure> {
    let count = allocations_of_work(
        |worker, ctx| {
            worker.left = 5;
            ctx.fire_channel_read(Message::new(1_u8));
            ctx.fire_channel_read(Message::new(2_u8));
            ctx.resume();
            Ok(())
        },
        5,
    )?;
    assert_eq!(count, 0);
    Ok(())
}

#[test]
fn timers_allocate_nothing_when_set_moved_cancelled_or_due() -> Result<(), Failure> {
    let count = allocations_of_work(
        |worker, ctx| {
            let (soon, late) = (Duration::from_secs(1), Duration::from_secs(5));
            ctx.timer(soon, 1);
            let moved = ctx.timer(late, 2);
            assert!(ctx.move_timer(moved, soon));
            // One is always there to be cancelled.
            if let Some(old) = worker
                .timer
                .replace(ctx.timer(Duration::from_secs(3600), 3))
            {
                assert!(ctx.cancel_timer(old));
            }
            Ok(())
        },
        2,
    )?;
    assert_eq!(count, 0);
    Ok(())
}

#[test]
fn a_local_handle_allocates_nothing() -> Result<(), Failure> {
    let count = allocations_of_work(
        |worker, ctx| {
            let channel = ctx.channel();
            if let Some(handle) = &worker.handle {
                handle.run(move |worker, ctx| {
                    assert_eq!(ctx.channel(), channel);
                    worker.came_back()
                })?;
            }
            Ok(())
        },
        1,
    )?;
    assert_eq!(count, 0);
    Ok(())
}

/// The states of promises are used again by the thread that let go of them, whoever held them last.
///
/// Rules: 6.11
#[test]
fn a_write_that_is_observed_allocates_nothing() -> Result<(), Failure> {
    let void = allocations_of_work(
        |_, ctx| {
            ctx.write_and_flush(Bytes::from_static(b"void"));
            Ok(())
        },
        0,
    )?;
    let notified = allocations_of_work(
        |_, ctx| {
            let promise = ctx.new_promise();
            assert!(ctx.notify(&promise, 1));
            ctx.write_with(Bytes::from_static(b"told"), promise);
            ctx.flush();
            Ok(())
        },
        1,
    )?;
    let future = allocations_of_work(
        |_, ctx| {
            let written = ctx.write_and_flush_future(Bytes::from_static(b"future"));
            assert!(written.is_success());
            Ok(())
        },
        0,
    )?;
    let listener = allocations_of_work(
        |_, ctx| {
            let written = ctx.write_and_flush_future(Bytes::from_static(b"heard"));
            written
                .completion()
                .add_listener(|result| assert!(result.is_ok()));
            Ok(())
        },
        0,
    )?;
    assert_eq!((void, notified, future, listener), (0, 0, 0, 0));
    Ok(())
}

/// A thread keeps 256 states at most; what a burst needs beyond comes from the allocator, and goes back to it.
#[test]
fn a_thread_keeps_so_many_promises_and_no_more() {
    let host = OnCaller::host();
    let mut held: Vec<Promise> = Vec::with_capacity(300);
    let allocated = allocations_of(|| {
        held.extend((0..300).map(|_| Promise::new(host.clone())));
        for promise in held.drain(..) {
            promise.try_success();
        }
    });
    assert_eq!(allocated, COUNTED as u64 * (300 - 256));
}

// ---- a real connection

// The stand-in for kqueue allocates itself.
#[cfg(not(tidegate_kqueue_fake))]
#[test]
fn a_warm_echo_connection_allocates_nothing() -> Result<(), Failure> {
    for backend in Backend::available() {
        for bytes in [64, 16 << 10] {
            let count = allocations_of_tcp_echo(*backend, bytes)?;
            assert_eq!(count, 0, "{bytes} bytes with {backend}");
        }
    }
    Ok(())
}

/// Ping-pong with an echo server behind three handlers. The loop makes its turns on this thread, where they are
/// counted; the client is a plain socket of the same thread.
fn allocations_of_tcp_echo(backend: Backend, bytes: usize) -> Result<u64, Failure> {
    let event_loop = LocalEventLoop::builder().selector(backend).build()?;
    let listening = ServerBootstrap::new(&event_loop, &event_loop)
        .child_handler(three_and_echo)
        .bind("127.0.0.1:0");
    let server = event_loop.block_on(listening)??;
    let address = server.local_address().and_then(|address| address.as_inet());
    let mut client = TcpStream::connect(address.expect("it is bound"))?;
    client.set_nodelay(true)?;
    client.set_nonblocking(true)?;
    let sent = vec![7; bytes];
    let mut echoed = vec![0; bytes];
    Ok(allocations_of(|| {
        client
            .write_all(&sent)
            .expect("it fits into the socket's buffers");
        let mut got = 0;
        for turn in 0.. {
            assert!(turn < 20_000, "no echo within 20 seconds of turns");
            event_loop.turn(Some(Duration::from_millis(1)));
            match client.read(&mut echoed[got..]) {
                Ok(0) => panic!("the server has closed the connection"),
                Ok(more) => got += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            if got == bytes {
                break;
            }
        }
        assert!(sent == echoed);
    }))
}

/// Inside the process, on one loop and between two: the signals travel as tasks without a box.
// The stand-in for kqueue allocates itself.
#[cfg(not(tidegate_kqueue_fake))]
#[test]
fn a_warm_local_connection_allocates_nothing() -> Result<(), Failure> {
    let (one, other) = (LocalEventLoop::new()?, LocalEventLoop::new()?);
    for client_loop in [&one, &other] {
        for burst in [1, 20] {
            let count = allocations_of_local_echo(&one, client_loop, burst)?;
            assert_eq!(count, 0, "{burst} messages at a time");
        }
    }
    Ok(())
}

/// Counts what comes back.
struct Counted(Arc<AtomicUsize>);

impl Handler for Counted {
    fn channel_read(&mut self, _: &mut Context<'_>, _: Message) -> HandlerResult {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// So many messages to an echo server behind three handlers and back. Both loops make their turns here.
fn allocations_of_local_echo(
    server_loop: &LocalEventLoop,
    client_loop: &LocalEventLoop,
    burst: usize,
) -> Result<u64, Failure> {
    let turns = || {
        for event_loop in [server_loop, client_loop] {
            event_loop.turn(Some(Duration::ZERO));
        }
    };
    let listening = ServerBootstrap::new(server_loop, server_loop)
        .transport::<Local>()
        .child_handler(three_and_echo)
        .bind(LocalAddress::unique());
    while !listening.is_done() {
        turns();
    }
    let address = listening.channel().local_address();
    let back = Arc::new(AtomicUsize::new(0));
    let counted = back.clone();
    let connecting = Bootstrap::new(client_loop)
        .transport::<Local>()
        .handler(move |pipeline| pipeline.add_last(Counted(counted.clone())))
        .connect(address.expect("it is bound"));
    while !connecting.is_done() {
        turns();
    }
    let client = connecting.channel().clone();
    let bytes = Bytes::from_static(&[7; 64]);
    let round = || {
        back.store(0, Ordering::Relaxed);
        for _ in 0..burst {
            client.write(bytes.clone());
        }
        client.flush();
        for turn in 0.. {
            assert!(turn < 10_000, "no echo within 10,000 turns");
            turns();
            if back.load(Ordering::Relaxed) == burst {
                break;
            }
        }
    };
    // The queues of tasks have storage for 256 at a time, and have theirs when each has been through two of those.
    (0..600).for_each(|_| round());
    Ok(allocations_of(round))
}
