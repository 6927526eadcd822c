//! Connections that are torn down from outside, with something under way in both directions.

use std::io::{Read, Write};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate::{Bootstrap, Context, EventLoopGroup, Failure, Fault, Handler, HandlerResult};

use crate::support::{
    DEADLINE, Tally, assert_serves, plain_client, reset_on_close, serve, stop, stream, until,
};
use crate::ways::each_way;

/// A peer that resets with SO_LINGER 0 while its echo waits to be sent: each write has one outcome, those that were sent
/// come first, and the channel ends once.
///
/// Rules: A25, A40, C20
#[test]
fn a_reset_by_linger_ends_a_channel_once_and_settles_every_write() {
    each_way(|way| {
        let group = way.group(2);
        let tally = Arc::new(Tally::default());
        let (server, address) = serve(&group, &tally);
        for number in 1..=10 {
            let mut client = plain_client(address);
            reset_on_close(&client);
            client.set_nonblocking(true).unwrap();
            // Nothing is read, so the echo fills every buffer, and then this one.
            let mut sent = 0;
            let block = 50_000;
            until("the server stops reading", || {
                match client.write(&stream(sent, block)) {
                    Ok(count) => {
                        sent += count as u64;
                        false
                    }
                    Err(_) => tally.is_paused.load(Ordering::SeqCst),
                }
            });
            drop(client);
            until("it has gone", || tally.count(|t| &t.removed) == number);
        }
        tally.assert_settled();
        assert!(tally.count(|t| &t.failed) > 0, "what could not be sent");
        assert_serves(address);
        server.close().sync_timeout(DEADLINE).unwrap();
        stop(&group);
    });
}

/// Keeps the fault of what ended it.
struct Ends(std::sync::mpsc::Sender<Option<Fault>>);

impl Handler for Ends {
    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        let _ = self.0.send(Some(cause.into_error().fault()));
        ctx.close();
        Ok(())
    }

    fn channel_inactive(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        let _ = self.0.send(None);
        Ok(())
    }
}

/// The administrator's hand: `ss -K` destroys the socket under us (ECONNABORTED), idle as it is.
///
/// Skipped, and said so, where there is no ss, no privilege, or a kernel without INET_DIAG_DESTROY.
///
/// Rules: A40
#[test]
fn a_socket_destroyed_by_ss_ends_its_channel() {
    let group = EventLoopGroup::builder().threads(1).build().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let client = Bootstrap::new(&group)
        .handler(move |pipeline| pipeline.add_last(Ends(tell.clone())))
        .connect(listener.local_addr().unwrap())
        .sync_timeout(DEADLINE)
        .unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    let port = client.local_address().unwrap().as_inet().unwrap().port();
    let filter = format!("sport = :{port}");
    let killed = Command::new("ss")
        .args(["-K", "-t", "-n", &filter])
        .output();
    let named = |out: &std::process::Output| {
        String::from_utf8_lossy(&out.stdout).contains(&format!(":{port}"))
    };
    match killed {
        Ok(out) if out.status.success() && named(&out) => {
            let fault = told.recv_timeout(DEADLINE).expect("it is told");
            assert!(fault.is_some(), "an error comes before the end");
            assert_eq!(
                told.recv_timeout(DEADLINE),
                Ok(None),
                "and then the end, once"
            );
            client.close_future().sync_timeout(DEADLINE).unwrap();
            assert!(matches!(peer.read(&mut [0; 1]), Err(_) | Ok(0)));
        }
        other => eprintln!("SKIPPED: ss -K can't destroy sockets here: {other:?}"),
    }
    stop(&group);
}
