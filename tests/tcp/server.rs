//! Servers: the address, the children, the shards.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use tidegate::bootstrap::{SHARDS, ServerBootstrap};
use tidegate::buffer::Message;
use tidegate::channel::options::{
    AUTO_READ, IP_TOS, MAX_MESSAGES_PER_WRITE, SO_LINGER, TCP_NODELAY,
};
use tidegate::channel::{AttributeKey, Channel, Context, Handler, HandlerResult};
use tidegate::error::{ErrorKind, Failure};
use tidegate::event_loop::EventLoopGroup;
use tidegate::transport::tcp::Accepted;

use crate::support::{
    DEADLINE, Echo, Probe, Seen, next, plain_client, plain_listener, so_far, until, with_each_group,
};

fn echo(group: &EventLoopGroup) -> ServerBootstrap {
    ServerBootstrap::new(group, group).child_handler(|pipeline| pipeline.add_last(Echo))
}

fn round_trip(server: &Channel) {
    let mut client = plain_client(server.local_address().unwrap().as_inet().unwrap());
    client.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
}

/// Rules: A8, G4
#[test]
fn a_port_in_use_fails_the_bind_and_closes_the_channel() {
    with_each_group(|group| {
        let (_listener, address) = plain_listener();
        let (tell, seen) = Probe::channel();
        let future = echo(group)
            .handler(move |pipeline| pipeline.add_last(Probe(tell.clone())))
            .bind(address);
        let error = future.sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        future
            .channel()
            .close_future()
            .sync_timeout(DEADLINE)
            .unwrap();
        assert_eq!(next(&seen), Seen::Registered);
        assert_eq!(next(&seen), Seen::Unregistered);
    });
}

/// Rules: A7, A9
#[test]
fn a_server_is_registered_then_bound_then_active_and_its_address_is_known() {
    with_each_group(|group| {
        let (tell, seen) = Probe::channel();
        let server = echo(group)
            .handler(move |pipeline| pipeline.add_last(Probe(tell.clone())))
            .bind("127.0.0.1:0");
        let server = server.sync_timeout(DEADLINE).unwrap();
        assert_eq!(next(&seen), Seen::Registered);
        assert_eq!(next(&seen), Seen::Active);
        assert_ne!(server.local_address().unwrap().as_inet().unwrap().port(), 0);
        assert_eq!(server.remote_address(), None);
        for refused in [
            server.write_and_flush("x"),
            server.connect("127.0.0.1:1", None),
        ] {
            assert!(refused.sync_timeout(DEADLINE).is_err());
        }
        server.close().sync_timeout(DEADLINE).unwrap();
        assert_eq!(next(&seen), Seen::Inactive);
    });
}

#[test]
fn a_server_can_be_started_again_at_once() {
    with_each_group(|group| {
        let server = echo(group)
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        let address = server.local_address().unwrap().clone();
        // We close first, so that this side keeps the port in TIME_WAIT.
        let mut client = plain_client(address.as_inet().unwrap());
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
        server.close().sync_timeout(DEADLINE).unwrap();
        let server = echo(group).bind(address).sync_timeout(DEADLINE).unwrap();
        round_trip(&server);
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Tells the test of its channel.
struct Introduce(mpsc::Sender<Channel>);

impl Handler for Introduce {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let _ = self.0.send(ctx.channel());
        ctx.fire_channel_active();
        Ok(())
    }
}

static NAME: AttributeKey<String> = AttributeKey::new("test.name");

/// Rules: A11, G5
#[test]
fn children_have_their_parent_their_options_their_attributes_and_take_turns_on_the_loops() {
    with_each_group(|group| {
        let (tell, told) = mpsc::channel();
        let server = ServerBootstrap::new(group, group)
            .attr(&NAME, "server".to_owned())
            .child_attr(&NAME, "child".to_owned())
            .child_option(IP_TOS, 0x08)
            .child_handler(move |pipeline| {
                let channel = pipeline.channel();
                assert_eq!(*channel.attr(&NAME).unwrap(), "child");
                assert!(channel.parent().is_some());
                pipeline.add_last(Introduce(tell.clone()))
            })
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        assert_eq!(*server.attr(&NAME).unwrap(), "server");
        let address = server.local_address().unwrap().as_inet().unwrap();
        let clients: Vec<_> = (0..8).map(|_| plain_client(address)).collect();
        let children: Vec<Channel> = (0..8)
            .map(|_| told.recv_timeout(DEADLINE).unwrap())
            .collect();
        for child in &children {
            assert_eq!(child.parent(), Some(&server));
            assert_eq!(child.local_address().unwrap().as_inet(), Some(address));
            assert!(child.option(TCP_NODELAY).sync_timeout(DEADLINE).unwrap());
            assert_eq!(child.option(IP_TOS).sync_timeout(DEADLINE).unwrap(), 0x08);
        }
        for event_loop in group.iter() {
            assert_eq!(
                children
                    .iter()
                    .filter(|child| child.event_loop() == event_loop)
                    .count(),
                4
            );
        }
        drop(clients);
        for child in children {
            child.close_future().sync_timeout(DEADLINE).unwrap();
        }
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn children_may_stay_where_they_were_accepted() {
    with_each_group(|group| {
        let (tell, told) = mpsc::channel();
        let server = ServerBootstrap::new(group, group)
            .child_handler(move |pipeline| pipeline.add_last(Introduce(tell.clone())))
            .children_stay()
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        let address = server.local_address().unwrap().as_inet().unwrap();
        let _clients: Vec<_> = (0..4).map(|_| plain_client(address)).collect();
        for _ in 0..4 {
            let child = told.recv_timeout(DEADLINE).unwrap();
            assert_eq!(child.event_loop(), server.event_loop());
        }
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Lets only every second client in.
struct EverySecond(u32);

impl Handler for EverySecond {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let accepted = msg.downcast_ref::<Accepted>().expect("a connection");
        assert!(accepted.peer().ip().is_loopback());
        self.0 += 1;
        if self.0.is_multiple_of(2) {
            ctx.fire_channel_read(msg);
        }
        Ok(())
    }
}

/// Rules: G8
#[test]
fn a_handler_of_the_server_may_refuse_connections() {
    with_each_group(|group| {
        let server = echo(group)
            .handler(|pipeline| pipeline.add_last(EverySecond(0)))
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        let address = server.local_address().unwrap().as_inet().unwrap();
        for _ in 0..3 {
            assert_eq!(plain_client(address).read(&mut [0; 1]).unwrap(), 0);
            round_trip(&server);
        }
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Fails at every second connection.
struct Fails(u32);

impl Handler for Fails {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.0 += 1;
        if !self.0.is_multiple_of(2) {
            return Err(Failure::msg("not this one"));
        }
        ctx.fire_channel_read(msg);
        Ok(())
    }
}

/// Rules: D22, G9
#[test]
fn an_error_of_a_servers_handler_does_not_end_the_server() {
    with_each_group(|group| {
        let server = echo(group)
            .handler(|pipeline| pipeline.add_last(Fails(0)))
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE);
        let server = server.unwrap();
        let address = server.local_address().unwrap().as_inet().unwrap();
        assert_eq!(plain_client(address).read(&mut [0; 1]).unwrap(), 0);
        round_trip(&server);
        assert!(server.is_active());
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: A12, A13
#[test]
fn a_child_whose_option_or_handler_fails_is_closed_alone() {
    with_each_group(|group| {
        let stillborn = || {
            group
                .iter()
                .map(|each| each.metrics().accept_stillborn)
                .sum::<u64>()
        };
        let before = stillborn();
        let server = echo(group)
            .child_option(MAX_MESSAGES_PER_WRITE, 3)
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        let address = server.local_address().unwrap().as_inet().unwrap();
        assert_eq!(plain_client(address).read(&mut [0; 1]).unwrap(), 0);
        assert!(server.is_active());
        until("it was counted", || stillborn() == before + 1);
        server.close().sync_timeout(DEADLINE).unwrap();

        let count = Arc::new(AtomicUsize::new(0));
        let server = ServerBootstrap::new(group, group)
            .child_handler(move |pipeline| {
                if count.fetch_add(1, Ordering::Relaxed) == 0 {
                    return Err(Failure::msg("not today"));
                }
                pipeline.add_last(Echo).map_err(Failure::from)
            })
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        let address = server.local_address().unwrap().as_inet().unwrap();
        assert_eq!(plain_client(address).read(&mut [0; 1]).unwrap(), 0);
        round_trip(&server);
        until("it was counted", || stillborn() == before + 2);
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: D9
#[test]
fn with_auto_read_off_a_server_accepts_when_asked() {
    with_each_group(|group| {
        let (tell, told) = mpsc::channel();
        let server = ServerBootstrap::new(group, group)
            .option(AUTO_READ, false)
            .child_handler(move |pipeline| pipeline.add_last(Introduce(tell.clone())))
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        let address = server.local_address().unwrap().as_inet().unwrap();
        let _clients: Vec<_> = (0..3).map(|_| plain_client(address)).collect();
        server
            .event_loop()
            .submit(|| ())
            .sync_timeout(DEADLINE)
            .unwrap();
        assert!(told.try_recv().is_err());
        for _ in 0..3 {
            server.read();
            told.recv_timeout(DEADLINE).unwrap();
            assert!(told.try_recv().is_err(), "one read, one client");
        }
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn shards_listen_on_one_address_and_close_together() {
    with_each_group(|group| {
        let (tell, told) = mpsc::channel();
        let server = ServerBootstrap::new(group, group)
            .shards(2)
            .children_stay()
            .child_handler(move |pipeline| pipeline.add_last(Introduce(tell.clone())))
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        let others = server.attr(&SHARDS).unwrap();
        assert_eq!(others.len(), 1);
        assert_eq!(others[0].local_address(), server.local_address());
        assert_ne!(others[0].event_loop(), server.event_loop());
        let address = server.local_address().unwrap().as_inet().unwrap();
        let clients: Vec<_> = (0..40).map(|_| plain_client(address)).collect();
        let mut on_first = 0;
        for _ in 0..40 {
            let child = told.recv_timeout(DEADLINE).unwrap();
            on_first += usize::from(child.event_loop() == server.event_loop());
        }
        if cfg!(target_os = "linux") {
            assert!((1..40).contains(&on_first), "{on_first} of 40 on the first");
        }
        drop(clients);
        server.close().sync_timeout(DEADLINE).unwrap();
        others[0].close_future().sync_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn too_many_shards_are_refused_and_a_taken_port_fails_all() {
    with_each_group(|group| {
        let error = echo(group)
            .shards(3)
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let (_listener, address) = plain_listener();
        let future = echo(group).shards(2).bind(address);
        assert_eq!(
            future.sync_timeout(DEADLINE).unwrap_err().kind(),
            ErrorKind::AddrInUse
        );
        future
            .channel()
            .close_future()
            .sync_timeout(DEADLINE)
            .unwrap();
    });
}

#[test]
fn a_linger_of_the_server_is_its_childrens_and_closes_off_the_loop() {
    with_each_group(|group| {
        let (tell, told) = mpsc::channel();
        let server = ServerBootstrap::new(group, group)
            .option(SO_LINGER, Some(std::time::Duration::from_secs(5)))
            .child_handler(move |pipeline| pipeline.add_last(Introduce(tell.clone())))
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        let mut client = plain_client(server.local_address().unwrap().as_inet().unwrap());
        let child = told.recv_timeout(DEADLINE).unwrap();
        let close = child.close();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        drop(client);
        close.sync_timeout(DEADLINE).unwrap();
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn closing_a_server_leaves_its_children_alone() {
    with_each_group(|group| {
        let (tell, seen) = Probe::channel();
        let server = ServerBootstrap::new(group, group)
            .child_handler(move |pipeline| pipeline.add_last(Probe(tell.clone())))
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        let mut client = plain_client(server.local_address().unwrap().as_inet().unwrap());
        assert_eq!(next(&seen), Seen::Registered);
        assert_eq!(next(&seen), Seen::Active);
        server.close().sync_timeout(DEADLINE).unwrap();
        client.write_all(b"hello").unwrap();
        assert_eq!(next(&seen), Seen::Read(b"hello".to_vec()));
        assert_eq!(next(&seen), Seen::Complete);
        assert_eq!(so_far(&seen), []);
    });
}
