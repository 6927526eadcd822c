//! The addresses of a channel whose peer changes: whoever asks, from whichever thread, hears those of now.

use std::net::SocketAddr;
use std::sync::mpsc;

use tidegate::{Address, Channel};

use crate::with_each_backend;
use crate::{DEADLINE, Probe, Seen, address, close, datagram, echo, next, probe_of, udp};

/// The local address and the peer's, as text.
fn ends(channel: &Channel) -> [String; 2] {
    let text = |address: Option<Address>| match address {
        Some(address) => address.to_string(),
        None => "nobody".to_owned(),
    };
    [
        text(channel.local_address()),
        text(channel.remote_address()),
    ]
}

fn connect(channel: &Channel, peer: SocketAddr) {
    let connected = channel.connect(peer, None);
    connected.sync_timeout(DEADLINE).expect("a connect");
}

/// Rules: A32
#[test]
fn the_addresses_are_those_of_now_after_each_connect_and_disconnect() {
    with_each_backend(|group| {
        let peers = [echo(group), echo(group)];
        let (client, seen) = probe_of(udp(group), "0.0.0.0:0");
        let port = address(&client).port();
        let (open, settled) = (format!("0.0.0.0:{port}"), format!("127.0.0.1:{port}"));
        assert_eq!(ends(&client), [&*open, "nobody"]);
        for _ in 0..2 {
            for peer in &peers {
                connect(&client, address(peer));
                let peer = address(peer).to_string();
                assert_eq!(ends(&client), [&*settled, &*peer]);
                assert_eq!(
                    client.to_string(),
                    format!("[{} {settled} -> {peer}]", client.id())
                );
            }
            // A peer that it can't have changes nothing.
            let refused = client.connect("[::1]:7", None).sync_timeout(DEADLINE);
            refused.expect_err("a peer of another family");
            assert_eq!(ends(&client), [&*settled, &*address(&peers[1]).to_string()]);
            client
                .write_and_flush("hello")
                .sync_timeout(DEADLINE)
                .expect("there is a peer");
            assert_eq!(datagram(&seen).content, "hello");

            client.disconnect().sync_timeout(DEADLINE).expect("it can");
            assert_eq!(ends(&client), [&*open, "nobody"]);
            assert_eq!(client.to_string(), format!("[{} {open}]", client.id()));
        }
        connect(&client, address(&peers[0]));
        let last = ends(&client);
        close(&[&client, &peers[0], &peers[1]]);
        assert_eq!(ends(&client), last, "still there after the close");
    });
}

#[test]
fn a_channel_that_was_never_bound_gets_its_local_address_from_each_connect() {
    with_each_backend(|group| {
        let peers = [echo(group), echo(group)];
        let (tell, seen) = mpsc::channel();
        let client = udp(group)
            .handler(move |pipeline| pipeline.add_last(Probe(tell.clone())))
            .connect(address(&peers[0]))
            .sync_timeout(DEADLINE)
            .expect("a connect");
        assert!(matches!(next(&seen), Seen::Active));
        for peer in [&peers[1], &peers[0]] {
            client.disconnect().sync_timeout(DEADLINE).expect("it can");
            assert_eq!(client.remote_address(), None);
            connect(&client, address(peer));
            client
                .write_and_flush("where am I?")
                .sync_timeout(DEADLINE)
                .expect("there is a peer");
            // What it hears was sent to the address that it tells.
            assert_eq!(datagram(&seen).peer, address(peer).into());
            assert_eq!(client.remote_address(), Some(address(peer).into()));
            let local = address(&client);
            assert!(local.ip().is_loopback() && local.port() != 0, "{local}");
            let socket = std::net::UdpSocket::bind(local);
            socket.expect_err("somebody has this address");
        }
        close(&[&client, &peers[0], &peers[1]]);
    });
}
