//! Bootstraps: what is wrong comes through the future, names are looked up off the loop, recipes are copied (rules G).

#[path = "common/ways.rs"]
mod ways;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use tidegate::bootstrap::{Bootstrap, Resolver, ServerBootstrap};
use tidegate::buffer::{Bytes, BytesMut, Message};
use tidegate::channel::options::{
    ALLOW_HALF_CLOSURE, CONNECT_TIMEOUT, MAX_MESSAGES_PER_READ, TCP_NODELAY,
};
use tidegate::channel::{
    Address, AttributeKey, Channel, ChannelFuture, Context, Handler, HandlerResult,
};
use tidegate::error::{Error, ErrorKind, Failure};
use tidegate::event_loop::{EventLoop, EventLoopGroup};
use tidegate::future::{Promise, TaskPromise};
use tidegate::handler::typed::handler_fn;
use tidegate::transport::tcp::{Accepted, Tcp};

use ways::each_way;

const DEADLINE: Duration = Duration::from_secs(20);

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Does nothing; a pipeline may be empty, a test may not want that.
struct Quiet;

impl Handler for Quiet {}

struct Echo;

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write_and_flush(msg);
        Ok(())
    }
}

fn client(group: &EventLoopGroup) -> Bootstrap {
    Bootstrap::new(group).handler(|pipeline| pipeline.add_last(Quiet))
}

/// What a socket gives is `BytesMut`; a handler that names `Bytes`, as tests on memory allow, hears of it all the same.
#[test]
fn a_typed_handler_of_either_kind_of_bytes_hears_of_what_a_socket_gives() {
    let group = EventLoopGroup::new(1).expect("a group");
    let server = ServerBootstrap::new(&group, &group)
        .child_handler(|pipeline| {
            pipeline.add_last(handler_fn(|ctx, bytes: Bytes| {
                ctx.fire_channel_read(bytes);
                Ok(())
            }))?;
            pipeline.add_last(handler_fn(|ctx, bytes: BytesMut| {
                ctx.write_and_flush(bytes);
                Ok(())
            }))
        })
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .expect("bound");
    let address = server.local_address().and_then(|at| at.as_inet());
    let mut peer = TcpStream::connect(address.expect("a port")).expect("connected");
    peer.set_read_timeout(Some(DEADLINE)).expect("a time-out");
    peer.write_all(b"tide").expect("sent");
    let mut answer = [0; 4];
    peer.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"tide");
}

/// Holds a loop until the sender is dropped, so that what is asked of it meanwhile has not begun.
fn hold(event_loop: &EventLoop) -> mpsc::Sender<()> {
    let (go, wait) = mpsc::channel::<()>();
    let held = event_loop.execute(move || {
        // An error: the sender is gone, as it should be.
        let _ = wait.recv_timeout(DEADLINE);
    });
    held.expect("a loop that runs");
    go
}

/// The channel of a future that failed is closed.
fn expect_closed(channel: &Channel) {
    channel
        .close_future()
        .sync_timeout(DEADLINE)
        .expect("closed");
    assert!(!channel.is_open() && !channel.is_active());
    // The last events come after the close future.
    let begun = Instant::now();
    while channel.is_registered() {
        assert!(begun.elapsed() < DEADLINE, "still registered");
        std::thread::yield_now();
    }
}

/// Rules: G1, G2
#[test]
fn an_incomplete_or_wrong_recipe_fails_the_future_and_its_channel_is_closed() {
    each_way(|way| {
        let group = way.group(1);
        let (_listener, address) = listener();
        let futures = [
            (Bootstrap::new(&group).connect(address), "no handler"),
            (
                ServerBootstrap::new(&group, &group).bind("127.0.0.1:0"),
                "no child handler",
            ),
            (
                client(&group)
                    .option(MAX_MESSAGES_PER_READ, 0)
                    .connect(address),
                "MAX_MESSAGES_PER_READ",
            ),
            (
                ServerBootstrap::new(&group, &group)
                    .child_option(MAX_MESSAGES_PER_READ, -1)
                    .child_handler(|pipeline| pipeline.add_last(Quiet))
                    .bind("127.0.0.1:0"),
                "MAX_MESSAGES_PER_READ",
            ),
        ];
        for (future, text) in futures {
            let error = future.sync_timeout(DEADLINE).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(text), "{error}");
            expect_closed(future.channel());
        }
    });
}

/// Rules: G2, G4
#[test]
fn a_handler_that_fails_or_panics_fails_the_future_and_closes_the_channel() {
    each_way(|way| {
        let group = way.group(1);
        let (_listener, address) = listener();
        let failing = Bootstrap::new(&group)
            .handler(|_| Err(Failure::msg("no way")))
            .connect(address);
        let error = failing.sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::User, "no way")
        );
        expect_closed(failing.channel());

        let panicking = Bootstrap::new(&group)
            .handler(|_| -> Result<(), Error> { panic!("on purpose") })
            .connect(address);
        let error = panicking.sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HandlerPanicked);
        expect_closed(panicking.channel());

        let closing = Bootstrap::new(&group)
            .handler(|pipeline| {
                pipeline.channel().close();
                pipeline.add_last(Quiet)
            })
            .connect(address);
        assert_eq!(
            closing.sync_timeout(DEADLINE).unwrap_err().kind(),
            ErrorKind::ChannelClosed
        );
        expect_closed(closing.channel());
    });
}

/// Rules: G2
///
/// Rules: A2, A6
#[test]
fn a_loop_that_has_ended_fails_the_future_and_the_channel_is_closed() {
    each_way(|way| {
        let group = way.group(1);
        group.stop().sync_timeout(DEADLINE).unwrap();
        for future in [
            client(&group).connect("127.0.0.1:1"),
            ServerBootstrap::new(&group, &group)
                .child_handler(|pipeline| pipeline.add_last(Quiet))
                .bind("127.0.0.1:0"),
        ] {
            assert_eq!(
                future.sync_timeout(DEADLINE).unwrap_err().kind(),
                ErrorKind::Terminated
            );
            expect_closed(future.channel());
        }
    });
}

static USER: AttributeKey<&'static str> = AttributeKey::new("test.user");

/// Rules: G5, G6
#[test]
fn a_recipe_is_copied_when_it_is_used_and_when_it_is_cloned() {
    each_way(|way| {
        let group = way.group(1);
        let (_listener, address) = listener();
        let (tell, told) = mpsc::channel();
        let first = Bootstrap::new(&group)
            .option(ALLOW_HALF_CLOSURE, true)
            .attr(&USER, "ada")
            .handler(move |pipeline| {
                // Both are there before there is a handler.
                let channel = pipeline.channel();
                let _ = tell.send((
                    channel.attr(&USER).map(|user| *user),
                    channel.is_registered(),
                ));
                pipeline.add_last(Quiet)
            });
        let one = first.connect(address).sync_timeout(DEADLINE).unwrap();
        let second = first
            .clone()
            .option(ALLOW_HALF_CLOSURE, false)
            .attr(&USER, "bob");
        let two = second.connect(address).sync_timeout(DEADLINE).unwrap();
        let three = first.connect(address).sync_timeout(DEADLINE).unwrap();
        for (channel, user, half_closure) in [
            (&one, "ada", true),
            (&two, "bob", false),
            (&three, "ada", true),
        ] {
            assert_eq!(*channel.attr(&USER).unwrap(), user);
            assert_eq!(
                channel
                    .option(ALLOW_HALF_CLOSURE)
                    .sync_timeout(DEADLINE)
                    .unwrap(),
                half_closure
            );
            assert_eq!(told.recv_timeout(DEADLINE).unwrap().0, Some(user));
        }
        one.attributes().set(&USER, "eve");
        assert_eq!(*three.attr(&USER).unwrap(), "ada");
    });
}

/// Says which of its callbacks ran, in order, with the operations that passed.
struct Order(Arc<Mutex<Vec<&'static str>>>);

impl Order {
    fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }
}

impl Handler for Order {
    fn handler_added(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.note("added");
        Ok(())
    }

    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.note("registered");
        ctx.fire_channel_registered();
        Ok(())
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.note("active");
        ctx.fire_channel_active();
        Ok(())
    }

    fn connect(
        &mut self,
        ctx: &mut Context<'_>,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) -> HandlerResult {
        self.note("connect");
        ctx.connect(remote, local, promise);
        Ok(())
    }

    fn bind(&mut self, ctx: &mut Context<'_>, local: Address, promise: Promise) -> HandlerResult {
        self.note("bind");
        ctx.bind(local, promise);
        Ok(())
    }
}

/// Rules: A7, A14, G3
#[test]
fn handlers_are_added_then_registered_then_see_the_operation_whose_promise_comes_before_active() {
    each_way(|way| {
        let group = way.group(1);
        let event_loop = group.next();
        let (_listener, address) = listener();
        let noted = Arc::new(Mutex::new(Vec::new()));
        let held = hold(&event_loop);
        let order = noted.clone();
        let future = Bootstrap::new(&event_loop)
            .handler(move |pipeline| pipeline.add_last(Order(order.clone())))
            .connect(address);
        note_promise(&future, &noted);
        drop(held);
        future
            .sync_timeout(DEADLINE)
            .unwrap()
            .close()
            .sync_timeout(DEADLINE)
            .unwrap();
        let expected = ["added", "registered", "connect", "promise", "active"];
        assert_eq!(*noted.lock().unwrap(), expected);

        noted.lock().unwrap().clear();
        let held = hold(&event_loop);
        let order = noted.clone();
        let future = ServerBootstrap::new(&event_loop, &event_loop)
            .handler(move |pipeline| pipeline.add_last(Order(order.clone())))
            .child_handler(|pipeline| pipeline.add_last(Quiet))
            .bind("127.0.0.1:0");
        note_promise(&future, &noted);
        drop(held);
        future
            .sync_timeout(DEADLINE)
            .unwrap()
            .close()
            .sync_timeout(DEADLINE)
            .unwrap();
        let expected = ["added", "registered", "bind", "promise", "active"];
        assert_eq!(*noted.lock().unwrap(), expected);
    });
}

fn note_promise(future: &ChannelFuture, noted: &Arc<Mutex<Vec<&'static str>>>) {
    let noted = noted.clone();
    future.add_listener(move |_, _| noted.lock().unwrap().push("promise"));
}

/// Rules: G7
#[test]
fn names_are_looked_up_by_the_system_unless_told_otherwise() {
    each_way(|way| {
        let group = way.group(1);
        let (_listener, address) = listener();
        let channel = client(&group)
            .connect(("localhost", address.port()))
            .sync_timeout(DEADLINE);
        // Where localhost is ::1 first, nobody listens there.
        if let Err(error) = channel {
            assert_eq!(error.kind(), ErrorKind::ConnectRefused);
        }
        let name = format!("{}.invalid", "x".repeat(80));
        let future = client(&group).connect((name.as_str(), 80));
        let error = future.sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unresolved);
        assert!(error.to_string().contains(&name), "{error}");
        expect_closed(future.channel());

        let server = ServerBootstrap::new(&group, &group)
            .child_handler(|pipeline| pipeline.add_last(Quiet))
            .bind(("localhost", 0))
            .sync_timeout(DEADLINE)
            .unwrap();
        assert!(
            server
                .local_address()
                .unwrap()
                .as_inet()
                .unwrap()
                .ip()
                .is_loopback()
        );
    });
}

/// Answers what it was given, or keeps the question.
#[derive(Clone)]
struct Scripted {
    answer: Result<SocketAddr, ErrorKind>,
    drops: bool,
    asked: mpsc::Sender<(String, u16)>,
    kept: Arc<Mutex<Option<TaskPromise<Vec<Address>>>>>,
}

impl Resolver for Scripted {
    fn resolve(&self, host: &Arc<str>, port: u16, answer: TaskPromise<Vec<Address>>) {
        self.asked.send((host.to_string(), port)).unwrap();
        if self.drops {
            return;
        }
        match self.answer {
            Ok(address) if address.port() == 0 => *self.kept.lock().unwrap() = Some(answer),
            Ok(address) => drop(answer.try_success(vec![address.into()])),
            Err(kind) => drop(answer.try_failure(Error::new(kind, "scripted"))),
        }
    }
}

/// What is preset can be connected to without being named, and says so if it is missing.
///
/// Rules: G1
#[test]
fn a_recipe_may_have_its_remote_address() {
    each_way(|way| {
        let group = way.group(1);
        let (_listener, address) = listener();
        let recipe = client(&group).remote_address(address);
        for recipe in [recipe.clone(), recipe] {
            let connected = recipe.connect_preset().sync_timeout(DEADLINE).unwrap();
            assert_eq!(connected.remote_address(), Some(Address::Inet(address)));
        }
        let future = client(&group).connect_preset();
        let error = future.sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        expect_closed(future.channel());
    });
}

/// Rules: G7, A24
#[test]
fn a_resolver_of_ones_own_is_asked_on_the_loop_and_may_answer_later_or_never() {
    each_way(|way| {
        let group = way.group(1);
        let (_listener, address) = listener();
        let (asked, questions) = mpsc::channel();
        let script = |answer, drops| Scripted {
            answer,
            drops,
            asked: asked.clone(),
            kept: Arc::default(),
        };
        // At once.
        let found = client(&group)
            .resolver(script(Ok(address), false))
            .connect(("shop", 7))
            .sync_timeout(DEADLINE);
        assert_eq!(
            found.unwrap().remote_address(),
            Some(Address::Inet(address))
        );
        assert_eq!(
            questions.recv_timeout(DEADLINE).unwrap(),
            ("shop".to_owned(), 7)
        );
        // Addresses are not looked up.
        client(&group)
            .resolver(script(Err(ErrorKind::User), false))
            .connect(address)
            .sync_timeout(DEADLINE)
            .unwrap();
        // Not found, and no answer at all.
        for (script, kind) in [
            (script(Err(ErrorKind::NotFound), false), ErrorKind::NotFound),
            (script(Ok(address), true), ErrorKind::Dropped),
        ] {
            let future = client(&group).resolver(script).connect("shop:7");
            assert_eq!(future.sync_timeout(DEADLINE).unwrap_err().kind(), kind);
            expect_closed(future.channel());
            questions.recv_timeout(DEADLINE).unwrap();
        }
        // Later, from another thread; and after the channel was closed or the connect cancelled.
        let nowhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
        for spoil in [None, Some(true), Some(false)] {
            let script = script(Ok(nowhere), false);
            let future = client(&group).resolver(script.clone()).connect("shop:7");
            questions.recv_timeout(DEADLINE).unwrap();
            match spoil {
                None => {}
                Some(true) => drop(future.channel().close().sync_timeout(DEADLINE).unwrap()),
                Some(false) => assert!(future.cancel()),
            }
            // Asked on the loop, which had to put it there.
            group.next().submit(|| ()).sync_timeout(DEADLINE).unwrap();
            let answer = script.kept.lock().unwrap().take().unwrap();
            let _ = answer.try_success(vec![address.into()]);
            let connected = future.sync_timeout(DEADLINE);
            match spoil {
                None => assert!(connected.unwrap().is_active()),
                Some(true) => assert_eq!(connected.unwrap_err().kind(), ErrorKind::ChannelClosed),
                Some(false) => assert_eq!(connected.unwrap_err().kind(), ErrorKind::Cancelled),
            }
            if spoil.is_some() {
                expect_closed(future.channel());
            }
        }
        // A transport that gets a name says who would have looked it up.
        let error = client(&group)
            .disable_resolver()
            .connect("shop:7")
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("resolver"), "{error}");
    });
}

/// Connects on to somewhere else while it holds its own event.
struct Relay(Bootstrap, SocketAddr, mpsc::Sender<Result<(), ErrorKind>>);

impl Handler for Relay {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let tell = self.2.clone();
        let future = self.0.connect(self.1);
        // Waiting here would wait for oneself: that is an error at once, not a deadlock.
        let waited = future.sync().map(drop).map_err(|error| error.kind());
        let _ = tell.send(waited);
        future.add_listener(move |_, result| {
            let _ = tell.send(result.as_ref().copied().map_err(|error| error.kind()));
        });
        ctx.fire_channel_active();
        Ok(())
    }
}

/// Rules: G10
#[test]
fn connecting_from_a_loop_does_not_wait_for_it() {
    each_way(|way| {
        let group = way.group(1);
        let (_listener, address) = listener();
        let (tell, told) = mpsc::channel();
        let inner = client(&group);
        let outer = Bootstrap::new(&group)
            .handler(move |pipeline| pipeline.add_last(Relay(inner.clone(), address, tell.clone())))
            .connect(address);
        outer.sync_timeout(DEADLINE).unwrap();
        assert_eq!(
            told.recv_timeout(DEADLINE).unwrap(),
            Err(ErrorKind::Blocking)
        );
        assert_eq!(told.recv_timeout(DEADLINE).unwrap(), Ok(()));
    });
}

/// Rules: G10
#[test]
fn a_local_loop_serves_and_connects_turn_by_turn() {
    each_way(|way| {
        let local = way.local();
        let binding =
            ServerBootstrap::new(&local, &local).child_handler(|pipeline| pipeline.add_last(Echo));
        let server = local
            .block_on(binding.bind("127.0.0.1:0"))
            .unwrap()
            .unwrap();
        let (tell, told) = mpsc::channel();
        let connecting = Bootstrap::new(&local)
            .handler(move |pipeline| pipeline.add_last(Collect(tell.clone())));
        let client = local
            .block_on(connecting.connect(server.local_address().unwrap()))
            .unwrap()
            .unwrap();
        client.write_and_flush("there and back");
        let mut got = Vec::new();
        while got.len() < 14 {
            assert!(local.turn(Some(DEADLINE)));
            got.extend(told.try_iter().flatten());
        }
        assert_eq!(got, b"there and back");
        local.block_on(client.close()).unwrap().unwrap();
        local.block_on(server.close()).unwrap().unwrap();
    });
}

struct Collect(mpsc::Sender<Vec<u8>>);

impl Handler for Collect {
    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        let _ = self.0.send(msg.as_bytes().unwrap().to_vec());
        Ok(())
    }
}

/// Rules: G8, A12
#[test]
fn a_worker_that_has_ended_costs_its_clients_and_not_the_server() {
    each_way(|way| {
        let (boss, workers) = (way.group(1), way.group(1));
        let server = ServerBootstrap::new(&boss, &workers)
            .child_handler(|pipeline| pipeline.add_last(Echo))
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        workers.stop().sync_timeout(DEADLINE).unwrap();
        let address = server.local_address().unwrap().as_inet().unwrap();
        for _ in 0..3 {
            let mut client = TcpStream::connect(address).unwrap();
            client.set_read_timeout(Some(DEADLINE)).unwrap();
            assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        }
        assert!(server.is_active());
        let metrics = boss.next().metrics();
        assert_eq!((metrics.accepted, metrics.accept_refused), (3, 3));
    });
}

/// Hands connections from elsewhere to the server's pipeline.
struct Adopt;

impl Handler for Adopt {
    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        match event.downcast::<TcpStream>() {
            Ok(stream) => ctx.fire_channel_read(Message::new(Accepted::adopt(stream)?)),
            Err(event) => ctx.fire_user_event_triggered(event),
        }
        Ok(())
    }
}

#[test]
fn a_connection_from_elsewhere_becomes_a_child() {
    each_way(|way| {
        let group = way.group(1);
        let server = ServerBootstrap::new(&group, &group)
            .handler(|pipeline| pipeline.add_last(Adopt))
            .child_handler(|pipeline| pipeline.add_last(Echo))
            .child_option(TCP_NODELAY, true)
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        let (listener, address) = listener();
        let mut client = TcpStream::connect(address).unwrap();
        let (stream, _) = listener.accept().unwrap();
        server.fire_user_event_triggered(Message::new(stream));
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.write_all(b"adopted").unwrap();
        let mut answer = [0; 7];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"adopted");
    });
}

/// Rules: A20, G4
#[test]
fn a_future_cancelled_before_its_loop_saw_it_opens_nothing() {
    each_way(|way| {
        let group = way.group(1);
        let event_loop = group.next();
        let held = hold(&event_loop);
        let filled = Arc::new(AtomicBool::new(false));
        let seen = filled.clone();
        let future = Bootstrap::new(&event_loop)
            .handler(move |pipeline| {
                seen.store(true, Ordering::Relaxed);
                pipeline.add_last(Quiet)
            })
            .connect("127.0.0.1:1");
        assert!(future.cancel());
        drop(held);
        expect_closed(future.channel());
        event_loop.submit(|| ()).sync_timeout(DEADLINE).unwrap();
        assert!(!filled.load(Ordering::Relaxed));
    });
}

/// Rules: G6
#[test]
fn many_bootstraps_used_once_each_spread_over_the_loops() {
    each_way(|way| {
        let group = way.group(4);
        let (_listener, address) = listener();
        let loops: Vec<_> = group.iter().cloned().collect();
        let mut counts = [0; 4];
        for _ in 0..8 {
            let channel = client(&group)
                .option(CONNECT_TIMEOUT, DEADLINE)
                .transport::<Tcp>()
                .connect(address)
                .sync_timeout(DEADLINE)
                .unwrap();
            let at = loops
                .iter()
                .position(|each| each == channel.event_loop())
                .unwrap();
            counts[at] += 1;
        }
        assert_eq!(counts, [2; 4]);
    });
}

/// A bootstrap, and a server that listens, do not keep their group.
#[test]
fn dropping_a_group_ends_its_servers() {
    // All at once: each of them waits for its quiet period.
    let ending = RefCell::new(Vec::new());
    each_way(|way| {
        let group = way.group(1);
        let binding =
            ServerBootstrap::new(&group, &group).child_handler(|pipeline| pipeline.add_last(Quiet));
        let server = binding.bind("127.0.0.1:0").sync_timeout(DEADLINE).unwrap();
        ending
            .borrow_mut()
            .push((server, group.termination_future()));
    });
    for (server, ended) in ending.into_inner() {
        ended.sync_timeout(DEADLINE).unwrap();
        expect_closed(&server);
    }
}

/// Keeps every question, and answers none.
#[derive(Clone, Default)]
struct Silent(Arc<Mutex<Vec<TaskPromise<Vec<Address>>>>>);

impl Resolver for Silent {
    fn resolve(&self, _: &Arc<str>, _: u16, answer: TaskPromise<Vec<Address>>) {
        self.0.lock().unwrap().push(answer);
    }
}

/// As a story: a name server was silent. Closing the channel succeeded, and so did ending the loop, but whoever waited for
/// the connect waited on.
///
/// Rules: G7
#[test]
fn a_close_during_a_look_up_ends_the_connect_or_bind_as_well() {
    each_way(|way| {
        let group = way.group(1);
        let silent = Silent::default();
        let connecting = client(&group).resolver(silent.clone()).connect("shop:7");
        let closing = connecting.channel().close();
        closing.sync_timeout(DEADLINE).unwrap();
        let error = connecting.sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ChannelClosed);

        let connecting = client(&group).resolver(silent.clone()).connect("shop:7");
        let binding = ServerBootstrap::new(&group, &group)
            .child_handler(|pipeline| pipeline.add_last(Quiet))
            .resolver(silent.clone())
            .bind("shop:7");
        // They have come to their loop.
        group.next().submit(|| ()).sync_timeout(DEADLINE).unwrap();
        group.stop();
        for waiting in [connecting, binding] {
            assert!(waiting.sync_timeout(DEADLINE).is_err());
            assert!(waiting.is_done(), "and not only late");
        }
        assert_eq!(silent.0.lock().unwrap().len(), 3, "all were asked");
    });
}
