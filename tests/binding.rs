//! Binding to names with several addresses: the first that can be had is bound (rules A7, A8, G7).

#[path = "common/probe.rs"]
mod probe;

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, mpsc};

use tidegate::bootstrap::{Bootstrap, Resolver, SHARDS, ServerBootstrap};
use tidegate::channel::options::{IP_TTL, SO_REUSEADDR};
use tidegate::channel::{Address, ChannelFuture, Context, Handler, HandlerResult, Inet};
use tidegate::error::{Error, ErrorKind, Fault};
use tidegate::event_loop::{Backend, EventLoopGroup};
use tidegate::future::{Promise, TaskPromise};
use tidegate::transport::tcp::Tcp;
use tidegate::transport::udp::Udp;
use tidegate::transport::{ChildTransport, ClientTransport, DatagramTransport, oio};

use probe::{DEADLINE, Echo, Probe, Seen, next};

/// Any port of this machine.
const ANY: &str = "127.0.0.1:0";

/// Knows these addresses, whatever the name.
struct Known(Vec<SocketAddr>);

impl Resolver for Known {
    fn resolve(&self, _host: &Arc<str>, port: u16, answer: TaskPromise<Vec<Address>>) {
        assert_eq!(port, 7, "as it was asked for");
        let _ = answer.try_success(self.0.iter().copied().map(Address::from).collect());
    }
}

/// An address that no machine has (RFC 5737).
fn nobodys() -> SocketAddr {
    "192.0.2.1:7".parse().unwrap()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Notes the binds that pass, and may send them elsewhere.
struct Curious {
    binds: mpsc::Sender<Address>,
    elsewhere: Option<SocketAddr>,
}

impl Handler for Curious {
    fn bind(&mut self, ctx: &mut Context<'_>, local: Address, promise: Promise) -> HandlerResult {
        let _ = self.binds.send(local.clone());
        match self.elsewhere {
            Some(elsewhere) => ctx.bind(elsewhere, promise),
            None => ctx.bind(local, promise),
        }
        Ok(())
    }
}

/// What the handlers of a channel that is bound have seen.
struct Watched {
    binds: mpsc::Receiver<Address>,
    seen: mpsc::Receiver<Seen>,
}

/// Fills a pipeline, any number of times.
type Fill = Box<dyn Fn(&mut tidegate::Pipeline<'_>) -> Result<(), Error> + Send + Sync>;

fn watch(elsewhere: Option<SocketAddr>) -> (Fill, Watched) {
    let ((note, binds), (tell, seen)) = (mpsc::channel(), mpsc::channel());
    let fill: Fill = Box::new(move |pipeline| {
        pipeline.add_last(Curious {
            binds: note.clone(),
            elsewhere,
        })?;
        pipeline.add_last(Probe(tell.clone()))
    });
    (fill, Watched { binds, seen })
}

/// The error of a bind that has failed; its channel has ended, and was never active.
fn expect_failure(bound: &ChannelFuture, watched: &Watched) -> Error {
    let error = bound.sync_timeout(DEADLINE).unwrap_err();
    let closed = bound.channel().close_future();
    closed.sync_timeout(DEADLINE).unwrap();
    for expected in [Seen::Registered, Seen::Unregistered, Seen::Removed] {
        assert_eq!(next(&watched.seen), expected);
    }
    error
}

fn server<T: ChildTransport<Family = Inet>>(
    group: &EventLoopGroup,
    addresses: &[SocketAddr],
    fill: Fill,
) -> ServerBootstrap<T> {
    ServerBootstrap::new(group, group)
        .transport::<T>()
        .resolver(Known(addresses.to_vec()))
        .option(SO_REUSEADDR, false)
        .handler(fill)
        .child_handler(|pipeline| pipeline.add_last(Echo))
}

/// Runs a test with each selector, with sockets of the loop and with threads.
macro_rules! each {
    ($test:ident, $kind:ident) => {
        for backend in Backend::available() {
            let group = EventLoopGroup::builder().threads(2).selector(*backend);
            let group = group.build().unwrap();
            eprintln!("-- {backend}");
            $test::<$kind>(&group);
            eprintln!("-- {backend}, threads");
            $test::<oio::$kind>(&group);
        }
    };
}

/// It is one channel all the time, whose handlers see one bind. What was set on it before is set on the socket that it has
/// in the end.
///
/// Rules: A7, G7
#[test]
fn each_address_is_tried_until_one_can_be_had() {
    fn test<T: ChildTransport<Family = Inet>>(group: &EventLoopGroup) {
        let taken = TcpListener::bind(ANY).unwrap();
        let taken = (taken.local_addr().unwrap(), taken);
        let (fill, watched) = watch(None);
        let addresses = [nobodys(), taken.0, address(ANY)];
        let server = server::<T>(group, &addresses, fill).bind("shop:7");
        let server = server.sync_timeout(DEADLINE).unwrap();
        let bound = server.local_address().unwrap().as_inet().unwrap();
        assert!(bound.ip().is_loopback() && bound != taken.0);
        for expected in [Seen::Registered, Seen::Active] {
            assert_eq!(next(&watched.seen), expected);
        }
        let binds: Vec<Address> = watched.binds.try_iter().collect();
        assert_eq!(binds, [Address::Inet(nobodys())]);
        let reuses = server.option(SO_REUSEADDR).sync_timeout(DEADLINE).unwrap();
        assert!(!reuses);
        // It works.
        drop(TcpStream::connect(bound).unwrap());
        server.close().sync_timeout(DEADLINE).unwrap();
    }
    each!(test, Tcp);
}

/// The error is the last one's, and says what became of all of them.
///
/// Rules: A8
#[test]
fn if_no_address_can_be_had_the_error_names_them_all() {
    fn test<T: ChildTransport<Family = Inet>>(group: &EventLoopGroup) {
        let taken = TcpListener::bind(ANY).unwrap();
        let addresses = [nobodys(), taken.local_addr().unwrap()];
        let (fill, watched) = watch(None);
        let bound = server::<T>(group, &addresses, fill).bind("shop:7");
        let error = expect_failure(&bound, &watched);
        assert_eq!(
            (error.kind(), error.fault()),
            (ErrorKind::AddrInUse, Fault::Machine)
        );
        for address in addresses {
            assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
        // One address is one error.
        let (fill, watched) = watch(None);
        let bound = server::<T>(group, &addresses[..1], fill).bind("shop:7");
        let error = expect_failure(&bound, &watched);
        assert!(error.to_string().starts_with("binding to 192"), "{error}");
        // Very many are not tried all.
        let (fill, watched) = watch(None);
        let many = [nobodys(); 17];
        let bound = server::<T>(group, &many, fill).bind("shop:7");
        let error = expect_failure(&bound, &watched).to_string();
        assert!(error.starts_with("16 of 17 addresses tried: "), "{error}");
        // None is one as well.
        let (fill, watched) = watch(None);
        let bound = server::<T>(group, &[], fill).bind("shop:7");
        let error = expect_failure(&bound, &watched);
        assert_eq!(error.kind(), ErrorKind::Unresolved);
    }
    each!(test, Tcp);
}

/// Where a handler decides what the channel is bound to, there is one try.
///
/// Rules: G7
#[test]
fn what_a_handler_has_bound_elsewhere_has_one_try() {
    fn test<T: ChildTransport<Family = Inet>>(group: &EventLoopGroup) {
        let (fill, watched) = watch(Some(nobodys()));
        let bound = server::<T>(group, &[address(ANY); 2], fill).bind("shop:7");
        let error = expect_failure(&bound, &watched);
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
        assert!(error.to_string().starts_with("binding to 192"), "{error}");
    }
    each!(test, Tcp);
}

/// The first of several listeners finds the address, and the others join it there.
///
/// Rules: G7
#[test]
fn shards_share_the_address_that_could_be_had() {
    let group = EventLoopGroup::new(2).unwrap();
    let (fill, _watched) = watch(None);
    let server = server::<Tcp>(&group, &[nobodys(), address(ANY)], fill).shards(2);
    let server = server.bind("shop:7").sync_timeout(DEADLINE).unwrap();
    let others = server.attr(&SHARDS).unwrap();
    assert_eq!(others.len(), 1);
    assert_eq!(others[0].local_address(), server.local_address());
    server.close().sync_timeout(DEADLINE).unwrap();
}

/// Datagram channels are bound to names as servers are, and have their options.
///
/// Rules: G7
#[test]
fn a_datagram_channel_is_bound_to_the_first_address_that_can_be_had() {
    fn test<T>(group: &EventLoopGroup)
    where
        T: DatagramTransport + ClientTransport<Family = Inet>,
    {
        let taken = UdpSocket::bind(ANY).unwrap();
        let taken = (taken.local_addr().unwrap(), taken);
        let (fill, watched) = watch(None);
        let channel = Bootstrap::new(group)
            .transport::<T>()
            .resolver(Known(vec![nobodys(), taken.0, address(ANY)]))
            .option(IP_TTL, 9)
            .handler(fill)
            .bind("shop:7");
        let channel = channel.sync_timeout(DEADLINE).unwrap();
        let bound = channel.local_address().unwrap().as_inet().unwrap();
        assert!(bound.ip().is_loopback() && bound != taken.0);
        assert_eq!(watched.binds.try_iter().count(), 1);
        let ttl = channel.option(IP_TTL).sync_timeout(DEADLINE).unwrap();
        assert_eq!(ttl, 9);
        channel.close().sync_timeout(DEADLINE).unwrap();
    }
    each!(test, Udp);
}
