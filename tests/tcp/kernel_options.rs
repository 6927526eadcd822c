//! Options that the kernel keeps, one by one: what is set is what is read. What a machine forbids, or a kernel was built
//! without, is told and passed over.

use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;
use tidegate::bootstrap::{Bootstrap, ServerBootstrap};
use tidegate::channel::options::{
    ChannelOption, IPV6_V6ONLY, OptionType, SO_BUSY_POLL, SO_INCOMING_CPU, SO_PRIORITY, TCP_CORK,
    TCP_DEFER_ACCEPT, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT, TCP_KEEPINTVL, TCP_MAXSEG,
    TCP_NOTSENT_LOWAT, TCP_QUICKACK,
};
use tidegate::channel::{Channel, ChannelFuture};
use tidegate::error::{Error, ErrorKind};

use crate::plain::{plain_client, plain_listener};
use crate::probe::{DEADLINE, Echo, until};
use crate::support::{client_and_plain_peer, with_each_group};

/// Whether this machine does not let us, which is said: for want of a right, because the kernel was built without what the
/// option is about, or because the system has none of that name. Linux has them all.
fn is_forbidden(name: &str, error: &Error) -> bool {
    let is_absent = match error.raw_os_error() {
        Some(code) => [Errno::ENOPROTOOPT, Errno::EOPNOTSUPP]
            .map(|absent| absent as i32)
            .contains(&code),
        None => error.kind() == ErrorKind::Unsupported && cfg!(not(target_os = "linux")),
    };
    let is_forbidden = is_absent || error.kind() == ErrorKind::PermissionDenied;
    if is_forbidden {
        eprintln!("-- not here: {name}: {error}");
    }
    is_forbidden
}

/// What is set is what is read.
#[track_caller]
pub fn exchange<T>(channel: &Channel, option: ChannelOption<T>, value: T)
where
    T: OptionType + Debug + PartialEq,
{
    let name = option.name();
    let set = channel.set_option(option, value.clone());
    match set.sync_timeout(DEADLINE) {
        Err(error) if is_forbidden(name, &error) => return,
        set => assert!(set.is_ok(), "{name}: {set:?}"),
    }
    is_read(channel, option, value);
}

#[track_caller]
pub fn is_read<T>(channel: &Channel, option: ChannelOption<T>, value: T)
where
    T: OptionType + Debug + PartialEq,
{
    let read = channel.option(option).sync_timeout(DEADLINE);
    assert_eq!(
        read.expect("what can be set can be read"),
        value,
        "{option:?}"
    );
}

/// The channel, unless this option is forbidden.
fn unless_forbidden<T>(future: ChannelFuture, option: ChannelOption<T>) -> Option<Channel>
where
    T: OptionType,
{
    match future.sync_timeout(DEADLINE) {
        Err(error) if is_forbidden(option.name(), &error) => None,
        done => Some(done.expect("it is not forbidden")),
    }
}

#[test]
fn what_is_set_on_a_connection_is_what_is_read() {
    with_each_group(|group| {
        let (client, _peer, _seen) = client_and_plain_peer(group, |bootstrap| bootstrap);
        exchange(&client, SO_BUSY_POLL, Duration::from_micros(50));
        exchange(&client, SO_PRIORITY, 5);
        exchange(&client, TCP_KEEPINTVL, Duration::from_secs(7));
        exchange(&client, TCP_NOTSENT_LOWAT, 16_384);
        for on in [true, false] {
            exchange(&client, TCP_CORK, on);
            // It does not last, but nothing is sent here that would change it.
            exchange(&client, TCP_QUICKACK, on);
        }
        client.close().sync_timeout(DEADLINE).expect("a close");
    });
}

#[test]
fn what_is_set_on_a_server_is_what_is_read() {
    with_each_group(|group| {
        let server = ServerBootstrap::new(group, group)
            .option(TCP_MAXSEG, 1000)
            .child_handler(|pipeline| pipeline.add_last(Echo))
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .expect("bound");
        is_read(&server, TCP_MAXSEG, 1000);
        exchange(&server, SO_INCOMING_CPU, 0);
        exchange(&server, TCP_FASTOPEN, 5);
        // After one second and another two the kernel sends again: of such times it keeps the number.
        exchange(&server, TCP_DEFER_ACCEPT, Duration::from_secs(3));
        server.close().sync_timeout(DEADLINE).expect("a close");
    });
}

#[test]
fn what_is_set_before_a_connect_is_what_is_read() {
    with_each_group(|group| {
        let (_listener, address) = plain_listener();
        let recipe = Bootstrap::new(group).handler(|pipeline| pipeline.add_last(Echo));
        let connect = recipe.clone().option(TCP_FASTOPEN_CONNECT, true);
        let client = unless_forbidden(connect.connect(address), TCP_FASTOPEN_CONNECT);
        if let Some(client) = client {
            is_read(&client, TCP_FASTOPEN_CONNECT, true);
            client.close().sync_timeout(DEADLINE).expect("a close");
        }
        let client = recipe.option(TCP_MAXSEG, 1000).connect(address);
        let client = client.sync_timeout(DEADLINE).expect("connected");
        // What there is room for beside the header's options.
        let segment = client.option(TCP_MAXSEG).sync_timeout(DEADLINE);
        let segment = segment.expect("what can be set can be read");
        assert!((900..=1000).contains(&segment), "{segment}");
        client.close().sync_timeout(DEADLINE).expect("a close");
    });
}

#[test]
fn a_server_of_ipv6_takes_ipv4_as_well_or_leaves_its_port_to_another() {
    with_each_group(|group| {
        let recipe =
            ServerBootstrap::new(group, group).child_handler(|pipeline| pipeline.add_last(Echo));
        let bind = |only| {
            let bound = recipe.clone().option(IPV6_V6ONLY, only).bind("[::]:0");
            let server = bound.sync_timeout(DEADLINE).expect("bound");
            is_read(&server, IPV6_V6ONLY, only);
            let local = server.local_address().expect("an address");
            let port = local.as_inet().expect("of the internet").port();
            (server, SocketAddr::from(([127, 0, 0, 1], port)))
        };
        let (both, address) = bind(false);
        let mut client = plain_client(address);
        client.write_all(b"4").expect("sent");
        client.read_exact(&mut [0]).expect("an echo");
        let error = both.set_option(IPV6_V6ONLY, true).sync_timeout(DEADLINE);
        let text = error.expect_err("it is bound").to_string();
        assert!(text.contains("IPV6_V6ONLY"), "{text}");
        both.close().sync_timeout(DEADLINE).expect("a close");

        // A stranger may have the port.
        until("a port is free twice", || {
            let (one, address) = bind(true);
            let other = recipe.bind(address).sync_timeout(DEADLINE);
            one.close().sync_timeout(DEADLINE).expect("a close");
            let closed = other.map(|other| other.close().sync_timeout(DEADLINE));
            closed.is_ok()
        });

        let refused = recipe.clone().option(IPV6_V6ONLY, true).bind("127.0.0.1:0");
        let error = refused.sync_timeout(DEADLINE).expect_err("it is of IPv4");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("IPV6_V6ONLY"), "{error}");
    });
}
