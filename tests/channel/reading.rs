//! Reading: batches, their limits, auto-read and read(), and how a batch ends.

use std::cell::Cell;
use std::rc::Rc;

use tidegate::channel::options::{
    AUTO_READ, CLOSE_ON_UNHANDLED_ERROR, MAX_MESSAGES_PER_READ, RECV_ALLOCATOR,
};
use tidegate::{
    Context, EmbeddedChannel, Failure, Handler, HandlerResult, Message, OptionSet, RecvAllocator,
};

use crate::support::{
    Hooks, Log, hooked, hooked_with, option, received, recorded, recorded_with, text,
};

fn manual() -> OptionSet {
    option(AUTO_READ, false)
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

/// Rules: D1, D4, D6
#[test]
fn auto_read_reads_whatever_comes() {
    let (mut embedded, log) = recorded();
    embedded.feed(["a", "b"]);
    embedded.feed(["c"]);
    assert_eq!(
        log.take(),
        ["read a", "read b", "complete", "read c", "complete"]
    );
    assert_eq!(received(&mut embedded), ["a", "b", "c"]);
}

/// Rules: D1, D7
#[test]
fn without_auto_read_one_read_brings_one_message() {
    let (mut embedded, log) = recorded_with(&manual());
    embedded.feed(["a", "b", "c"]);
    assert_eq!((log.take(), embedded.reads()), (vec![], 0));
    embedded.run(|channel| channel.read());
    assert_eq!(log.take(), ["read a", "complete"]);
    embedded.run(|channel| {
        channel.read();
        channel.read();
    });
    assert_eq!(log.take(), ["read b", "complete"], "two at once are one");
    assert_eq!((embedded.unread(), embedded.reads()), (1, 2));
}

/// Rules: D1
#[test]
fn a_read_waits_until_something_comes() {
    let (mut embedded, log) = recorded_with(&manual());
    embedded.run(|channel| channel.read());
    log.take();
    embedded.feed(["a", "b"]);
    assert_eq!(log.take(), ["read a", "complete"]);
}

/// Rules: D6
#[test]
fn a_batch_that_finds_nothing_is_completed_too() {
    let (mut embedded, log) = recorded();
    let (signal, reads) = (embedded.signal(), embedded.reads());
    embedded.run(|_| signal.readable());
    assert_eq!(log.take(), ["complete"]);
    assert_eq!(embedded.reads(), reads + 1);
}

/// Rules: D2
#[test]
fn switching_auto_read_on_asks_for_a_read_and_off_stops() {
    struct CountReads(Rc<Cell<u32>>);
    impl Handler for CountReads {
        fn read(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
            self.0.set(self.0.get() + 1);
            ctx.read();
            Ok(())
        }
    }
    let reads = Rc::new(Cell::new(0));
    let (mut embedded, log) = hooked_with(&manual(), CountReads(reads.clone()));
    embedded.feed(["a"]);
    assert_eq!(reads.get(), 0);
    embedded.run(|channel| channel.set_auto_read(true));
    assert_eq!(log.take(), ["read a", "complete"]);
    let asked = reads.get();
    assert!(asked >= 2, "once switched on, and once after the batch");
    embedded.run(|channel| channel.set_auto_read(true));
    assert_eq!(reads.get(), asked, "no change, no read");
    embedded.run(|channel| channel.set_auto_read(false));
    assert!(!embedded.channel().is_auto_read());
    embedded.feed(["b"]);
    assert_eq!(log.take(), [""; 0]);
}

/// Rules: D2, D7
#[test]
fn auto_read_can_be_switched_from_another_thread() {
    let (mut embedded, log) = recorded();
    let channel = embedded.channel().clone();
    std::thread::spawn(move || channel.set_auto_read(false))
        .join()
        .unwrap();
    embedded.run_pending();
    embedded.feed(["a"]);
    assert_eq!(log.take(), [""; 0]);
}

/// Rules: D5
///
/// Elsewhere such a read() was forgotten, and the data sat in the kernel for ever.
#[test]
fn a_read_inside_channel_read_counts_for_the_next_message() {
    let hooks = Hooks::new().on_read(|ctx, msg| {
        ctx.fire_channel_read(msg);
        ctx.read();
    });
    let (mut embedded, log) = hooked_with(&manual(), hooks);
    embedded.feed(["a", "b", "c"]);
    embedded.run(|channel| channel.read());
    assert_eq!(
        log.take(),
        [
            "read a", "complete", "read b", "complete", "read c", "complete"
        ],
        "the last one finds nothing, which is no batch"
    );
    embedded.feed(["d"]);
    assert_eq!(log.take()[0], "read d", "and is still wanted");
}

/// Rules: D5
#[test]
fn a_read_inside_read_complete_counts() {
    let hooks = Hooks::new().on_complete(|ctx| ctx.read());
    let (mut embedded, log) = hooked_with(&manual(), hooks);
    embedded.feed(["a", "b"]);
    embedded.run(|channel| channel.read());
    let log = log.take();
    assert_eq!(log[..4], ["read a", "complete", "read b", "complete"]);
}

/// Rules: D7
#[test]
fn switching_auto_read_off_in_the_middle_of_a_batch_stops_after_that_message() {
    let hooks = Hooks::new().on_read(|ctx, msg| {
        if text(&msg) == "b" {
            ctx.set_auto_read(false);
        }
        ctx.fire_channel_read(msg);
    });
    let (mut embedded, log) = hooked(hooks);
    embedded.feed(["a", "b", "c"]);
    assert_eq!(log.take(), ["read a", "read b", "complete"]);
    assert_eq!(embedded.unread(), 1);
    embedded.run(|channel| channel.set_auto_read(true));
    assert_eq!(log.take(), ["read c", "complete"]);
}

/// Rules: D7
#[test]
fn switching_auto_read_off_and_on_again_within_a_batch_changes_nothing() {
    let hooks = Hooks::new().on_read(|ctx, msg| {
        ctx.set_auto_read(false);
        ctx.set_auto_read(true);
        ctx.fire_channel_read(msg);
    });
    let (mut embedded, log) = hooked(hooks);
    embedded.feed(["a", "b", "c"]);
    let reads: Vec<String> = log
        .take()
        .into_iter()
        .filter(|what| what != "complete")
        .collect();
    assert_eq!(reads, ["read a", "read b", "read c"]);
}

/// Rules: D7, D8
///
/// Rules: 5.5
#[test]
fn a_batch_is_at_most_sixteen_reads_and_others_have_their_turn_before_the_rest() {
    let log = Log::default();
    let seen = log.clone();
    let mut first = true;
    let hooks = Hooks::new().on_read(move |ctx, msg| {
        if std::mem::take(&mut first) {
            let log = seen.clone();
            ctx.event_loop().execute(move || log.add("a task")).unwrap();
        }
        ctx.fire_channel_read(msg);
    });
    let recorded = log.clone();
    let mut embedded = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(hooks)?;
        pipeline.add_last(crate::support::Recorder(recorded))
    })
    .unwrap();
    log.take();
    embedded.feed(numbers(40));
    let log = log.take();
    let at = |what: &str| log.iter().position(|line| line == what).expect(what);
    let completes: Vec<usize> = (0..log.len()).filter(|at| log[*at] == "complete").collect();
    assert_eq!(at("read 15") + 1, completes[0]);
    assert_eq!(at("read 31") + 1, completes[1]);
    assert!(completes[0] < at("a task") && at("a task") < at("read 16"));
    assert_eq!(received(&mut embedded), numbers(40));
}

/// A budget of bytes is for what the kernel brings. Messages of other sources are counted, or one that is never empty would
/// keep the loop.
///
/// Rules: D8, D10
#[test]
fn without_a_descriptor_a_budget_of_bytes_does_not_make_a_batch_longer() {
    let budget = RecvAllocator::MaxBytes {
        per_read: 1 << 20,
        per_loop: 1 << 20,
    };
    let (mut embedded, log) = recorded_with(&option(RECV_ALLOCATOR, budget));
    embedded.feed(numbers(40));
    let log = log.take();
    let first = log.iter().position(|line| line == "complete");
    assert_eq!(first, Some(16));
    assert_eq!(received(&mut embedded), numbers(40));
}

/// Rules: D8
#[test]
fn the_number_of_reads_in_a_batch_is_an_option() {
    let (mut embedded, log) = recorded_with(&option(MAX_MESSAGES_PER_READ, 2));
    embedded.feed(numbers(5));
    assert_eq!(
        log.take(),
        [
            "read 0", "read 1", "complete", "read 2", "read 3", "complete", "read 4", "complete"
        ]
    );
}

/// Rules: D17
#[test]
fn a_close_in_the_middle_of_a_batch_is_the_last_of_it() {
    let hooks = Hooks::new().on_read(|ctx, msg| {
        ctx.fire_channel_read(msg);
        ctx.close();
    });
    let (mut embedded, log) = hooked(hooks);
    embedded.feed(["a", "b"]);
    assert_eq!(
        log.take(),
        ["read a", "inactive", "unregistered", "removed"]
    );
    assert_eq!(embedded.unread(), 1, "after a close nothing new is read");
}

/// Rules: D17
#[test]
fn shutting_the_input_in_the_middle_of_a_batch_still_delivers_what_is_there() {
    let (mut embedded, log) = hooked_with(
        &option(tidegate::channel::options::ALLOW_HALF_CLOSURE, true),
        Hooks::new().on_read(|ctx, msg| {
            if text(&msg) == "a" {
                ctx.channel().shutdown_input();
            }
            ctx.fire_channel_read(msg);
        }),
    );
    embedded.feed(["a", "b"]);
    assert_eq!(
        log.take(),
        [
            "read a",
            "read b",
            "complete",
            "input shutdown",
            "input shutdown read complete"
        ]
    );
}

/// Rules: D26, B13
#[test]
fn a_handler_that_fails_does_not_end_the_batch() {
    struct Fails;
    impl Handler for Fails {
        fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
            let bad = text(&msg) == "bad";
            ctx.fire_channel_read(msg);
            if bad {
                return Err(Failure::msg("bad message"));
            }
            Ok(())
        }
    }
    let (mut embedded, log) = hooked_with(&option(CLOSE_ON_UNHANDLED_ERROR, false), Fails);
    embedded.feed(["good", "bad", "good again"]);
    assert_eq!(
        log.take(),
        [
            "read good",
            "read bad",
            "error error in a handler or task",
            "read good again",
            "complete"
        ]
    );
}

/// Rules: D1, 6.2
#[test]
fn the_read_of_auto_read_follows_everything_that_the_batch_emitted() {
    struct Order(Log);
    impl Handler for Order {
        fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
            ctx.fire_user_event_triggered(Message::new(1u8));
            ctx.fire_channel_read_complete();
            Ok(())
        }
        fn read(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
            self.0.add("read()");
            ctx.read();
            Ok(())
        }
    }
    let log = Log::default();
    let mut embedded = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Order(log.clone()))?;
        pipeline.add_last(crate::support::Recorder(log.clone()))
    })
    .unwrap();
    log.take();
    embedded.feed(["a"]);
    assert_eq!(log.take(), ["read a", "event u8", "complete", "read()"]);
}

/// Rules: D5
#[test]
fn a_handler_may_swallow_the_read_of_auto_read() {
    struct Gate(Rc<Cell<bool>>);
    impl Handler for Gate {
        fn read(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
            if self.0.get() {
                ctx.read();
            }
            Ok(())
        }
    }
    let open = Rc::new(Cell::new(false));
    let (mut embedded, log) = hooked(Gate(open.clone()));
    embedded.feed(["a"]);
    assert_eq!(log.take(), [""; 0]);
    open.set(true);
    embedded.run(|channel| channel.read());
    assert_eq!(log.take(), ["read a", "complete"]);
}

/// Gives on what it reads in `self.1` pieces.
struct Splits(Vec<Message>, usize);

impl Handler for Splits {
    fn channel_read(&mut self, ctx: &mut Context<'_>, _: Message) -> HandlerResult {
        for _ in 0..self.1 {
            self.0.push(Message::from("piece"));
        }
        ctx.resume();
        Ok(())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if let Some(piece) = self.0.pop() {
            ctx.fire_channel_read(piece);
            ctx.resume();
        }
        Ok(())
    }
}

/// Rules: 6.7
#[test]
fn nothing_is_read_while_a_long_row_of_resumes_waits_for_its_turn() {
    let (mut embedded, _) = hooked(Splits(Vec::new(), 3000));
    let reads = embedded.reads();
    let during = Rc::new(Cell::new(0));
    embedded.feed(["a", "b"]);
    during.set(embedded.reads() - reads);
    assert_eq!(received(&mut embedded).len(), 6000);
    assert_eq!(
        during.get(),
        3,
        "two messages, and the look that found no third"
    );
}

/// Rules: 6.7, D7
#[test]
fn a_handler_that_stops_reading_between_two_messages_of_one_read_gets_no_more() {
    let hooks = Hooks::new().on_read(|ctx, msg| {
        ctx.set_auto_read(false);
        ctx.fire_channel_read(msg);
    });
    let log = Log::default();
    let mut embedded = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Splits(Vec::new(), 3))?;
        pipeline.add_last(hooks)?;
        pipeline.add_last(crate::support::Recorder(log.clone()))
    })
    .unwrap();
    log.take();
    embedded.feed(["a"]);
    assert_eq!(log.take(), ["read piece", "complete"]);
    embedded.run(|channel| channel.read());
    assert_eq!(log.take()[0], "read piece");
    assert_eq!(embedded.reads(), 2, "the transport was not asked again");
}

/// Rules: 6.5, D1
#[test]
fn a_read_from_the_handle_inside_a_callback_is_not_lost() {
    let hooks = Hooks::new().on_read(|ctx, msg| {
        ctx.channel().read();
        ctx.fire_channel_read(msg);
    });
    let (mut embedded, log) = hooked_with(&manual(), hooks);
    embedded.feed(["a", "b"]);
    embedded.run(|channel| channel.read());
    let reads: Vec<String> = log
        .take()
        .into_iter()
        .filter(|what| what != "complete")
        .collect();
    assert_eq!(reads, ["read a", "read b"]);
}
