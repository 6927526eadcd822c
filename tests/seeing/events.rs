//! The life of channels and loops in the log, at DEBUG and nowhere else.

use std::net::TcpListener;
use std::time::Duration;

use tidegate::{Bootstrap, EmbeddedChannel, Handler, LocalEventLoop};

use crate::telling::told_with_lives;

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
    let unused = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = unused.local_addr().expect("it has one");
    drop(unused);
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
