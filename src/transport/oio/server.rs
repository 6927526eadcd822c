//! [`Server`]: a listening socket whose accepts are made on a thread.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tidegate_sys::os::net;

use super::census;
use super::hand::{Hand, Last, Stop, Tell, Work};
use super::output::Output;
use super::patient::{Patient, TIMEOUT, Timeout};
use super::threads::{Threads, duplicate};
use crate::buffer::Message;
use crate::channel::{
    Address, Flush, Io, Metadata, OptionId, OptionValue, OutboundBuffer, Progress, Read, Transport,
};
use crate::error::{Error, ErrorKind};
use crate::transport::kind::Adoptable;
use crate::transport::tcp;

/// A TCP listener on a thread.
pub type TcpServer = Server<tcp::TcpServer>;

/// Listeners that this family takes over: `Self` opens, listens and decides what becomes of each outcome of an accept;
/// a thread accepts. Only kinds of this crate can be it.
pub trait Listening: Transport {
    /// For metadata.
    const NAME: &'static str;

    /// What one accept gives.
    type Connection: Send + 'static;

    /// One accept, which does not block.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` if no client waits.
    fn accept(listener: BorrowedFd<'_>) -> io::Result<Self::Connection>;

    /// What a read answers to the outcome of an accept. It is taken, unless the listener rests; what it wants to accept
    /// beside, it accepts itself.
    ///
    /// # Errors
    /// As of [`Transport::read`].
    fn admit(
        &mut self,
        io: &mut Io<'_>,
        outcome: &mut Option<io::Result<Self::Connection>>,
    ) -> Result<Read, Error>;
}

impl Listening for tcp::TcpServer {
    const NAME: &'static str = "blocking tcp server";

    type Connection = (OwnedFd, SocketAddr);

    fn accept(listener: BorrowedFd<'_>) -> io::Result<Self::Connection> {
        net::accept(listener)
    }

    fn admit(
        &mut self,
        io: &mut Io<'_>,
        outcome: &mut Option<io::Result<Self::Connection>>,
    ) -> Result<Read, Error> {
        self.read_after(io, outcome)
    }
}

/// A listening socket of kind `T` whose accepts are made on a thread of its own; everything else is as with `T`, with
/// the option `SO_TIMEOUT` beside.
///
/// Closing it ends the socket (shutdown(2)), to wake its thread: one that was adopted stops listening for all who hold it.
pub struct Server<T: Listening> {
    /// `None` once the channel has closed.
    inner: Option<T>,
    timeout: Timeout,
    running: Option<Running<T>>,
}

struct Running<T: Listening> {
    threads: Threads<Hand<Arrival<T::Connection>>>,
    /// Not with the thread.
    here: Option<Arrival<T::Connection>>,
}

/// What one accept of the thread gave.
struct Arrival<C>(Option<io::Result<C>>);

impl<T: Listening> Server<T> {
    pub(super) fn new(inner: T) -> Self {
        Self {
            inner: Some(inner),
            timeout: Timeout::new(TIMEOUT),
            running: None,
        }
    }

    fn inner_mut(&mut self) -> Result<&mut T, Error> {
        self.inner
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::ChannelClosed, "the server is closed"))
    }

    fn start(&mut self, io: &mut Io<'_>) -> Result<(), Error> {
        let Some(fd) = self.inner_mut()?.as_fd() else {
            return Ok(());
        };
        let fd = duplicate(fd)?;
        let accepting = Accepting::<T> {
            patient: Patient::new(fd.clone(), self.timeout.clone()),
            listener: std::marker::PhantomData,
        };
        let signal = io.signal();
        let last = Last::new(fd.clone(), signal.clone());
        let name = format!("oio-accept-{}", census::next_channel());
        let hand = Hand::start(name, accepting, signal, last.clone())?;
        let threads = Threads::new(hand, Output::none(), last, move |_| {
            // Linux wakes whoever waits for a listener by this; elsewhere the thread looks up at the end of its wait.
            let _ = net::shutdown(fd.as_fd(), Shutdown::Read);
        });
        self.running = Some(Running {
            threads,
            here: Some(Arrival(None)),
        });
        Ok(())
    }
}

impl<T: Listening + Adoptable> Adoptable for Server<T> {
    fn adopt(socket: OwnedFd) -> Result<Self, Error> {
        T::adopt(socket).map(Self::new)
    }
}

impl<T: Listening> Transport for Server<T> {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: T::NAME,
            has_disconnect: false,
            max_messages_per_read: 16,
            is_server: true,
        }
    }

    fn is_active(&self) -> bool {
        self.inner.as_ref().is_some_and(Transport::is_active)
    }

    fn register(&mut self, io: &mut Io<'_>) -> Result<(), Error> {
        self.inner_mut()?.register(io)?;
        // One that was adopted listens already.
        if self.is_active() {
            self.start(io)?;
        }
        Ok(())
    }

    fn bind(&mut self, io: &mut Io<'_>, local: &Address) -> Result<(), Error> {
        let was_active = self.is_active();
        self.inner_mut()?.bind(io, local)?;
        if was_active { Ok(()) } else { self.start(io) }
    }

    fn accepts(&self, _msg: &Message) -> bool {
        false
    }

    fn read(&mut self, io: &mut Io<'_>) -> Result<Read, Error> {
        let (Some(inner), Some(running)) = (&mut self.inner, &mut self.running) else {
            return Ok(Read::WouldBlock);
        };
        let hand = &running.threads.input;
        let Some(mut arrival) = running.here.take().or_else(|| hand.take()) else {
            return Ok(Read::Asked);
        };
        if arrival.0.is_none() {
            hand.give(arrival);
            return Ok(Read::Asked);
        }
        // After the thread's outcome the listener may want more at once: it sheds clients, or one was gone.
        let read = inner.admit(io, &mut arrival.0);
        if matches!(read, Ok(Read::WouldBlock)) && arrival.0.is_none() {
            hand.give(arrival);
            return Ok(Read::Asked);
        }
        running.here = Some(arrival);
        read
    }

    /// Nothing is ever buffered: see `accepts`.
    fn flush(&mut self, _io: &mut Io<'_>, _out: &mut OutboundBuffer) -> Result<Flush, Error> {
        Ok(Flush::Drained)
    }

    fn close(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
        self.inner = None;
        Ok(match self.running.take() {
            Some(_) => Progress::Pending,
            None => Progress::Done,
        })
    }

    fn set_option(&mut self, id: OptionId, value: &OptionValue) -> Result<(), Error> {
        match self.timeout.set_option(id, value) {
            true => Ok(()),
            false => self.inner_mut()?.set_option(id, value),
        }
    }

    fn option(&self, id: OptionId) -> Result<OptionValue, Error> {
        match (self.timeout.option(id), &self.inner) {
            (Some(value), _) => Ok(value),
            (None, Some(inner)) => inner.option(id),
            (None, None) => Err(Error::new(ErrorKind::ChannelClosed, "the server is closed")),
        }
    }

    fn local_address(&self) -> Option<Address> {
        self.inner.as_ref()?.local_address()
    }
}

/// The thread's side.
struct Accepting<T> {
    patient: Patient,
    listener: std::marker::PhantomData<fn() -> T>,
}

impl<T: Listening> Work for Accepting<T> {
    type Job = Arrival<T::Connection>;

    fn run(&mut self, arrival: &mut Self::Job, stop: &Stop) -> Tell {
        while !stop.is_set() {
            match self.patient.call(T::accept) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                outcome => {
                    arrival.0 = Some(outcome);
                    break;
                }
            }
        }
        Tell::Readable
    }
}
