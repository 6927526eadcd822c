//! How much a turn of a loop does: clients that a server accepts, channels that are served. The test makes the turns; Unix sockets
//! have what was sent at once.

use std::io::Write;
use std::os::unix::net;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate::channel::options::MAX_MESSAGES_PER_READ;
use tidegate::event_loop::{Backend, LocalEventLoop};
use tidegate::transport::unix::UnixStream;
use tidegate::{Context, Handler, HandlerResult, Message, ServerBootstrap};

use crate::support::Folder;

/// Counts the clients of a server.
struct Clients(Arc<AtomicUsize>);

impl Handler for Clients {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.0.fetch_add(1, Ordering::Relaxed);
        ctx.fire_channel_read(msg);
        Ok(())
    }
}

/// Counts the clients that are ready to be served, and reads what they send.
struct Ready {
    ready: Arc<AtomicUsize>,
    read: Arc<AtomicUsize>,
}

impl Handler for Ready {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.ready.fetch_add(1, Ordering::Relaxed);
        ctx.fire_channel_active();
        Ok(())
    }

    fn channel_read(&mut self, _: &mut Context<'_>, _: Message) -> HandlerResult {
        self.read.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A server whose turns the test makes.
struct Served {
    local: LocalEventLoop,
    path: PathBuf,
    accepted: Arc<AtomicUsize>,
    ready: Arc<AtomicUsize>,
    read: Arc<AtomicUsize>,
    _folder: Folder,
}

impl Served {
    /// It accepts so many at a time at least.
    fn by(at_a_time: i32, backend: Backend) -> Self {
        let builder = LocalEventLoop::builder().selector(backend);
        Self::on(builder.build().unwrap(), at_a_time)
    }

    fn on(local: LocalEventLoop, at_a_time: i32) -> Self {
        let accepted = Arc::<AtomicUsize>::default();
        let ready = Arc::<AtomicUsize>::default();
        let read = Arc::<AtomicUsize>::default();
        let counts = (accepted.clone(), ready.clone(), read.clone());
        let bootstrap = ServerBootstrap::new(&local, &local)
            .transport::<UnixStream>()
            .option(MAX_MESSAGES_PER_READ, at_a_time)
            .handler(move |pipeline| pipeline.add_last(Clients(counts.0.clone())))
            .child_handler(move |pipeline| {
                let (ready, read) = (counts.1.clone(), counts.2.clone());
                pipeline.add_last(Ready { ready, read })
            });
        let folder = Folder::new();
        let path = folder.path("echo");
        let listening = bootstrap.bind(&path);
        local.block_on(listening).unwrap().unwrap();
        Self {
            local,
            path,
            accepted,
            ready,
            read,
            _folder: folder,
        }
    }

    fn clients(&self, count: usize) -> Vec<net::UnixStream> {
        let connect = |_| net::UnixStream::connect(&self.path).unwrap();
        (0..count).map(connect).collect()
    }

    /// How many a turn accepts.
    fn turn(&self) -> usize {
        let before = self.accepted.load(Ordering::Relaxed);
        self.local.turn(Some(Duration::ZERO));
        self.accepted.load(Ordering::Relaxed) - before
    }

    fn accept_all(&self, count: usize) {
        while self.ready.load(Ordering::Relaxed) < count {
            self.turn();
        }
    }
}

/// In the turn in which a client came it has its turn twice: with the events, and with what is left of them.
///
/// Rules: D7
#[test]
fn an_idle_server_accepts_so_many_at_a_time_as_the_option_says() {
    for backend in Backend::available() {
        let served = Served::by(16, *backend);
        let _clients = served.clients(40);
        assert_eq!([served.turn(), served.turn(), served.turn()], [32, 8, 0]);
        let served = Served::by(1, *backend);
        let _clients = served.clients(3);
        assert_eq!([served.turn(), served.turn(), served.turn()], [2, 1, 0]);
    }
}

/// Clients that wait have had nothing yet: where a turn serves many channels, as many are accepted.
///
/// Rules: D7
#[test]
fn a_busy_loop_accepts_as_many_as_it_serves() {
    const SERVED: usize = 100;
    for backend in Backend::available() {
        let served = Served::by(16, *backend);
        let mut clients = served.clients(SERVED);
        served.accept_all(SERVED);
        let _more = served.clients(2 * SERVED);
        for client in &mut clients {
            client.write_all(b"x").unwrap();
        }
        // kqueue has several events for some channels.
        let accepted = served.turn();
        assert!(accepted >= SERVED, "{accepted} accepted on {backend}");
    }
}

/// Tasks and timers have their turn between.
///
/// Rules: E28
#[test]
fn a_turn_takes_no_more_events_than_it_may() {
    for backend in Backend::available() {
        let builder = LocalEventLoop::builder().selector(*backend);
        let local = builder.max_events_per_turn(10).build().unwrap();
        let served = Served::on(local, 16);
        let mut clients = served.clients(100);
        served.accept_all(100);
        for client in &mut clients {
            client.write_all(b"x").unwrap();
        }
        let mut turns = 0;
        while served.read.load(Ordering::Relaxed) < 100 {
            let before = served.read.load(Ordering::Relaxed);
            served.turn();
            let read = served.read.load(Ordering::Relaxed) - before;
            assert!(read <= 10, "{read} in a turn on {backend}");
            turns += 1;
        }
        assert!(turns >= 10);
    }
}
