//! Foreign peers inside this process: channels that read one message when asked, behind the face of a blocking socket.

use std::io::{self, Read, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tidegate::bootstrap::{Bootstrap, ServerBootstrap};
use tidegate::buffer::{Bytes, Message};
use tidegate::channel::options::{ALLOW_HALF_CLOSURE, AUTO_READ, SO_BACKLOG, SO_LINGER};
use tidegate::channel::{Address, Channel, Context, Handler, HandlerResult};
use tidegate::error::{Error, Failure};
use tidegate::event_loop::EventLoopGroup;
use tidegate::transport::local::{Local, LocalAddress};

use crate::probe::DEADLINE;
use crate::row::{Listening, Peer};

/// The peers' own loop, which no test stops.
static LOOP: LazyLock<EventLoopGroup> = LazyLock::new(|| EventLoopGroup::new(1).expect("a loop"));

pub fn listen() -> Box<dyn Listening> {
    let (tell, peers) = mpsc::channel();
    let recipe = ServerBootstrap::new(&*LOOP, &*LOOP)
        .transport::<Local>()
        .child_option(AUTO_READ, false)
        .child_option(ALLOW_HALF_CLOSURE, true)
        .child_handler(move |pipeline| {
            let (to, events) = mpsc::channel();
            let _ = tell.send(LocalPeer::new(pipeline.channel(), events));
            pipeline.add_last(Inbox(to))
        });
    let server = recipe.bind(LocalAddress::unique()).sync_timeout(DEADLINE);
    Box::new(Listener {
        server: server.expect("a free name"),
        peers,
    })
}

pub fn visit(address: &Address) -> Box<dyn Peer> {
    let (to, events) = mpsc::channel();
    let client = Bootstrap::new(&*LOOP)
        .transport::<Local>()
        .option(AUTO_READ, false)
        .option(ALLOW_HALF_CLOSURE, true)
        .handler(move |pipeline| pipeline.add_last(Inbox(to.clone())))
        .connect(address.clone());
    let client = client.sync_timeout(DEADLINE).expect("connected");
    Box::new(LocalPeer::new(client, events))
}

/// One client waits there to be accepted, and there is room for one.
pub fn full() -> Address {
    static FULL: LazyLock<(Channel, Box<dyn Fn() + Send + Sync>)> = LazyLock::new(|| {
        let recipe = ServerBootstrap::new(&*LOOP, &*LOOP)
            .transport::<Local>()
            .option(AUTO_READ, false)
            .option(SO_BACKLOG, 1)
            .child_handler(|_| Ok::<(), Error>(()));
        let server = recipe.bind(LocalAddress::unique()).sync_timeout(DEADLINE);
        let server = server.expect("a free name");
        let first = Bootstrap::new(&*LOOP)
            .transport::<Local>()
            .handler(|_| Ok::<(), Error>(()))
            .connect(server.local_address().expect("bound"));
        let first = first.sync_timeout(DEADLINE).expect("connected");
        (
            server,
            Box::new(move || assert!(first.is_active(), "it still waits")),
        )
    });
    let (server, check) = &*FULL;
    check();
    server.local_address().expect("bound")
}

struct Listener {
    server: Channel,
    peers: Receiver<LocalPeer>,
}

impl Listening for Listener {
    fn address(&self) -> Address {
        self.server.local_address().expect("bound")
    }

    fn accept(&self) -> Box<dyn Peer> {
        Box::new(self.peers.recv_timeout(DEADLINE).expect("a client"))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.server.close().sync_timeout(DEADLINE);
    }
}

enum Event {
    Bytes(Bytes),
    End,
    Failed(io::ErrorKind),
}

/// The last handler of a peer.
struct Inbox(Sender<Event>);

impl Inbox {
    fn say(&self, event: Event) -> HandlerResult {
        // The peer may be gone.
        let _ = self.0.send(event);
        Ok(())
    }
}

impl Handler for Inbox {
    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.say(Event::Bytes(msg.into_bytes().expect("bytes")))
    }

    fn user_event_triggered(&mut self, _: &mut Context<'_>, event: Message) -> HandlerResult {
        if event.is::<tidegate::channel::events::ChannelInputShutdown>() {
            return self.say(Event::End);
        }
        Ok(())
    }

    fn channel_inactive(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.say(Event::End)
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.say(Event::Failed(io_kind(&cause.into_error())))
    }
}

fn io_kind(error: &Error) -> io::ErrorKind {
    match error.kind() {
        tidegate::ErrorKind::ConnectionReset => io::ErrorKind::ConnectionReset,
        tidegate::ErrorKind::TimedOut => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::BrokenPipe,
    }
}

/// See the module's page.
struct LocalPeer(Arc<Side>);

struct Side {
    channel: Channel,
    input: Mutex<Input>,
}

struct Input {
    events: Receiver<Event>,
    /// What was read and not asked for.
    rest: Bytes,
    has_ended: bool,
}

impl LocalPeer {
    fn new(channel: Channel, events: Receiver<Event>) -> Self {
        let input = Mutex::new(Input {
            events,
            rest: Bytes::new(),
            has_ended: false,
        });
        Self(Arc::new(Side { channel, input }))
    }
}

impl Read for LocalPeer {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut input = self.0.input.lock().expect("no reader panics");
        while input.rest.is_empty() && !input.has_ended {
            self.0.channel.read();
            match input.events.recv_timeout(DEADLINE) {
                Ok(Event::Bytes(bytes)) => input.rest = bytes,
                Ok(Event::End) => input.has_ended = true,
                Ok(Event::Failed(kind)) => {
                    input.has_ended = true;
                    return Err(kind.into());
                }
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        let count = room.len().min(input.rest.len());
        room[..count].copy_from_slice(&input.rest.split_to(count));
        Ok(count)
    }
}

impl Write for LocalPeer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.channel.write_and_flush(bytes.to_vec());
        match written.sync_timeout(DEADLINE) {
            Ok(_) => Ok(bytes.len()),
            Err(error) => Err(io_kind(&error).into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Peer for LocalPeer {
    fn again(&self) -> Box<dyn Peer> {
        Box::new(Self(Arc::clone(&self.0)))
    }

    fn end_output(&mut self) {
        let ended = self.0.channel.shutdown_output().sync_timeout(DEADLINE);
        ended.expect("connected");
    }

    fn reset_on_close(&mut self) {
        let set = self.0.channel.set_option(SO_LINGER, Some(Duration::ZERO));
        set.sync_timeout(DEADLINE)
            .expect("an option of local channels");
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let input = self.input.get_mut().expect("no reader panics");
        let is_unread = !input.rest.is_empty()
            || input
                .events
                .try_iter()
                .any(|event| matches!(event, Event::Bytes(_)));
        if is_unread {
            // As a kernel does with what is in the socket's buffer.
            drop(self.channel.set_option(SO_LINGER, Some(Duration::ZERO)));
        }
        let _ = self.channel.close().sync_timeout(DEADLINE);
    }
}
