//! Options of sockets: before there is one, while it lives, and wrong ones.

use std::time::Duration;

use tidegate::bootstrap::{Bootstrap, ServerBootstrap};
use tidegate::channel::options::{
    ChannelOption, IP_TOS, MAX_MESSAGES_PER_WRITE, SO_BACKLOG, SO_KEEPALIVE, SO_LINGER, SO_RCVBUF,
    SO_REUSEADDR, SO_SNDBUF, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_NODELAY, TCP_USER_TIMEOUT,
};
use tidegate::error::ErrorKind;

use crate::plain::plain_listener;
use crate::probe::{DEADLINE, Echo, Probe};
use crate::support::{client_and_plain_peer, with_each_group};

/// An option that no transport of this crate has.
const NOBODYS: ChannelOption<i32> = ChannelOption::named("nobody's");

/// Rules: G5
#[test]
fn options_set_before_the_connect_are_those_of_the_socket() {
    with_each_group(|group| {
        let (client, _peer, _seen) = client_and_plain_peer(group, |bootstrap| {
            bootstrap
                .option(TCP_NODELAY, false)
                .option(SO_KEEPALIVE, true)
                .option(TCP_KEEPIDLE, Duration::from_millis(11_500))
                .option(TCP_KEEPCNT, 3)
                .option(SO_LINGER, Some(Duration::from_secs(2)))
                .option(IP_TOS, 0x10)
                .option(SO_SNDBUF, 100_000)
        });
        assert!(!client.option(TCP_NODELAY).sync_timeout(DEADLINE).unwrap());
        assert!(client.option(SO_KEEPALIVE).sync_timeout(DEADLINE).unwrap());
        let idle = client.option(TCP_KEEPIDLE).sync_timeout(DEADLINE).unwrap();
        assert_eq!(idle, Duration::from_secs(12), "rounded up");
        assert_eq!(
            client.option(TCP_KEEPCNT).sync_timeout(DEADLINE).unwrap(),
            3
        );
        let linger = client.option(SO_LINGER).sync_timeout(DEADLINE).unwrap();
        assert_eq!(linger, Some(Duration::from_secs(2)));
        assert_eq!(client.option(IP_TOS).sync_timeout(DEADLINE).unwrap(), 0x10);
        assert!(client.option(SO_SNDBUF).sync_timeout(DEADLINE).unwrap() >= 100_000);
        client
            .set_option(SO_LINGER, None)
            .sync_timeout(DEADLINE)
            .unwrap();
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn options_of_a_live_channel_can_be_changed() {
    with_each_group(|group| {
        let (client, _peer, _seen) = client_and_plain_peer(group, |bootstrap| bootstrap);
        assert!(
            client.option(TCP_NODELAY).sync_timeout(DEADLINE).unwrap(),
            "the default"
        );
        client
            .set_option(TCP_NODELAY, false)
            .sync_timeout(DEADLINE)
            .unwrap();
        assert!(!client.option(TCP_NODELAY).sync_timeout(DEADLINE).unwrap());
        client
            .set_option(TCP_USER_TIMEOUT, Duration::from_millis(1234))
            .sync_timeout(DEADLINE)
            .unwrap();
        let timeout = client
            .option(TCP_USER_TIMEOUT)
            .sync_timeout(DEADLINE)
            .unwrap();
        assert_eq!(timeout, Duration::from_millis(1234));

        let error = client
            .set_option(SO_BACKLOG, 5)
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let error = client
            .set_option(SO_SNDBUF, 0)
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: G2, G5
#[test]
fn an_option_that_cannot_be_set_fails_the_connect_and_says_which() {
    with_each_group(|group| {
        let (_listener, address) = plain_listener();
        let (tell, _seen) = Probe::channel();
        let bootstrap =
            Bootstrap::new(group).handler(move |pipeline| pipeline.add_last(Probe(tell.clone())));
        for (bootstrap, kind, name) in [
            (
                bootstrap.clone().option(SO_BACKLOG, 5),
                ErrorKind::Unsupported,
                "SO_BACKLOG",
            ),
            (
                bootstrap.clone().option(MAX_MESSAGES_PER_WRITE, 0),
                ErrorKind::InvalidArgument,
                "MAX_MESSAGES_PER_WRITE",
            ),
        ] {
            let future = bootstrap.connect(address);
            let error = future.sync_timeout(DEADLINE).unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().contains(name), "{error}");
            future
                .channel()
                .close_future()
                .sync_timeout(DEADLINE)
                .unwrap();
        }
    });
}

#[test]
fn options_of_a_server_are_its_own_and_its_childrens() {
    with_each_group(|group| {
        let server = ServerBootstrap::new(group, group)
            .option(SO_BACKLOG, 7)
            .option(SO_RCVBUF, 200_000)
            .child_handler(|pipeline| pipeline.add_last(Echo))
            .bind("[::1]:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        assert_eq!(server.option(SO_BACKLOG).sync_timeout(DEADLINE).unwrap(), 7);
        assert!(
            server.option(SO_REUSEADDR).sync_timeout(DEADLINE).unwrap(),
            "the default of servers"
        );
        assert!(server.option(SO_RCVBUF).sync_timeout(DEADLINE).unwrap() >= 200_000);
        server
            .set_option(SO_BACKLOG, 9)
            .sync_timeout(DEADLINE)
            .unwrap();
        assert_eq!(server.option(SO_BACKLOG).sync_timeout(DEADLINE).unwrap(), 9);
        server.close().sync_timeout(DEADLINE).unwrap();

        let error = ServerBootstrap::new(group, group)
            .option(NOBODYS, 5)
            .child_handler(|pipeline| pipeline.add_last(Echo))
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("nobody's"), "{error}");
    });
}
