//! What the log says of channels and loops, and at which level: their lives, and what their peers do, at DEBUG and
//! nowhere else.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use tidegate::handler::stream::{Chunked, ChunkedBytes, ChunkedWrite};
use tidegate::{
    Bootstrap, Channel, Context, EmbeddedChannel, Error, ErrorKind, Failure, Fault, Handler,
    HandlerResult, LocalEventLoop, Message,
};
use tidegate_sys::os::net;

use crate::refusing::refusing;
use crate::telling::{told, told_with_lives};

struct Nothing;

impl Handler for Nothing {}

/// The lines about channels and loops, without the number of the channel.
fn lives(lines: &[String]) -> Vec<String> {
    let about = |line: &&String| line.contains("a channel ") || line.contains("an event loop ");
    lines.iter().filter(about).cloned().collect()
}

#[test]
fn a_loop_and_its_connection_are_told_from_the_beginning_to_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("it has one");
    let mut id = String::new();
    let lines = told_with_lives(|| {
        let local = LocalEventLoop::builder()
            .name("seen")
            .build()
            .expect("built");
        let connecting = Bootstrap::new(local.handle())
            .handler(|pipeline| pipeline.add_last(Nothing))
            .connect(address);
        let channel = local
            .block_on(connecting)
            .expect("open")
            .expect("connected");
        id = channel.id().to_string();
        let (peer, _) = listener.accept().expect("accepted");
        drop(peer);
        let closed = channel.close_future();
        while !closed.is_done() {
            local.turn(Some(Duration::from_secs(1)));
        }
    });
    let lines = lives(&lines);
    assert_eq!(lines.len(), 5, "{lines:#?}");
    assert!(lines.iter().all(|line| line.starts_with("DEBUG ")));
    assert!(lines[0].contains("an event loop has started") && lines[0].contains("seen"));
    for (line, what) in lines[1..4]
        .iter()
        .zip(["was registered", "is active", "was closed"])
    {
        assert!(line.contains(what), "{line}");
        assert!(line.contains(&format!("channel={id}")), "{line}");
    }
    assert!(
        lines[2].contains(&format!("remote={address}")),
        "{}",
        lines[2]
    );
    assert!(lines[3].contains("cause="), "{}", lines[3]);
    assert!(lines[4].contains("an event loop has ended") && lines[4].contains("seen"));
}

#[test]
fn a_channel_that_fails_to_connect_is_closed_for_that_reason() {
    let (_held, address) = refusing();
    let local = LocalEventLoop::new().expect("built");
    let lines = told_with_lives(|| {
        let connecting = Bootstrap::new(local.handle())
            .handler(|pipeline| pipeline.add_last(Nothing))
            .connect(address);
        local
            .block_on(connecting)
            .expect("open")
            .expect_err("refused");
        local.turn(Some(Duration::ZERO));
    });
    let lines = lives(&lines);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines[1].contains("was closed") && lines[1].contains("refused"),
        "{}",
        lines[1]
    );
}

#[test]
fn messages_tell_nothing() {
    let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(Nothing)).expect("made");
    let lines = told_with_lives(|| {
        for _ in 0..100 {
            channel.write_inbound("m").expect("open");
            channel.write_outbound("m").expect("open");
        }
    });
    // Nobody takes the messages: a line about that, once.
    assert!(lines.len() <= 1, "{lines:#?}");
}

/// What was told of one connection, and what the loop has counted.
struct Connection {
    lines: Vec<String>,
    unhandled_errors: u64,
    unobserved_writes: u64,
}

impl Connection {
    /// From its beginning to its end. `act` is called with the channel, in a turn of its loop, and with the peer.
    fn play(act: impl FnOnce(&Channel, TcpStream)) -> Self {
        Self::play_with(|| Nothing, act)
    }

    fn play_with<H: Handler>(
        handler: impl Fn() -> H + Send + Sync + 'static,
        act: impl FnOnce(&Channel, TcpStream),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("it has one");
        let local = LocalEventLoop::new().expect("built");
        let lines = told(|| {
            let connecting = Bootstrap::new(local.handle())
                .handler(move |pipeline| pipeline.add_last(handler()))
                .connect(address);
            let channel = local
                .block_on(connecting)
                .expect("open")
                .expect("connected");
            let (peer, _) = listener.accept().expect("accepted");
            local.block_on(async { act(&channel, peer) }).expect("open");
            let closed = channel.close_future();
            while !closed.is_done() {
                local.turn(Some(Duration::from_secs(1)));
            }
        });
        let counts = local.handle().metrics();
        let is_of_a_channel = |line: &String| line.contains("channel=");
        Self {
            lines: lines.into_iter().filter(is_of_a_channel).collect(),
            unhandled_errors: counts.unhandled_errors,
            unobserved_writes: counts.unobserved_write_failures,
        }
    }
}

fn break_off(peer: TcpStream) {
    net::set_linger(peer.as_fd(), Some(Duration::ZERO)).expect("an option");
    drop(peer);
}

/// Netty warns of each. As many warnings as clients like would be theirs to have.
///
/// Rules: B17
#[test]
fn a_peer_that_breaks_off_is_no_warning() {
    let heard = Connection::play(|_, peer| break_off(peer));
    let [line] = &heard.lines[..] else {
        panic!("{:#?}", heard.lines);
    };
    assert!(line.starts_with("DEBUG ") && line.contains("an error reached the tail"));
    assert!(
        line.contains("reset") && line.contains("Nothing#0"),
        "{line}"
    );
    assert_eq!(heard.unhandled_errors, 1, "it is counted all the same");
}

/// Nor are the answers that it does not take any more.
///
/// Rules: B17, C19
#[test]
fn writes_that_a_peer_lets_fail_are_no_warning() {
    let heard = Connection::play(|channel, peer| {
        channel.write(vec![0u8; 64 << 20]);
        channel.flush();
        channel.write("never flushed");
        break_off(peer);
    });
    assert!(
        heard.lines.iter().all(|line| line.starts_with("DEBUG ")),
        "{:#?}",
        heard.lines
    );
    let about_writes = |line: &&String| line.contains("let a write fail");
    assert_eq!(heard.lines.iter().filter(about_writes).count(), 1);
    assert_eq!(heard.unobserved_writes, 2);
    assert_eq!(heard.unhandled_errors, 0, "the close has its cause");
}

/// Nor are those that a handler gives up with the connection, when it hears what the peer did.
///
/// Rules: B17, C19
#[test]
fn writes_that_are_given_up_for_what_the_peer_did_are_no_warning() {
    struct GivesUp;
    impl Handler for GivesUp {
        fn exception_caught(&mut self, ctx: &mut Context<'_>, _cause: Failure) -> HandlerResult {
            ctx.close();
            Ok(())
        }
    }
    let level_of = |kind| {
        let heard = Connection::play_with(
            || GivesUp,
            |channel, _peer| {
                channel.write(vec![0u8; 64 << 20]);
                channel.flush();
                channel.fire_exception_caught(Error::new(kind, "as told"));
            },
        );
        let [line] = &heard.lines[..] else {
            panic!("{:#?}", heard.lines);
        };
        assert!(line.contains("nobody observes") && heard.unobserved_writes == 1);
        let level = line.split(' ').next();
        assert!(
            level == Some("DEBUG") || line.contains(" remote=127.0.0.1:"),
            "{line}"
        );
        level.map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(level_of(ErrorKind::TooLong), "DEBUG");
    assert_eq!(level_of(ErrorKind::Exhausted), "WARN");
}

/// What a handler that panicked would have taken has nobody any more; that is said already.
///
/// Rules: 5.8
#[test]
fn behind_a_panic_nobody_is_missed() {
    struct Panics;
    impl Handler for Panics {
        fn channel_read(&mut self, ctx: &mut Context<'_>, _msg: Message) -> HandlerResult {
            ctx.channel().fire_channel_read("the next one");
            panic!("on purpose");
        }
    }
    let heard = Connection::play_with(
        || Panics,
        |channel, _peer| channel.fire_channel_read("the first"),
    );
    let [line] = &heard.lines[..] else {
        panic!("{:#?}", heard.lines);
    };
    assert!(line.starts_with("ERROR ") && line.contains("a handler panicked"));
    // At the default level nothing else says whose connection the number is.
    assert!(line.contains(" remote=127.0.0.1:"), "{line}");
}

/// At the default level nothing else says whose connection the number is.
///
/// Rules: B17
#[test]
fn what_reaches_the_tail_names_the_peer() {
    struct Fails;
    impl Handler for Fails {
        fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
            ctx.fire_channel_read(msg);
            Err(Failure::msg("a bug"))
        }
    }
    let heard = Connection::play_with(|| Fails, |channel, _peer| channel.fire_channel_read("x"));
    let [message, error] = &heard.lines[..] else {
        panic!("{:#?}", heard.lines);
    };
    assert!(message.contains("a message reached the tail"), "{message}");
    assert!(error.contains("an error reached the tail"), "{error}");
    for line in [message, error] {
        assert!(
            line.starts_with("WARN ") && line.contains(" remote=127.0.0.1:"),
            "{line}"
        );
    }
}

/// Nor is a download that is broken off; one that we give up ourselves is.
///
/// Rules: C19
#[test]
fn chunked_writes_are_told_of_as_others_are() {
    for (is_peers, level) in [(true, "DEBUG "), (false, "WARN ")] {
        let heard = Connection::play_with(ChunkedWrite::new, |channel, peer| {
            for _ in 0..2 {
                let much = ChunkedBytes::new(vec![0u8; 64 << 20]);
                channel.write(Message::new(Chunked::new(much)));
            }
            channel.write("behind them");
            channel.flush();
            if is_peers {
                drop(peer);
            } else {
                channel.close();
            }
        });
        // Of what the channel's own buffer held it depends on the time how much there was.
        let lines = &heard.lines;
        assert!(
            !lines.is_empty() && lines.iter().all(|line| line.starts_with(level)),
            "{lines:#?}"
        );
        assert!(heard.unobserved_writes >= 3);
    }
}

/// Rules: B17
#[test]
fn errors_at_the_tail_are_told_by_whose_doing_they_are() {
    let told_of = |failure: Failure| {
        let heard = Connection::play(|channel, _| channel.fire_exception_caught(failure));
        assert_eq!((heard.lines.len(), heard.unhandled_errors), (1, 1));
        let level = heard.lines[0].split(' ').next();
        level.map(str::to_owned).unwrap_or_default()
    };
    let of_kind = |kind| Error::new(kind, "as told");
    assert_eq!(told_of(of_kind(ErrorKind::Malformed).into()), "DEBUG");
    assert_eq!(told_of(of_kind(ErrorKind::TooLong).into()), "DEBUG");
    assert_eq!(told_of(of_kind(ErrorKind::Exhausted).into()), "WARN");
    assert_eq!(told_of(Failure::msg("a handler's own")), "WARN");
    // The circumstances may tell more than the kind.
    let ours = of_kind(ErrorKind::Malformed).with_fault(Fault::Us);
    assert_eq!(told_of(ours.into()), "WARN");
}

#[test]
fn the_type_of_a_message_that_nobody_takes_has_a_name_in_the_log() {
    let heard = Connection::play(|channel, _| {
        channel.fire_channel_read("nobody's");
        channel.close();
    });
    let [line] = &heard.lines[..] else {
        panic!("{:#?}", heard.lines);
    };
    assert!(line.contains("message_type="), "{line}");
}
