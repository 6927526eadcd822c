//! Associations, where the kernel has SCTP.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::mpsc::Receiver;

use tidegate::transport::sctp::{
    AssociationState, Init, Notification, SCTP_BINDX_ADD, SCTP_BINDX_REM, SCTP_CONNECTX,
    SCTP_INITMSG, SCTP_LOCAL_ADDRS, SCTP_NODELAY, SCTP_PEER_ADDRS, Sctp, SctpMessage,
};
use tidegate::{
    Bootstrap, Channel, Context, ErrorKind, EventLoopGroup, Handler, HandlerResult, Message,
    ServerBootstrap,
};
use tidegate_sys::os::net::sctp;

use crate::{DEADLINE, Probe, Seen, next};

/// Whether there is SCTP; says so if there is not.
fn is_here(test: &str) -> bool {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    match sctp::socket(&any) {
        Ok(_) => true,
        Err(error) => {
            skipped(test, &error);
            false
        }
    }
}

/// To where it is seen, also when the test succeeds.
fn skipped(test: &str, why: &dyn std::fmt::Display) {
    let line = writeln!(std::io::stdout(), "skipped: {test}: {why}");
    line.expect("standard output is there");
}

/// Sends everything back that is a message.
struct Echo;

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write_and_flush(msg);
        Ok(())
    }

    fn user_event_triggered(&mut self, _: &mut Context<'_>, _: Message) -> HandlerResult {
        Ok(())
    }
}

const INIT: Init = Init {
    streams_out: 7,
    streams_in_max: 9,
    attempts_max: 0,
    timeout_max_ms: 0,
};

fn server(group: &EventLoopGroup) -> Channel {
    ServerBootstrap::new(group, group)
        .transport::<Sctp>()
        .option(SCTP_INITMSG, INIT)
        .child_handler(|pipeline| pipeline.add_last(Echo))
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .unwrap()
}

fn recipe(group: &EventLoopGroup) -> (Bootstrap<Sctp>, Receiver<Seen>) {
    let (tell, seen) = Probe::channel();
    let recipe = Bootstrap::new(group)
        .transport::<Sctp>()
        .handler(move |pipeline| pipeline.add_last(Probe::new(tell.clone())));
    (recipe, seen)
}

/// The next message; notifications on the way are dropped.
fn next_message(seen: &Receiver<Seen>) -> SctpMessage {
    loop {
        match next(seen) {
            Seen::Read(message) => return message,
            Seen::Told(_) | Seen::Active => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Without it there is an error that says what to load.
#[test]
fn without_sctp_the_error_names_the_module() {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    if sctp::socket(&any).is_ok() {
        skipped(
            "without_sctp_the_error_names_the_module",
            &"this kernel has SCTP",
        );
        return;
    }
    let group = EventLoopGroup::new(1).unwrap();
    let (recipe, _seen) = recipe(&group);
    let connected = recipe.connect("127.0.0.1:9").sync_timeout(DEADLINE);
    let bound = ServerBootstrap::new(&group, &group)
        .transport::<Sctp>()
        .child_handler(|pipeline| pipeline.add_last(Echo))
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE);
    for error in [connected.unwrap_err(), bound.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(
            error.to_string().contains("opening a SCTP socket")
                || error.to_string().contains("opening an SCTP socket"),
            "{error}"
        );
        assert!(error.to_string().contains("modprobe sctp"), "{error}");
    }
}

#[test]
fn messages_keep_their_borders_their_streams_and_their_marks() {
    if !is_here("messages_keep_their_borders_their_streams_and_their_marks") {
        return;
    }
    let group = EventLoopGroup::new(1).unwrap();
    let server = server(&group);
    let (recipe, seen) = recipe(&group);
    let client = recipe
        .option(SCTP_INITMSG, INIT)
        .connect(server.local_address().unwrap().as_inet().unwrap())
        .sync_timeout(DEADLINE)
        .unwrap();
    assert!(client.option(SCTP_NODELAY).sync_timeout(DEADLINE).unwrap());
    for (stream, size) in [(0, 1), (1, 1000), (6, 60_000), (3, 150_000)] {
        let sent = SctpMessage::new(stream, vec![7; size]).protocol(46);
        let written = client.write_and_flush(Message::new(sent.clone()));
        written.sync_timeout(DEADLINE).unwrap();
        assert_eq!(next_message(&seen), sent);
    }
    let sent = SctpMessage::new(2, "any time").unordered();
    client.write_and_flush(Message::new(sent.clone()));
    assert_eq!(next_message(&seen), sent);
    // There is no such stream: that message fails, and the association lives.
    let nowhere = Message::new(SctpMessage::new(60_000, "x"));
    let error = client
        .write_and_flush(nowhere)
        .sync_timeout(DEADLINE)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    client.write_and_flush(Message::new(sent.clone()));
    assert_eq!(next_message(&seen), sent);
    client.close().sync_timeout(DEADLINE).unwrap();
}

#[test]
fn what_the_kernel_tells_comes_as_user_events() {
    if !is_here("what_the_kernel_tells_comes_as_user_events") {
        return;
    }
    let group = EventLoopGroup::new(1).unwrap();
    let server = server(&group);
    let (recipe, seen) = recipe(&group);
    let client = recipe
        .option(SCTP_INITMSG, INIT)
        .connect(server.local_address().unwrap().as_inet().unwrap())
        .sync_timeout(DEADLINE)
        .unwrap();
    loop {
        if let Seen::Told(Notification::AssociationChange {
            state: AssociationState::Up,
            streams_out,
            ..
        }) = next(&seen)
        {
            assert_eq!(streams_out, 7);
            break;
        }
    }
    client.close().sync_timeout(DEADLINE).unwrap();
}

#[test]
fn an_association_may_have_several_addresses() {
    if !is_here("an_association_may_have_several_addresses") {
        return;
    }
    let group = EventLoopGroup::new(1).unwrap();
    let server = server(&group);
    let first = server.local_address().unwrap().as_inet().unwrap();
    let second = SocketAddr::from(([127, 0, 0, 2], first.port()));
    server
        .set_option(SCTP_BINDX_ADD, vec![second])
        .sync_timeout(DEADLINE)
        .unwrap();
    let mut addresses = server
        .option(SCTP_LOCAL_ADDRS)
        .sync_timeout(DEADLINE)
        .unwrap();
    addresses.sort();
    assert_eq!(addresses, [first, second]);
    let (recipe, seen) = recipe(&group);
    let client = recipe
        .option(SCTP_CONNECTX, vec![second])
        .connect(first)
        .sync_timeout(DEADLINE)
        .unwrap();
    let sent = SctpMessage::new(0, "hello");
    client.write_and_flush(Message::new(sent.clone()));
    assert_eq!(next_message(&seen), sent);
    let mut peers = client
        .option(SCTP_PEER_ADDRS)
        .sync_timeout(DEADLINE)
        .unwrap();
    peers.sort();
    assert_eq!(peers, [first, second]);
    client.close().sync_timeout(DEADLINE).unwrap();
    server
        .set_option(SCTP_BINDX_REM, vec![second])
        .sync_timeout(DEADLINE)
        .unwrap();
}
