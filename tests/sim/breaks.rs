//! Connections that break while something is on its way: no part of a message is taken for the whole, whoever finds out first.

use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::bootstrap::ServerBootstrap;
use tidegate::channel::options::{ALLOW_HALF_CLOSURE, AUTO_READ};
use tidegate::codec::LineDecoder;
use tidegate::sim::{Outcome, Plan, World};
use tidegate::{Backend, Channel, Context, Failure, Handler, HandlerResult, Message};

const LIMIT: Duration = Duration::from_secs(60);

/// What the server's child has heard, and the child.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<(Vec<String>, Option<Channel>)>>);

impl Heard {
    fn add(&self, what: String) {
        self.0.lock().unwrap().0.push(what);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().0.clone()
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

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.add(format!("inactive, cut: {}", ctx.input_was_cut()));
        Ok(())
    }

    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.add(String::from_utf8_lossy(msg.as_bytes().unwrap()).into_owned());
        Ok(())
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, _: Failure) -> HandlerResult {
        Ok(())
    }
}

/// How the peer ends, behind "one\npay 100".
#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    InOrder,
    Reset,
}

/// What the child does when the end has come.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Finds {
    /// It reads.
    ByReading,
    /// It writes twice first, and hears there that the connection is gone.
    ByWriting,
}

/// Rules: H7
#[test]
fn what_came_before_a_reset_is_no_last_line() {
    for backend in [Backend::Epoll, Backend::EpollLevel, Backend::Poll] {
        for half_closing in [false, true] {
            for end in [End::InOrder, End::Reset] {
                for finds in [Finds::ByReading, Finds::ByWriting] {
                    if Backend::available().contains(&backend) {
                        one(backend, half_closing, end, finds);
                    }
                }
            }
        }
    }
}

fn one(backend: Backend, half_closing: bool, end: End, finds: Finds) {
    let mut world = World::new(Plan::calm(1)).unwrap();
    let event_loop = world.add_loop(|builder| builder.selector(backend)).unwrap();
    let heard = Heard::default();
    let last = heard.clone();
    let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
    let server = ServerBootstrap::new(&event_loop, &event_loop)
        .child_option(AUTO_READ, false)
        .child_option(ALLOW_HALF_CLOSURE, half_closing)
        .child_handler(move |pipeline| {
            pipeline.add_last(LineDecoder::new(100).last_line(true))?;
            pipeline.add_last(last.clone())
        })
        .bind(address);
    assert_eq!(world.run_until(LIMIT, || server.is_done()), Outcome::Done);
    let peer = world.simulation().connect(address).unwrap();
    let accepted = world.run_until(LIMIT, || heard.child().is_some());
    assert_eq!(accepted, Outcome::Done);
    let child = heard.child().unwrap();
    peer.send(b"one\npay 100").unwrap();
    world.simulation().advance(Duration::from_millis(1));
    let rest = match end {
        End::InOrder => {
            peer.shutdown(Shutdown::Write).unwrap();
            Some(peer)
        }
        End::Reset => {
            peer.reset();
            None
        }
    };
    world.simulation().advance(Duration::from_millis(1));
    if finds == Finds::ByWriting {
        for _ in 0..2 {
            child.write_and_flush("are you there?");
            world.simulation().advance(Duration::from_millis(1));
        }
    }
    child.set_auto_read(true);
    world.run_for(Duration::from_secs(1));
    child.close();
    let gone = || {
        heard
            .all()
            .last()
            .is_some_and(|last| last.starts_with("inactive"))
    };
    let outcome = world.run_until(LIMIT, gone);
    assert_eq!(outcome, Outcome::Done);
    let case = format!(
        "{backend}, {half_closing}, {end:?}, {finds:?}: {:?}",
        heard.all()
    );
    let has_part = heard.all().iter().any(|each| each == "pay 100");
    assert_eq!(has_part, end == End::InOrder, "{case}");
    let is_cut = heard.all().iter().any(|each| each == "inactive, cut: true");
    assert_eq!(is_cut, end == End::Reset, "{case}");
    drop(rest);
}
