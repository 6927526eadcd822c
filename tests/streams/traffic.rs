//! Traffic shaping, on a clock that the test moves.

use std::time::Duration;

use tidegate::buffer::IntoMessage;
use tidegate::channel::options::AUTO_READ;
use tidegate::handler::traffic::{LoopTraffic, TrafficLimits, TrafficShaper, TrafficShaping};
use tidegate::{
    ChannelFuture, EmbeddedChannel, ErrorKind, Failure, FileRegion, Message, OptionSet,
};

use crate::support::{inbound, outbound};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn shaped(limits: TrafficLimits) -> (EmbeddedChannel, TrafficShaper) {
    let shaper = TrafficShaper::for_channel(limits);
    (with(&shaper), shaper)
}

fn with(shaper: &TrafficShaper) -> EmbeddedChannel {
    EmbeddedChannel::new(|p| p.add_last(shaper.handler())).unwrap()
}

fn write(channel: &mut EmbeddedChannel, msg: impl IntoMessage) -> ChannelFuture {
    let msg = msg.into_message();
    channel.run(|channel| channel.write_and_flush(msg))
}

fn block(size: usize) -> Message {
    vec![0_u8; size].into()
}

fn sizes(channel: &mut EmbeddedChannel) -> Vec<usize> {
    outbound(channel).iter().map(String::len).collect()
}

// ---- writing

/// Rules: H54
#[test]
fn writes_leave_at_the_rate_and_in_order() {
    let (mut channel, _) = shaped(TrafficLimits::new().write(1000));
    let futures = ["a", "b", "c"].map(|msg| write(&mut channel, msg.repeat(500).into_bytes()));
    assert_eq!(sizes(&mut channel), [500]);
    assert!(futures[0].is_success() && !futures[1].is_done());
    channel.advance(ms(480));
    assert_eq!(sizes(&mut channel), [0; 0]);
    channel.advance(ms(20));
    assert_eq!(outbound(&mut channel), ["b".repeat(500)]);
    channel.advance(ms(500));
    assert_eq!(outbound(&mut channel), ["c".repeat(500)]);
    assert!(futures[2].is_success());
}

/// However the bytes are cut, the time that they take is the same.
///
/// Rules: H54
#[test]
fn the_rate_is_exact_over_time() {
    for size in [1, 7, 100, 999] {
        let (mut channel, shaper) = shaped(TrafficLimits::new().write(10_000));
        for _ in 0..20_000_usize.div_ceil(size) {
            write(&mut channel, block(size));
        }
        channel.advance(secs(1));
        let passed: usize = sizes(&mut channel).iter().sum();
        // A message more, and what leaves up to 10 ms early.
        assert!(
            (10_000..=10_100 + size).contains(&passed),
            "{size}: {passed}"
        );
        assert_eq!(shaper.traffic().bytes_written, passed as u64);
        channel.advance(secs(1));
        let rest: usize = sizes(&mut channel).iter().sum();
        assert!(passed + rest >= 20_000, "{size}: {passed} + {rest}");
        assert_eq!(shaper.traffic().queued, 0);
    }
}

/// Rules: H54
#[test]
fn a_wait_below_ten_milliseconds_is_none() {
    let (mut channel, _) = shaped(TrafficLimits::new().write(1000));
    write(&mut channel, block(9));
    write(&mut channel, block(9));
    assert_eq!(sizes(&mut channel), [9, 9]);
    // 18 ms are owed now.
    write(&mut channel, block(9));
    assert_eq!(sizes(&mut channel), [0; 0]);
    assert_eq!(channel.next_timer(), Some(ms(18)));
}

/// Rules: H54
#[test]
fn no_message_waits_longer_than_fifteen_seconds() {
    let (mut channel, _) = shaped(TrafficLimits::new().write(1));
    write(&mut channel, block(1000));
    let second = write(&mut channel, block(1));
    channel.advance(ms(14_989));
    assert!(!second.is_done());
    channel.advance(ms(11));
    assert!(second.is_success());
}

/// Rules: H54
#[test]
fn a_channel_with_too_much_in_its_queue_is_not_writable() {
    let limits = TrafficLimits::new().write(1_000_000).max_queued(1000);
    let (mut channel, shaper) = shaped(limits.min_wait(Duration::ZERO));
    write(&mut channel, block(500_000));
    write(&mut channel, block(1000));
    assert!(channel.channel().is_writable(), "a thousand may wait");
    write(&mut channel, block(400));
    write(&mut channel, block(100));
    assert!(!channel.channel().is_writable());
    assert_eq!(shaper.traffic().queued, 1500);
    // Half of it must have left, not only enough to be below.
    channel.advance(ms(500));
    assert!(channel.channel().is_writable());
    assert_eq!(shaper.traffic().queued, 500);
}

/// 4 MiB, or 4 s.
///
/// Rules: H54
#[test]
fn a_channel_whose_queue_takes_too_long_is_not_writable() {
    let (mut channel, _) = shaped(TrafficLimits::new().write(1000));
    write(&mut channel, block(1000));
    write(&mut channel, block(2900));
    assert!(channel.channel().is_writable());
    write(&mut channel, block(200));
    assert!(
        channel.channel().is_writable(),
        "the last leaves after 3.9 s"
    );
    write(&mut channel, block(10));
    assert!(
        !channel.channel().is_writable(),
        "the last leaves after 4.1 s"
    );
    channel.advance(ms(1_000));
    assert!(!channel.channel().is_writable());
    channel.advance(ms(3_200));
    assert!(channel.channel().is_writable());

    let (mut channel, _) = shaped(TrafficLimits::new().write(1 << 30));
    write(&mut channel, block(1 << 30));
    write(&mut channel, block(4 << 20));
    assert!(channel.channel().is_writable());
    write(&mut channel, block(1));
    assert!(!channel.channel().is_writable());
}

/// Rules: H54
#[test]
fn a_flush_counts_for_what_was_written_before_it() {
    let (mut channel, _) = shaped(TrafficLimits::new().write(1000));
    write(&mut channel, block(1000));
    write(&mut channel, block(1));
    channel.run(|channel| channel.write(block(2)));
    channel.advance(secs(3));
    assert_eq!(sizes(&mut channel), [1000, 1]);
    channel.run(|channel| channel.flush());
    assert_eq!(sizes(&mut channel), [2]);
}

/// Rules: H54
#[test]
fn what_has_no_size_keeps_its_place() {
    let (mut channel, _) = shaped(TrafficLimits::new().write(1000));
    write(&mut channel, block(1000));
    write(&mut channel, Message::new(7_u32));
    write(&mut channel, block(1));
    assert_eq!(outbound(&mut channel).len(), 1);
    channel.advance(secs(1));
    assert!(channel.read_outbound().unwrap().is::<u32>());
}

/// Rules: H54
#[test]
fn messages_of_any_type_may_be_counted() {
    let shaper = TrafficShaper::for_channel(TrafficLimits::new().write(1000));
    let size = |msg: &Message| u64::from(msg.downcast_ref::<u32>().copied().unwrap_or(0));
    let handler = shaper.handler().sized_by(size);
    let mut channel = EmbeddedChannel::new(|p| p.add_last(handler)).unwrap();
    write(&mut channel, Message::new(500_u32));
    let second = write(&mut channel, Message::new(1_u32));
    channel.write_inbound(Message::new(7_u32)).unwrap();
    channel.advance(ms(480));
    assert!(!second.is_done());
    channel.advance(ms(20));
    assert!(second.is_success());
    let traffic = shaper.traffic();
    assert_eq!((traffic.bytes_written, traffic.bytes_read), (501, 7));
}

#[test]
fn file_regions_count_with_their_bytes() {
    let (mut channel, shaper) = shaped(TrafficLimits::new().write(1000));
    write(
        &mut channel,
        Message::new(FileRegion::lazy("nowhere", 0, 3000)),
    );
    let next = write(&mut channel, block(1));
    assert_eq!(shaper.traffic().bytes_written, 3000);
    channel.advance(ms(2_980));
    assert!(!next.is_done());
    channel.advance(ms(20));
    assert!(next.is_success());
}

/// Rules: H54
#[test]
fn limits_change_for_what_waits_within_an_interval() {
    let (mut channel, shaper) = shaped(TrafficLimits::new().write(100));
    write(&mut channel, block(1000));
    let futures = [500, 500].map(|size| write(&mut channel, block(size)));
    shaper.set_write_limit(1000);
    assert_eq!(shaper.write_limit(), 1000);
    channel.advance(secs(1));
    assert!(futures[0].is_success() && !futures[1].is_done());
    channel.advance(ms(500));
    assert!(futures[1].is_success());
    shaper.set_write_limit(0);
    for _ in 0..10 {
        assert!(write(&mut channel, block(1 << 20)).is_success());
    }
}

/// Rules: H54
#[test]
fn a_handler_that_is_taken_out_sends_what_waits() {
    let (mut channel, shaper) = shaped(TrafficLimits::new().write(10));
    write(&mut channel, block(10));
    let futures = [100, 200].map(|size| write(&mut channel, block(size)));
    assert!(!channel.channel().is_writable());
    channel
        .pipeline(|p| p.remove_type::<TrafficShaping>())
        .unwrap();
    assert_eq!(sizes(&mut channel), [10, 100, 200]);
    assert!(futures.iter().all(ChannelFuture::is_success));
    assert!(channel.channel().is_writable());
    assert_eq!(shaper.traffic().queued, 0);
    assert_eq!(shaper.traffic().bytes_written, 310);
}

/// Rules: H54
#[test]
fn what_waits_fails_when_the_channel_ends() {
    let (mut channel, shaper) = shaped(TrafficLimits::new().write(10));
    write(&mut channel, block(10));
    let waiting = write(&mut channel, block(1000));
    channel.finish().unwrap();
    assert_eq!(waiting.cause().unwrap().kind(), ErrorKind::ChannelClosed);
    assert_eq!(shaper.traffic().queued, 0);
    let late = write(&mut channel, block(1));
    assert_eq!(late.cause().unwrap().kind(), ErrorKind::ChannelClosed);
}

#[test]
fn a_channel_that_never_connected_fails_what_waits() {
    let shaper = TrafficShaper::for_channel(TrafficLimits::new().write(10));
    let mut channel =
        EmbeddedChannel::unconnected(&OptionSet::new(), |p| p.add_last(shaper.handler())).unwrap();
    channel.run(|channel| channel.write(block(10)));
    let waiting = channel.run(|channel| channel.write_future(block(10)));
    channel.finish().unwrap();
    assert_eq!(waiting.cause().unwrap().kind(), ErrorKind::ChannelClosed);
    assert_eq!(shaper.traffic().queued, 0);
}

// ---- reading

/// Messages of 500 bytes, as a socket would have them.
fn feed(channel: &mut EmbeddedChannel, count: usize) {
    channel.feed((0..count).map(|_| block(500)));
}

fn read(channel: &mut EmbeddedChannel) -> usize {
    inbound(channel).len() / 500
}

/// One read per batch, so that counts are exact.
fn slow_reader(shaper: &TrafficShaper, auto_read: bool) -> EmbeddedChannel {
    let mut options = OptionSet::new();
    options.set(AUTO_READ, auto_read).unwrap();
    options
        .set(tidegate::channel::options::MAX_MESSAGES_PER_READ, 1)
        .unwrap();
    EmbeddedChannel::with_options(&options, |p| p.add_last(shaper.handler())).unwrap()
}

/// Rules: H54
#[test]
fn reading_pauses_until_what_was_read_is_paid_for() {
    let shaper = TrafficShaper::for_channel(TrafficLimits::new().read(1000));
    let mut channel = slow_reader(&shaper, true);
    feed(&mut channel, 10);
    assert_eq!(read(&mut channel), 1);
    channel.advance(ms(499));
    assert_eq!(read(&mut channel), 0);
    channel.advance(ms(1));
    assert_eq!(read(&mut channel), 1);
    channel.advance(secs(2));
    assert_eq!(read(&mut channel), 4);
    assert_eq!(channel.unread(), 4);
    assert!(channel.channel().is_auto_read(), "nobody has touched it");
    assert_eq!(shaper.traffic().bytes_read, 3000);
}

/// A batch that is under way is paid for afterwards.
///
/// Rules: H54
#[test]
fn a_batch_of_reads_is_paid_for_as_a_whole() {
    let (mut channel, _) = shaped(TrafficLimits::new().read(1000));
    feed(&mut channel, 20);
    assert_eq!(read(&mut channel), 16, "MAX_MESSAGES_PER_READ");
    channel.advance(ms(7_999));
    assert_eq!(read(&mut channel), 0);
    channel.advance(ms(1));
    assert_eq!(read(&mut channel), 4);
}

/// The user pauses while the handler does: reading stays paused until the user says otherwise.
///
/// Rules: H54
#[test]
fn a_user_who_paused_reading_stays_paused() {
    let shaper = TrafficShaper::for_channel(TrafficLimits::new().read(1000));
    let mut channel = slow_reader(&shaper, true);
    feed(&mut channel, 4);
    assert_eq!(read(&mut channel), 1);
    channel.run(|channel| channel.set_auto_read(false));
    channel.advance(secs(60));
    assert_eq!(read(&mut channel), 0);
    channel.run(|channel| channel.set_auto_read(true));
    assert_eq!(read(&mut channel), 1, "long paid for");
    // Off and on again within the pause: it goes on when it is paid for, not earlier.
    channel.run(|channel| channel.set_auto_read(false));
    channel.run(|channel| channel.set_auto_read(true));
    channel.advance(ms(499));
    assert_eq!(read(&mut channel), 0);
    channel.advance(ms(1));
    assert_eq!(read(&mut channel), 1);
}

/// Rules: H54
#[test]
fn a_read_that_was_asked_for_by_hand_is_answered_once_it_is_paid_for() {
    let shaper = TrafficShaper::for_channel(TrafficLimits::new().read(1000));
    let mut channel = slow_reader(&shaper, false);
    feed(&mut channel, 3);
    assert_eq!(read(&mut channel), 0);
    channel.run(|channel| channel.read());
    assert_eq!(read(&mut channel), 1);
    channel.run(|channel| channel.read());
    channel.run(|channel| channel.read());
    assert_eq!(read(&mut channel), 0);
    channel.advance(ms(500));
    assert_eq!(read(&mut channel), 1);
    channel.advance(secs(60));
    assert_eq!(read(&mut channel), 0, "asked twice is asked once");
}

/// Rules: H54
#[test]
fn reading_goes_on_when_the_handler_is_taken_out_or_the_limit_is_lifted() {
    let shaper = TrafficShaper::for_channel(TrafficLimits::new().read(1));
    let mut channel = slow_reader(&shaper, true);
    feed(&mut channel, 3);
    assert_eq!(read(&mut channel), 1);
    shaper.set_read_limit(0);
    channel.advance(secs(1));
    assert_eq!(read(&mut channel), 2);
    shaper.set_read_limit(1);
    assert_eq!(shaper.read_limit(), 1);
    feed(&mut channel, 3);
    assert_eq!(read(&mut channel), 1);
    channel
        .pipeline(|p| p.remove_type::<TrafficShaping>())
        .unwrap();
    channel.run_pending();
    assert_eq!(read(&mut channel), 2);
}

/// Rules: H54
#[test]
fn reading_never_pauses_for_more_than_fifteen_seconds() {
    let shaper = TrafficShaper::for_channel(TrafficLimits::new().read(1));
    let mut channel = slow_reader(&shaper, true);
    feed(&mut channel, 2);
    assert_eq!(read(&mut channel), 1);
    channel.advance(ms(14_999));
    assert_eq!(read(&mut channel), 0);
    channel.advance(ms(1));
    assert_eq!(read(&mut channel), 1);
}

#[test]
fn a_handler_that_joins_an_active_channel_works_at_once() {
    let mut options = OptionSet::new();
    options
        .set(tidegate::channel::options::MAX_MESSAGES_PER_READ, 1)
        .unwrap();
    let mut channel = EmbeddedChannel::with_options(&options, |_| Ok::<(), Failure>(())).unwrap();
    feed(&mut channel, 1);
    let shaper = TrafficShaper::for_channel(TrafficLimits::new().read(1000));
    channel.pipeline(|p| p.add_last(shaper.handler())).unwrap();
    feed(&mut channel, 3);
    assert_eq!(read(&mut channel), 2, "the first, and one that is paid for");
    channel.advance(ms(500));
    assert_eq!(read(&mut channel), 1);
}

// ---- sharing

/// Channels that wait take turns, whatever the order in which they came.
///
/// Rules: H54
#[test]
fn channels_share_a_global_limit_in_turn() {
    let shaper = TrafficShaper::global(TrafficLimits::new().write(1000));
    let mut channels = [with(&shaper), with(&shaper)];
    for channel in &mut channels {
        for _ in 0..10 {
            write(channel, block(100));
        }
    }
    let mut sent = [0, 0];
    for _ in 0..10 {
        for (channel, sent) in channels.iter_mut().zip(&mut sent) {
            channel.advance(ms(100));
            *sent += sizes(channel).iter().sum::<usize>();
        }
    }
    let (most, least) = (sent[0].max(sent[1]), sent[0].min(sent[1]));
    assert!(most - least <= 200, "{sent:?}");
    assert!((1000..=1200).contains(&(most + least)), "{sent:?}");
    assert_eq!(shaper.traffic().queued, 2000 - (most + least) as u64);
}

/// Rules: H54
#[test]
fn a_channel_that_ends_leaves_its_share_to_the_others() {
    let shaper = TrafficShaper::global(TrafficLimits::new().write(1000));
    let mut channels = [with(&shaper), with(&shaper)];
    write(&mut channels[0], block(100));
    write(&mut channels[0], block(5000));
    channels[0].finish().unwrap();
    let second = write(&mut channels[1], block(100));
    channels[1].advance(ms(100));
    assert!(second.is_success());
    assert_eq!(shaper.traffic().queued, 0);
}

/// Bits 1 to 3, so that several shapers may stand in one pipeline.
///
/// Rules: H54
#[test]
fn shapers_for_a_channel_for_a_loop_and_for_all_stand_together() {
    let limits = TrafficLimits::new().write(1000).max_queued(10);
    let (all, one) = (
        TrafficShaper::global(limits),
        TrafficShaper::for_channel(limits),
    );
    let per_loop = LoopTraffic::new(limits);
    let mut channel = EmbeddedChannel::new(|p| {
        let event_loop = p.channel().event_loop().clone();
        p.add_last(all.handler())?;
        p.add_last(per_loop.on(&event_loop).handler())?;
        p.add_last(one.handler())
    })
    .unwrap();
    assert_eq!(per_loop.all().len(), 1);
    write(&mut channel, block(1000));
    write(&mut channel, block(1000));
    assert!(!channel.channel().is_writable());
    one.set_write_limit(0);
    channel.advance(secs(1));
    let on_loop = per_loop.on(channel.event_loop());
    assert_eq!(one.traffic().queued, 0);
    assert_eq!(on_loop.traffic().queued + all.traffic().queued, 0);
    assert_eq!(sizes(&mut channel), [1000, 1000]);
    assert!(channel.channel().is_writable());
}

/// Rules: H54
#[test]
fn too_much_in_all_queues_together_makes_channels_unwritable() {
    let limits = TrafficLimits::new().write(1000).max_queued_together(1500);
    let shaper = TrafficShaper::global(limits);
    let mut channels = [with(&shaper), with(&shaper)];
    write(&mut channels[0], block(1000));
    write(&mut channels[0], block(1000));
    assert!(channels[0].channel().is_writable());
    write(&mut channels[1], block(1000));
    assert!(!channels[1].channel().is_writable());
    for channel in &mut channels {
        channel.advance(secs(4));
        assert!(channel.channel().is_writable());
    }
}

// ---- counting

/// Limits are changed and counters read from any thread.
///
/// Rules: H54
#[test]
fn a_shaper_is_for_every_thread() {
    fn shared<T: Send + Sync>() {}
    shared::<TrafficShaper>();
    shared::<LoopTraffic>();
    let (mut channel, shaper) = shaped(TrafficLimits::new());
    write(&mut channel, block(100));
    let other = shaper.clone();
    let seen = std::thread::spawn(move || {
        other.set_write_limit(10);
        other.traffic().bytes_written
    });
    assert_eq!(seen.join().unwrap(), 100);
    assert_eq!(shaper.write_limit(), 10);
}

/// Rules: H54
#[test]
fn rates_are_computed_every_second_and_fall_to_zero() {
    let (mut channel, shaper) = shaped(TrafficLimits::new());
    write(&mut channel, block(3000));
    channel.write_inbound(block(200)).unwrap();
    assert_eq!(shaper.traffic().write_rate, 0, "no interval is over");
    channel.advance(secs(1));
    let traffic = shaper.traffic();
    assert_eq!((traffic.write_rate, traffic.read_rate), (3000, 200));
    channel.advance(secs(1));
    assert_eq!(shaper.traffic().write_rate, 0);
    assert_eq!(shaper.traffic().bytes_written, 3000);
    assert_eq!(channel.next_timer(), None, "an idle channel costs nothing");
    write(&mut channel, block(500));
    channel.advance(secs(1));
    assert_eq!(shaper.traffic().write_rate, 500);
}

/// Rules: H54
#[test]
fn the_interval_may_be_another() {
    let (mut channel, shaper) = shaped(TrafficLimits::new().check_interval(ms(100)));
    write(&mut channel, block(300));
    channel.advance(ms(100));
    assert_eq!(shaper.traffic().write_rate, 3000);
    let (mut channel, _) = shaped(TrafficLimits::new().check_interval(Duration::ZERO));
    write(&mut channel, block(1));
    channel.advance(ms(10));
}

/// A rate outlives the channel that made it by an interval, not for ever; and a loop that ends does not take the counting
/// along.
///
/// Rules: H54
#[test]
fn counting_does_not_depend_on_one_channel() {
    let (mut channel, shaper) = shaped(TrafficLimits::new());
    write(&mut channel, block(100));
    channel.finish().unwrap();
    channel.advance(secs(1));
    assert_eq!(shaper.traffic().write_rate, 100);
    channel.advance(secs(1));
    assert_eq!(shaper.traffic().write_rate, 0);

    write(&mut with(&shaper), block(100));
    let mut other = with(&shaper);
    write(&mut other, block(50));
    other.advance(secs(1));
    assert_eq!(shaper.traffic().write_rate, 150);
}
