//! A look-up ends with its channel: whoever waits for a name is told, however the channel ends, and what the resolver answers
//! afterwards is heard by nobody.

use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidegate::bootstrap::Resolver;
use tidegate::channel::options::CONNECT_TIMEOUT;
use tidegate::future::TaskPromise;
use tidegate::transport::udp::Udp;
use tidegate::{
    Address, Bootstrap, ChannelFuture, Error, ErrorKind, EventLoopGroup, ServerBootstrap,
};

#[path = "common/ways.rs"]
mod ways;

use ways::each_way;

/// Long enough for a machine that does other things; nothing waits for it when all is well.
const DEADLINE: Duration = Duration::from_secs(20);

type Answer = TaskPromise<Vec<Address>>;

/// Hands each question to the test, and never answers it.
#[derive(Clone)]
struct Slow(Arc<Mutex<Sender<Answer>>>);

impl Slow {
    fn new() -> (Self, Receiver<Answer>) {
        let (asked, questions) = mpsc::channel();
        (Self(Arc::new(Mutex::new(asked))), questions)
    }
}

impl Resolver for Slow {
    fn resolve(&self, host: &Arc<str>, _: u16, answer: Answer) {
        assert_eq!(&**host, "shop.example");
        let _ = self.0.lock().unwrap().send(answer);
    }
}

fn client(group: &EventLoopGroup) -> Bootstrap {
    Bootstrap::new(group).handler(|_| Ok::<_, Error>(()))
}

/// A connect, a client's bind and a server's bind, each waiting for a name.
fn waiting(group: &EventLoopGroup, resolver: &Slow) -> [ChannelFuture; 3] {
    let name = ("shop.example", 7);
    let client = client(group).resolver(resolver.clone());
    let server = ServerBootstrap::new(group, group)
        .resolver(resolver.clone())
        .child_handler(|_| Ok::<_, Error>(()));
    [
        client.connect(name),
        client.transport::<Udp>().bind(name),
        server.bind(name),
    ]
}

fn expect_closed(future: &ChannelFuture) {
    let closed = future.channel().close_future();
    closed.sync_timeout(DEADLINE).expect("closed");
}

/// Rules: A21, G7
#[test]
fn a_close_ends_the_look_up() {
    each_way(|way| {
        let group = way.group(1);
        let (resolver, questions) = Slow::new();
        for future in waiting(&group, &resolver) {
            let answer = questions.recv_timeout(DEADLINE).unwrap();
            assert!(!future.is_done() && !answer.is_done());
            future.channel().close().sync_timeout(DEADLINE).unwrap();
            let error = future.sync_timeout(DEADLINE).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ChannelClosed);
            assert!(error.to_string().contains("shop.example"), "{error}");
            assert!(answer.is_done(), "the resolver can see that nobody waits");
            let anybody: SocketAddr = "127.0.0.1:9".parse().unwrap();
            assert!(answer.try_success(vec![anybody.into()]).is_err());
            expect_closed(&future);
        }
    });
}

/// Rules: G7
#[test]
fn the_end_of_its_loop_ends_the_look_up() {
    each_way(|way| {
        for stops in [false, true] {
            let group = way.group(1);
            let (resolver, questions) = Slow::new();
            let futures = waiting(&group, &resolver);
            let answers = [(); 3].map(|()| questions.recv_timeout(DEADLINE).unwrap());
            let ended = if stops {
                group.stop()
            } else {
                group.shutdown_gracefully(Duration::ZERO, DEADLINE)
            };
            ended.sync_timeout(DEADLINE).unwrap();
            for future in futures {
                assert!(future.is_done(), "not later than its loop");
                let error = future.sync_timeout(DEADLINE).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ChannelClosed);
                assert!(error.to_string().contains("shop.example"), "{error}");
                expect_closed(&future);
            }
            assert!(answers.iter().all(TaskPromise::is_done));
        }
    });
}

/// Rules: A19, G7
#[test]
fn the_connect_timeout_holds_for_the_look_up() {
    each_way(|way| {
        let group = way.group(1);
        let (resolver, questions) = Slow::new();
        let within = Duration::from_millis(50);
        let begun = Instant::now();
        let future = client(&group)
            .option(CONNECT_TIMEOUT, within)
            .resolver(resolver)
            .connect("shop.example:7");
        let error = future.sync_timeout(DEADLINE).unwrap_err();
        assert!(begun.elapsed() >= within);
        assert_eq!(error.kind(), ErrorKind::ConnectTimeout);
        assert_eq!(
            error.to_string(),
            "looking up shop.example took more than 50 ms (CONNECT_TIMEOUT)"
        );
        expect_closed(&future);
        assert!(questions.recv_timeout(DEADLINE).unwrap().is_done());
    });
}

/// What a resolver does.
#[derive(Clone, Copy, Debug)]
enum Fails {
    Drops,
    Panics,
    FindsNothing,
    With(ErrorKind, &'static str),
}

impl Resolver for Fails {
    fn resolve(&self, _: &Arc<str>, _: u16, answer: Answer) {
        match *self {
            Self::Drops => drop(answer),
            Self::Panics => panic!("a resolver's own bug"),
            Self::FindsNothing => drop(answer.try_success(Vec::new())),
            Self::With(kind, text) => drop(answer.try_failure(Error::new(kind, text))),
        }
    }
}

/// Rules: G7
#[test]
fn whatever_a_resolver_does_the_error_names_the_host() {
    let group = EventLoopGroup::new(1).unwrap();
    for (resolver, kind) in [
        (Fails::Drops, ErrorKind::Dropped),
        (Fails::Panics, ErrorKind::Dropped),
        (Fails::FindsNothing, ErrorKind::Unresolved),
        (
            Fails::With(ErrorKind::TimedOut, "no server answers"),
            ErrorKind::TimedOut,
        ),
        (
            Fails::With(ErrorKind::NotFound, "shop.example is unknown"),
            ErrorKind::NotFound,
        ),
    ] {
        let future = client(&group).resolver(resolver).connect("shop.example:7");
        let error = future.sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(error.kind(), kind, "{resolver:?}");
        let text = error.to_string();
        assert_eq!(text.matches("shop.example").count(), 1, "{text}");
        expect_closed(&future);
    }
    // Short names are in every text.
    for resolver in [Fails::Drops, Fails::With(ErrorKind::TimedOut, "no answer")] {
        let future = client(&group).resolver(resolver).connect("a:7");
        let text = future.sync_timeout(DEADLINE).unwrap_err().to_string();
        assert!(text.starts_with("looking up a: "), "{text}");
    }
}
