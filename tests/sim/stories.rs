//! What the simulator has found, told once more without chance.

use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::bootstrap::ServerBootstrap;
use tidegate::channel::options::ALLOW_HALF_CLOSURE;
use tidegate::sim::{Outcome, Peer, Plan, World};
use tidegate::{Backend, Channel, Context, Failure, Handler, HandlerResult, Message};

const LIMIT: Duration = Duration::from_secs(60);

/// What the server's child has heard, and the child.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<(Vec<&'static str>, Option<Channel>)>>);

impl Heard {
    fn add(&self, what: &'static str) {
        self.0.lock().unwrap().0.push(what);
    }

    fn count(&self, what: &str) -> usize {
        let heard = self.0.lock().unwrap();
        heard.0.iter().filter(|each| **each == what).count()
    }

    fn child(&self) -> Option<Channel> {
        self.0.lock().unwrap().1.clone()
    }
}

impl Handler for Heard {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.lock().unwrap().1 = Some(ctx.channel());
        Ok(())
    }

    fn channel_inactive(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.add("inactive");
        Ok(())
    }

    fn channel_read(&mut self, _: &mut Context<'_>, _: Message) -> HandlerResult {
        self.add("read");
        Ok(())
    }

    fn user_event_triggered(&mut self, _: &mut Context<'_>, event: Message) -> HandlerResult {
        if event.is::<tidegate::channel::events::ChannelInputShutdown>() {
            self.add("input shut");
        }
        Ok(())
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, _: Failure) -> HandlerResult {
        self.add("error");
        Ok(())
    }
}

/// Over every selector: a world with a server that keeps half-closed connections, its child, and the other side.
fn with_half_closing_server(story: impl Fn(&mut World, &Heard, &Channel, Peer)) {
    for backend in [Backend::Epoll, Backend::EpollLevel, Backend::Poll] {
        if !Backend::available().contains(&backend) {
            continue;
        }
        let mut world = World::new(Plan::calm(1)).unwrap();
        let event_loop = world.add_loop(|builder| builder.selector(backend)).unwrap();
        let heard = Heard::default();
        let handler = heard.clone();
        let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let server = ServerBootstrap::new(&event_loop, &event_loop)
            .child_option(ALLOW_HALF_CLOSURE, true)
            .child_handler(move |pipeline| pipeline.add_last(handler.clone()))
            .bind(address);
        assert_eq!(world.run_until(LIMIT, || server.is_done()), Outcome::Done);
        let peer = world.simulation().connect(address).unwrap();
        assert_eq!(
            world.run_until(LIMIT, || heard.child().is_some()),
            Outcome::Done
        );
        let child = heard.child().unwrap();
        story(&mut world, &heard, &child, peer);
    }
}

/// Level-triggered selectors report a hang-up in every wait. Rules: netty#7255
#[test]
fn a_channel_that_is_shut_in_both_directions_and_kept_open_does_not_spin() {
    with_half_closing_server(|world, heard, child, peer| {
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(
            world.run_until(LIMIT, || heard.count("input shut") == 1),
            Outcome::Done
        );
        child.shutdown_output();
        assert_eq!(world.run_for(LIMIT), Outcome::Idle);
        assert!(child.is_open());
        child.close();
        assert_eq!(world.run_until(LIMIT, || !child.is_open()), Outcome::Done);
    });
}

/// Its input is over, so it reads no more; that the connection is gone it hears all the same.
#[test]
fn a_half_closed_channel_hears_of_a_reset() {
    with_half_closing_server(|world, heard, child, peer| {
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(
            world.run_until(LIMIT, || heard.count("input shut") == 1),
            Outcome::Done
        );
        peer.reset();
        assert_eq!(world.run_for(LIMIT), Outcome::Idle);
        assert!(!child.is_open(), "{:?}", world);
        assert_eq!((heard.count("error"), heard.count("inactive")), (1, 1));
    });
}

/// The same where the end is still to be read when the reset comes: neither is reported again.
#[test]
fn a_reset_behind_an_end_that_nobody_has_read_is_heard() {
    with_half_closing_server(|world, heard, child, peer| {
        child.set_auto_read(false);
        world.run_for(LIMIT);
        peer.shutdown(Shutdown::Write).unwrap();
        world.run_for(LIMIT);
        peer.reset();
        assert_eq!(world.run_until(LIMIT, || !child.is_open()), Outcome::Done);
        assert_eq!((heard.count("error"), heard.count("inactive")), (1, 1));
    });
}

/// What came before a reset is read; then comes the error.
#[test]
fn data_before_a_reset_is_delivered() {
    with_half_closing_server(|world, heard, child, peer| {
        child.set_auto_read(false);
        world.run_for(LIMIT);
        assert_eq!(peer.send(b"last words").unwrap(), 10);
        world.run_for(LIMIT);
        peer.reset();
        assert_eq!(world.run_until(LIMIT, || !child.is_open()), Outcome::Done);
        assert_eq!(heard.count("read"), 1);
        assert_eq!((heard.count("error"), heard.count("inactive")), (1, 1));
    });
}

/// A peer that reads nothing fills both buffers; when it reads, everything comes.
#[test]
fn a_peer_that_stops_reading_gets_everything_in_the_end() {
    with_half_closing_server(|world, _, child, peer| {
        let bytes = vec![7; 1 << 20];
        let written = child.write_and_flush(bytes::Bytes::from(bytes));
        assert_eq!(world.run_for(LIMIT), Outcome::Idle);
        assert!(!written.is_done());
        assert!(!child.is_writable());
        let mut received = 0;
        let outcome = world.run_until(LIMIT, || {
            let mut room = [0; 4096];
            loop {
                match peer.receive(&mut room) {
                    Ok(count) => received += count,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        return received == 1 << 20;
                    }
                }
            }
        });
        assert_eq!(outcome, Outcome::Done);
        assert_eq!(world.run_for(LIMIT), Outcome::Idle);
        assert!(written.is_success() && child.is_writable());
    });
}
