//! `ReadTimeout`, on a clock that the test moves.

use std::time::Duration;

use tidegate::handler::timeout::ReadTimeout;
use tidegate::{EmbeddedChannel, Error, ErrorKind, Fault};

use crate::common::{Log, Script};

const SECOND: Duration = Duration::from_secs(1);

fn channel(limit: Duration, log: &Log) -> EmbeddedChannel {
    let last = Script::new("last", log).on_error(|ctx, _| {
        assert!(ctx.channel().is_open(), "the error comes before the close");
        Ok(())
    });
    EmbeddedChannel::new(|p| {
        p.add_last(ReadTimeout::new(limit))?;
        p.add_last(last)
    })
    .unwrap()
}

/// The pipeline hears of it once, then the channel closes, whoever takes the error.
///
/// Rules: H37
#[test]
fn a_silent_peer_is_an_error_once_and_then_closed() {
    let log = Log::new();
    let mut channel = channel(2 * SECOND, &log);
    channel.advance(2 * SECOND - Duration::from_nanos(1));
    assert!(channel.channel().is_open());
    channel.advance(10 * SECOND);
    assert_eq!(log.take(), ["last error nothing was read for 2s"]);
    assert!(!channel.channel().is_open());
    assert_eq!(channel.next_timer(), None);
}

/// The error says that time is over, and whose fault it is.
///
/// Rules: H37
#[test]
fn the_error_blames_the_peer() {
    let mut channel = EmbeddedChannel::new(|p| p.add_last(ReadTimeout::new(SECOND))).unwrap();
    channel.advance(SECOND);
    let error = channel.check().unwrap_err().into_error();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(error.fault(), Fault::Peer);
}

/// Each batch that brings something begins the time anew, and none is late while it is under way.
///
/// Rules: H32, H37
#[test]
fn reads_keep_the_channel_open() {
    let log = Log::new();
    let mut channel = channel(2 * SECOND, &log);
    for _ in 0..5 {
        channel.advance(SECOND);
        channel.write_inbound("m").unwrap();
    }
    channel.pipeline(|p| p.fire_channel_read("a batch that goes on"));
    channel.advance(5 * SECOND);
    assert!(channel.channel().is_open());
    channel.pipeline(|p| p.fire_channel_read_complete());
    channel.advance(2 * SECOND);
    assert!(!channel.channel().is_open());
}

/// Off, too long for the clock, added late, taken out.
///
/// Rules: H31, H37
#[test]
fn odd_limits_and_late_arrivals() {
    let log = Log::new();
    for limit in [Duration::ZERO, Duration::MAX] {
        let mut channel = channel(limit, &log);
        channel.advance(Duration::from_secs(1 << 33));
        assert!(channel.channel().is_open());
    }
    let mut late = EmbeddedChannel::new(|_| Ok::<(), Error>(())).unwrap();
    late.advance(5 * SECOND);
    late.pipeline(|p| p.add_last(ReadTimeout::new(SECOND)))
        .unwrap();
    assert_eq!(late.next_timer(), Some(SECOND));
    late.pipeline(|p| p.remove_type::<ReadTimeout>()).unwrap();
    late.advance(5 * SECOND);
    assert_eq!(late.next_timer(), None);
    assert!(late.channel().is_open());
}
