//! How many clients a server accepts in a turn of its loop. The test makes the turns; Unix sockets have what was sent at once.

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
struct Ready(Arc<AtomicUsize>);

impl Handler for Ready {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.fetch_add(1, Ordering::Relaxed);
        ctx.fire_channel_active();
        Ok(())
    }

    fn channel_read(&mut self, _: &mut Context<'_>, _: Message) -> HandlerResult {
        Ok(())
    }
}

/// A server whose turns the test makes.
struct Served {
    local: LocalEventLoop,
    path: PathBuf,
    accepted: Arc<AtomicUsize>,
    ready: Arc<AtomicUsize>,
    _folder: Folder,
}

impl Served {
    /// It accepts so many at a time at least.
    fn by(at_a_time: i32, backend: Backend) -> Self {
        let local = LocalEventLoop::builder().selector(backend).build().unwrap();
        let accepted = Arc::<AtomicUsize>::default();
        let ready = Arc::<AtomicUsize>::default();
        let counts = (accepted.clone(), ready.clone());
        let bootstrap = ServerBootstrap::new(&local, &local)
            .transport::<UnixStream>()
            .option(MAX_MESSAGES_PER_READ, at_a_time)
            .handler(move |pipeline| pipeline.add_last(Clients(counts.0.clone())))
            .child_handler(move |pipeline| pipeline.add_last(Ready(counts.1.clone())));
        let folder = Folder::new();
        let path = folder.path("echo");
        let listening = bootstrap.bind(&path);
        local.block_on(listening).unwrap().unwrap();
        Self {
            local,
            path,
            accepted,
            ready,
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
/// Rules: D7, 3.2
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
