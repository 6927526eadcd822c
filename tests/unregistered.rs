//! Operations on a channel that is not registered yet, from its own loop and from elsewhere: they wait for the registration,
//! in order, and somebody hears of each (rules G2 to G4). A channel that nobody could close would stay for ever.

use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use tidegate::channel::options::{AUTO_READ, SO_RCVBUF, TCP_NODELAY};
use tidegate::channel::{
    Address, DrainTimes, Flush, Io, Metadata, OutboundBuffer, Progress, Read, Transport,
};
use tidegate::event_loop::LocalEventLoop;
use tidegate::{
    Bootstrap, Channel, ChannelFuture, ChannelGroup, Context, Error, ErrorKind, EventLoop,
    EventLoopGroup, Handler, HandlerResult, Message, Pipeline, Promise, ServerBootstrap,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// Tells the test of user events, of writes that pass and of writability.
struct Teller(Sender<String>);

impl Handler for Teller {
    fn user_event_triggered(&mut self, _: &mut Context<'_>, event: Message) -> HandlerResult {
        let _ = self
            .0
            .send(format!("event {:?}", event.downcast_ref::<u8>()));
        Ok(())
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        let _ = self.0.send(format!("write {}", msg.estimated_size()));
        ctx.write_with(msg, promise);
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let _ = self.0.send(format!("writable {}", ctx.is_writable()));
        Ok(())
    }
}

/// Connected from the start; what is flushed is gone.
struct Sink;

impl Transport for Sink {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: "sink",
            has_disconnect: false,
            max_messages_per_read: 1,
            is_server: false,
        }
    }

    fn is_active(&self) -> bool {
        true
    }

    fn accepts(&self, _: &Message) -> bool {
        true
    }

    fn read(&mut self, _: &mut Io<'_>) -> Result<Read, Error> {
        Ok(Read::WouldBlock)
    }

    fn flush(&mut self, _: &mut Io<'_>, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        while out.flushed_len() > 0 {
            let _ = out.complete_front();
        }
        Ok(Flush::Drained)
    }

    fn close(&mut self, _: &mut Io<'_>) -> Result<Progress, Error> {
        Ok(Progress::Done)
    }
}

/// Runs `body` in the loop's turn and gives what it returns.
fn on<T: Send + 'static>(event_loop: &EventLoop, body: impl FnOnce() -> T + Send + 'static) -> T {
    let result = event_loop.submit(body).sync_timeout(DEADLINE);
    result.expect("the loop runs it")
}

/// Holds a loop until the sender is dropped.
fn hold(event_loop: &EventLoop) -> Sender<()> {
    let (go, wait) = mpsc::channel();
    let held = event_loop.execute(move || _ = wait.recv_timeout(DEADLINE));
    held.expect("the loop takes it");
    go
}

fn outcome<T>(result: Result<T, Error>) -> Result<(), ErrorKind> {
    result.map(drop).map_err(|error| error.kind())
}

fn next(told: &Receiver<String>) -> String {
    told.recv_timeout(DEADLINE).expect("the handler tells")
}

fn address(listener: &TcpListener) -> std::net::SocketAddr {
    listener.local_addr().expect("an address")
}

/// What is done with a channel, and what comes of it.
type Asked = Box<dyn FnOnce() -> String + Send>;
type Ask = fn(&Channel) -> Asked;

fn told(future: ChannelFuture) -> Asked {
    Box::new(move || format!("{:?}", outcome(future.sync_timeout(DEADLINE))))
}

/// Rules: G3
///
/// As a story: a proxy's client went away while the connection to the server was being opened. The close that this brought
/// failed, because the channel was not registered yet, and the connection was there for ever.
#[test]
fn a_close_on_the_loop_before_the_registration_closes_the_channel() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = address(&listener);
    let group = EventLoopGroup::new(1).unwrap();
    let event_loop = group.next();
    let (connecting, closing) = on(&event_loop.clone(), move || {
        let connecting = Bootstrap::new(&event_loop)
            .handler(|_| Ok::<_, Error>(()))
            .connect(to);
        let closing = connecting.channel().close();
        (connecting, closing)
    });
    let channel = closing.sync_timeout(DEADLINE).expect("it closes");
    assert!(!channel.is_open());
    assert!(channel.close_future().sync_timeout(DEADLINE).is_ok());
    let connected = outcome(connecting.sync_timeout(DEADLINE));
    assert_eq!(connected, Err(ErrorKind::ChannelClosed));
    on(channel.event_loop(), || ());
    assert_eq!(group.metrics().channels, 0);
}

/// Rules: G3
#[test]
fn what_is_asked_before_the_registration_has_one_outcome_from_everywhere() {
    // Where two outcomes are possible it depends on whether the connection is there in the same moment.
    let asks: [(&str, Ask, &str); 10] = [
        ("close", |channel| told(channel.close()), "Ok(())"),
        ("disconnect", |channel| told(channel.disconnect()), "Ok(())"),
        (
            "a flush before the connection",
            |channel| told(channel.write_and_flush("x")),
            "Err(NotYetConnected) | Ok(())",
        ),
        (
            "the end of the output",
            |channel| told(channel.shutdown_output()),
            "Err(NotYetConnected) | Ok(())",
        ),
        (
            "a group's close",
            |channel| {
                let group = ChannelGroup::new("all");
                group.add(channel);
                let closing = group.close();
                Box::new(move || format!("{:?}", outcome(closing.sync_timeout(DEADLINE))))
            },
            "Ok(())",
        ),
        (
            "auto-read",
            |channel| {
                channel.set_auto_read(false);
                let channel = channel.clone();
                Box::new(move || format!("{:?}", channel.option(AUTO_READ).sync()))
            },
            "Ok(false)",
        ),
        (
            "an option",
            |channel| {
                let set = channel.set_option(TCP_NODELAY, false);
                let asked = channel.option(TCP_NODELAY);
                Box::new(move || format!("{:?} {:?}", outcome(set.sync()), asked.sync()))
            },
            "Ok(()) Ok(false)",
        ),
        (
            "an option that can't be",
            |channel| {
                let set = channel.set_option(SO_RCVBUF, -1);
                Box::new(move || format!("{:?}", outcome(set.sync())))
            },
            "Err(InvalidArgument)",
        ),
        (
            "a look at the pipeline",
            |channel| {
                let names = channel.edit(|pipeline| pipeline.names().len());
                Box::new(move || format!("{:?}", names.sync().ok()))
            },
            "Some(1)",
        ),
        (
            "a drain",
            |channel| {
                let times = DrainTimes::within(DEADLINE);
                let drained = channel.drain(times.silence(Duration::from_millis(20)));
                let channel = channel.clone();
                Box::new(move || {
                    let report = drained.sync_timeout(DEADLINE).expect("a report");
                    format!("{} {}", report.channels, channel.is_open())
                })
            },
            "1 false",
        ),
    ];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = address(&listener);
    for (name, ask, expected) in asks {
        for is_here in [true, false] {
            let group = EventLoopGroup::new(1).unwrap();
            let event_loop = group.next();
            let ends = event_loop.clone();
            let open = move || {
                let (events, _) = mpsc::channel();
                let connecting = Bootstrap::new(&event_loop)
                    .handler(move |pipeline| pipeline.add_last(Teller(events.clone())))
                    .connect(to);
                let asked = ask(connecting.channel());
                (connecting, asked)
            };
            let (connecting, asked) = if is_here {
                on(&ends, open)
            } else {
                let held = hold(&ends);
                let opened = open();
                drop(held);
                opened
            };
            let _ = connecting.sync_timeout(DEADLINE);
            let outcome = asked();
            assert!(
                expected.split(" | ").any(|each| outcome == each),
                "{name}, on the loop: {is_here}: {outcome}"
            );
        }
    }
}

/// Rules: G2
#[test]
fn a_server_that_is_closed_before_its_registration_listens_no_more() {
    let group = EventLoopGroup::new(1).unwrap();
    let event_loop = group.next();
    let (binding, closing) = on(&event_loop.clone(), move || {
        let binding = ServerBootstrap::new(&event_loop, &event_loop)
            .child_handler(|_| Ok::<_, Error>(()))
            .bind("127.0.0.1:0");
        let closing = binding.channel().close();
        (binding, closing)
    });
    let server = closing.sync_timeout(DEADLINE).expect("it closes");
    assert!(binding.is_done());
    if let Some(Address::Inet(local)) = server.local_address() {
        assert!(TcpStream::connect(local).is_err());
    }
}

/// Rules: G3, B4
#[test]
fn events_and_writes_before_the_registration_find_the_handlers_and_keep_their_order() {
    let group = EventLoopGroup::new(1).unwrap();
    let (tell, told) = mpsc::channel();
    let opened = on(&group.next(), move || {
        let fill = move |pipeline: &mut Pipeline<'_>| pipeline.add_last(Teller(tell));
        let opened = Channel::builder().open(Sink, fill).expect("in a turn");
        let channel = opened.channel();
        assert!(!channel.is_registered());
        channel.fire_user_event_triggered(Message::new(1_u8));
        channel.write("a");
        channel.fire_user_event_triggered(Message::new(2_u8));
        let sent = channel.write_and_flush("bb");
        channel.fire_user_event_triggered(Message::new(3_u8));
        sent
    });
    opened.sync_timeout(DEADLINE).expect("it is sent");
    let expected = [
        "event Some(1)",
        "write 1",
        "event Some(2)",
        "write 2",
        "event Some(3)",
    ];
    for expected in expected {
        assert_eq!(next(&told), expected);
    }
}

/// Rules: C5, C6
#[test]
fn writes_before_the_registration_count_for_writability() {
    let group = EventLoopGroup::new(1).unwrap();
    let (tell, told) = mpsc::channel();
    on(&group.next(), move || {
        let fill = move |pipeline: &mut Pipeline<'_>| pipeline.add_last(Teller(tell));
        let opened = Channel::builder().open(Sink, fill).expect("in a turn");
        let channel = opened.channel();
        channel.write(vec![0; 100_000]);
        assert!(!channel.is_writable());
        channel.flush();
    });
    assert!(next(&told).starts_with("write"));
    loop {
        if next(&told) == "writable true" {
            break;
        }
    }
}

/// Tasks of the loop itself and tasks of other threads come in turn: the second kind may overtake the opening of a channel.
///
/// Rules: G3
#[test]
fn a_call_that_overtakes_the_registration_in_another_queue_waits_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = address(&listener);
    let group = EventLoopGroup::new(1).unwrap();
    let event_loop = group.next();
    let (give, given) = mpsc::channel::<Channel>();
    let (done, wait) = mpsc::channel::<()>();
    let here = event_loop.clone();
    event_loop
        .execute(move || {
            for _ in 0..200 {
                here.execute(|| ()).unwrap();
            }
            let connecting = Bootstrap::new(&here)
                .handler(|_| Ok::<_, Error>(()))
                .connect(to);
            give.send(connecting.channel().clone()).unwrap();
            let _ = wait.recv_timeout(DEADLINE);
        })
        .unwrap();
    let channel = given.recv_timeout(DEADLINE).unwrap();
    let closing = channel.close();
    drop(done);
    assert!(closing.sync_timeout(DEADLINE).is_ok());
    assert!(channel.close_future().sync_timeout(DEADLINE).is_ok());
}

/// Rules: G4
#[test]
fn what_waits_for_a_registration_that_is_cancelled_is_told() {
    let group = EventLoopGroup::new(1).unwrap();
    let event_loop = group.next();
    let (written, closing) = on(&event_loop.clone(), move || {
        let connecting = Bootstrap::new(&event_loop)
            .handler(|_| Ok::<_, Error>(()))
            .connect("127.0.0.1:9");
        let written = connecting.channel().write_and_flush("x");
        let closing = connecting.channel().close();
        assert!(connecting.cancel());
        (written, closing)
    });
    let written = outcome(written.sync_timeout(DEADLINE));
    assert_eq!(written, Err(ErrorKind::ChannelClosed));
    let channel = closing.sync_timeout(DEADLINE).expect("it is closed");
    assert!(channel.close_future().is_done());
}

#[test]
fn what_waits_for_the_registration_on_a_loop_that_ends_is_told() {
    let local = LocalEventLoop::new().unwrap();
    let event_loop = local.handle().clone();
    let (tell, told) = mpsc::channel();
    // The opening stands behind the end of the loop.
    local
        .handle()
        .execute({
            let event_loop = event_loop.clone();
            move || {
                event_loop.stop();
                let opened = Channel::builder()
                    .open(Sink, |_| Ok::<_, Error>(()))
                    .expect("in a turn");
                let written = opened.channel().write_and_flush("x");
                tell.send((opened.channel().clone(), written)).unwrap();
            }
        })
        .unwrap();
    while !event_loop.is_terminated() {
        local.turn(Some(Duration::ZERO));
    }
    drop(local);
    let (channel, written) = told.recv().unwrap();
    assert!(written.is_done());
    assert!(channel.close_future().is_done());
}

#[test]
fn a_transport_that_panics_while_it_is_made_closes_its_channel() {
    let group = EventLoopGroup::new(1).unwrap();
    let event_loop = group.next();
    let held = hold(&event_loop);
    let make = || -> Sink { panic!("as the test wants it") };
    let opened = Channel::builder().open_on(&event_loop, make, |_| Ok::<_, Error>(()));
    let channel = opened.channel().clone();
    let written = channel.write_and_flush("x");
    let closing = channel.close();
    drop(held);
    let failed = outcome(opened.sync_timeout(DEADLINE));
    assert_eq!(failed, Err(ErrorKind::HandlerPanicked));
    assert!(closing.sync_timeout(DEADLINE).is_ok());
    assert!(written.sync_timeout(DEADLINE).is_err());
    assert!(channel.close_future().sync_timeout(DEADLINE).is_ok());
    assert!(!channel.is_open());
}
