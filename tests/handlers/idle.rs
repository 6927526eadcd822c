//! `IdleState`, on a clock that the test moves.

use std::time::Duration;

use tidegate::handler::timeout::{IdleEvent, IdleKind, IdleState};
use tidegate::{EmbeddedChannel, Error, Message, OptionSet};

use crate::common::telling::told;
use crate::common::{Log, Script};

const SECOND: Duration = Duration::from_secs(1);

fn channel(idle: IdleState) -> EmbeddedChannel {
    EmbeddedChannel::new(|p| p.add_last(idle)).unwrap()
}

/// The events that have reached the tail: `Reader!` is a first one, `Reader` one that repeats it.
fn events(channel: &mut EmbeddedChannel) -> Vec<String> {
    std::iter::from_fn(|| channel.read_event())
        .filter_map(|event| event.downcast::<IdleEvent>().ok())
        .map(|event| format!("{:?}{}", event.kind, if event.is_first { "!" } else { "" }))
        .collect()
}

/// Without reads an event comes after each period, and only the first says that it is the first. A read begins anew.
///
/// Rules: H34, H35
#[test]
fn an_idle_reader_is_told_after_each_period() {
    let mut channel = channel(IdleState::new().reader(3 * SECOND));
    channel.advance(3 * SECOND - Duration::from_nanos(1));
    assert_eq!(events(&mut channel), [""; 0], "never early");
    channel.advance(Duration::from_nanos(1));
    assert_eq!(events(&mut channel), ["Reader!"]);
    channel.advance(6 * SECOND);
    assert_eq!(events(&mut channel), ["Reader", "Reader"]);

    channel.advance(SECOND);
    channel.write_inbound("news").unwrap();
    channel.advance(3 * SECOND - Duration::from_nanos(1));
    assert_eq!(events(&mut channel), [""; 0], "counted from the read");
    channel.advance(Duration::from_nanos(1));
    assert_eq!(events(&mut channel), ["Reader!"]);
}

/// A read costs no timer: the one that is set looks at the time of the last read when it is due.
///
/// Rules: H34
#[test]
fn a_read_moves_no_timer() {
    let mut channel = channel(IdleState::new().reader(3 * SECOND));
    channel.advance(SECOND);
    channel.write_inbound("news").unwrap();
    assert_eq!(channel.next_timer(), Some(2 * SECOND));
    channel.advance(2 * SECOND);
    assert_eq!(channel.next_timer(), Some(SECOND));
}

/// While a batch of reads is under way nothing is idle; what counts is the end of the batch, if it brought anything.
///
/// Rules: H32
#[test]
fn the_end_of_a_batch_counts() {
    let mut channel = channel(IdleState::new().reader(3 * SECOND));
    channel.pipeline(|p| p.fire_channel_read("the first of a batch"));
    channel.advance(20 * SECOND);
    assert_eq!(events(&mut channel), [""; 0]);
    channel.pipeline(|p| p.fire_channel_read_complete());
    channel.advance(2 * SECOND);
    assert_eq!(events(&mut channel), [""; 0]);
    // A batch without a message is no sign of life.
    channel.pipeline(|p| p.fire_channel_read_complete());
    channel.advance(SECOND);
    assert_eq!(events(&mut channel), ["Reader!"]);
}

/// A write counts when it is completed, be it with or without a promise; one that waits does not.
///
/// Rules: H33, H35
#[test]
fn a_write_counts_when_it_is_completed() {
    let mut channel = channel(IdleState::new().writer(3 * SECOND));
    channel.advance(2 * SECOND);
    channel.write_outbound("sent").unwrap();
    channel.advance(2 * SECOND);
    channel.run(|channel| {
        channel.write("void");
        channel.flush();
    });
    channel.advance(2 * SECOND);
    assert_eq!(events(&mut channel), [""; 0]);

    channel.block_writes(true);
    channel.write_outbound("waits").unwrap();
    channel.advance(SECOND);
    assert_eq!(events(&mut channel), ["Writer!"]);
    channel.advance(SECOND);
    channel.block_writes(false);
    channel.advance(3 * SECOND);
    assert_eq!(events(&mut channel), ["Writer!"], "it began anew");
}

/// A write that fails is still reported if nobody waited for it.
///
/// Rules: H33
#[test]
fn a_failed_write_is_reported() {
    let mut channel = channel(IdleState::new().writer(3 * SECOND));
    let lines = told(|| {
        channel.run(|channel| {
            channel.write("void");
            channel.close();
        });
    });
    assert!(
        lines.iter().any(|line| line.contains("nobody observes it")),
        "{lines:?}"
    );
}

/// Without a watch on writes a void promise stays one.
///
/// Rules: H33
#[test]
fn a_void_promise_passes_where_writes_are_not_watched() {
    let log = Log::new();
    let told = log.clone();
    let first = Script::new("first", &log).on_write(move |ctx, msg, promise| {
        told.add(format_args!("void: {}", promise.is_void()));
        ctx.write_with(msg, promise);
        Ok(())
    });
    let mut channel = EmbeddedChannel::new(|p| {
        p.add_last(first)?;
        p.add_last(IdleState::new().reader(SECOND))
    })
    .unwrap();
    channel.run(|channel| channel.write("m"));
    assert_eq!(log.take_of("void"), ["void: true"]);
}

/// All is idle when neither a read nor a write has happened.
///
/// Rules: H34, H35
#[test]
fn all_counts_both_ways() {
    let mut channel = channel(IdleState::new().all(3 * SECOND));
    channel.advance(2 * SECOND);
    channel.write_inbound("in").unwrap();
    channel.advance(2 * SECOND);
    channel.write_outbound("out").unwrap();
    channel.advance(2 * SECOND);
    assert_eq!(events(&mut channel), [""; 0]);
    channel.advance(SECOND);
    assert_eq!(events(&mut channel), ["All!"]);
    channel.advance(3 * SECOND);
    assert_eq!(events(&mut channel), ["All"]);
    channel.write_inbound("in").unwrap();
    channel.advance(3 * SECOND);
    assert_eq!(events(&mut channel), ["All!"]);
}

/// While a large write gets on, only the first event of an idle writer comes.
///
/// Rules: H36
#[test]
fn observed_output_keeps_repeated_events_back() {
    let mut channel = channel(IdleState::new().writer(SECOND).observe_output(true));
    channel.block_writes(true);
    channel.write_outbound("one").unwrap();
    channel.advance(SECOND);
    assert_eq!(events(&mut channel), ["Writer!"], "the first comes always");
    channel.advance(SECOND);
    assert_eq!(events(&mut channel), ["Writer"], "nothing has moved");
    channel.write_outbound("more of it").unwrap();
    channel.advance(SECOND);
    assert_eq!(events(&mut channel), [""; 0], "more is pending");
    channel.advance(SECOND);
    assert_eq!(events(&mut channel), ["Writer"]);
}

/// Zero switches a watch off, what is shorter than a millisecond is one, and a period beyond the clock never ends.
///
/// Rules: H31
#[test]
fn odd_periods_are_harmless() {
    let zero = Duration::ZERO;
    let mut never = channel(IdleState::new().reader(zero).writer(zero).all(zero));
    assert_eq!(never.next_timer(), None);
    never.advance(1000 * SECOND);
    assert_eq!(events(&mut never), [""; 0]);

    let mut short = channel(IdleState::new().reader(Duration::from_nanos(1)));
    short.advance(Duration::from_millis(2));
    assert_eq!(events(&mut short), ["Reader!", "Reader"]);

    let max = Duration::MAX;
    let mut long = channel(IdleState::new().reader(max).writer(max).all(max));
    long.write_inbound("in").unwrap();
    long.write_outbound("out").unwrap();
    long.advance(Duration::from_secs(1 << 33));
    assert_eq!(events(&mut long), [""; 0]);
}

/// The watch begins when the channel is active: not before, and at once if it is added later.
///
/// Rules: H31
#[test]
fn the_watch_begins_with_the_channel_or_with_the_handler() {
    let idle = IdleState::new().reader(SECOND);
    let mut later = EmbeddedChannel::unconnected(&OptionSet::new(), |p| p.add_last(idle)).unwrap();
    assert_eq!(later.next_timer(), None);
    later.set_connect(Some(tidegate::channel::Progress::Done));
    later.run(|channel| channel.connect("10.0.0.1:80", None));
    later.advance(SECOND);
    assert_eq!(events(&mut later), ["Reader!"]);

    let mut added = EmbeddedChannel::new(|_| Ok::<(), Error>(())).unwrap();
    added
        .pipeline(|p| p.add_last(IdleState::new().reader(SECOND)))
        .unwrap();
    added.advance(SECOND);
    assert_eq!(events(&mut added), ["Reader!"]);
}

/// A handler that was taken out, or whose channel has ended, leaves no timer behind.
///
/// Rules: H34
#[test]
fn no_timer_stays_behind() {
    let idle = || IdleState::new().reader(SECOND).writer(SECOND).all(SECOND);
    let mut removed = channel(idle());
    removed.write_outbound("m").unwrap();
    removed.pipeline(|p| p.remove_type::<IdleState>()).unwrap();
    assert_eq!(removed.next_timer(), None);
    removed.advance(10 * SECOND);
    assert_eq!(events(&mut removed), [""; 0]);

    let mut closed = channel(idle());
    closed.finish().unwrap();
    assert_eq!(closed.next_timer(), None);
    assert_eq!(events(&mut closed), [""; 0]);
}

/// With auto-read off the watch works the same: it counts what was read.
///
/// Rules: H32
#[test]
fn idle_without_auto_read() {
    let mut options = OptionSet::new();
    options
        .set(tidegate::channel::options::AUTO_READ, false)
        .unwrap();
    let idle = IdleState::new().reader(3 * SECOND);
    let mut channel = EmbeddedChannel::with_options(&options, |p| p.add_last(idle)).unwrap();
    channel.feed(["a", "b"]);
    channel.advance(2 * SECOND);
    channel.run(|channel| channel.read());
    channel.advance(2 * SECOND);
    assert_eq!(events(&mut channel), [""; 0]);
    channel.advance(SECOND);
    assert_eq!(events(&mut channel), ["Reader!"]);
}

/// The event is a plain value that other handlers can make too.
#[test]
fn the_event_is_a_value() {
    let event = IdleEvent {
        kind: IdleKind::All,
        is_first: false,
    };
    assert_eq!(
        Message::new(event).downcast_ref::<IdleEvent>(),
        Some(&event)
    );
}
