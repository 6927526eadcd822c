//! What a transport may answer, and what the channel makes of it.

use tidegate_sys::os::Ready;

use super::*;
use crate::channel::ChannelGroup;
use crate::channel::core::flag;
use crate::channel::options::{ALLOW_HALF_CLOSURE, AUTO_READ, CLOSE_ON_UNHANDLED_ERROR};
use crate::reactor::{IoEvent, IoHandle};

/// Rules: A7
#[test]
fn the_promise_of_a_bind_is_done_before_active() {
    let rig = Rig::new(Script::unconnected());
    assert_eq!(rig.log.take(), ["registered"]);
    rig.log.watch("bound", &rig.channel.bind("here"));
    rig.turn();
    assert_eq!(rig.log.take(), ["bound", "active"]);
    assert_eq!(rig.script.asked.get(), 1, "auto-read begins");
}

/// Rules: A10
#[test]
fn binding_what_is_active_is_no_second_active() {
    let rig = Rig::new(Script::new());
    rig.log.take();
    assert!(rig.run(|channel| channel.bind("here")).is_success());
    assert_eq!(rig.log.take(), [""; 0]);
}

/// Rules: A8, A46
#[test]
fn a_bind_need_not_make_a_channel_active() {
    let rig = Rig::new(Script::unconnected());
    rig.script.bind_activates.set(false);
    rig.log.take();
    assert!(rig.run(|channel| channel.bind("here")).is_success());
    assert!(rig.channel.is_open() && !rig.channel.is_active());
    assert_eq!(rig.log.take(), [""; 0]);
}

/// Rules: B23
#[test]
fn a_bind_that_was_cancelled_on_its_way_is_not_made() {
    let rig = Rig::new(Script::unconnected());
    // The recorder would stop it, and so must the head.
    rig.run(|channel| drop(channel.edit(|pipeline| pipeline.remove_first())));
    let bind = rig.channel.bind("here");
    assert!(bind.cancel());
    rig.turn();
    assert_eq!(rig.script.steps.take(), [""; 0]);
    assert!(!rig.channel.is_active());
}

/// Rules: A28
#[test]
fn a_transport_that_fails_to_close_is_closed_all_the_same() {
    let rig = Rig::new(Script::new());
    *rig.script.close.borrow_mut() = Err(reset());
    rig.log.take();
    rig.log.watch("closed", &rig.channel.close_future());
    rig.log.watch("close", &rig.channel.close());
    rig.turn();
    assert_eq!(
        rig.log.take(),
        [
            "closed",
            "close: connection reset",
            "inactive",
            "unregistered",
            "removed"
        ]
    );
    assert!(
        rig.run(Channel::close).is_success(),
        "the next one finds it closed"
    );
}

#[test]
fn a_read_after_the_close_is_not_told_to_the_transport() {
    let script = Script::unconnected();
    *script.close.borrow_mut() = Ok(Progress::Pending);
    let rig = Rig::new(script);
    rig.run(Channel::close);
    rig.run(|channel| channel.read());
    assert_eq!(rig.script.told.get(), 0);
    assert_eq!(rig.script.asked.get(), 0);
}

/// Who grants credit to its peer, or reads ahead, has to know when to stop.
///
/// Rules: D2
#[test]
fn a_transport_is_told_when_reading_is_wanted_no_longer() {
    let rig = Rig::new(Script::new());
    let told = || (rig.script.told.get(), rig.script.untold.get());
    assert_eq!(told(), (1, 0), "auto-read is on");
    rig.reads([message("a"), message("b")]);
    assert_eq!(told(), (1, 0), "each batch asks again, which is no news");
    let auto_read = |on| rig.run(|channel| channel.set_option(AUTO_READ, on));
    auto_read(false);
    assert_eq!(told(), (1, 1));
    auto_read(false);
    assert_eq!(told(), (1, 1), "it is off");
    rig.run(|channel| channel.read());
    assert_eq!(told(), (2, 1));
    auto_read(true);
    assert_eq!(told(), (2, 1), "it knows");
    auto_read(false);
    assert_eq!(told(), (2, 2));
    // Nobody is told what was not true in between, nor after the close.
    rig.run(|channel| {
        channel.set_option(AUTO_READ, true);
        channel.close();
        channel.set_option(AUTO_READ, false);
    });
    assert_eq!(rig.script.untold.get(), 2);
}

/// Rules: A32
#[test]
fn a_disconnect_stays_one_where_the_transport_has_it() {
    let mut script = Script::new();
    script.metadata.has_disconnect = true;
    let rig = Rig::new(script);
    rig.log.take();
    assert!(rig.run(Channel::disconnect).is_success());
    assert_eq!(rig.log.take(), ["disconnect()"]);
    assert!(rig.channel.is_open());
    let cancelled = rig.channel.disconnect();
    assert!(cancelled.cancel());
    rig.turn();
    assert_eq!(rig.script.steps.take(), ["disconnect"], "once");
    rig.run(Channel::close);
    assert!(
        rig.run(Channel::disconnect).is_success(),
        "nothing is left to disconnect"
    );
}

/// Rules: A37
#[test]
fn a_failing_shutdown_of_the_input_is_told_and_closes() {
    let rig = Rig::new(Script::new());
    rig.run(|channel| channel.set_option(ALLOW_HALF_CLOSURE, true));
    *rig.script.shutdown_error.borrow_mut() = Some(reset());
    rig.log.take();
    rig.reads([message("a"), Ok(Read::Eof)]);
    assert_eq!(
        rig.log.take(),
        [
            "read a",
            "event ChannelInputShutdown",
            "inactive",
            "unregistered",
            "removed"
        ]
    );
}

/// Rules: A41
#[test]
fn a_failing_shutdown_of_the_output_fails_its_promise_and_closes() {
    let rig = Rig::new(Script::new());
    *rig.script.shutdown_error.borrow_mut() = Some(reset());
    rig.log.take();
    rig.log.watch("shutdown", &rig.channel.shutdown_output());
    rig.turn();
    assert_eq!(
        rig.log.take(),
        [
            "shutdown: connection reset",
            "event ChannelOutputShutdown",
            "inactive",
            "unregistered",
            "removed"
        ]
    );
}

/// Rules: C1
#[test]
fn a_message_that_the_transport_cannot_write_fails_its_promise() {
    let rig = Rig::new(Script::new());
    let future = rig.run(|channel| channel.write_and_flush(Message::new(7u32)));
    let error = future.cause().expect("it can't be written");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.to_string().contains("scripted can't write a u32"),
        "{error}"
    );
    assert!(rig.channel.is_active());
    rig.run(|channel| channel.write(Message::new(7u32)));
    assert_eq!(
        rig.counters(),
        [0, 0, 1, 0],
        "without a promise it is counted"
    );
}

/// Rules: C19
///
/// Section 12: counted, and reported once a channel.
#[test]
fn failed_writes_that_nobody_waits_for_are_counted_each_once() {
    let rig = Rig::new(Script::new());
    rig.script.blocked.set(true);
    let (watched, dropped) = rig.run(|channel| {
        channel.write("1");
        channel.write("2");
        let watched = channel.write_future("3");
        let dropped = channel.write_future("4");
        channel.flush();
        (watched, dropped)
    });
    drop(dropped);
    rig.run(Channel::close);
    assert_eq!(kind(&watched), ErrorKind::ChannelClosed);
    assert_eq!(rig.counters(), [0, 0, 3, 0]);
}

/// Rules: B17
///
/// Section 12: an error that nobody handles closes the channel.
#[test]
fn an_unhandled_error_is_counted_and_closes() {
    let rig = Rig::new(Script::new());
    rig.log.take();
    rig.run(|channel| channel.fire_exception_caught(reset()));
    assert_eq!(
        rig.log.take(),
        [
            "error connection reset",
            "inactive",
            "unregistered",
            "removed"
        ]
    );
    assert_eq!(rig.counters(), [0, 1, 0, 0]);

    let rig = Rig::new(Script::new());
    rig.run(|channel| channel.set_option(CLOSE_ON_UNHANDLED_ERROR, false));
    rig.run(|channel| channel.fire_exception_caught(reset()));
    assert!(rig.channel.is_active());
    assert_eq!(rig.counters(), [0, 1, 0, 0]);
}

/// Rules: B17
#[test]
fn messages_that_reach_the_tail_are_counted() {
    let rig = Rig::new(Script::new());
    rig.reads([message("a"), message("b")]);
    assert_eq!(rig.counters(), [2, 0, 0, 0]);
    assert!(rig.channel.is_active());
}

/// Rules: A9, D21, D22
#[test]
fn a_server_survives_its_read_errors() {
    let mut script = Script::new();
    script.metadata.is_server = true;
    let rig = Rig::new(script);
    assert!(rig.channel.is_server());
    rig.run(|channel| channel.set_option(CLOSE_ON_UNHANDLED_ERROR, false));
    rig.log.take();
    rig.reads([message("child 1"), Err(reset()), message("child 2")]);
    assert_eq!(
        rig.log.take(),
        ["read child 1", "error connection reset", "read child 2"]
    );
    assert!(rig.channel.is_active());
    let write = rig.run(|channel| channel.write_and_flush("x"));
    assert_eq!(kind(&write), ErrorKind::Unsupported);
    let connect = rig.run(|channel| channel.connect("peer", None));
    assert_eq!(kind(&connect), ErrorKind::AlreadyConnected);
    assert_eq!(rig.channel.remote_address(), None);
}

/// Rules: H61.
#[test]
fn groups_spare_servers_writes_and_close_them_first() {
    let clock = ManualClock::default();
    let lp = LoopCore::embedded(clock.clone());
    let child = Rig::on(lp.clone(), clock.clone(), Script::new());
    let mut script = Script::new();
    script.metadata.is_server = true;
    let server = Rig::on(lp, clock, script);
    let group = ChannelGroup::new("all");
    group.add(&child.channel);
    group.add(&server.channel);
    let written = group.write_and_flush("x");
    child.turn();
    assert!(written.is_success());
    assert_eq!(written.futures().len(), 1);
    let order = Log::default();
    order.watch("child", &child.channel.close_future());
    order.watch("server", &server.channel.close_future());
    let closed = group.close();
    child.turn();
    assert!(closed.is_success() && group.is_empty());
    assert_eq!(order.take(), ["server", "child"]);
}

/// Section 9: without descriptors accepting rests, and is tried again when one is closed, at the latest after 50 ms.
#[test]
fn a_paused_read_is_tried_again_when_a_descriptor_is_closed_or_time_is_up() {
    let paused = || Ok(Read::Paused(Duration::from_millis(50)));
    let rig = Rig::new(Script::new());
    rig.log.take();
    rig.reads([paused(), message("a"), paused(), message("b")]);
    assert_eq!(rig.log.take(), [""; 0]);
    let asked = rig.script.asked.get();
    rig.run(|channel| channel.signal().readable());
    rig.run(Channel::read);
    assert_eq!(
        rig.script.asked.get(),
        asked,
        "readiness alone is no reason to try again"
    );
    rig.run(|_| rig.lp.fd_closed());
    assert_eq!(rig.log.take(), ["read a"]);
    rig.clock.advance(Duration::from_millis(50));
    rig.turn();
    assert_eq!(rig.log.take(), ["read b"]);
}

/// Rules: D16
///
/// A short read says that the source is empty: no second call is spent on finding that out.
#[test]
fn after_a_short_read_the_transport_is_not_asked_again() {
    let rig = Rig::new(Script::new());
    let asked = rig.script.asked.get();
    rig.log.take();
    rig.reads([
        message("a"),
        Ok(Read::Last(Message::from("b"))),
        message("c"),
    ]);
    assert_eq!(rig.log.take(), ["read a", "read b"]);
    assert_eq!(rig.script.asked.get(), asked + 2);
    rig.run(|channel| channel.signal().readable());
    assert_eq!(rig.log.take(), ["read c"]);
}

#[test]
fn news_among_what_is_read_are_user_events_in_their_place() {
    let rig = Rig::new(Script::new());
    rig.log.take();
    rig.reads([
        message("a"),
        Ok(Read::Event(Message::new(7_u32))),
        message("b"),
    ]);
    assert_eq!(rig.log.take(), ["read a", "event u32", "read b"]);
}

/// A transport that hands the read on is asked once, and again when it signals.
#[test]
fn a_read_that_is_handed_on_is_asked_for_once() {
    let rig = Rig::new(Script::new());
    let asked = rig.script.asked.get();
    rig.log.take();
    rig.reads([Ok(Read::Asked), message("a"), Ok(Read::Asked)]);
    assert_eq!(rig.script.asked.get(), asked + 1);
    rig.turn();
    assert_eq!(rig.script.asked.get(), asked + 1, "nothing is spun on");
    rig.run(|channel| channel.signal().readable());
    assert_eq!(rig.log.take(), ["read a"]);
    assert_eq!(rig.script.asked.get(), asked + 3);
}

/// Section 2: entries stay owned by the buffer until the transport reports them done.
#[test]
fn writes_that_the_transport_reports_later_are_done_then() {
    let rig = Rig::new(Script::new());
    rig.script.reports_later.set(true);
    let writes = rig.run(|channel| {
        let writes = ["1", "2", "3"].map(|msg| channel.write_future(msg));
        channel.flush();
        writes
    });
    assert!(writes.iter().all(|write| !write.is_done()));
    let before = rig.channel.bytes_before_unwritable();
    rig.run(|channel| channel.signal().written(2));
    assert!(writes[0].is_success() && writes[1].is_success() && !writes[2].is_done());
    assert_eq!(rig.channel.bytes_before_unwritable(), before + 2 * 97);
    rig.run(Channel::close);
    assert_eq!(kind(&writes[2]), ErrorKind::ChannelClosed);
    rig.run(|channel| channel.signal().written(1));
}

/// Rules: D14
#[test]
fn what_can_go_out_goes_before_what_came_in() {
    let rig = Rig::new(Script::new());
    rig.script.blocked.set(true);
    let write = rig.run(|channel| channel.write_and_flush("x"));
    rig.script.blocked.set(false);
    rig.script
        .reads
        .borrow_mut()
        .extend([message("a"), Ok(Read::Eof)]);
    rig.log.take();
    rig.log.watch("written", &write);
    {
        let _turn = rig.lp.enter();
        rig.core.clone().on_event(IoEvent::Ready(
            Ready::WRITABLE | Ready::READABLE | Ready::READ_CLOSED,
        ));
    }
    rig.turn();
    assert_eq!(
        rig.log.take(),
        ["written", "read a", "inactive", "unregistered", "removed"]
    );
}

/// Rules: A40
///
/// Section 12: an error is read out and closes, also while reading is paused.
#[test]
fn an_error_readiness_is_read_out_while_reading_is_paused() {
    let rig = Rig::new(Script::new());
    rig.run(|channel| channel.set_option(AUTO_READ, false));
    rig.script
        .reads
        .borrow_mut()
        .extend([message("a"), message("b"), Err(reset())]);
    rig.log.take();
    {
        let _turn = rig.lp.enter();
        rig.core.clone().on_event(IoEvent::Ready(
            Ready::READABLE | Ready::READ_CLOSED | Ready::HANGUP | Ready::ERROR,
        ));
    }
    rig.turn();
    assert_eq!(
        rig.log.take(),
        [
            "read a",
            "read b",
            "error connection reset",
            "inactive",
            "unregistered",
            "removed"
        ]
    );
}

/// Readiness of a channel that is neither connecting nor active means nothing.
#[test]
fn readiness_before_the_connect_is_ignored() {
    let rig = Rig::new(Script::unconnected());
    let _turn = rig.lp.enter();
    rig.core
        .clone()
        .on_event(IoEvent::Ready(Ready::WRITABLE | Ready::HANGUP));
    assert_eq!(rig.script.asked.get(), 0);
    assert!(!rig.core.has(flag::READABLE));
}

/// Rules: 6.7
#[test]
fn readiness_does_not_read_into_a_dispatch_that_was_suspended() {
    struct Splits(u32);
    impl Handler for Splits {
        fn channel_read(&mut self, ctx: &mut Context<'_>, _: Message) -> HandlerResult {
            self.0 += 2000;
            ctx.resume();
            Ok(())
        }
        fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
            if self.0 > 0 {
                self.0 -= 1;
                ctx.fire_channel_read("piece");
                ctx.resume();
            }
            Ok(())
        }
    }
    let rig = Rig::new(Script::new());
    rig.run(|channel| drop(channel.edit(|pipeline| pipeline.add_first(Splits(0)))));
    rig.script
        .reads
        .borrow_mut()
        .extend([message("a"), message("b")]);
    let asked = rig.script.asked.get();
    {
        let _turn = rig.lp.enter();
        rig.core.clone().on_event(IoEvent::Ready(Ready::READABLE));
        assert_eq!(
            rig.script.asked.get(),
            asked + 1,
            "the first batch ended with the limit of resumes"
        );
        rig.core.clone().on_event(IoEvent::Ready(Ready::READABLE));
        assert_eq!(
            rig.script.asked.get(),
            asked + 1,
            "and nothing is read meanwhile"
        );
    }
    rig.turn();
    assert_eq!(rig.counters()[0], 4000);
}

/// Rules: D7, D8
///
/// A handler that asks for each batch itself gets what is there within one readiness, up to the limit of reads.
#[test]
fn a_batch_that_is_asked_for_at_the_end_of_another_follows_at_once() {
    struct Asks(Log);
    impl Handler for Asks {
        fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
            self.0.add("complete");
            ctx.read();
            Ok(())
        }
    }
    let rig = Rig::new(Script::new());
    let log = rig.log.clone();
    rig.run(|channel| channel.set_option(AUTO_READ, false));
    rig.run(|channel| drop(channel.edit(|pipeline| pipeline.add_last(Asks(log)))));
    rig.run(|channel| channel.read());
    let messages = (0..20).map(|_| message("a"));
    rig.script.reads.borrow_mut().extend(messages);
    rig.log.take();
    let asked = rig.script.asked.get();
    {
        let _turn = rig.lp.enter();
        rig.core.clone().on_event(IoEvent::Ready(Ready::READABLE));
        assert_eq!(
            rig.script.asked.get(),
            asked + 16,
            "others are to have a turn"
        );
        assert_eq!(rig.lp.run_ready(), 1);
        assert_eq!(rig.script.asked.get(), asked + 20 + 1);
    }
    rig.turn();
    let log = rig.log.take();
    assert_eq!(
        log,
        ["read a", "complete"].repeat(20),
        "without data there is no batch"
    );
    assert_eq!(rig.script.asked.get(), asked + 20 + 1);
}

/// A read that brings nothing says nothing about the size of the next one.
#[test]
fn the_predictor_learns_nothing_from_reads_that_are_handed_on() {
    let rig = Rig::new(Script::new());
    let guess = rig.core.predictor.get().guess();
    for _ in 0..8 {
        rig.reads([Ok(Read::Asked)]);
    }
    assert_eq!(rig.core.predictor.get().guess(), guess);
}

/// Reads a word into the loop's memory; `panics` behind the first half of it.
struct Speaks {
    word: &'static [u8],
    panics: bool,
}

impl Transport for Speaks {
    fn metadata(&self) -> Metadata {
        Script::new().metadata
    }

    fn is_active(&self) -> bool {
        true
    }

    fn accepts(&self, _: &Message) -> bool {
        false
    }

    fn read(&mut self, io: &mut Io<'_>) -> Result<Read, Error> {
        let (now, later) = self.word.split_at(self.word.len() / 2);
        if now.is_empty() {
            return Ok(Read::WouldBlock);
        }
        let read = io.read_bytes(|room, _| {
            room.extend_from_slice(now);
            assert!(!self.panics, "as the test wants it");
            Ok(now.len())
        });
        self.word = later;
        let read = read.map_err(|error| Error::io("reading", error))?;
        Ok(Read::Message(read.bytes.into()))
    }

    fn flush(&mut self, _: &mut Io<'_>, _: &mut OutboundBuffer) -> Result<Flush, Error> {
        Ok(Flush::Drained)
    }

    fn close(&mut self, _: &mut Io<'_>) -> Result<Progress, Error> {
        Ok(Progress::Done)
    }
}

/// The memory that is read into is the loop's.
#[test]
fn a_transport_that_panics_in_a_read_closes_its_channel_and_leaves_nothing_to_the_others() {
    let rig = Rig::new(Script::new());
    let open = |word, panics| {
        let log = Log::default();
        let transport = Speaks { word, panics };
        let (_, channel) = open_on(&rig.lp, Box::new(transport), &log);
        rig.turn();
        (channel, log)
    };
    let (broken, heard) = open(b"secretsecret", true);
    assert!(!broken.is_open());
    let end = [
        "registered",
        "active",
        "inactive",
        "unregistered",
        "removed",
    ];
    assert_eq!(heard.take(), end);
    let (whole, heard) = open(b"onetwo", false);
    let before = ["registered", "active", "read one", "read t"];
    assert_eq!(heard.take()[..4], before);
    assert!(whole.is_open());
}
