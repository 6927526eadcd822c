//! On a loop with a thread of its own, reached from other threads.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::{OnRead, Wire, text};
use crate::buffer::Message;
use crate::channel::register::attach;
use crate::channel::shared::Shared;
use crate::channel::{Attributes, Channel, Context, Handler, HandlerResult, Pipeline};
use crate::error::{Error, ErrorKind};
use crate::event_loop::{EventLoopGroup, LoopCore};

/// When a wait that hangs becomes a failure.
const DEADLINE: Duration = Duration::from_secs(30);

/// A channel on a thread of its own, and where its core is kept meanwhile.
fn on_a_thread(
    group: &EventLoopGroup,
    init: impl FnOnce(&mut Pipeline<'_>) -> Result<(), Error> + Send + 'static,
) -> Channel {
    let event_loop = group.next();
    let shared = Shared::new(event_loop.clone(), None, Attributes::default());
    let made = shared.clone();
    event_loop
        .submit(move || {
            let lp = LoopCore::current().unwrap();
            let core = attach(&made, &lp, Box::new(Wire::default()));
            let promise = Channel::new(made).new_promise();
            core.register(|core| Ok(init(&mut Pipeline::new(core))?), &promise);
            promise.completion().sync()
        })
        .sync()
        .unwrap()
        .unwrap();
    Channel::new(shared)
}

/// Everything a user does from another thread, on a loop that runs: operations, edits, handles, closures.
///
/// Rules: 6.5, 6.11, B24, B30
#[test]
fn other_threads_reach_a_running_loop() {
    let group = EventLoopGroup::new(1).unwrap();
    let (seen, events) = mpsc::channel();
    let channel = on_a_thread(&group, move |pipeline| {
        pipeline.add_last(OnRead(move |ctx: &mut Context<'_>, msg: Message| {
            let _ = seen.send(text(&msg));
            ctx.write_and_flush(msg);
            Ok(())
        }))
    });
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let channel = channel.clone();
            thread::spawn(move || {
                for _ in 0..100 {
                    channel.write_and_flush("w").sync_timeout(DEADLINE).unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    channel.fire_channel_read("one");
    assert_eq!(events.recv_timeout(DEADLINE).unwrap(), "one");
    struct Added(mpsc::Sender<&'static str>);
    impl Handler for Added {
        fn handler_removed(&mut self, _: &mut Context<'_>) -> HandlerResult {
            let _ = self.0.send("removed");
            Ok(())
        }
    }
    let (told, removed) = mpsc::channel();
    let handle = channel
        .edit(move |pipeline| {
            pipeline.add_first(Added(told))?;
            pipeline.handle::<Added>()
        })
        .sync_timeout(DEADLINE)
        .unwrap()
        .unwrap();
    let (ran, runs) = mpsc::channel();
    handle
        .run(move |_, ctx| {
            let _ = ran.send(ctx.name());
            Ok(())
        })
        .unwrap();
    assert_eq!(runs.recv_timeout(DEADLINE).unwrap(), "Added#0");
    channel.close().sync_timeout(DEADLINE).unwrap();
    assert_eq!(removed.recv_timeout(DEADLINE).unwrap(), "removed");
    // The handlers leave right after the close future is done.
    channel
        .event_loop()
        .submit(|| ())
        .sync_timeout(DEADLINE)
        .unwrap();
    assert_eq!(
        handle.run(|_, _| Ok(())).unwrap_err().kind(),
        ErrorKind::NoSuchHandler
    );
    let late = channel.write_and_flush("late").sync_timeout(DEADLINE);
    assert_eq!(late.unwrap_err().kind(), ErrorKind::ChannelClosed);
}

/// A running loop does not sleep while a root queue has items: many more than it takes in one turn.
///
/// Rules: 6.6
#[test]
fn a_running_loop_does_not_sleep_on_a_root_queue() {
    struct Many(mpsc::Sender<u64>);
    impl Handler for Many {
        fn user_event_triggered(&mut self, ctx: &mut Context<'_>, _: Message) -> HandlerResult {
            for key in 0..1000 {
                let promise = ctx.new_promise();
                ctx.notify(&promise, key);
                promise.try_success();
            }
            Ok(())
        }

        fn write_done(
            &mut self,
            _: &mut Context<'_>,
            key: u64,
            _: Result<(), Error>,
        ) -> HandlerResult {
            let _ = self.0.send(key);
            Ok(())
        }
    }
    let group = EventLoopGroup::new(1).unwrap();
    let (told, keys) = mpsc::channel();
    let channel = on_a_thread(&group, move |pipeline| pipeline.add_last(Many(told)));
    channel.fire_user_event_triggered("go".into());
    for key in 0..1000 {
        assert_eq!(keys.recv_timeout(DEADLINE).unwrap(), key);
    }
}

/// Writability on a running loop: the thread that fills the buffer sees it at once and is called back.
///
/// Rules: 6.4, B24
#[test]
fn a_running_loop_tells_writability_back() {
    struct Gauge(mpsc::Sender<bool>);
    impl Handler for Gauge {
        fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
            let _ = self.0.send(ctx.is_writable());
            Ok(())
        }
    }
    let group = EventLoopGroup::new(1).unwrap();
    let (told, gauge) = mpsc::channel();
    let channel = on_a_thread(&group, move |pipeline| pipeline.add_last(Gauge(told)));
    for _ in 0..50 {
        while channel.is_writable() {
            channel.write(vec![0u8; 10_000]);
        }
        channel.flush();
        while !gauge.recv_timeout(DEADLINE).unwrap() {}
        while gauge.try_recv().is_ok() {}
    }
    let flushed = channel.write_and_flush("last");
    flushed.sync_timeout(DEADLINE).unwrap();
    assert!(channel.is_writable());
}

/// A panic on a running loop: the channel closes, its neighbour and the tasks of the loop go on.
///
/// Rules: 5.8
#[test]
fn a_running_loop_survives_a_panic() {
    let group = EventLoopGroup::new(1).unwrap();
    let bad = on_a_thread(&group, |pipeline| {
        pipeline.add_last(OnRead(|_: &mut Context<'_>, _| {
            panic!("on a loop's own thread")
        }))
    });
    let (seen, events) = mpsc::channel();
    let good = on_a_thread(&group, move |pipeline| {
        pipeline.add_last(OnRead(move |_: &mut Context<'_>, msg: Message| {
            let _ = seen.send(text(&msg));
            Ok(())
        }))
    });
    bad.fire_channel_read("m");
    bad.close_future().sync_timeout(DEADLINE).unwrap();
    good.fire_channel_read("m");
    assert_eq!(events.recv_timeout(DEADLINE).unwrap(), "m");
    assert!(good.is_open() && !bad.is_open());
}
