//! Options of sockets that are not listed, by the numbers that they have on Linux, and what TCP_INFO tells.

use std::io::Read;
use std::time::Duration;

use tidegate::buffer::Bytes;
use tidegate::channel::options::{ChannelOption, SO_KEEPALIVE};
use tidegate::error::ErrorKind;
use tidegate::future::TaskFuture;
use tidegate::transport::local::{Local, LocalAddress};
use tidegate::transport::tcp::TCP_INFO;
use tidegate::{Bootstrap, Failure};

use crate::kernel_options::{exchange, is_read};
use crate::probe::DEADLINE;
use crate::support::{client_and_plain_peer, with_each_group};

const SOL_SOCKET: i32 = 1;
const IPPROTO_TCP: i32 = 6;
const KEEPALIVE: ChannelOption<i32> = ChannelOption::integer_unix("KEEPALIVE", SOL_SOCKET, 9);
const CONGESTION: ChannelOption<Bytes> = ChannelOption::raw_unix("CONGESTION", IPPROTO_TCP, 13);

/// An option of ours by its number is the one by its name, before there is a socket and later.
#[test]
fn an_option_that_is_not_listed_goes_by_its_level_and_number() {
    with_each_group(|group| {
        let (client, _peer, _seen) = client_and_plain_peer(group, |bootstrap| {
            let reno = Bytes::from_static(b"reno");
            bootstrap.option(KEEPALIVE, 1).option(CONGESTION, reno)
        });
        is_read(&client, SO_KEEPALIVE, true);
        exchange(&client, KEEPALIVE, 0);
        is_read(&client, SO_KEEPALIVE, false);
        let congestion = client.option(CONGESTION).sync_timeout(DEADLINE);
        let congestion = congestion.expect("every kernel has reno");
        assert!(congestion.starts_with(b"reno\0"), "{congestion:?}");

        let refused = |set: TaskFuture<()>| set.sync_timeout(DEADLINE).expect_err("refused");
        let nonsense = Bytes::from_static(b"no such algorithm");
        let error = refused(client.set_option(CONGESTION, nonsense));
        assert!(error.to_string().contains("CONGESTION"), "{error}");
        // A pointer could be in it.
        let long = refused(client.set_option(CONGESTION, Bytes::from_static(&[0; 65])));
        assert_eq!(long.kind(), ErrorKind::InvalidArgument);
        client.close().sync_timeout(DEADLINE).expect("a close");
    });
}

#[test]
fn the_kernel_tells_what_it_knows_of_a_connection() {
    with_each_group(|group| {
        let (client, mut peer, _seen) = client_and_plain_peer(group, |bootstrap| bootstrap);
        let write = client.write_and_flush(vec![7; 1000]);
        write.sync_timeout(DEADLINE).expect("it is written");
        peer.read_exact(&mut [0; 1000]).expect("it arrives");
        let info = client.option(TCP_INFO).sync_timeout(DEADLINE);
        let info = info.expect("Linux has it");
        assert_eq!(info.state, 1, "ESTABLISHED");
        // The SYN counts as one; the acknowledgement of the rest may be on its way.
        assert!((1..=1001).contains(&info.bytes_acked), "{info:?}");
        assert!(info.snd_cwnd > 0 && info.snd_mss > 500, "{info:?}");
        assert!(
            info.rtt > Duration::ZERO && info.min_rtt <= info.rto,
            "{info:?}"
        );
        let set = client.set_option(TCP_INFO, info).sync_timeout(DEADLINE);
        set.expect_err("nobody can set it");
        client.close().sync_timeout(DEADLINE).expect("a close");
    });
}

/// What is no socket has none of a socket's options.
#[test]
fn a_channel_without_a_socket_refuses_them() {
    with_each_group(|group| {
        let recipe = Bootstrap::new(group)
            .transport::<Local>()
            .handler(|_| Ok::<(), Failure>(()));
        let refused = |recipe: Bootstrap<Local>| {
            let connect = recipe.connect(LocalAddress::unique());
            connect
                .sync_timeout(DEADLINE)
                .expect_err("it has no such option")
        };
        for error in [
            refused(recipe.clone().option(KEEPALIVE, 1)),
            refused(recipe.option(CONGESTION, Bytes::from_static(b"reno"))),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("has no option"), "{error}");
        }
    });
}
