//! `Logging`: what it tells, and that it passes everything on.

use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate::handler::logging::Logging;
use tidegate::{EmbeddedChannel, Failure, Message};
use tracing::Level;

use crate::common::telling::told;
use crate::common::{Log, Script, inbound, outbound, outliving};

fn channel(level: Level) -> EmbeddedChannel {
    EmbeddedChannel::new(|p| p.add_last(Logging::new(level))).unwrap()
}

/// The messages of the handler, without level and channel.
fn lines(work: impl FnOnce()) -> Vec<String> {
    told(work)
        .into_iter()
        .filter_map(|line| {
            let (_, message) = line.split_once("message=")?;
            Some(message.split(" channel=").next()?.to_owned())
        })
        .collect()
}

/// Every event of a life is told in words.
///
/// Rules: H57
#[test]
fn a_life_in_words() {
    let all = lines(|| {
        let logging = Logging::new(Level::DEBUG);
        let mut channel =
            EmbeddedChannel::unconnected(&outliving(), |p| p.add_last_named("log", logging))
                .unwrap();
        channel.set_connect(Some(tidegate::channel::Progress::Done));
        channel.run(|channel| channel.connect("10.0.0.1:80", Some("10.0.0.2:81".into())));
        channel.write_inbound(7_u32.to_string()).unwrap();
        channel.write_outbound(Message::new(7_u32)).unwrap();
        channel.pipeline(|p| p.fire_user_event_triggered(Message::new("a word")));
        channel.pipeline(|p| p.fire_exception_caught(Failure::msg("trouble")));
        channel
            .run(|channel| channel.set_user_writability(1, false))
            .unwrap();
        let _ = channel.check();
        channel.finish().unwrap();
    });
    let firsts: Vec<&str> = all.iter().filter_map(|line| line.lines().next()).collect();
    assert_eq!(
        firsts,
        [
            "logging as log",
            "registered",
            "connect to 10.0.0.1:80 from 10.0.0.2:81",
            "active",
            "read()",
            "read complete",
            "read()",
            "read 1 byte",
            "read complete",
            "write u32(4 bytes)",
            "flush",
            "user event &str(16 bytes)",
            "error: trouble",
            "writability changed: unwritable",
            "close",
            "inactive",
            "unregistered",
            "removed",
        ]
    );
}

/// A buffer is shown in hex and ASCII, up to the limit.
///
/// Rules: H57
#[test]
fn buffers_are_dumped_up_to_the_limit() {
    let mut channel = channel(Level::INFO);
    let all = lines(|| {
        channel.write_inbound("the tide").unwrap();
    });
    assert_eq!(
        all[0],
        "read 8 bytes\n00000000  74 68 65 20 74 69 64 65                           |the tide|"
    );

    let all = lines(|| {
        channel.write_outbound(vec![0; 4000]).unwrap();
    });
    assert_eq!(all[0].lines().count(), 1 + Logging::DUMP_MAX / 16 + 1);
    assert!(all[0].ends_with("… 2976 more"), "{}", all[0]);

    let short = Logging::new(Level::INFO).dump_max(0);
    let mut channel = EmbeddedChannel::new(|p| p.add_last(short)).unwrap();
    let all = lines(|| {
        channel.write_inbound("the tide").unwrap();
    });
    assert_eq!(all[0], "read 8 bytes");
}

/// The level is the one that was chosen, and the channel is named.
///
/// Rules: H57
#[test]
fn the_level_is_chosen() {
    for level in [
        Level::ERROR,
        Level::WARN,
        Level::INFO,
        Level::DEBUG,
        Level::TRACE,
    ] {
        let mut channel = channel(level);
        let all = told(|| {
            channel.pipeline(|p| p.fire_channel_read_complete());
        });
        assert!(all[0].starts_with(level.as_str()), "{all:?}");
        assert!(all[0].contains("channel=[#"), "{all:?}");
    }
}

/// Nothing is held or changed: messages, events, errors and promises pass.
///
/// Rules: H57
#[test]
fn everything_passes() {
    let log = Log::new();
    let loud = Script::new("last", &log).loud();
    let mut channel = EmbeddedChannel::new(|p| {
        p.add_last(Logging::new(Level::DEBUG))?;
        p.add_last_named("last", loud)
    })
    .unwrap();
    log.take();
    channel.write_inbound("in").unwrap();
    assert_eq!(inbound(&mut channel), ["in"]);
    let write = channel.run(|channel| channel.write_and_flush("out"));
    assert!(write.is_success());
    assert_eq!(outbound(&mut channel), ["out"]);
    channel.pipeline(|p| p.fire_user_event_triggered(Message::new(1_u32)));
    channel.pipeline(|p| p.fire_exception_caught(Failure::msg("trouble")));
    assert!(channel.check().is_err());
    let close = channel.close();
    assert!(close.is_success());
    let lines = log.take();
    for line in [
        "last read in",
        "last read_complete",
        "last event 1",
        "last error trouble",
        "last inactive",
        "last unregistered",
    ] {
        assert!(lines.iter().any(|it| it == line), "{line}: {lines:?}");
    }
}

/// A subscriber that listens to nothing at this level, and counts who asks to be written.
struct Deaf(&'static AtomicUsize);

impl tracing::Subscriber for Deaf {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// While nobody listens nothing is written, and once somebody does it is: the handler is not learned away.
///
/// Rules: H57
#[test]
fn nobody_listens_then_somebody_does() {
    static EVENTS: AtomicUsize = AtomicUsize::new(0);
    let mut channel = channel(Level::DEBUG);
    tracing::subscriber::with_default(Deaf(&EVENTS), || {
        channel.write_inbound("unheard").unwrap();
        channel.write_outbound("unheard").unwrap();
    });
    assert_eq!(EVENTS.load(Ordering::Relaxed), 0);
    let heard = lines(|| {
        channel.write_inbound("heard").unwrap();
    });
    assert!(heard[0].starts_with("read 5 bytes"), "{heard:?}");
}
