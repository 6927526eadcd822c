//! `FlushConsolidation`: how many flushes reach the transport, and when.

use tidegate::handler::flush::FlushConsolidation;
use tidegate::{EmbeddedChannel, Failure};

use crate::common::{Log, Script, outbound, outliving};

/// Behind the consolidation a handler that answers and flushes; before it one that sees the flushes that remain.
fn channel(handler: FlushConsolidation, log: &Log) -> EmbeddedChannel {
    let transport = Script::new("transport", log).on_flush(|ctx| {
        ctx.flush();
        Ok(())
    });
    let eager = Script::new("eager", &Log::new()).on_read(|ctx, msg| {
        ctx.write_and_flush(msg);
        Ok(())
    });
    EmbeddedChannel::with_options(&outliving(), |p| {
        p.add_last(transport)?;
        p.add_last(handler)?;
        p.add_last(eager)
    })
    .unwrap()
}

fn flushes(log: &Log) -> usize {
    log.take_of("transport flush").len()
}

/// The flushes of one batch of reads are one, at its end; outside of a batch each is done at once.
///
/// Rules: H52
#[test]
fn a_batch_is_flushed_once_at_its_end() {
    let log = Log::new();
    let mut channel = channel(FlushConsolidation::new(), &log);
    channel.feed(["a", "b", "c"]);
    assert_eq!(flushes(&log), 1);
    assert_eq!(outbound(&mut channel), ["a", "b", "c"]);

    channel.pipeline(|p| p.fire_channel_read("d"));
    assert_eq!((flushes(&log), outbound(&mut channel).len()), (0, 0));
    channel.pipeline(|p| p.fire_channel_read_complete());
    assert_eq!((flushes(&log), outbound(&mut channel).len()), (1, 1));

    channel.write_outbound("e").unwrap();
    channel.run(|channel| channel.flush());
    assert_eq!(flushes(&log), 2);
    // A batch in which nobody flushes is none of ours.
    channel.pipeline(|p| p.fire_channel_read_complete());
    assert_eq!(flushes(&log), 0);
}

/// Much output does not wait for the end of a long batch: with the 256th flush all go, or with the one that was asked for.
///
/// Rules: H52
#[test]
fn every_256th_flush_is_done() {
    assert_eq!(FlushConsolidation::EXPLICIT_FLUSH_AFTER, 256);
    for (handler, limit) in [
        (FlushConsolidation::new(), 256),
        (FlushConsolidation::new().explicit_flush_after(3), 3),
        (FlushConsolidation::new().explicit_flush_after(0), 1),
    ] {
        let log = Log::new();
        let mut channel = channel(handler, &log);
        for n in 1..=2 * limit + 1 {
            channel.pipeline(|p| p.fire_channel_read("m"));
            assert_eq!(flushes(&log), usize::from(n % limit == 0), "{n} of {limit}");
        }
        channel.pipeline(|p| p.fire_channel_read_complete());
        assert_eq!(flushes(&log), usize::from(limit > 1));
    }
}

/// Asked for, flushes outside of a batch wait until the loop comes round, or for the limit.
///
/// Rules: H52
#[test]
fn without_a_batch_the_loop_comes_round() {
    let log = Log::new();
    let handler = FlushConsolidation::new()
        .consolidate_when_no_read_in_progress(true)
        .explicit_flush_after(4);
    let mut channel = channel(handler, &log);
    channel.run(|channel| {
        for _ in 0..3 {
            channel.write("m");
            channel.flush();
        }
    });
    assert_eq!((flushes(&log), outbound(&mut channel).len()), (1, 3));
    channel.run(|channel| {
        for _ in 0..5 {
            channel.write("m");
            channel.flush();
        }
    });
    assert_eq!((flushes(&log), outbound(&mut channel).len()), (2, 5));
    channel.feed(["a", "b"]);
    assert_eq!(flushes(&log), 1);
    assert_eq!(channel.next_timer(), None);
}

/// A flush that waits is done before a close, so that what was to be sent is sent.
///
/// Rules: H52
#[test]
fn a_close_comes_after_the_flush_that_waits() {
    let log = Log::new();
    let mut channel = channel(FlushConsolidation::new(), &log);
    channel.pipeline(|p| p.fire_channel_read("last words"));
    channel.finish().unwrap();
    assert_eq!(flushes(&log), 1);
    assert_eq!(outbound(&mut channel), ["last words"]);
}

/// An error may mean that the batch never ends.
///
/// Rules: H52
#[test]
fn an_error_does_not_keep_flushes_waiting() {
    let log = Log::new();
    let mut channel = channel(FlushConsolidation::new(), &log);
    channel.pipeline(|p| {
        p.fire_channel_read("m");
        p.fire_exception_caught(Failure::msg("trouble"));
    });
    assert_eq!(flushes(&log), 1);
    assert_eq!(outbound(&mut channel), ["m"]);
    assert!(channel.check().is_err(), "it was passed on");
}

/// An unwritable channel needs its flush now.
///
/// Rules: H52
#[test]
fn turning_unwritable_flushes() {
    let log = Log::new();
    let mut channel = channel(FlushConsolidation::new(), &log);
    let high = channel.run(|channel| channel.bytes_before_unwritable());
    channel.pipeline(|p| p.fire_channel_read(vec![0; high + 1]));
    assert_eq!(flushes(&log), 1);
    assert_eq!(outbound(&mut channel).len(), 1);
    assert!(channel.channel().is_writable());
}

/// Taken out, the handler leaves no flush behind, and none waits any more.
///
/// Rules: H52
#[test]
fn a_removed_handler_flushes_what_waits() {
    let log = Log::new();
    let mut channel = channel(FlushConsolidation::new(), &log);
    channel.pipeline(|p| p.fire_channel_read("m"));
    channel
        .pipeline(|p| p.remove_type::<FlushConsolidation>())
        .unwrap();
    assert_eq!((flushes(&log), outbound(&mut channel).len()), (1, 1));
    channel.pipeline(|p| p.fire_channel_read("m"));
    assert_eq!((flushes(&log), outbound(&mut channel).len()), (1, 1));
}

/// Whatever happens in whatever order, nothing that was flushed is left behind once a batch or a turn has ended.
///
/// Rules: H52
#[test]
fn no_flush_is_lost() {
    let mut seed = 0x7469_6465_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    for round in 0..500 {
        let handler = FlushConsolidation::new()
            .explicit_flush_after(random(5) as u32)
            .consolidate_when_no_read_in_progress(random(2) == 0);
        let log = Log::new();
        let mut channel = channel(handler, &log);
        let (mut asked, mut sent) = (0, 0);
        for _ in 0..random(20) {
            match random(5) {
                0 => {
                    channel.pipeline(|p| p.fire_channel_read("m"));
                    asked += 1;
                }
                1 => channel.pipeline(|p| p.fire_channel_read_complete()),
                2 => {
                    channel.run(|channel| channel.write_and_flush("m"));
                    asked += 1;
                }
                3 => {
                    let many = random(4);
                    channel.feed((0..many).map(|_| "m"));
                    asked += many;
                }
                _ => {
                    channel.pipeline(|p| p.fire_exception_caught(Failure::msg("trouble")));
                    let _ = channel.check();
                }
            }
            sent += outbound(&mut channel).len() as u64;
            assert!(sent <= asked, "round {round}");
        }
        channel.pipeline(|p| p.fire_channel_read_complete());
        sent += outbound(&mut channel).len() as u64;
        assert_eq!(sent, asked, "round {round}");
    }
}
