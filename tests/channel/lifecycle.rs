//! Registration and activity.

use tidegate::{Channel, EmbeddedChannel, Error, ErrorKind, Failure};

use crate::support::{Hooks, Log, Recorder, unconnected};

/// Rules: A4, A46
#[test]
fn handlers_are_added_before_registered_comes_before_active() {
    let log = Log::default();
    let channel = EmbeddedChannel::new(|pipeline| {
        assert!(pipeline.channel().is_open());
        assert!(!pipeline.channel().is_active());
        let seen = log.clone();
        pipeline.add_last(Recorder(log.clone()))?;
        let hooks = Hooks::new()
            .on_registered(move |ctx| seen.add(format!("is_active {}", ctx.is_active())));
        pipeline.add_last(hooks)
    })
    .unwrap();
    // An accepted connection is active before its pipeline hears of anything.
    assert_eq!(
        log.take(),
        [
            "added",
            "registered",
            "is_active true",
            "active",
            "complete"
        ],
        "the last is auto-read's first look"
    );
    assert!(channel.channel().is_registered());
}

/// Rules: A6
#[test]
fn a_channel_whose_initializer_fails_never_becomes_active() {
    let log = Log::default();
    let opened = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Recorder(log.clone()))?;
        log.watch("closed", &pipeline.channel().close_future());
        Err::<(), Failure>(Failure::msg("no pipeline today"))
    });
    assert_eq!(opened.unwrap_err().to_string(), "no pipeline today");
    assert_eq!(log.take(), ["added", "closed", "removed"]);
}

/// Rules: A6, A26
#[test]
fn an_initializer_may_close_the_channel() {
    let log = Log::default();
    let opened = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Recorder(log.clone()))?;
        pipeline.channel().close();
        Ok::<(), Error>(())
    });
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::ChannelClosed);
    assert_eq!(log.take(), ["added", "removed"]);
}

/// Rules: A46
#[test]
fn the_states_of_a_channel_follow_each_other() {
    let (mut embedded, _) = unconnected();
    let channel = embedded.channel().clone();
    let states = |channel: &Channel| {
        (
            channel.is_registered(),
            channel.is_open(),
            channel.is_active(),
        )
    };
    assert_eq!(states(&channel), (true, true, false));
    embedded.set_connect(Some(tidegate::channel::Progress::Done));
    embedded.run(|channel| channel.connect("peer", None));
    assert_eq!(states(&channel), (true, true, true));
    embedded.close_later();
    embedded.close();
    assert_eq!(states(&channel), (true, false, false));
    let signal = embedded.signal();
    embedded.run(|_| signal.closed());
    assert_eq!(states(&channel), (false, false, false));
}
