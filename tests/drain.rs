//! Draining a group: everything that can be sent is sent, every channel is closed, in time, and the report tells the rest.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBuf;
use tidegate::buffer::Bytes;
use tidegate::channel::options::{SO_SNDBUF, WRITE_BUFFER_WATER_MARK};
use tidegate::channel::{Draining, WaterMark};
use tidegate::handler::stream::{Chunked, ChunkedBytes, ChunkedWrite};
use tidegate::handler::timeout::WriteTimeout;
use tidegate::handler::traffic::{TrafficLimits, TrafficShaper};
use tidegate::{
    Bootstrap, Channel, Context, ErrorKind, EventLoopGroup, Handler, HandlerResult, Message,
    Promise, ServerBootstrap,
};
use tidegate_sys::os::net;

#[path = "common/ways.rs"]
mod ways;

/// Long enough for a machine that does other things; nothing waits for it when all is well.
const DEADLINE: Duration = Duration::from_secs(20);

/// Sends its channel to the test, and lets everything pass.
struct Tell(Sender<Channel>);

impl Handler for Tell {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let _ = self.0.send(ctx.channel());
        Ok(())
    }
}

/// A server whose children tell of themselves.
fn serve(
    boss: &EventLoopGroup,
    workers: &EventLoopGroup,
) -> (Channel, SocketAddr, Receiver<Channel>) {
    let (tell, told) = mpsc::channel();
    let server = ServerBootstrap::new(boss, workers)
        .child_option(SO_SNDBUF, 32 << 10)
        .child_option(
            WRITE_BUFFER_WATER_MARK,
            WaterMark::new(1 << 20, 2 << 20).unwrap(),
        )
        .child_handler(move |pipeline| pipeline.add_last(Tell(tell.clone())))
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .unwrap();
    let address = server.local_address().unwrap().as_inet().unwrap();
    (server, address, told)
}

fn connect(address: SocketAddr, told: &Receiver<Channel>) -> (TcpStream, Channel) {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    setsockopt(&client, RcvBuf, &(32 << 10)).unwrap();
    (client, told.recv_timeout(DEADLINE).unwrap())
}

fn stop(group: &EventLoopGroup) {
    group.stop();
    assert!(group.await_termination(DEADLINE).unwrap());
}

#[test]
fn a_group_without_channels_is_drained_at_once() {
    ways::each_way(|way| {
        let group = way.group(2);
        let report = group.drain(DEADLINE).sync().unwrap();
        assert_eq!((report.channels, report.late), (0, 0));
        assert!(report.is_complete());
        stop(&group);
        let report = group.drain(DEADLINE).sync().unwrap();
        assert_eq!(report.channels, 0, "also when its loops have ended");
    });
}

#[test]
fn what_was_written_arrives_before_the_end() {
    ways::each_way(|way| {
        let group = way.group(2);
        let (server, address, told) = serve(&group, &group);
        let (mut client, child) = connect(address, &told);
        let (mut idle, _) = connect(address, &told);
        let text: Vec<u8> = (0..1_500_000_u32).map(|n| (n % 251) as u8).collect();
        for part in text.chunks(100_000) {
            // Nobody flushes, and nobody waits for the result.
            child.write(Bytes::copy_from_slice(part));
        }
        let draining = group.drain(DEADLINE);
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert!(got == text, "{} of {} bytes", got.len(), text.len());
        assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
        assert!(!draining.is_done(), "both may still be sending");
        drop((client, idle));
        let report = draining.sync().unwrap();
        assert!(report.is_complete(), "{report}");
        assert_eq!((report.channels, report.late), (2, 0));
        assert!(!server.is_open());
        assert!(TcpStream::connect(address).is_err(), "nobody listens");
        stop(&group);
    });
}

/// The report names the peer, and counts exactly what the kernel has not taken.
#[test]
fn a_peer_that_does_not_read_is_cut_off_at_the_deadline_and_reported() {
    ways::each_way(|way| {
        let group = way.group(2);
        let (_server, address, told) = serve(&group, &group);
        let (mut deaf, child) = connect(address, &told);
        let (mut clean, other) = connect(address, &told);
        let block = Bytes::from(vec![7; 1 << 20]);
        let writes: Vec<_> = (0..4)
            .map(|_| child.write_and_flush(block.clone()))
            .collect();
        other.write("hello");
        // What can be sent is, however late the machine is; then there is a second drain, with a deadline for both.
        let draining = group.drain(DEADLINE);
        let mut greeting = String::new();
        clean.read_to_string(&mut greeting).unwrap();
        assert_eq!(greeting, "hello");
        let within = Duration::from_millis(100);
        let begun = Instant::now();
        let report = group.drain(within).sync().unwrap();
        let took = begun.elapsed();
        assert!(took >= within, "{took:?}");
        assert!(report.took >= within && report.took <= took);
        assert!(draining.sync().unwrap().took < DEADLINE);
        assert_eq!(
            (report.channels, report.late, report.unsent.len()),
            (2, 1, 1)
        );
        assert_eq!(
            (report.cut, report.silent),
            (0, 1),
            "the other one had got all, and said nothing"
        );
        let rest = &report.unsent[0];
        assert_eq!(rest.channel, child.id());
        assert_eq!(rest.remote, child.remote_address());
        assert!(!rest.is_held);
        let sent = writes.iter().filter(|write| write.is_success()).count();
        assert_eq!(rest.messages, writes.len() - sent);
        let last = writes.last().unwrap().cause().unwrap();
        assert_eq!(last.kind(), ErrorKind::ChannelClosed);
        let mut got = Vec::new();
        deaf.read_to_end(&mut got).unwrap();
        assert_eq!(got.len() as u64 + rest.bytes, 4 << 20, "{report}");
        assert!(!child.is_open());
        stop(&group);
    });
}

#[test]
fn a_connection_that_breaks_with_something_unsent_is_reported_too() {
    let group = EventLoopGroup::new(1).unwrap();
    let (_server, address, told) = serve(&group, &group);
    let (client, child) = connect(address, &told);
    let full = child.write_and_flush(Bytes::from(vec![7; 8 << 20]));
    let draining = group.drain(DEADLINE);
    // Something was taken: the channel drains or is about to, and can't be done.
    assert!(!full.is_done());
    net::set_linger(client.as_fd(), Some(Duration::ZERO)).unwrap();
    drop(client);
    let report = draining.sync().unwrap();
    assert_eq!(report.late, 0);
    // If the reset came before the drain, there was nothing left to drain.
    assert_eq!(report.channels, report.unsent.len(), "{report}");
    stop(&group);
}

/// Keeps the event of a drain until it is told to answer.
struct Slow {
    tell: Sender<Draining>,
    event: Option<Draining>,
}

impl Handler for Slow {
    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        if let Some(draining) = event.downcast_ref::<Draining>() {
            self.event = Some(draining.clone());
            let _ = self.tell.send(draining.clone());
        } else {
            // The answer that was worked on.
            ctx.write(event.downcast::<String>().unwrap_or_default().into_bytes());
            self.event = None;
        }
        Ok(())
    }
}

#[test]
fn a_handler_that_holds_the_event_is_waited_for() {
    ways::each_way(|way| {
        let group = way.group(1);
        let (_server, address, told) = serve(&group, &group);
        let (mut client, child) = connect(address, &told);
        let (tell, held) = mpsc::channel();
        let slow = move || Slow { tell, event: None };
        child
            .edit(move |pipeline| pipeline.add_last(slow()))
            .sync()
            .unwrap()
            .unwrap();
        let draining = group.drain(DEADLINE);
        let event = held.recv_timeout(DEADLINE).unwrap();
        assert!(child.is_open());
        drop(event);
        assert!(!draining.is_done(), "the handler has another one");
        child.fire_user_event_triggered(Message::new("the answer".to_owned()));
        let mut got = String::new();
        client.read_to_string(&mut got).unwrap();
        assert_eq!(got, "the answer");
        drop(client);
        assert!(draining.sync().unwrap().is_complete());
        stop(&group);
    });
}

#[test]
fn a_handler_that_never_lets_go_is_reported() {
    let group = EventLoopGroup::new(1).unwrap();
    let (_server, address, told) = serve(&group, &group);
    let (_client, child) = connect(address, &told);
    let (tell, held) = mpsc::channel();
    let slow = move || Slow { tell, event: None };
    child
        .edit(move |pipeline| pipeline.add_last(slow()))
        .sync()
        .unwrap()
        .unwrap();
    let draining = group.drain(DEADLINE);
    drop(held.recv_timeout(DEADLINE).unwrap());
    // It has it. The deadline of another drain is one for both.
    let second = group.drain(Duration::from_millis(50)).sync().unwrap();
    for report in [second, draining.sync().unwrap()] {
        assert_eq!((report.late, report.unsent.len()), (1, 1));
        assert!(report.unsent[0].is_held);
        assert_eq!((report.unsent[0].bytes, report.unsent[0].messages), (0, 0));
        let text = report.to_string();
        assert!(
            text.ends_with("1 at the deadline; handlers of 1 were not done"),
            "{text}"
        );
    }
    // Letting go of it later is nothing to anybody.
    drop(held);
    stop(&group);
}

/// Handlers with queues of their own: all of it goes out first.
#[test]
fn chunks_and_shaped_traffic_are_sent_before_the_end() {
    let group = EventLoopGroup::new(1).unwrap();
    let (_server, address, told) = serve(&group, &group);
    let (mut client, child) = connect(address, &told);
    let shaper = Arc::new(TrafficShaper::for_channel(
        TrafficLimits::new().write(4 << 20),
    ));
    let kept = shaper.clone();
    let added = child.edit(move |pipeline| {
        pipeline.add_last(kept.handler())?;
        pipeline.add_last(ChunkedWrite::new())
    });
    added.sync().unwrap().unwrap();
    let body = vec![7_u8; 3 << 20];
    let chunks = Chunked::new(ChunkedBytes::new(body.clone()).chunk_size(64 << 10));
    child.write(Message::new(chunks));
    let draining = group.drain(DEADLINE);
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), body.len());
    drop(client);
    let report = draining.sync().unwrap();
    assert!(report.is_complete(), "{report}");
    stop(&group);
}

/// Says a last word when it is closed.
struct Goodbye(usize);

impl Handler for Goodbye {
    fn close(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        if self.0 > 0 {
            ctx.write(Bytes::from(vec![9; self.0]));
        }
        ctx.close_with(promise);
        Ok(())
    }
}

/// Their promises are told on the loop of the handler that asked for them, and the drain goes on where the channel is.
#[test]
fn writes_with_promises_of_handlers_elsewhere_are_sent_before_the_end() {
    const BODY: usize = 8 << 20;
    for goodbye in [0, BODY] {
        let (group, others) = (
            EventLoopGroup::new(1).unwrap(),
            EventLoopGroup::new(1).unwrap(),
        );
        let (_server, address, told) = serve(&group, &group);
        let (mut client, child) = connect(address, &told);
        let elsewhere = others.clone();
        let added = child.edit(move |pipeline| {
            pipeline.add_last_on(&elsewhere, || WriteTimeout::new(DEADLINE))?;
            pipeline.add_last(Goodbye(goodbye))
        });
        added.sync().unwrap().unwrap();
        // More than the buffers hold, so that something waits when the drain begins.
        child.write(Bytes::from(vec![7; BODY]));
        child.flush();
        group.next().submit(|| ()).sync().unwrap();
        others.next().submit(|| ()).sync().unwrap();
        let draining = group.drain(DEADLINE);
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), BODY + goodbye);
        drop(client);
        let report = draining.sync().unwrap();
        assert!(report.is_complete() && report.took < DEADLINE, "{report}");
        stop(&group);
        stop(&others);
    }
}

/// Connects under way are ended at once: nothing can wait for them.
#[test]
fn a_connect_in_flight_does_not_keep_a_drain() {
    let group = EventLoopGroup::new(1).unwrap();
    // Not routed anywhere by definition (RFC 5737); a machine without a route refuses at once, which is as good.
    let connect = Bootstrap::new(&group)
        .handler(|pipeline| pipeline.add_last(Tell(mpsc::channel().0)))
        .connect("192.0.2.1:9");
    // Registered, so that the drain finds it.
    group.next().submit(|| ()).sync().unwrap();
    let report = group.drain(DEADLINE).sync().unwrap();
    assert!(report.took < DEADLINE);
    assert!(connect.is_done());
    assert!(report.is_complete());
    stop(&group);
}

/// The listener is elsewhere: it is closed first, then its children are drained where they live.
#[test]
fn children_of_another_groups_server_are_drained_where_they_live() {
    let (boss, workers) = (
        EventLoopGroup::new(1).unwrap(),
        EventLoopGroup::new(2).unwrap(),
    );
    let (server, address, told) = serve(&boss, &workers);
    let mut clients: Vec<_> = (0..8).map(|_| connect(address, &told)).collect();
    for (_, child) in &clients {
        child.write("bye");
    }
    let report = boss.drain(DEADLINE).sync().unwrap();
    assert_eq!(report.channels, 0, "servers are not counted");
    assert!(!server.is_open());
    let draining = workers.drain(DEADLINE);
    for (client, _) in &mut clients {
        let mut got = String::new();
        client.read_to_string(&mut got).unwrap();
        assert_eq!(got, "bye");
    }
    drop(clients);
    let report = draining.sync().unwrap();
    assert_eq!((report.channels, report.late), (8, 0));
    stop(&boss);
    stop(&workers);
}

/// The loops go on: a drain is no shutdown.
#[test]
fn a_drained_group_serves_again() {
    let group = EventLoopGroup::new(2).unwrap();
    for _ in 0..3 {
        let (_server, address, told) = serve(&group, &group);
        let (mut client, child) = connect(address, &told);
        child.write("again");
        let draining = group.drain(DEADLINE);
        let mut got = String::new();
        client.read_to_string(&mut got).unwrap();
        assert_eq!(got, "again");
        drop(client);
        assert_eq!(draining.sync().unwrap().channels, 1);
    }
    stop(&group);
}

/// A group that ends in the middle of it still gives the report.
#[test]
fn a_shutdown_in_the_middle_of_a_drain_ends_both() {
    let group = EventLoopGroup::new(2).unwrap();
    let (_server, address, told) = serve(&group, &group);
    let (_deaf, child) = connect(address, &told);
    child.write_and_flush(Bytes::from(vec![7; 8 << 20]));
    let draining = group.drain(DEADLINE);
    group
        .shutdown_gracefully(Duration::ZERO, DEADLINE)
        .sync()
        .unwrap();
    let report = draining.sync().unwrap();
    assert!(report.took < DEADLINE);
    assert_eq!(report.channels, report.unsent.len());
}

#[test]
fn waiting_for_a_drain_on_one_of_its_loops_is_an_error() {
    let group = EventLoopGroup::new(1).unwrap();
    let inside = group.clone();
    let waited = group
        .next()
        .submit(move || inside.drain(DEADLINE).sync().map(drop));
    assert_eq!(
        waited.sync().unwrap().unwrap_err().kind(),
        ErrorKind::Blocking
    );
    stop(&group);
}

/// A listener of ours that takes clients but is nobody's channel.
#[test]
fn clients_are_drained_like_children() {
    let group = EventLoopGroup::new(1).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Bootstrap::new(&group)
        .handler(|pipeline| pipeline.add_last(Tell(mpsc::channel().0)))
        .connect(listener.local_addr().unwrap())
        .sync_timeout(DEADLINE)
        .unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    client.write("last words");
    let draining = group.drain(DEADLINE);
    let mut got = String::new();
    peer.read_to_string(&mut got).unwrap();
    assert_eq!(got, "last words");
    // Nobody hears it, and nobody minds.
    peer.write_all(b"late").unwrap();
    assert!(!client.is_open());
    drop(peer);
    assert_eq!(draining.sync().unwrap().channels, 1);
    stop(&group);
}
