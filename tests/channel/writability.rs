//! Watermarks, the users' own bits, and the event that follows.

use std::cell::RefCell;
use std::rc::Rc;

use tidegate::channel::options::WRITE_BUFFER_WATER_MARK;
use tidegate::channel::{ENTRY_OVERHEAD, WaterMark};
use tidegate::{Channel, EmbeddedChannel, ErrorKind, OptionSet};

use crate::support::{Hooks, Log, hooked, option, recorded, recorded_with};

fn marks(low: usize, high: usize) -> OptionSet {
    option(WRITE_BUFFER_WATER_MARK, WaterMark::new(low, high).unwrap())
}

/// A message that counts so many bytes, with its entry.
fn counting(bytes: usize) -> Vec<u8> {
    vec![0; bytes - ENTRY_OVERHEAD]
}

/// Rules: C2, C3
#[test]
fn the_default_marks_are_64_and_32_kib_with_96_bytes_an_entry() {
    assert_eq!(ENTRY_OVERHEAD, 96);
    let (embedded, _) = recorded();
    let channel = embedded.channel();
    assert_eq!(channel.bytes_before_unwritable(), 64 * 1024 + 1);
    assert_eq!(channel.bytes_before_writable(), 0);
}

/// Rules: C2, C3, C4
#[test]
fn the_marks_are_exact_at_their_boundaries() {
    let (mut embedded, log) = recorded_with(&marks(400, 1000));
    embedded.block_writes(true);
    embedded.run(|channel| channel.write(counting(1000)));
    assert!(embedded.channel().is_writable(), "1000 is not above 1000");
    assert_eq!(log.take(), [""; 0]);
    embedded.run(|channel| channel.write(""));
    assert!(!embedded.channel().is_writable(), "1096 is");
    assert_eq!(log.take(), ["unwritable"]);
}

/// Rules: C3
#[test]
fn exactly_the_low_mark_is_not_low_enough() {
    for (left, writable) in [(400, false), (399, true)] {
        let (mut embedded, log) = recorded_with(&marks(400, 1000));
        let gone = embedded.run(|channel| {
            let gone = channel.write_future(counting(1001 - left));
            channel.write(counting(left));
            gone
        });
        assert_eq!(log.take(), ["unwritable"]);
        assert!(gone.cancel());
        embedded.block_writes(true);
        embedded.run(Channel::flush);
        assert_eq!(embedded.channel().is_writable(), writable, "{left} left");
        let expected: &[&str] = if writable { &["writable"] } else { &[] };
        assert_eq!(log.take(), expected);
        if !writable {
            assert_eq!(embedded.channel().bytes_before_writable(), 1);
        }
    }
}

/// Rules: C6
#[test]
fn as_many_bytes_as_it_says_make_the_channel_unwritable_and_not_one_less() {
    for (less, writable) in [(1, true), (0, false)] {
        let (mut embedded, _) = recorded_with(&marks(400, 1000));
        embedded.run(|channel| channel.write(counting(300)));
        let before = embedded.channel().bytes_before_unwritable();
        assert_eq!(before, 1000 - 300 + 1);
        embedded.run(|channel| channel.write(counting(before - less)));
        assert_eq!(embedded.channel().is_writable(), writable);
    }
}

/// Rules: C6
#[test]
fn the_context_and_the_handle_agree() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let out = seen.clone();
    let hooks = Hooks::new().on_read(move |ctx, _| {
        for bytes in [200, 2000] {
            ctx.write(counting(bytes));
            let channel = ctx.channel();
            out.borrow_mut().push((
                ctx.is_writable() == channel.is_writable(),
                ctx.bytes_before_unwritable() == channel.bytes_before_unwritable(),
                ctx.bytes_before_writable() == channel.bytes_before_writable(),
            ));
        }
    });
    let mut embedded =
        EmbeddedChannel::with_options(&marks(400, 1000), |pipeline| pipeline.add_last(hooks))
            .unwrap();
    embedded.feed(["x"]);
    assert_eq!(*seen.borrow(), [(true, true, true); 2]);
}

/// Rules: C23
#[test]
fn a_closed_channel_is_not_writable_and_never_will_be() {
    let (mut embedded, log) = recorded();
    embedded.block_writes(true);
    embedded.run(|channel| channel.write_and_flush(vec![0; 100_000]));
    log.take();
    embedded.close_later();
    embedded.close();
    let signal = embedded.signal();
    let channel = embedded.channel().clone();
    for _ in 0..2 {
        assert!(!channel.is_writable());
        assert_eq!(channel.bytes_before_unwritable(), 0);
        assert_eq!(channel.bytes_before_writable(), usize::MAX);
        embedded.run(|_| signal.closed());
    }
    assert_eq!(log.take(), ["inactive", "unregistered", "removed"]);
}

/// Rules: C5
#[test]
fn the_users_bits_count_like_the_watermark() {
    let (mut embedded, log) = recorded();
    let set = |embedded: &mut EmbeddedChannel, index, writable| {
        embedded.run(|channel| channel.set_user_writability(index, writable))
    };
    set(&mut embedded, 1, false).unwrap();
    assert!(!embedded.channel().is_writable());
    assert_eq!(embedded.channel().bytes_before_unwritable(), 0);
    set(&mut embedded, 31, false).unwrap();
    assert_eq!(
        log.take(),
        ["unwritable"],
        "only the first bit changes anything"
    );
    set(&mut embedded, 1, true).unwrap();
    assert!(!embedded.channel().is_writable());
    set(&mut embedded, 31, true).unwrap();
    assert!(embedded.channel().is_writable());
    assert_eq!(log.take(), ["writable"]);
    set(&mut embedded, 31, true).unwrap();
    assert_eq!(log.take(), [""; 0]);
    for index in [0, 32, u32::MAX] {
        let error = set(&mut embedded, index, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}

/// Rules: C5, C3
#[test]
fn a_users_bit_and_the_watermark_both_have_to_clear() {
    let (mut embedded, log) = recorded();
    embedded.block_writes(true);
    embedded.run(|channel| {
        channel.write_and_flush(vec![0; 100_000]);
        channel.set_user_writability(5, false).unwrap();
    });
    assert_eq!(log.take(), ["unwritable"]);
    embedded.block_writes(false);
    assert!(!embedded.channel().is_writable());
    assert_eq!(log.take(), [""; 0]);
    embedded.run(|channel| channel.set_user_writability(5, true).unwrap());
    assert_eq!(log.take(), ["writable"]);
}

/// Rules: C4, 6.4
///
/// Section 12: the event comes from the root queue, never inside the write.
#[test]
fn the_event_never_comes_inside_the_write_that_causes_it() {
    let log = Log::default();
    let seen = log.clone();
    let hooks = Hooks::new().on_read(move |ctx, _| {
        ctx.write(vec![0; 100_000]);
        seen.add(format!("after write, writable: {}", ctx.is_writable()));
        ctx.flush();
        seen.add(format!("after flush, writable: {}", ctx.is_writable()));
    });
    let (mut embedded, events) = hooked(hooks);
    embedded.feed(["x"]);
    assert_eq!(
        log.take(),
        [
            "after write, writable: false",
            "after flush, writable: true"
        ],
        "the state is true news at once"
    );
    assert_eq!(
        events.take(),
        ["writable", "complete"],
        "both crossings are one event, before the next read"
    );
}

/// Rules: 6.4
///
/// A handler that saw false and waited for an event that never came hung, elsewhere.
#[test]
fn whoever_saw_false_is_called_back() {
    let (mut embedded, log) = recorded();
    embedded.block_writes(true);
    for _ in 0..3 {
        embedded.run(|channel| channel.write_and_flush(vec![0; 70_000]));
        assert_eq!(log.take(), ["unwritable"]);
        embedded.block_writes(false);
        assert_eq!(log.take(), ["writable"]);
        embedded.block_writes(true);
    }
}

/// Rules: C3
#[test]
fn marks_can_be_moved_under_a_live_channel() {
    let (mut embedded, log) = recorded();
    embedded.block_writes(true);
    let set = |embedded: &mut EmbeddedChannel, low, high| {
        let mark = WaterMark::new(low, high).unwrap();
        let done = embedded.run(|channel| channel.set_option(WRITE_BUFFER_WATER_MARK, mark));
        assert!(done.is_success());
    };
    embedded.run(|channel| channel.write_and_flush(counting(1000)));
    set(&mut embedded, 100, 1000);
    assert_eq!(log.take(), [""; 0], "1000 is not above 1000");
    set(&mut embedded, 100, 999);
    assert_eq!(log.take(), ["unwritable"]);
    assert_eq!(embedded.channel().bytes_before_writable(), 901);
    set(&mut embedded, 1000, 2000);
    assert_eq!(log.take(), [""; 0], "1000 is not below 1000");
    set(&mut embedded, 1001, 2000);
    assert_eq!(log.take(), ["writable"]);
    assert_eq!(embedded.channel().bytes_before_unwritable(), 1001);
}

/// A low mark of zero means: when everything was sent. Netty's strict comparison would never come true.
#[test]
fn with_a_low_mark_of_zero_the_channel_becomes_writable_when_it_is_empty() {
    let (mut embedded, log) = recorded_with(&marks(0, 0));
    embedded.block_writes(true);
    embedded.run(|channel| {
        channel.write("a");
        channel.write("b");
        channel.flush();
    });
    assert_eq!(log.take(), ["unwritable"]);
    assert_eq!(
        embedded.channel().bytes_before_writable(),
        2 * (ENTRY_OVERHEAD + 1)
    );
    embedded.block_writes(false);
    assert_eq!(log.take(), ["writable"]);
    assert!(embedded.channel().is_writable());
}
