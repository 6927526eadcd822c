//! [`Socket`]: a connected stream socket whose reads and writes are made on two threads.

use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_sys::os::{Interest, net};

use super::census;
use super::hand::Last;
use super::input::{Input, Source};
use super::output::{self, Output, Sink};
use super::patient::{Patient, TIMEOUT, Timeout};
use super::receiver::Receiver;
use super::server::{Listening, Server};
use super::threads::{Threads, duplicate};
use crate::buffer::Message;
use crate::channel::stream::{self, Step};
use crate::channel::{
    Address, Direction, Flush, Io, Metadata, OptionId, OptionValue, OutboundBuffer, Progress, Read,
    Transport,
};
use crate::error::{Error, ErrorKind};
use crate::transport::kind::{ChildTransport, ClientTransport};
use crate::transport::tcp;

/// TCP on threads.
pub type Tcp = Socket<tcp::Tcp>;

/// Sockets that this family takes over: `T` opens, connects and knows the options, the threads read and write. Only kinds
/// of this crate can be it.
pub trait StreamSocket: Transport {
    /// For metadata.
    const NAME: &'static str;
}

impl StreamSocket for tcp::Tcp {
    const NAME: &'static str = "blocking tcp";
}

/// A stream socket of kind `T` whose reads and writes are made on two threads of its own; everything else is as with
/// `T`, with the option `SO_TIMEOUT` beside.
///
/// With `ALLOW_HALF_CLOSURE`, once the peer's end was read nobody waits for the socket any more: that such a connection has
/// broken shows with the next write, as with blocking calls everywhere.
pub struct Socket<T> {
    /// `None` once the channel has closed.
    inner: Option<T>,
    timeout: Timeout,
    running: Option<Running>,
}

struct Running {
    threads: Threads<Input>,
    /// The writing thread ends the output when it ends itself.
    ends_output: Arc<AtomicBool>,
    /// The output was ended, or is about to be.
    is_output_over: Arc<AtomicBool>,
}

impl<T: StreamSocket> Socket<T> {
    fn new(inner: T) -> Self {
        Self {
            inner: Some(inner),
            timeout: Timeout::new(TIMEOUT),
            running: None,
        }
    }

    fn inner(&self) -> Result<&T, Error> {
        self.inner.as_ref().ok_or_else(closed)
    }

    fn inner_mut(&mut self) -> Result<&mut T, Error> {
        self.inner.as_mut().ok_or_else(closed)
    }

    fn threads(&mut self) -> Result<&mut Threads<Input>, Error> {
        match &mut self.running {
            Some(running) => Ok(&mut running.threads),
            None => Err(Error::new(
                ErrorKind::NotYetConnected,
                format!("the {} channel is not connected", T::NAME),
            )),
        }
    }

    fn start(&mut self, io: &mut Io<'_>, remote: Option<&Address>) -> Result<(), Error> {
        let inner = self.inner()?;
        let Some(fd) = inner.as_fd() else {
            return Ok(());
        };
        let name: Arc<str> = match remote.cloned().or_else(|| inner.remote_address()) {
            Some(peer) => peer.to_string().into(),
            None => "the peer".into(),
        };
        let fd = duplicate(fd)?;
        let patient = Patient::new(fd.clone(), self.timeout.clone());
        let last = Last::new(fd.clone(), io.signal());
        let channel = census::next_channel();
        let is_output_over = Arc::new(AtomicBool::new(false));
        let source = Receiver::new(patient.clone(), is_output_over.clone());
        let input = Input::start(
            format!("oio-read-{channel}"),
            name.clone(),
            Source::Socket(source),
            io.signal(),
            last.clone(),
        )?;
        let ends_output = Arc::new(AtomicBool::new(false));
        let ends = ends_output.clone();
        let sink = Writer {
            patient,
            name,
            ends_output: ends.clone(),
        };
        let output = Output::new(format!("oio-write-{channel}"), sink, last.clone());
        let threads = Threads::new(input, output, last, move |waiting| {
            ends.store(false, Ordering::SeqCst);
            // Ending the input sends nothing, so what the close means to the peer (an end or a reset, by SO_LINGER) is
            // left to the kernel. A peer that takes nothing is not waited for.
            let _ = net::shutdown(fd.as_fd(), Shutdown::Read);
            if waiting.writer {
                let _ = net::shutdown(fd.as_fd(), Shutdown::Write);
            }
        });
        self.running = Some(Running {
            threads,
            ends_output,
            is_output_over,
        });
        Ok(())
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::ChannelClosed, "the channel is closed")
}

impl<T: StreamSocket + ClientTransport> ClientTransport for Socket<T> {
    type Family = T::Family;

    fn unconnected() -> Self {
        Self::new(T::unconnected())
    }
}

impl<T: StreamSocket + ChildTransport> ChildTransport for Socket<T>
where
    T::Server: Listening,
{
    type Family = T::Family;
    type Server = Server<T::Server>;
    type Accepted = T::Accepted;

    fn server() -> Self::Server {
        Server::new(T::server())
    }

    fn child(accepted: T::Accepted) -> Self {
        Self::new(T::child(accepted))
    }
}

impl<T: StreamSocket> Transport for Socket<T> {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: T::NAME,
            has_disconnect: false,
            // Netty has 1 here; of 16 the second finds nothing at the price of a look.
            max_messages_per_read: 16,
            is_server: false,
        }
    }

    fn is_active(&self) -> bool {
        self.inner.as_ref().is_some_and(Transport::is_active)
    }

    fn register(&mut self, io: &mut Io<'_>) -> Result<(), Error> {
        self.inner_mut()?.register(io)?;
        if self.is_active() {
            self.start(io, None)?;
        }
        Ok(())
    }

    fn bind(&mut self, io: &mut Io<'_>, local: &Address) -> Result<(), Error> {
        self.inner_mut()?.bind(io, local)
    }

    fn connect(
        &mut self,
        io: &mut Io<'_>,
        remote: &Address,
        local: Option<&Address>,
    ) -> Result<Progress, Error> {
        let progress = self.inner_mut()?.connect(io, remote, local)?;
        self.start(io, Some(remote))?;
        if progress == Progress::Pending {
            self.threads()?.input.await_connect();
        }
        Ok(progress)
    }

    fn check_connect(&mut self, io: &mut Io<'_>) -> Result<Progress, Error> {
        let progress = self.inner_mut()?.check_connect(io)?;
        if progress == Progress::Pending {
            self.threads()?.input.await_connect();
        }
        Ok(progress)
    }

    fn accepts(&self, msg: &Message) -> bool {
        stream::accepts(msg)
    }

    fn read(&mut self, io: &mut Io<'_>) -> Result<Read, Error> {
        self.threads()?.input.read(io)
    }

    fn flush(&mut self, io: &mut Io<'_>, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        self.threads()?.output.flush(io, out)
    }

    /// What the writing thread has goes out first; the loop does not wait for it.
    fn shutdown(&mut self, io: &mut Io<'_>, direction: Direction) -> Result<(), Error> {
        if direction == Direction::Output
            && let Some(running) = &self.running
        {
            running.is_output_over.store(true, Ordering::SeqCst);
        }
        if direction == Direction::Output && self.threads()?.output.is_busy() {
            // In this order: the thread may end at once.
            if let Some(running) = &self.running {
                running.ends_output.store(true, Ordering::SeqCst);
            }
            self.threads()?.output.finish();
            return Ok(());
        }
        self.inner_mut()?.shutdown(io, direction)
    }

    /// As its sibling, whose descriptor it keeps to itself.
    fn lingers(&self) -> bool {
        self.running.is_some()
    }

    fn close(&mut self, io: &mut Io<'_>) -> Result<Progress, Error> {
        match (self.inner.take(), self.running.take()) {
            // The threads have the other descriptor of the socket, and close it.
            (inner, Some(running)) => {
                drop(inner);
                drop(running);
                Ok(Progress::Pending)
            }
            (Some(mut inner), None) => inner.close(io),
            (None, None) => Ok(Progress::Done),
        }
    }

    fn goes_by(&self, id: OptionId) -> bool {
        !output::is_limit(id)
    }

    fn set_option(&mut self, id: OptionId, value: &OptionValue) -> Result<(), Error> {
        if self.timeout.set_option(id, value) {
            return Ok(());
        }
        output::refuse_limit(T::NAME, id)?;
        self.inner_mut()?.set_option(id, value)
    }

    fn option(&self, id: OptionId) -> Result<OptionValue, Error> {
        if let Some(value) = self.timeout.option(id) {
            return Ok(value);
        }
        output::refuse_limit(T::NAME, id)?;
        self.inner()?.option(id)
    }

    fn local_address(&self) -> Option<Address> {
        self.inner.as_ref()?.local_address()
    }

    fn remote_address(&self) -> Option<Address> {
        self.inner.as_ref()?.remote_address()
    }
}

/// Sends on the writing thread, by the machine of all stream sockets.
struct Writer {
    patient: Patient,
    name: Arc<str>,
    ends_output: Arc<AtomicBool>,
}

impl Sink for Writer {
    fn step(&mut self, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        let socket = self.patient.as_fd();
        stream::flush(socket, 1, out, &self.name, |out| {
            stream::refuse_object(out);
            Ok(Step::Went)
        })
    }

    fn wait(&mut self) -> Result<(), Error> {
        match self.patient.wait(Interest::WRITE) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::io(format!("sending to {}", self.name), error)),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.ends_output.load(Ordering::SeqCst) {
            let _ = net::shutdown(self.patient.as_fd(), Shutdown::Write);
        }
    }
}
