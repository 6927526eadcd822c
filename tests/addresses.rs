//! Names with several addresses: clients try one after the other, on one channel (rules A18, A19, G7).

#[path = "common/plain.rs"]
mod plain;
#[path = "common/probe.rs"]
mod probe;
#[path = "common/refusing.rs"]
mod refusing;
#[path = "common/told.rs"]
mod told;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tidegate::bootstrap::{Bootstrap, Resolver};
use tidegate::channel::options::{CONNECT_TIMEOUT, SO_KEEPALIVE, SO_LINGER, TCP_NODELAY};
use tidegate::channel::{Address, ChannelFuture, Context, Handler, HandlerResult, Inet};
use tidegate::error::{Error, ErrorKind, Fault};
use tidegate::event_loop::{Backend, EventLoopGroup};
use tidegate::future::{Promise, TaskPromise};
use tidegate::transport::tcp::Tcp;
use tidegate::transport::{ClientTransport, oio};

use plain::{nobody_accepts, plain_listener};
use probe::{DEADLINE, Probe, Seen, next, wait_for};
use refusing::refusing;
use told::{Did, FAILS, Told, WHOM, Whom, connects};

/// Knows these addresses, whatever the name.
struct Known(Vec<SocketAddr>);

impl Resolver for Known {
    fn resolve(&self, _host: &Arc<str>, port: u16, answer: TaskPromise<Vec<Address>>) {
        assert_eq!(port, 7, "as it was asked for");
        let _ = answer.try_success(self.0.iter().copied().map(Address::from).collect());
    }
}

/// Sets an option as handlers do, and notes connects.
struct Curious(mpsc::Sender<Address>);

impl Handler for Curious {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        Ok(ctx.set_option(SO_KEEPALIVE, true)?)
    }

    fn connect(
        &mut self,
        ctx: &mut Context<'_>,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) -> HandlerResult {
        let _ = self.0.send(remote.clone());
        ctx.connect(remote, local, promise);
        Ok(())
    }
}

/// A client, and what its handlers see.
struct Client<T: ClientTransport> {
    recipe: Bootstrap<T>,
    connects: mpsc::Receiver<Address>,
    seen: mpsc::Receiver<Seen>,
}

impl<T: ClientTransport<Family = Inet>> Client<T> {
    fn new(group: &EventLoopGroup, addresses: &[SocketAddr]) -> Self {
        let ((note, connects), (tell, seen)) = (mpsc::channel(), mpsc::channel());
        let recipe = Bootstrap::new(group)
            .transport::<T>()
            .resolver(Known(addresses.to_vec()))
            .option(TCP_NODELAY, true)
            .handler(move |pipeline| {
                pipeline.add_last(Curious(note.clone()))?;
                pipeline.add_last(Probe(tell.clone()))
            });
        Self {
            recipe,
            connects,
            seen,
        }
    }

    fn connect(&self) -> ChannelFuture {
        self.recipe.connect("shop:7")
    }

    /// The error of a connect that has failed; its channel has ended, and was never active.
    fn expect_failure(&self, future: &ChannelFuture) -> Error {
        let error = future.sync_timeout(DEADLINE).unwrap_err();
        let closed = future.channel().close_future();
        closed.sync_timeout(DEADLINE).unwrap();
        for expected in [Seen::Registered, Seen::Unregistered, Seen::Removed] {
            assert_eq!(next(&self.seen), expected);
        }
        error
    }
}

/// Runs a test with each selector, with sockets of the loop and with threads.
macro_rules! each {
    ($test:ident) => {
        for backend in Backend::available() {
            let group = EventLoopGroup::builder().threads(1).selector(*backend);
            let group = group.build().unwrap();
            eprintln!("-- {backend}");
            $test::<Tcp>(&group);
            eprintln!("-- {backend}, threads");
            $test::<oio::Tcp>(&group);
        }
    };
}

/// One channel all the time, which sees one connect. What was set on it before, by the recipe and by a handler, is set on
/// the socket that has it in the end; addresses behind the one that answers are left alone.
///
/// Rules: A14, A23, G7
#[test]
fn each_address_is_tried_until_one_answers() {
    fn test<T: ClientTransport<Family = Inet>>(group: &EventLoopGroup) {
        let ((_one, first), (_two, second)) = (refusing(), refusing());
        let ((listener, good), (other, never)) = (plain_listener(), plain_listener());
        let client = Client::<T>::new(group, &[first, second, good, never]);
        let channel = client.connect().sync_timeout(DEADLINE).unwrap();
        let (_peer, local) = listener.accept().unwrap();
        assert_eq!(channel.remote_address(), Some(Address::Inet(good)));
        assert_eq!(channel.local_address(), Some(Address::Inet(local)));
        assert_eq!(next(&client.seen), Seen::Registered);
        assert_eq!(next(&client.seen), Seen::Active);
        assert_eq!(client.connects.try_iter().count(), 1);
        for option in [TCP_NODELAY, SO_KEEPALIVE] {
            let value = channel.option(option).sync_timeout(DEADLINE).unwrap();
            assert!(value, "{option:?}");
        }
        other.set_nonblocking(true).unwrap();
        assert!(other.accept().is_err(), "somebody came");
        channel.close().sync_timeout(DEADLINE).unwrap();
    }
    each!(test);
}

/// The error is the last one's, and says what became of all of them.
///
/// Rules: A17, A18
#[test]
fn if_no_address_answers_the_error_names_them_all() {
    fn test<T: ClientTransport<Family = Inet>>(group: &EventLoopGroup) {
        let ports = [refusing(), refusing(), refusing()];
        let addresses = ports.each_ref().map(|(_, address)| *address);
        let client = Client::<T>::new(group, &addresses);
        let error = client.expect_failure(&client.connect());
        assert_eq!(
            (error.kind(), error.fault()),
            (ErrorKind::ConnectRefused, Fault::Peer)
        );
        assert_eq!(error.io_kind(), Some(std::io::ErrorKind::ConnectionRefused));
        for address in addresses {
            assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
        // One address is one error.
        let client = Client::<T>::new(group, &addresses[..1]);
        let error = client.expect_failure(&client.connect());
        assert!(error.to_string().starts_with("connect to 127"), "{error}");
        // None is one as well.
        let client = Client::<T>::new(group, &[]);
        let error = client.expect_failure(&client.connect());
        assert_eq!(error.kind(), ErrorKind::Unresolved);
    }
    each!(test);
}

/// So many addresses as there may be in an answer would take very long to be found dead.
///
/// Rules: A18
#[test]
fn of_very_many_addresses_the_first_sixteen_are_tried() {
    let group = EventLoopGroup::new(1).unwrap();
    let mut ports = [FAILS; 20];
    // It would be heard of if the fifteen before it did not fail.
    ports[15] = 15;
    let (future, did, _seen) = told(&group, &ports, Eager::default());
    let mut last = connects(&did);
    for _ in 1..16 {
        last = connects(&did);
    }
    let (15, _, signal) = last else {
        panic!("another port");
    };
    signal.connected(Err(refused()));
    assert!(matches!(did.recv_timeout(DEADLINE), Ok(Did::Close)));
    let error = future.sync_timeout(DEADLINE).unwrap_err();
    assert!(
        error.to_string().starts_with("16 of 20 addresses tried: "),
        "{error}"
    );
    // The last one that is tried may be the one that answers.
    let (future, did, _seen) = told(&group, &ports, Eager::default());
    for _ in 0..15 {
        let _ = connects(&did);
    }
    let (_, _, signal) = connects(&did);
    signal.connected(Ok(()));
    assert!(future.sync_timeout(DEADLINE).is_ok());
}

/// An address that says nothing costs its timeout; the next one has its own.
///
/// Rules: A19
#[test]
fn each_try_has_the_connect_timeout_for_itself() {
    const TIMEOUT: Duration = Duration::from_millis(40);
    fn test<T: ClientTransport<Family = Inet>>(group: &EventLoopGroup) {
        let silent = nobody_accepts();
        let begun = Instant::now();
        let (listener, client, channel) = loop {
            let (listener, good) = plain_listener();
            let mut client = Client::<T>::new(group, &[silent, silent, good]);
            client.recipe = client.recipe.option(CONNECT_TIMEOUT, TIMEOUT);
            let began = Instant::now();
            match client.connect().sync_timeout(DEADLINE) {
                Ok(channel) => {
                    assert!(began.elapsed() >= 2 * TIMEOUT);
                    break (listener, client, channel);
                }
                // A machine with other things to do may be too slow for the good one: then once more.
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectTimeout);
                    assert!(began.elapsed() >= 3 * TIMEOUT, "{error}");
                    assert!(begun.elapsed() < DEADLINE, "{error}");
                }
            }
        };
        let (mut peer, local) = listener.accept().unwrap();
        assert_eq!(channel.local_address(), Some(Address::Inet(local)));
        // What the tries before have left behind keeps nothing from this one.
        peer.write_all(b"welcome").unwrap();
        wait_for(&client.seen, &Seen::Read(b"welcome".to_vec()));
        drop(peer);
        channel.close_future().sync_timeout(DEADLINE).unwrap();

        let (_held, refused) = refusing();
        let mut client = Client::<T>::new(group, &[refused, silent]);
        client.recipe = client.recipe.option(CONNECT_TIMEOUT, TIMEOUT);
        let error = client.expect_failure(&client.connect());
        assert_eq!(error.kind(), ErrorKind::ConnectTimeout);
        assert!(error.to_string().contains(&refused.to_string()), "{error}");
    }
    each!(test);
}

/// Whoever cancels the connect, or closes the channel, ends all of it: the addresses that are left are not tried.
///
/// Rules: A20, A21
#[test]
fn a_cancelled_or_closed_connect_tries_no_further_address() {
    fn test<T: ClientTransport<Family = Inet>>(group: &EventLoopGroup) {
        for cancels in [false, true] {
            let (listener, never) = plain_listener();
            let mut client = Client::<T>::new(group, &[nobody_accepts(), never]);
            // A close that lingers would be waited for, if there were something to wait for.
            client.recipe = client.recipe.option(SO_LINGER, Some(DEADLINE));
            let future = client.connect();
            let asked = client.connects.recv_timeout(DEADLINE).unwrap();
            assert_eq!(asked, Address::Inet(nobody_accepts()));
            let kind = if cancels {
                assert!(future.cancel());
                ErrorKind::Cancelled
            } else {
                future.channel().close().sync_timeout(DEADLINE).unwrap();
                ErrorKind::ChannelClosed
            };
            assert_eq!(client.expect_failure(&future).kind(), kind);
            listener.set_nonblocking(true).unwrap();
            assert!(listener.accept().is_err(), "somebody came");
        }
    }
    each!(test);
}

/// With a local address, the addresses of the other family fail, and those of its own are tried.
///
/// Rules: G7
#[test]
fn a_local_address_is_that_of_every_try() {
    fn test<T: ClientTransport<Family = Inet>>(group: &EventLoopGroup) {
        let (_held, refused) = refusing();
        let (listener, good) = plain_listener();
        let v6: SocketAddr = "[::1]:9".parse().unwrap();
        let mut client = Client::<T>::new(group, &[v6, refused, good]);
        let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
        client.recipe = client.recipe.local_address(local);
        let channel = client.connect().sync_timeout(DEADLINE).unwrap();
        let (_peer, local) = listener.accept().unwrap();
        assert_eq!(channel.local_address(), Some(Address::Inet(local)));
        channel.close().sync_timeout(DEADLINE).unwrap();
    }
    each!(test);
}

/// Connects to somewhere else, or binds first.
struct Stubborn {
    to: SocketAddr,
    binds: bool,
}

impl Handler for Stubborn {
    fn connect(
        &mut self,
        ctx: &mut Context<'_>,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) -> HandlerResult {
        if self.binds {
            let bound = ctx.new_promise();
            ctx.bind(SocketAddr::from(([127, 0, 0, 1], 0)), bound);
            ctx.connect(remote, local, promise);
        } else {
            ctx.connect(self.to, local, promise);
        }
        Ok(())
    }
}

/// Where a handler decides what the channel connects to or is bound to, there is one try.
///
/// Rules: A18
#[test]
fn what_a_handler_has_bound_or_redirected_has_one_try() {
    fn test<T: ClientTransport<Family = Inet>>(group: &EventLoopGroup) {
        let ((_one, first), (_two, elsewhere)) = (refusing(), refusing());
        let (listener, never) = plain_listener();
        for (binds, named) in [(true, first), (false, elsewhere)] {
            let to = elsewhere;
            let error = Bootstrap::new(group)
                .transport::<T>()
                .resolver(Known(vec![first, never]))
                .handler(move |pipeline| pipeline.add_last(Stubborn { to, binds }))
                .connect("shop:7")
                .sync_timeout(DEADLINE)
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectRefused);
            assert!(error.to_string().contains(&named.to_string()), "{error}");
        }
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "somebody came");
    }
    each!(test);
}

/// Connects from an address of its own, or asks for data before there is a connection.
#[derive(Clone, Default)]
struct Eager {
    local: Option<Address>,
    reads: bool,
}

impl Handler for Eager {
    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if self.reads {
            ctx.read();
        }
        ctx.fire_channel_registered();
        Ok(())
    }

    fn connect(
        &mut self,
        ctx: &mut Context<'_>,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) -> HandlerResult {
        ctx.connect(remote, self.local.take().or(local), promise);
        Ok(())
    }
}

/// A connect to these ports over [`Told`], what its transports do, and what its handlers see.
fn told(
    group: &EventLoopGroup,
    ports: &[u16],
    first: Eager,
) -> (ChannelFuture, mpsc::Receiver<Did>, mpsc::Receiver<Seen>) {
    let ((tell, did), (note, seen)) = (mpsc::channel(), mpsc::channel());
    let addresses = ports.iter().map(|port| ([127, 0, 0, 1], *port).into());
    let future = Bootstrap::new(group)
        .transport::<Told>()
        .resolver(Known(addresses.collect()))
        .option(WHOM, Whom(tell))
        .handler(move |pipeline| {
            pipeline.add_last(first.clone())?;
            pipeline.add_last(Probe(note.clone()))
        })
        .connect("shop:7");
    (future, did, seen)
}

fn refused() -> Error {
    Error::new(ErrorKind::ConnectRefused, "refused")
}

/// What a transport has to tell when another one has its place changes nothing: neither while that connects, nor when it is
/// connected, nor while it closes.
///
/// Rules: A18
#[test]
fn news_of_a_transport_that_was_replaced_is_dropped() {
    let group = EventLoopGroup::new(1).unwrap();
    let (future, did, seen) = told(&group, &[2, 3], Eager::default());
    let (2, _, old) = connects(&did) else {
        panic!("another port");
    };
    old.connected(Err(refused()));
    let (3, _, new) = connects(&did) else {
        panic!("another port");
    };
    let tell_old_news = || {
        old.readable();
        old.writable();
        old.peer_closing();
        old.broken();
        old.connected(Ok(()));
        old.connected(Err(refused()));
        old.written(1);
        old.failed(refused());
        old.closed();
        // All of it has been heard.
        group.next().submit(|| ()).sync_timeout(DEADLINE).unwrap();
    };
    tell_old_news();
    assert!(did.try_recv().is_err() && !future.is_done());

    new.connected(Ok(()));
    let channel = future.sync_timeout(DEADLINE).unwrap();
    tell_old_news();
    let asked: Vec<Did> = did.try_iter().collect();
    assert!(matches!(asked[..], [Did::Check, Did::Reading(true)]));
    let events: Vec<Seen> = seen.try_iter().collect();
    assert_eq!(events, [Seen::Registered, Seen::Active]);
    new.readable();
    assert!(matches!(did.recv_timeout(DEADLINE), Ok(Did::Read)));

    let closed = channel.close();
    tell_old_news();
    assert!(!closed.is_done());
    new.closed();
    closed.sync_timeout(DEADLINE).unwrap();
    let asked: Vec<Did> = did.try_iter().collect();
    assert!(matches!(asked[..], [Did::Close]));
}

/// News that waits for its turn is of the transport that told it, too.
///
/// Rules: A18
#[test]
fn news_that_waits_goes_with_its_transport() {
    let group = EventLoopGroup::new(1).unwrap();
    let (future, did, _seen) = told(&group, &[FAILS, 3], Eager::default());
    let _ = connects(&did);
    let (_, _, new) = connects(&did);
    group.next().submit(|| ()).sync_timeout(DEADLINE).unwrap();
    assert!(did.try_recv().is_err() && !future.is_done());
    new.connected(Err(refused()));
    assert!(matches!(did.recv_timeout(DEADLINE), Ok(Did::Close)));
    new.closed();
    assert!(future.sync_timeout(DEADLINE).is_err());
}

/// Where a handler decides what the channel connects from, that holds for all tries.
///
/// Rules: G7
#[test]
fn every_try_is_from_where_a_handler_chose() {
    let group = EventLoopGroup::new(1).unwrap();
    let own = Address::Inet("127.0.0.1:9".parse().unwrap());
    let eager = Eager {
        local: Some(own.clone()),
        reads: false,
    };
    let (_future, did, _seen) = told(&group, &[2, FAILS, 3], eager);
    let (_, local, first) = connects(&did);
    assert_eq!(local, Some(own.clone()));
    first.connected(Err(refused()));
    for _ in 0..2 {
        let (_, local, _) = connects(&did);
        assert_eq!(local, Some(own.clone()));
    }
}

/// A transport that grants credit to its peer must know.
///
/// Rules: D2
#[test]
fn each_transport_is_told_that_reading_is_wanted() {
    let group = EventLoopGroup::new(1).unwrap();
    let eager = Eager {
        local: None,
        reads: true,
    };
    let (_future, did, _seen) = told(&group, &[FAILS, 3], eager);
    for port in [FAILS, 3] {
        let next = || did.recv_timeout(DEADLINE).unwrap();
        assert!(matches!(next(), Did::Register));
        assert!(matches!(next(), Did::Reading(true)));
        assert!(matches!(next(), Did::Connect(to, ..) if to == port));
    }
}
