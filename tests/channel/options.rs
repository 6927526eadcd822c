//! Options of a channel, before it is on its loop and while it lives.

use std::time::Duration;

use tidegate::channel::options::{
    ALLOW_HALF_CLOSURE, AUTO_CLOSE, AUTO_READ, CLOSE_ON_UNHANDLED_ERROR, CONNECT_TIMEOUT,
    MAX_MESSAGES_PER_READ, RECV_ALLOCATOR, SO_RCVBUF, WRITE_BUFFER_WATER_MARK, WRITE_SPIN_COUNT,
};
use tidegate::channel::{OptionType, WaterMark};
use tidegate::{
    ChannelOption, Context, EmbeddedChannel, ErrorKind, Handler, HandlerResult, RecvAllocator,
};

use crate::support::{Log, Recorder, option, recorded, recorded_with};

#[track_caller]
fn round_trip<T: OptionType + PartialEq + std::fmt::Debug>(
    embedded: &mut EmbeddedChannel,
    option: ChannelOption<T>,
    default: T,
    other: T,
) {
    let get = |embedded: &mut EmbeddedChannel| {
        let future = embedded.run(|channel| channel.option(option));
        future.sync().expect("the option can be read")
    };
    assert_eq!(get(embedded), default, "{}", option.name());
    let value = other.clone();
    let set = embedded.run(|channel| channel.set_option(option, value));
    assert!(set.is_success(), "{}: {set:?}", option.name());
    assert_eq!(get(embedded), other, "{}", option.name());
}

/// Section 9: `set_option` works on a live channel.
#[test]
fn the_channels_own_options_can_be_read_and_set_while_it_lives() {
    let (mut embedded, _) = recorded();
    let embedded = &mut embedded;
    round_trip(embedded, AUTO_READ, true, false);
    round_trip(embedded, AUTO_CLOSE, true, false);
    round_trip(embedded, ALLOW_HALF_CLOSURE, false, true);
    round_trip(embedded, CLOSE_ON_UNHANDLED_ERROR, true, false);
    round_trip(embedded, WRITE_SPIN_COUNT, 16, 3);
    round_trip(embedded, MAX_MESSAGES_PER_READ, 16, 1);
    round_trip(
        embedded,
        RECV_ALLOCATOR,
        RecvAllocator::default(),
        RecvAllocator::Fixed(512),
    );
    round_trip(
        embedded,
        CONNECT_TIMEOUT,
        Duration::from_secs(30),
        Duration::from_millis(20),
    );
    round_trip(
        embedded,
        WRITE_BUFFER_WATER_MARK,
        WaterMark::default(),
        WaterMark::new(1, 2).unwrap(),
    );
}

/// Section 9: options are checked when they are set.
#[test]
fn a_value_out_of_range_is_refused_and_changes_nothing() {
    let (mut embedded, _) = recorded();
    let refused = embedded.run(|channel| channel.set_option(WRITE_SPIN_COUNT, 0));
    assert_eq!(refused.cause().unwrap().kind(), ErrorKind::InvalidArgument);
    let still = embedded.run(|channel| channel.option(WRITE_SPIN_COUNT));
    assert_eq!(still.get_now(), Some(16));
    assert_eq!(
        WaterMark::new(2, 1).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

/// Options are there before the pipeline is filled.
#[test]
fn an_initializer_sees_the_options() {
    let set = option(AUTO_READ, false);
    let embedded = EmbeddedChannel::with_options(&set, |pipeline| {
        assert!(!pipeline.channel().is_auto_read());
        pipeline.add_last(Recorder(Log::default()))
    });
    assert_eq!(embedded.unwrap().reads(), 0);
}

/// A time below a millisecond must not become "no limit".
#[test]
fn a_connect_timeout_is_rounded_up() {
    let set = option(CONNECT_TIMEOUT, Duration::from_nanos(1));
    let mut embedded =
        EmbeddedChannel::unconnected(&set, |pipeline| pipeline.add_last(Recorder(Log::default())))
            .unwrap();
    let timeout = embedded.run(|channel| channel.option(CONNECT_TIMEOUT));
    assert_eq!(timeout.get_now(), Some(Duration::from_millis(1)));
}

/// Options of sockets go to the transport, and an embedded one takes them.
#[test]
fn what_the_channel_does_not_keep_is_the_transports() {
    let (mut embedded, _) = recorded_with(&option(SO_RCVBUF, 1 << 16));
    assert!(
        embedded
            .run(|channel| channel.set_option(SO_RCVBUF, 4096))
            .is_success()
    );
    let unknown = embedded.run(|channel| channel.option(SO_RCVBUF));
    assert_eq!(unknown.cause().unwrap().kind(), ErrorKind::Unsupported);
}

/// A handler sets options on its context, at once.
#[test]
fn a_context_sets_options_at_once() {
    struct Sets;
    impl Handler for Sets {
        fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
            ctx.set_option(MAX_MESSAGES_PER_READ, 3)?;
            assert_eq!(ctx.option(MAX_MESSAGES_PER_READ)?, 3);
            let error = ctx.set_option(MAX_MESSAGES_PER_READ, 0).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            ctx.fire_channel_active();
            Ok(())
        }
    }
    let log = Log::default();
    let seen = log.clone();
    let mut embedded = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Sets)?;
        pipeline.add_last(Recorder(seen))
    })
    .unwrap();
    log.take();
    embedded.feed(["1", "2", "3", "4"]);
    assert_eq!(
        log.take(),
        [
            "read 1", "read 2", "read 3", "complete", "read 4", "complete"
        ]
    );
}
