//! Addresses of TCP (rules A23, A24).

use std::net::SocketAddr;
use std::sync::mpsc;

use tidegate::bootstrap::Bootstrap;
use tidegate::channel::{Address, Context, Handler, HandlerResult};
use tidegate::error::ErrorKind;
use tidegate::event_loop::EventLoopGroup;
use tidegate::future::Promise;

use crate::plain::{accept_plain, plain_listener};
use crate::probe::{DEADLINE, Probe, Seen, next, so_far};
use crate::support::with_each_group;

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
        assert_eq!(client.remote_address(), Some(Address::Inet(address)));
        client.close().sync_timeout(DEADLINE).unwrap();
        assert_eq!(
            client.local_address(),
            Some(Address::Inet(local)),
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
        let bound = ctx
            .channel()
            .local_address()
            .and_then(|address| address.as_inet());
        let _ = self.0.send(bound.expect("bound"));
        ctx.connect(remote, local, promise);
        Ok(())
    }
}

#[test]
fn an_address_without_a_port_or_with_an_impossible_one_is_told_so() {
    let group = EventLoopGroup::new(1).unwrap();
    for wrong in ["127.0.0.1:99999", "127.0.0.1"] {
        let (bootstrap, _seen) = probed(&group);
        let connected = bootstrap.connect(wrong).sync_timeout(DEADLINE);
        let error = connected.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let text = error.to_string();
        assert!(text.contains(wrong) && text.contains("no port"), "{text}");
    }
}
