//! Servers: the address, the children, what their handlers may do.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use tidegate::bootstrap::ServerBootstrap;
use tidegate::buffer::Message;
use tidegate::channel::options::{AUTO_READ, MAX_MESSAGES_PER_WRITE, SO_RCVBUF};
use tidegate::channel::{AttributeKey, Channel, Context, Handler, HandlerResult};
use tidegate::error::{ErrorKind, Failure};

use crate::place::{Place, everywhere};
use crate::probe::{DEADLINE, Echo, Probe, Seen, next, so_far, until};

fn echo(place: &Place<'_>) -> ServerBootstrap {
    serving(place).child_handler(|pipeline| pipeline.add_last(Echo))
}

fn serving(place: &Place<'_>) -> ServerBootstrap {
    ServerBootstrap::new(place.group, place.group)
}

fn round_trip(place: &Place<'_>, server: &Channel) {
    let mut client = place.visit(server);
    client.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
}

/// Rules: A8, G4
#[test]
fn an_address_in_use_fails_the_bind_and_closes_the_channel() {
    everywhere(|place| {
        let listener = place.row.listen();
        let address = listener.address();
        let (tell, seen) = Probe::channel();
        let recipe = echo(place).handler(move |pipeline| pipeline.add_last(Probe(tell.clone())));
        let future = place.row.bind(recipe, address.clone());
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
    everywhere(|place| {
        let (tell, seen) = Probe::channel();
        let recipe = echo(place).handler(move |pipeline| pipeline.add_last(Probe(tell.clone())));
        let server = place.bind(recipe);
        assert_eq!(next(&seen), Seen::Registered);
        assert_eq!(next(&seen), Seen::Active);
        let address = server.local_address().unwrap();
        assert!(address.as_inet().is_none_or(|address| address.port() != 0));
        assert_eq!(server.remote_address(), None);
        for refused in [
            server.write_and_flush("x"),
            server.connect(address.clone(), None),
        ] {
            assert!(refused.sync_timeout(DEADLINE).is_err());
        }
        server.close().sync_timeout(DEADLINE).unwrap();
        assert_eq!(next(&seen), Seen::Inactive);
    });
}

#[test]
fn a_server_can_be_started_again_at_once() {
    everywhere(|place| {
        let recipe = echo(place);
        let server = place.bind(recipe);
        let address = server.local_address().unwrap();
        // We close first, so that with TCP this side keeps the port in TIME_WAIT.
        let mut client = place.visit(&server);
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
        server.close().sync_timeout(DEADLINE).unwrap();
        let server = place.row.bind(echo(place), address);
        let server = server.sync_timeout(DEADLINE).unwrap();
        round_trip(place, &server);
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
    everywhere(|place| {
        let (tell, told) = mpsc::channel();
        let recipe = serving(place)
            .attr(&NAME, "server".to_owned())
            .child_attr(&NAME, "child".to_owned())
            .child_option(SO_RCVBUF, 100_000)
            .child_handler(move |pipeline| {
                let channel = pipeline.channel();
                assert_eq!(*channel.attr(&NAME).unwrap(), "child");
                assert!(channel.parent().is_some());
                pipeline.add_last(Introduce(tell.clone()))
            });
        let server = place.bind(recipe);
        assert_eq!(*server.attr(&NAME).unwrap(), "server");
        let clients: Vec<_> = (0..8).map(|_| place.visit(&server)).collect();
        let children: Vec<Channel> = (0..8)
            .map(|_| told.recv_timeout(DEADLINE).unwrap())
            .collect();
        for child in &children {
            assert_eq!(child.parent(), Some(&server));
            assert_eq!(child.local_address(), server.local_address());
            assert!(child.remote_address().is_some());
            let bytes = child.option(SO_RCVBUF).sync_timeout(DEADLINE).unwrap();
            assert!(bytes >= 100_000, "{bytes}");
        }
        for event_loop in place.group.iter() {
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
    everywhere(|place| {
        let (tell, told) = mpsc::channel();
        let recipe = serving(place)
            .child_handler(move |pipeline| pipeline.add_last(Introduce(tell.clone())))
            .children_stay();
        let server = place.bind(recipe);
        let _clients: Vec<_> = (0..4).map(|_| place.visit(&server)).collect();
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
    everywhere(|place| {
        let recipe = echo(place).handler(|pipeline| pipeline.add_last(EverySecond(0)));
        let server = place.bind(recipe);
        for _ in 0..3 {
            assert_eq!(place.visit(&server).read(&mut [0; 1]).unwrap(), 0);
            round_trip(place, &server);
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
    everywhere(|place| {
        let recipe = echo(place).handler(|pipeline| pipeline.add_last(Fails(0)));
        let server = place.bind(recipe);
        assert_eq!(place.visit(&server).read(&mut [0; 1]).unwrap(), 0);
        round_trip(place, &server);
        assert!(server.is_active());
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: A12, A13
#[test]
fn a_child_whose_option_or_handler_fails_is_closed_alone() {
    everywhere(|place| {
        let stillborn = || {
            place
                .group
                .iter()
                .map(|each| each.metrics().accept_stillborn)
                .sum::<u64>()
        };
        let before = stillborn();
        let recipe = echo(place).child_option(MAX_MESSAGES_PER_WRITE, 3);
        let server = place.bind(recipe);
        assert_eq!(place.visit(&server).read(&mut [0; 1]).unwrap(), 0);
        assert!(server.is_active());
        until("it was counted", || stillborn() == before + 1);
        server.close().sync_timeout(DEADLINE).unwrap();

        let count = Arc::new(AtomicUsize::new(0));
        let recipe = serving(place).child_handler(move |pipeline| {
            if count.fetch_add(1, Ordering::Relaxed) == 0 {
                return Err(Failure::msg("not today"));
            }
            pipeline.add_last(Echo).map_err(Failure::from)
        });
        let server = place.bind(recipe);
        assert_eq!(place.visit(&server).read(&mut [0; 1]).unwrap(), 0);
        round_trip(place, &server);
        until("it was counted", || stillborn() == before + 2);
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: D9
#[test]
fn with_auto_read_off_a_server_accepts_when_asked() {
    everywhere(|place| {
        let (tell, told) = mpsc::channel();
        let recipe = serving(place)
            .option(AUTO_READ, false)
            .child_handler(move |pipeline| pipeline.add_last(Introduce(tell.clone())));
        let server = place.bind(recipe);
        let _clients: Vec<_> = (0..3).map(|_| place.visit(&server)).collect();
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
fn closing_a_server_leaves_its_children_alone() {
    everywhere(|place| {
        let (tell, seen) = Probe::channel();
        let recipe =
            serving(place).child_handler(move |pipeline| pipeline.add_last(Probe(tell.clone())));
        let server = place.bind(recipe);
        let mut client = place.visit(&server);
        assert_eq!(next(&seen), Seen::Registered);
        assert_eq!(next(&seen), Seen::Active);
        server.close().sync_timeout(DEADLINE).unwrap();
        client.write_all(b"hello").unwrap();
        assert_eq!(next(&seen), Seen::Read(b"hello".to_vec()));
        assert_eq!(next(&seen), Seen::Complete);
        assert_eq!(so_far(&seen), []);
    });
}
