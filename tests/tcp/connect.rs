//! How connects end (rules A14 to A23).

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tidegate::bootstrap::Bootstrap;
use tidegate::channel::options::{ALLOW_HALF_CLOSURE, CONNECT_TIMEOUT};
use tidegate::channel::{Address, Context, Handler, HandlerResult};
use tidegate::error::{ErrorKind, Fault};
use tidegate::event_loop::EventLoopGroup;
use tidegate::future::Promise;

use crate::support::{
    DEADLINE, Probe, Seen, accept_plain, client_and_plain_peer, next, nobody_accepts,
    plain_listener, so_far, with_each_group,
};

fn probed(group: &EventLoopGroup) -> (Bootstrap, mpsc::Receiver<Seen>) {
    let (tell, seen) = Probe::channel();
    (
        Bootstrap::new(group).handler(move |pipeline| pipeline.add_last(Probe(tell.clone()))),
        seen,
    )
}

/// Registered, never active, gone.
fn expect_stillborn(seen: &mpsc::Receiver<Seen>) {
    assert_eq!(next(seen), Seen::Registered);
    assert_eq!(next(seen), Seen::Unregistered);
    assert_eq!(next(seen), Seen::Removed);
}

/// Rules: A17, A18
#[test]
fn a_refused_connect_names_the_address_and_the_channel_never_becomes_active() {
    with_each_group(|group| {
        for half_closure in [false, true] {
            // Bound and not listening: nobody else gets the port.
            let (listener, address) = plain_listener();
            drop(listener);
            let (bootstrap, seen) = probed(group);
            let future = bootstrap
                .option(ALLOW_HALF_CLOSURE, half_closure)
                .connect(address);
            let error = future.sync_timeout(DEADLINE).unwrap_err();
            assert_eq!(
                (error.kind(), error.fault()),
                (ErrorKind::ConnectRefused, Fault::Peer)
            );
            assert!(error.to_string().contains(&address.to_string()), "{error}");
            future
                .channel()
                .close_future()
                .sync_timeout(DEADLINE)
                .unwrap();
            expect_stillborn(&seen);
        }
    });
}

/// Rules: A19
#[test]
fn a_connect_that_takes_too_long_fails_with_its_timeout() {
    with_each_group(|group| {
        let full = nobody_accepts();
        let (bootstrap, seen) = probed(group);
        let begun = Instant::now();
        let future = bootstrap
            .option(CONNECT_TIMEOUT, Duration::from_millis(60))
            .connect(full);
        let error = future.sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectTimeout);
        assert!(begun.elapsed() >= Duration::from_millis(60));
        assert!(error.to_string().contains("60 ms"), "{error}");
        future
            .channel()
            .close_future()
            .sync_timeout(DEADLINE)
            .unwrap();
        expect_stillborn(&seen);
    });
}

/// Rules: A16, A20
#[test]
fn cancelling_a_connect_closes_the_channel() {
    with_each_group(|group| {
        let full = nobody_accepts();
        let (bootstrap, seen) = probed(group);
        let future = bootstrap.connect(full);
        assert_eq!(next(&seen), Seen::Registered);
        assert!(future.cancel());
        future
            .channel()
            .close_future()
            .sync_timeout(DEADLINE)
            .unwrap();
        assert!(future.is_cancelled());
        assert_eq!(next(&seen), Seen::Unregistered);
    });
}

/// Rules: A21
#[test]
fn closing_while_connecting_fails_the_connect() {
    with_each_group(|group| {
        let full = nobody_accepts();
        let (bootstrap, seen) = probed(group);
        let future = bootstrap.connect(full);
        assert_eq!(next(&seen), Seen::Registered);
        future.channel().close().sync_timeout(DEADLINE).unwrap();
        let error = future.sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ChannelClosed);
        assert_eq!(next(&seen), Seen::Unregistered);
    });
}

/// Rules: A14
#[test]
fn a_listener_that_closes_the_channel_comes_before_active_which_still_happens() {
    with_each_group(|group| {
        let (listener, address) = plain_listener();
        let (bootstrap, seen) = probed(group);
        let future = bootstrap.connect(address);
        future.add_listener(|channel, result| {
            assert!(result.is_ok());
            channel.close();
        });
        let _peer = accept_plain(&listener);
        future
            .channel()
            .close_future()
            .sync_timeout(DEADLINE)
            .unwrap();
        for expected in [
            Seen::Registered,
            Seen::Active,
            Seen::Inactive,
            Seen::Unregistered,
            Seen::Removed,
        ] {
            assert_eq!(next(&seen), expected);
        }
    });
}

/// Rules: A15
#[test]
fn a_second_connect_fails_and_the_first_goes_on() {
    with_each_group(|group| {
        let full = nobody_accepts();
        let (bootstrap, seen) = probed(group);
        let future = bootstrap.connect(full);
        assert_eq!(next(&seen), Seen::Registered);
        let second = future
            .channel()
            .connect(full, None)
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(second.kind(), ErrorKind::ConnectionPending);
        assert!(!future.is_done());
        future.channel().close().sync_timeout(DEADLINE).unwrap();

        let (client, _peer, _seen) = client_and_plain_peer(group, |bootstrap| bootstrap);
        let third = client
            .connect(full, None)
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(third.kind(), ErrorKind::AlreadyConnected);
        assert!(client.is_active());
        client.close().sync_timeout(DEADLINE).unwrap();
        let fourth = client
            .connect(full, None)
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(fourth.kind(), ErrorKind::ChannelClosed);
    });
}

/// Rules: A23
#[test]
fn a_client_may_bind_before_it_connects() {
    with_each_group(|group| {
        let (listener, address) = plain_listener();
        let (bootstrap, _seen) = probed(group);
        let future = bootstrap.local_address("127.0.0.2:0").connect(address);
        let peer = accept_plain(&listener);
        let client = future.sync_timeout(DEADLINE).unwrap();
        let local = client.local_address().unwrap().as_inet().unwrap();
        assert_eq!(local.ip().to_string(), "127.0.0.2");
        assert_eq!(peer.peer_addr().unwrap(), local);
        assert_eq!(client.remote_address(), Some(&Address::Inet(address)));
        client.close().sync_timeout(DEADLINE).unwrap();
        assert_eq!(
            client.local_address(),
            Some(&Address::Inet(local)),
            "still known after the close"
        );

        // An address that is not of this machine.
        let (bootstrap, _seen) = probed(group);
        let error = bootstrap
            .local_address("192.0.2.1:0")
            .connect(address)
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
        assert!(error.to_string().contains("192.0.2.1"), "{error}");
    });
}

/// Rules: A24
#[test]
fn an_address_of_another_kind_is_refused() {
    with_each_group(|group| {
        let (bootstrap, seen) = probed(group);
        let error = bootstrap
            .connect("nowhere")
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        expect_stillborn(&seen);
        assert_eq!(so_far(&seen), []);
    });
}

/// What was bound may have been any address of this machine; what is connected has one.
///
/// Rules: A23
#[test]
fn a_connect_settles_the_local_address_of_a_bind_to_any() {
    with_each_group(|group| {
        let (listener, address) = plain_listener();
        let (tell, told) = mpsc::channel();
        let future = Bootstrap::new(group)
            .handler(move |pipeline| pipeline.add_last(BindFirst(tell.clone())))
            .connect(address);
        let client = future.sync_timeout(DEADLINE).unwrap();
        let peer = accept_plain(&listener);
        let bound = told.recv_timeout(DEADLINE).unwrap();
        assert!(bound.ip().is_unspecified() && bound.port() != 0, "{bound}");
        let local = client.local_address().unwrap().as_inet().unwrap();
        assert_eq!(local, peer.peer_addr().unwrap());
        assert_eq!(local.port(), bound.port());
        client.close().sync_timeout(DEADLINE).unwrap();
        assert_eq!(client.local_address().unwrap().as_inet(), Some(local));
    });
}

/// Binds to any address and port before the connect goes on.
struct BindFirst(mpsc::Sender<SocketAddr>);

impl Handler for BindFirst {
    fn connect(
        &mut self,
        ctx: &mut Context<'_>,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) -> HandlerResult {
        ctx.bind("0.0.0.0:0", Promise::void());
        let bound = ctx.channel().local_address().and_then(Address::as_inet);
        let _ = self.0.send(bound.expect("bound"));
        ctx.connect(remote, local, promise);
        Ok(())
    }
}

/// Rules: C8, C22
#[test]
fn a_write_before_the_connect_is_done_waits_and_its_flush_fails_it() {
    with_each_group(|group| {
        let full = nobody_accepts();
        let (bootstrap, seen) = probed(group);
        let future = bootstrap.connect(full);
        assert_eq!(next(&seen), Seen::Registered);
        let error = future
            .channel()
            .write_and_flush("early")
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotYetConnected);
        future.channel().close().sync_timeout(DEADLINE).unwrap();
    });
}
