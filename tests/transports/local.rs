//! What only channels inside a process have: messages of any type, names, a bound on what waits, and two loops that may
//! end without each other (rule H59, and the walks in the head of `tidegate::transport::local`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::bootstrap::{Bootstrap, ServerBootstrap};
use tidegate::buffer::{Bytes, FileRegion, Message};
use tidegate::channel::options::{
    ALLOW_HALF_CLOSURE, AUTO_READ, SO_BACKLOG, SO_RCVBUF, TCP_NODELAY,
};
use tidegate::channel::{Address, Channel, Context, Handler, HandlerResult};
use tidegate::error::{Error, ErrorKind, Failure, Fault};
use tidegate::event_loop::{EventLoopGroup, LocalEventLoop};
use tidegate::transport::local::{Accepted, Local, LocalAddress};

use crate::probe::{DEADLINE, Echo, Probe, Seen, next, until, wait_for};
use crate::ways::{Way, each_way_with};

/// On one loop, and between two groups.
fn with_loops(test: impl Fn(&EventLoopGroup, &EventLoopGroup)) {
    each_way_with(Way::is_default_backend, |way| {
        let (one, other) = (way.group(1), way.group(1));
        test(&one, &one);
        test(&one, &other);
    });
}

/// The last handler of a channel: tells the test of the channel, and gives it the messages and the errors.
#[derive(Clone)]
struct Ear {
    channel: Sender<Channel>,
    heard: Sender<Result<Message, Error>>,
}

/// The test's side of an [`Ear`].
struct Told {
    channel: Receiver<Channel>,
    heard: Receiver<Result<Message, Error>>,
}

impl Ear {
    fn new() -> (Self, Told) {
        let ((channel, channels), (heard, messages)) = (mpsc::channel(), mpsc::channel());
        let told = Told {
            channel: channels,
            heard: messages,
        };
        (Self { channel, heard }, told)
    }
}

impl Told {
    fn channel(&self) -> Channel {
        self.channel.recv_timeout(DEADLINE).expect("a channel")
    }

    fn next(&self) -> Result<Message, Error> {
        self.heard
            .recv_timeout(DEADLINE)
            .expect("something to hear")
    }

    fn message(&self) -> Message {
        self.next().expect("a message")
    }
}

impl Handler for Ear {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let _ = self.channel.send(ctx.channel());
        Ok(())
    }

    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        let _ = self.heard.send(Ok(msg));
        Ok(())
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, cause: Failure) -> HandlerResult {
        let _ = self.heard.send(Err(cause.into_error()));
        Ok(())
    }
}

/// A server whose children have an [`Ear`].
fn hearing(group: &EventLoopGroup) -> (ServerBootstrap<Local>, Told) {
    let (ear, told) = Ear::new();
    let recipe = ServerBootstrap::new(group, group)
        .transport::<Local>()
        .child_handler(move |pipeline| pipeline.add_last(ear.clone()));
    (recipe, told)
}

/// A client without handlers.
fn plain(group: &EventLoopGroup) -> Bootstrap<Local> {
    Bootstrap::new(group)
        .transport::<Local>()
        .handler(|_| Ok::<(), Error>(()))
}

fn bind(recipe: &ServerBootstrap<Local>) -> Channel {
    let bound = recipe.bind(LocalAddress::unique());
    bound.sync_timeout(DEADLINE).expect("a free name")
}

fn address(channel: &Channel) -> Address {
    channel.local_address().expect("it has one")
}

fn connect(recipe: &Bootstrap<Local>, server: &Channel) -> Channel {
    let connected = recipe.connect(address(server));
    connected.sync_timeout(DEADLINE).expect("connected")
}

/// Rules: H59
#[test]
fn messages_of_any_type_cross_as_they_are_and_bytes_are_not_copied() {
    #[derive(Debug, PartialEq)]
    struct Order(u64, String);

    with_loops(|one, other| {
        let (recipe, told) = hearing(one);
        let server = bind(&recipe);
        let client = connect(&plain(other), &server);
        let bytes = Bytes::from(vec![7; 100_000]);
        let place = bytes.as_ptr();
        client.write(Message::new(Order(5, "five".into())));
        client.write(bytes);
        client.write(Bytes::new());
        client.write(FileRegion::lazy("/nonexistent/file", 3, 4));
        let last = client.write_and_flush(Message::new(9_u8));
        last.sync_timeout(DEADLINE).unwrap();
        assert_eq!(
            told.message().downcast::<Order>().unwrap(),
            Order(5, "five".into())
        );
        assert_eq!(told.message().downcast::<Bytes>().unwrap().as_ptr(), place);
        assert!(told.message().downcast::<Bytes>().unwrap().is_empty());
        assert_eq!(
            told.message().downcast::<FileRegion>().unwrap().remaining(),
            4
        );
        assert_eq!(told.message().downcast::<u8>().unwrap(), 9);
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: H59
#[test]
fn a_name_has_one_holder_and_is_free_before_the_close_future_is_done() {
    with_loops(|one, other| {
        let (recipe, _told) = hearing(one);
        let server = bind(&recipe);
        let name = address(&server);
        let refused = recipe
            .bind(name.clone())
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
        assert!(refused.to_string().contains(&name.to_string()), "{refused}");
        // A client's own name is one as well.
        let refused = plain(other)
            .local_address(name.clone())
            .connect(name.clone());
        let refused = refused.sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);

        let (tell, told) = mpsc::channel();
        server.close_future().add_listener(move |_, _| {
            let _ = tell.send(recipe.bind(name.clone()));
        });
        server.close();
        let again = told.recv_timeout(DEADLINE).unwrap();
        let again = again.sync_timeout(DEADLINE).expect("the name is free");
        again.close().sync_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn a_name_can_not_be_shared_by_shards() {
    let group = EventLoopGroup::new(2).unwrap();
    let (recipe, _told) = hearing(&group);
    let refused = recipe.shards(2).bind(LocalAddress::unique());
    let refused = refused.sync_timeout(DEADLINE).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(refused.to_string().contains("SO_REUSEPORT"), "{refused}");
}

/// Rules: A23, A24, H59
#[test]
fn both_sides_know_both_names_and_a_client_may_choose_its_own() {
    with_loops(|one, other| {
        let (recipe, told) = hearing(one);
        let server = bind(&recipe);
        let anonymous = connect(&plain(other), &server);
        let child = told.channel();
        assert_eq!(child.local_address(), server.local_address());
        assert_eq!(child.remote_address(), anonymous.local_address());
        assert_eq!(anonymous.remote_address(), server.local_address());
        let second = connect(&plain(other), &server);
        assert_ne!(anonymous.local_address(), second.local_address());
        told.channel();

        let own = LocalAddress::unique();
        let named = connect(&plain(other).local_address(own.clone()), &server);
        assert_eq!(told.channel().remote_address(), Some(Address::from(&own)));
        let taken = plain(other)
            .local_address(own.clone())
            .connect(address(&server));
        let taken = taken.sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        // Nobody can connect to a client.
        let refused = plain(other).connect(own.clone()).sync_timeout(DEADLINE);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectRefused);
        named.close().sync_timeout(DEADLINE).unwrap();
        assert_eq!(
            named.local_address(),
            Some(Address::from(&own)),
            "still known"
        );
        connect(&plain(other).local_address(own), &server);

        let inet = Address::from("127.0.0.1:80");
        let foreign = plain(other).connect(inet).sync_timeout(DEADLINE);
        assert_eq!(foreign.unwrap_err().kind(), ErrorKind::InvalidArgument);
        let foreign = plain(other)
            .option(TCP_NODELAY, true)
            .connect(address(&server));
        let foreign = foreign.sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(foreign.kind(), ErrorKind::Unsupported);
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Lets in who has a name that begins with an f.
struct Doorman;

impl Handler for Doorman {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let accepted = msg.downcast_ref::<Accepted>().expect("a connection");
        if accepted
            .peer()
            .is_some_and(|peer| peer.name().starts_with('f'))
        {
            ctx.fire_channel_read(msg);
        }
        Ok(())
    }
}

/// Rules: G8
#[test]
fn a_handler_of_the_server_sees_who_comes() {
    with_loops(|one, other| {
        let (recipe, told) = hearing(one);
        let server = bind(&recipe.handler(|pipeline| pipeline.add_last(Doorman)));
        let names = [
            LocalAddress::unique(),
            LocalAddress::new(format!("f{}", LocalAddress::unique())),
        ];
        let [turned_away, let_in] =
            names.map(|name| connect(&plain(other).local_address(name), &server));
        turned_away.close_future().sync_timeout(DEADLINE).unwrap();
        assert_eq!(told.channel().remote_address(), let_in.local_address());
        assert!(let_in.is_active());
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// What the reader holds is counted by hand: half of SO_RCVBUF takes two messages of 1,000 bytes (and 96 each) in the queue,
/// and once the reader has begun, two more.
///
/// Rules: C9, C11
#[test]
fn a_reader_that_stops_holds_no_more_than_its_buffer() {
    with_loops(|one, other| {
        let (recipe, told) = hearing(one);
        let recipe = recipe
            .child_option(AUTO_READ, false)
            .child_option(SO_RCVBUF, 4096);
        let server = bind(&recipe);
        let client = connect(&plain(other), &server);
        let child = told.channel();
        let writes: Vec<_> = (0..100_u8)
            .map(|n| client.write_future(vec![n; 1000]))
            .collect();
        client.flush();
        let pass = || {
            for channel in [&client, &child, &client, &child] {
                let turn = channel.event_loop().submit(|| ());
                turn.sync_timeout(DEADLINE).unwrap();
            }
        };
        let taken = || {
            pass();
            writes.iter().filter(|write| write.is_done()).count()
        };
        // The child's option is set on its loop, and the first write may have been before: then it has the default.
        assert!(taken() <= 2, "{}", taken());
        child.read();
        assert_eq!(told.message().readable_bytes(), Some(1000));
        until("two in hand, two behind", || taken() == 4);
        child.read();
        told.message();
        until("the hand is full again", || taken() == 6);
        assert!(told.heard.try_recv().is_err());
        assert!(!client.is_writable(), "the rest is over the writer's marks");
        child.set_auto_read(true);
        for n in 2..100 {
            assert_eq!(told.message().as_bytes().unwrap()[0], n);
        }
        for write in &writes {
            write.sync_timeout(DEADLINE).unwrap();
        }
        until("writable again", || client.is_writable());
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// As a kernel has it: who stands in the backlog is connected, who comes behind it waits.
///
/// Rules: A14, A21
#[test]
fn a_full_backlog_lets_clients_in_one_after_the_other() {
    with_loops(|one, other| {
        let (recipe, told) = hearing(one);
        let server = bind(&recipe.option(AUTO_READ, false).option(SO_BACKLOG, 1));
        let first = connect(&plain(other), &server);
        let [second, third, fourth] = [(); 3].map(|()| plain(other).connect(address(&server)));
        until("they wait", || second.channel().is_registered());
        third.channel().close().sync_timeout(DEADLINE).unwrap();
        assert_eq!(
            third.sync_timeout(DEADLINE).unwrap_err().kind(),
            ErrorKind::ChannelClosed
        );
        assert!(!second.is_done() && !fourth.is_done());
        server.read();
        assert_eq!(told.channel().remote_address(), first.local_address());
        let second = second.sync_timeout(DEADLINE).unwrap();
        assert!(!fourth.is_done());
        server
            .set_option(SO_BACKLOG, 2)
            .sync_timeout(DEADLINE)
            .unwrap();
        let fourth = fourth.sync_timeout(DEADLINE).unwrap();
        for client in [&second, &fourth] {
            server.read();
            assert_eq!(told.channel().remote_address(), client.local_address());
        }
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn a_server_that_closes_resets_who_was_in_its_backlog_and_refuses_who_was_not() {
    with_loops(|one, other| {
        let (recipe, _told) = hearing(one);
        let server = bind(&recipe.option(AUTO_READ, false).option(SO_BACKLOG, 1));
        let (ear, told) = Ear::new();
        let recipe = Bootstrap::new(other)
            .transport::<Local>()
            .handler(move |pipeline| pipeline.add_last(ear.clone()));
        let first = connect(&recipe, &server);
        let second = recipe.connect(address(&server));
        until("it waits", || second.channel().is_registered());
        server.close().sync_timeout(DEADLINE).unwrap();
        assert_eq!(told.next().unwrap_err().kind(), ErrorKind::ConnectionReset);
        first.close_future().sync_timeout(DEADLINE).unwrap();
        let refused = second.sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectRefused);
    });
}

/// Connects to a server of its own loop, and says when it has returned.
struct ConnectsInside {
    server: Address,
    group: EventLoopGroup,
    has_returned: Arc<AtomicBool>,
}

impl Handler for ConnectsInside {
    fn channel_active(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.has_returned.store(false, Ordering::SeqCst);
        let client = plain(&self.group).connect(self.server.clone());
        client.add_listener(|client, _| {
            client.write_and_flush("from inside");
        });
        self.has_returned.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// Notes whether it is called on the stack of another handler.
struct NeverInside(Arc<AtomicBool>, Sender<bool>);

impl Handler for NeverInside {
    fn channel_read(&mut self, _: &mut Context<'_>, _: Message) -> HandlerResult {
        let _ = self.1.send(self.0.load(Ordering::SeqCst));
        Ok(())
    }
}

/// Rules: H59
#[test]
fn a_handler_may_connect_to_a_server_of_its_own_loop() {
    let group = EventLoopGroup::new(1).unwrap();
    let has_returned = Arc::new(AtomicBool::new(false));
    let (tell, told) = mpsc::channel();
    let flag = has_returned.clone();
    let server = ServerBootstrap::new(&group, &group)
        .transport::<Local>()
        .child_handler(move |pipeline| pipeline.add_last(NeverInside(flag.clone(), tell.clone())));
    let server = bind(&server);
    let to = address(&server);
    let recipe = ServerBootstrap::new(&group, &group)
        .transport::<Local>()
        .child_handler({
            let group = group.clone();
            move |pipeline| {
                pipeline.add_last(ConnectsInside {
                    server: to.clone(),
                    group: group.clone(),
                    has_returned: has_returned.clone(),
                })
            }
        });
    connect(&plain(&group), &bind(&recipe));
    assert!(
        told.recv_timeout(DEADLINE).unwrap(),
        "the handler had returned"
    );
}

/// Writes to a peer of the same loop and checks that nothing of the peer ran meanwhile.
struct WritesToNeighbour {
    neighbour: Arc<Mutex<Option<Channel>>>,
    is_inside: Arc<AtomicBool>,
}

impl Handler for WritesToNeighbour {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.is_inside.store(true, Ordering::SeqCst);
        ctx.write_and_flush(msg);
        let neighbour = self.neighbour.lock().unwrap().clone();
        if let Some(neighbour) = neighbour {
            neighbour.close();
        }
        self.is_inside.store(false, Ordering::SeqCst);
        Ok(())
    }
}

struct NotInside {
    is_inside: Arc<AtomicBool>,
    tell: Sender<&'static str>,
}

impl NotInside {
    fn say(&self, what: &'static str) -> HandlerResult {
        assert!(
            !self.is_inside.load(Ordering::SeqCst),
            "{what} on another's stack"
        );
        let _ = self.tell.send(what);
        Ok(())
    }
}

impl Handler for NotInside {
    fn channel_read(&mut self, _: &mut Context<'_>, _: Message) -> HandlerResult {
        self.say("read")
    }

    fn channel_inactive(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.say("inactive")
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, _: Failure) -> HandlerResult {
        self.say("error")
    }
}

/// Rules: H59
#[test]
fn nothing_of_the_peer_runs_inside_a_write_or_a_close() {
    let group = EventLoopGroup::new(1).unwrap();
    let neighbour: Arc<Mutex<Option<Channel>>> = Arc::default();
    let is_inside = Arc::new(AtomicBool::new(false));
    let (child, flag) = (neighbour.clone(), is_inside.clone());
    let recipe = ServerBootstrap::new(&group, &group)
        .transport::<Local>()
        .child_handler(move |pipeline| {
            *child.lock().unwrap() = Some(pipeline.channel());
            pipeline.add_last(WritesToNeighbour {
                neighbour: child.clone(),
                is_inside: flag.clone(),
            })
        });
    let server = bind(&recipe);
    let (tell, told) = mpsc::channel();
    let recipe = Bootstrap::new(&group)
        .transport::<Local>()
        .handler(move |pipeline| {
            pipeline.add_last(NotInside {
                is_inside: is_inside.clone(),
                tell: tell.clone(),
            })
        });
    let client = connect(&recipe, &server);
    client.write_and_flush("there and back");
    for expected in ["read", "inactive"] {
        assert_eq!(told.recv_timeout(DEADLINE).unwrap(), expected);
    }
}

/// What the peer had sent is read before the error of a write to it, whether reading is wanted or not.
///
/// Rules: A38, H59
#[test]
fn a_write_to_a_peer_that_has_closed_fails_behind_what_the_peer_had_sent() {
    with_loops(|one, other| {
        let (recipe, told) = hearing(one);
        let server = bind(&recipe);
        let (ear, heard) = Ear::new();
        let recipe = Bootstrap::new(other)
            .transport::<Local>()
            .option(AUTO_READ, false)
            .handler(move |pipeline| pipeline.add_last(ear.clone()));
        let client = connect(&recipe, &server);
        let child = told.channel();
        for n in 0..40_u32 {
            child.write(Message::new(n));
        }
        child
            .write_and_flush("last")
            .sync_timeout(DEADLINE)
            .unwrap();
        child.close().sync_timeout(DEADLINE).unwrap();
        let late = client.write_and_flush("late");
        for n in 0..40_u32 {
            assert_eq!(heard.message().downcast::<u32>().unwrap(), n);
        }
        assert_eq!(heard.message().as_bytes(), Some(&b"last"[..]));
        let error = heard.next().unwrap_err();
        assert_eq!(
            (error.kind(), error.fault()),
            (ErrorKind::ChannelClosed, Fault::Peer)
        );
        assert_eq!(
            late.sync_timeout(DEADLINE).unwrap_err().kind(),
            ErrorKind::ChannelClosed
        );
        client.close_future().sync_timeout(DEADLINE).unwrap();
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: A36, H59
#[test]
fn a_write_to_a_peer_that_has_closed_fails_as_closed_when_all_was_read() {
    with_loops(|one, other| {
        let (recipe, told) = hearing(one);
        let server = bind(&recipe);
        let (tell, seen) = Probe::channel();
        let recipe = Bootstrap::new(other)
            .transport::<Local>()
            .option(ALLOW_HALF_CLOSURE, true)
            .handler(move |pipeline| pipeline.add_last(Probe(tell.clone())));
        let client = connect(&recipe, &server);
        told.channel().close().sync_timeout(DEADLINE).unwrap();
        wait_for(&seen, &Seen::Event("ChannelInputShutdownReadComplete"));
        assert!(client.is_active());
        let error = client
            .write_and_flush("late")
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ChannelClosed);
        assert_eq!(next(&seen), Seen::Inactive);
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: A40
#[test]
fn a_reset_reaches_a_channel_whose_input_has_ended() {
    with_loops(|one, other| {
        let (recipe, told) = hearing(one);
        let server = bind(
            &recipe
                .child_option(AUTO_READ, false)
                .child_option(ALLOW_HALF_CLOSURE, true),
        );
        let (tell, seen) = Probe::channel();
        let recipe = Bootstrap::new(other)
            .transport::<Local>()
            .option(ALLOW_HALF_CLOSURE, true)
            .handler(move |pipeline| pipeline.add_last(Probe(tell.clone())));
        let client = connect(&recipe, &server);
        let child = told.channel();
        child.shutdown_output().sync_timeout(DEADLINE).unwrap();
        wait_for(&seen, &Seen::Event("ChannelInputShutdownReadComplete"));
        client
            .write_and_flush("unread")
            .sync_timeout(DEADLINE)
            .unwrap();
        child.close().sync_timeout(DEADLINE).unwrap();
        assert!(matches!(next(&seen), Seen::Error(_)));
        assert_eq!(next(&seen), Seen::Inactive);
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: A45
#[test]
fn when_one_loop_ends_the_other_side_hears_and_every_write_is_settled() {
    each_way_with(Way::is_default_backend, |way| {
        let (one, other) = (way.group(1), way.group(1));
        let (recipe, told) = hearing(&one);
        let server = bind(&recipe.child_option(AUTO_READ, false));
        let name = address(&server);
        let client = connect(&plain(&other), &server);
        told.channel();
        let writes: Vec<_> = (0..200)
            .map(|_| client.write_and_flush(vec![1_u8; 4096]))
            .collect();
        // All have arrived at the client's buffer, and the reader has what it takes.
        let turn = client.event_loop().submit(|| ());
        turn.sync_timeout(DEADLINE).unwrap();
        assert!(writes[0].is_done() && !client.is_writable());
        one.stop();
        client.close_future().sync_timeout(DEADLINE).unwrap();
        let results = writes.iter().map(|write| write.sync_timeout(DEADLINE));
        let kinds: Vec<_> = results
            .map(|result| result.err().map(|error| error.kind()))
            .collect();
        let done = kinds.iter().take_while(|kind| kind.is_none()).count();
        assert!(done < 200);
        assert!(
            kinds[done..]
                .iter()
                .all(|kind| *kind == Some(ErrorKind::ConnectionReset)),
            "{kinds:?}"
        );
        let refused = plain(&other)
            .connect(name)
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectRefused);
        assert!(one.await_termination(DEADLINE).unwrap());
    });
}

/// Rules: A45
#[test]
fn both_loops_may_end_at_once() {
    each_way_with(Way::is_default_backend, |way| {
        let (one, other) = (way.group(1), way.group(1));
        let recipe = ServerBootstrap::new(&one, &one)
            .transport::<Local>()
            .child_handler(|pipeline| pipeline.add_last(Echo));
        let server = bind(&recipe);
        let clients: Vec<_> = (0..20).map(|_| connect(&plain(&other), &server)).collect();
        let writes: Vec<_> = (0..1000)
            .map(|n| clients[n % 20].write_and_flush(vec![2_u8; 1000]))
            .collect();
        one.stop();
        other.stop();
        for group in [&one, &other] {
            assert!(group.await_termination(DEADLINE).unwrap());
        }
        for write in writes {
            // Sent or failed, but settled.
            let _ = write.sync_timeout(DEADLINE);
            assert!(write.is_done());
        }
        for client in clients {
            client.close_future().sync_timeout(DEADLINE).unwrap();
        }
    });
}

/// Counts its drops, and panics in them.
struct Bomb(Sender<()>);

impl Drop for Bomb {
    fn drop(&mut self) {
        let _ = self.0.send(());
        panic!("the drop of a message panics");
    }
}

#[test]
fn unread_messages_that_panic_when_dropped_do_not_keep_the_channel() {
    with_loops(|one, other| {
        let (recipe, told) = hearing(one);
        let server = bind(&recipe.child_option(AUTO_READ, false));
        let client = connect(&plain(other), &server);
        let child = told.channel();
        let (tell, dropped) = mpsc::channel();
        for _ in 0..3 {
            let bomb = client.write_and_flush(Message::new(Bomb(tell.clone())));
            bomb.sync_timeout(DEADLINE).unwrap();
        }
        child.close().sync_timeout(DEADLINE).unwrap();
        for _ in 0..3 {
            dropped.recv_timeout(DEADLINE).unwrap();
        }
        client.close_future().sync_timeout(DEADLINE).unwrap();
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// No thread but the test's: each loop gets its turns here.
#[test]
fn two_loops_of_one_thread_talk_turn_by_turn() {
    let (one, other) = (
        LocalEventLoop::new().unwrap(),
        LocalEventLoop::new().unwrap(),
    );
    let (tell, seen) = Probe::channel();
    let recipe = ServerBootstrap::new(&one, &one)
        .transport::<Local>()
        .child_handler(|pipeline| pipeline.add_last(Echo));
    let bound = recipe.bind(LocalAddress::unique());
    let turns = |until: &dyn Fn() -> bool| {
        for _ in 0..1000 {
            if until() {
                return;
            }
            one.turn(Some(Duration::ZERO));
            other.turn(Some(Duration::ZERO));
        }
        panic!("it takes more than 1,000 turns");
    };
    turns(&|| bound.is_done());
    let client = Bootstrap::new(&other)
        .transport::<Local>()
        .handler(move |pipeline| pipeline.add_last(Probe(tell.clone())))
        .connect(address(bound.channel()));
    turns(&|| client.is_success());
    let written = client.channel().write_and_flush("hello");
    turns(&|| written.is_success());
    let mut got = Vec::new();
    while got != b"hello" {
        turns(&|| true);
        one.turn(Some(Duration::ZERO));
        other.turn(Some(Duration::ZERO));
        for seen in seen.try_iter() {
            if let Seen::Read(bytes) = seen {
                got.extend(bytes);
            }
        }
    }
    let closed = client.channel().close();
    turns(&|| closed.is_success());
    let closed = bound.channel().close();
    turns(&|| closed.is_success());
}

/// Signals are not refused when the reader's queue of tasks is.
#[test]
fn a_full_queue_of_tasks_loses_no_signal() {
    let one = EventLoopGroup::builder()
        .threads(1)
        .max_pending_tasks(16)
        .build()
        .unwrap();
    let other = EventLoopGroup::new(1).unwrap();
    let (recipe, told) = hearing(&one);
    let server = bind(&recipe);
    let client = connect(&plain(&other), &server);
    let child = told.channel();
    for round in 0..20_u32 {
        // Nobody gets anything into the queue while the loop is held.
        let (hold, held) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        // What has filled the queue in the round before may stand there still.
        let waiting = || child.event_loop().metrics().tasks_waiting;
        until("the queue has room", || waiting() == 0);
        let holds = child.event_loop().execute(move || {
            let _ = begun.send(());
            let _ = held.recv();
        });
        holds.expect("room");
        begins.recv_timeout(DEADLINE).unwrap();
        while child.event_loop().execute(|| ()).is_ok() {}
        client
            .write_and_flush(Message::new(round))
            .sync_timeout(DEADLINE)
            .unwrap();
        drop(hold);
        assert_eq!(told.message().downcast::<u32>().unwrap(), round);
    }
    server.close().sync_timeout(DEADLINE).unwrap();
}
