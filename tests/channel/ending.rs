//! The last events of a channel, and handlers that misbehave in them.

use std::time::Duration;

use tidegate::channel::options::AUTO_READ;
use tidegate::{Context, EmbeddedChannel, Handler, HandlerResult, Message, OptionSet};

use crate::support::{
    Hooks, Log, Recorder, hooked, hooked_with, option, received, recorded, sent, text,
};

/// Keeps what it reads and gives it on one at a time.
struct Parking(Vec<Message>);

impl Handler for Parking {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.0.push(msg);
        ctx.resume();
        Ok(())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if !self.0.is_empty() {
            ctx.fire_channel_read(self.0.remove(0));
            ctx.resume();
        }
        Ok(())
    }
}

/// Rules: 6.7
///
/// Section 9: what was emitted or buffered comes before channel_inactive.
#[test]
fn parked_data_is_delivered_before_inactive() {
    let (mut embedded, log) = hooked_with(&option(AUTO_READ, false), Parking(Vec::new()));
    embedded.pipeline(|pipeline| {
        pipeline.fire_channel_read("a");
        pipeline.fire_channel_read("b");
        pipeline.fire_channel_read("c");
    });
    assert_eq!(log.take(), [""; 0], "nobody reads");
    embedded.run(|channel| channel.read());
    log.take();
    embedded.close();
    let log = log.take();
    assert_eq!(log.last().map(String::as_str), Some("removed"), "{log:?}");
    let inactive = log.iter().position(|what| what == "inactive").unwrap();
    let last = log.iter().rposition(|what| what == "read c").unwrap();
    assert!(last < inactive, "{log:?}");
    assert_eq!(received(&mut embedded), ["a", "b", "c"]);
}

/// Section 9: after channel_inactive only channel_unregistered and handler_removed.
#[test]
fn what_is_fired_in_inactive_stays_behind_unregistered() {
    let log = Log::default();
    let seen = log.clone();
    let hooks = Hooks::new().on_inactive(move |ctx| {
        let channel = ctx.channel();
        seen.watch("write", &channel.write_future("x"));
        channel.fire_user_event_triggered(Message::new(7u32));
    });
    let log2 = log.clone();
    let mut embedded = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(hooks)?;
        pipeline.add_last(Recorder(log2.clone()))
    })
    .unwrap();
    log.take();
    embedded.close();
    let log = log.take();
    assert_eq!(log[..3], ["inactive", "unregistered", "removed"]);
    assert!(log.contains(&"write: channel closed".to_string()));
    assert!(!log.contains(&"event u32".to_string()), "{log:?}");
}

struct Panics(&'static str);

impl Panics {
    fn at(&self, what: &str) {
        assert!(self.0 != what, "boom");
    }
}

impl Handler for Panics {
    fn handler_removed(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.at("removed");
        Ok(())
    }
    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.at("inactive");
        ctx.fire_channel_inactive();
        Ok(())
    }
    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.at("unregistered");
        ctx.fire_channel_unregistered();
        Ok(())
    }
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.at("read");
        ctx.fire_channel_read(msg);
        Ok(())
    }
}

/// Section 5: a panic ends the handler, not the end of the channel.
#[test]
fn a_handler_that_panics_in_its_last_callbacks_does_not_keep_the_channel() {
    for place in ["read", "inactive", "unregistered", "removed"] {
        let log = Log::default();
        let mut embedded = EmbeddedChannel::new(|pipeline| {
            pipeline.add_last(Panics(place))?;
            pipeline.add_last(Recorder(log.clone()))
        })
        .unwrap();
        log.take();
        embedded.contain_panics();
        embedded.feed(["x"]);
        embedded.close();
        let log = log.take();
        assert!(log.contains(&"removed".to_string()), "{place}: {log:?}");
        assert!(
            place == "unregistered" || log.contains(&"unregistered".to_string()),
            "{place}: {log:?}"
        );
        assert!(!embedded.channel().is_registered(), "{place}");
    }
}

/// Section 5: a message whose drop panics does not keep the channel from ending.
#[test]
fn a_message_that_panics_when_dropped_does_not_keep_the_channel() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("boom");
        }
    }
    let (mut embedded, log) = recorded();
    embedded.block_writes(true);
    embedded.run(|channel| {
        channel.write(Message::new(Bomb));
        log.watch("write", &channel.write_and_flush("behind it"));
        log.watch("closed", &channel.close_future());
    });
    embedded.close();
    assert_eq!(
        log.take(),
        [
            "closed",
            "write: channel closed",
            "inactive",
            "unregistered",
            "removed"
        ]
    );
}

/// Rules: A14, A46
#[test]
fn inactive_comes_once_however_often_the_end_is_asked_for() {
    let log = Log::default();
    let seen = log.clone();
    let hooks = Hooks::new().on_inactive(move |ctx| {
        ctx.close();
        ctx.channel().close();
        seen.add(format!("active {}", ctx.is_active()));
    });
    let (mut embedded, events) = hooked(hooks);
    log.take();
    embedded.run(|channel| {
        channel.close();
        channel.close();
        channel.disconnect();
    });
    embedded.feed_eof();
    assert_eq!(events.take(), ["inactive", "unregistered", "removed"]);
    assert_eq!(log.take(), ["active false"]);
}

/// A channel that was closed in channel_registered is told of both ends of its life.
#[test]
fn a_close_in_registered_still_pairs_active_with_inactive() {
    let log = Log::default();
    let mut embedded = EmbeddedChannel::with_options(&OptionSet::new(), |pipeline| {
        pipeline.add_last(Hooks::new().on_registered(|ctx| ctx.close()))?;
        pipeline.add_last(Recorder(log.clone()))
    })
    .unwrap();
    embedded.advance(Duration::ZERO);
    assert_eq!(
        log.take(),
        [
            "added",
            "registered",
            "active",
            "inactive",
            "unregistered",
            "removed"
        ]
    );
}

/// A handler may hold a close back, and go on with it later: rustls sends its goodbye this way.
#[test]
fn a_handler_may_write_before_it_lets_a_close_through() {
    let hooks = Hooks::new().on_close(|ctx, promise| {
        ctx.write_future("goodbye").add_listener(|_, _| {});
        ctx.flush();
        ctx.close_with(promise);
    });
    let (mut embedded, _) = hooked(hooks);
    let close = embedded.close();
    assert!(close.is_success());
    assert_eq!(sent(&mut embedded), ["goodbye"]);
    assert_eq!(text(&Message::from("goodbye")), "goodbye");
}
