//! [`Udp`]: a datagram socket whose batches are received and sent on two threads.

use std::io;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use bytes::BytesMut;
use tidegate_sys::os::Interest;
use tidegate_sys::os::net::{self, Received};

use super::census;
use super::hand::{Hand, Last, Stop, Tell, Work};
use super::output::{self, Output, Sink};
use super::patient::{Patient, TIMEOUT, Timeout};
use super::threads::{Threads, duplicate};
use crate::buffer::Message;
use crate::channel::{
    Address, Flush, Io, Metadata, OptionId, OptionValue, OutboundBuffer, Progress, Read, Transport,
};
use crate::error::{Error, ErrorKind};
use crate::transport::datagram::Sender;
use crate::transport::kind::{Adoptable, ClientTransport, DatagramTransport};
use crate::transport::udp::{self, UdpKind};

/// A UDP socket whose batches are received and sent on two threads of its own; everything else is as with
/// [`udp::Udp`], with the option `SO_TIMEOUT` beside.
///
/// Closing it ends the socket (shutdown(2)), to wake its threads: one that was adopted ends for all who hold it.
pub struct Udp {
    /// `None` once the channel has closed.
    inner: Option<udp::Udp>,
    timeout: Timeout,
    running: Option<Running>,
}

struct Running {
    threads: Threads<Hand<Catch>>,
    /// Not with the thread.
    here: Option<Catch>,
}

/// What one call of the thread brought, and the room it had.
#[derive(Default)]
struct Catch {
    each: usize,
    most: usize,
    told: Vec<Received<SocketAddr>>,
    outcome: Option<io::Result<BytesMut>>,
}

impl Udp {
    fn inner(&self) -> Result<&udp::Udp, Error> {
        self.inner.as_ref().ok_or_else(closed)
    }

    fn inner_mut(&mut self) -> Result<&mut udp::Udp, Error> {
        self.inner.as_mut().ok_or_else(closed)
    }

    fn start(&mut self, io: &mut Io<'_>) -> Result<(), Error> {
        let Some(fd) = self.inner()?.as_fd().filter(|_| self.running.is_none()) else {
            return Ok(());
        };
        let fd = duplicate(fd)?;
        let patient = Patient::new(fd.clone(), self.timeout.clone());
        let signal = io.signal();
        let last = Last::new(fd.clone(), signal.clone());
        let channel = census::next_channel();
        let receiving = Receiving {
            patient: patient.clone(),
        };
        let sending = Sending {
            patient,
            sender: Sender::new(),
        };
        let reader = format!("oio-read-{channel}");
        let hand = Hand::start(reader, receiving, signal, last.clone())?;
        let output = Output::new(format!("oio-write-{channel}"), sending, last.clone());
        let threads = Threads::new(hand, output, last, move |_| {
            // An unconnected socket refuses this, and Linux and FreeBSD wake whoever waits for it all the same.
            let _ = net::shutdown(fd.as_fd(), Shutdown::Both);
        });
        self.running = Some(Running {
            threads,
            here: Some(Catch::default()),
        });
        Ok(())
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::ChannelClosed, "the UDP channel is closed")
}

impl ClientTransport for Udp {
    type Family = <udp::Udp as ClientTransport>::Family;

    fn unconnected() -> Self {
        Self {
            inner: Some(udp::Udp::unconnected()),
            timeout: Timeout::new(TIMEOUT),
            running: None,
        }
    }
}

impl DatagramTransport for Udp {}

impl Adoptable for Udp {
    fn adopt(socket: OwnedFd) -> Result<Self, Error> {
        Ok(Self {
            inner: Some(udp::Udp::adopt(socket)?),
            ..Self::unconnected()
        })
    }
}

impl Transport for Udp {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: "blocking udp",
            has_disconnect: true,
            max_messages_per_read: net::DATAGRAMS_MAX as u16,
            is_server: false,
        }
    }

    fn outlives_errors(&self) -> bool {
        true
    }

    fn is_active(&self) -> bool {
        self.inner.as_ref().is_some_and(Transport::is_active)
    }

    /// One that was adopted can begin.
    fn register(&mut self, io: &mut Io<'_>) -> Result<(), Error> {
        self.start(io)
    }

    fn bind(&mut self, io: &mut Io<'_>, local: &Address) -> Result<(), Error> {
        self.inner_mut()?.bind(io, local)?;
        self.start(io)
    }

    fn connect(
        &mut self,
        io: &mut Io<'_>,
        remote: &Address,
        local: Option<&Address>,
    ) -> Result<Progress, Error> {
        let progress = self.inner_mut()?.connect(io, remote, local)?;
        self.start(io)?;
        Ok(progress)
    }

    fn disconnect(&mut self, io: &mut Io<'_>) -> Result<(), Error> {
        self.inner_mut()?.disconnect(io)
    }

    fn accepts(&self, msg: &Message) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.accepts(msg))
    }

    fn size_of(&self, msg: &Message) -> usize {
        match &self.inner {
            Some(inner) => inner.size_of(msg),
            None => msg.estimated_size(),
        }
    }

    fn read(&mut self, _io: &mut Io<'_>) -> Result<Read, Error> {
        let (Some(inner), Some(running)) = (&mut self.inner, &mut self.running) else {
            return Ok(Read::WouldBlock);
        };
        let mut here = running.here.take().or_else(|| running.threads.input.take());
        let read = inner.read_by(|_, _, told| {
            let Some(catch) = &mut here else {
                return Err(io::ErrorKind::WouldBlock.into());
            };
            let outcome = catch.outcome.take();
            std::mem::swap(told, &mut catch.told);
            outcome.unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
        });
        match (here, &read) {
            (Some(mut catch), Ok(Read::WouldBlock)) => {
                (catch.each, catch.most) = inner.receive_room();
                catch.told.clear();
                running.threads.input.give(catch);
            }
            (None, Ok(Read::WouldBlock)) => {}
            (here, _) => running.here = here,
        }
        // What the thread brought is not all that there is, whatever the machine concludes from its length.
        Ok(match read? {
            Read::Last(message) => Read::Message(message),
            Read::WouldBlock => Read::Asked,
            other => other,
        })
    }

    fn flush(&mut self, io: &mut Io<'_>, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        match &mut self.running {
            Some(running) => running.threads.output.flush(io, out),
            None => Err(closed()),
        }
    }

    fn close(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
        self.inner = None;
        Ok(match self.running.take() {
            Some(_) => Progress::Pending,
            None => Progress::Done,
        })
    }

    fn goes_by(&self, id: OptionId) -> bool {
        let inner = self.inner.as_ref();
        !output::is_limit(id) && inner.is_some_and(|inner| inner.goes_by(id))
    }

    fn set_option(&mut self, id: OptionId, value: &OptionValue) -> Result<(), Error> {
        if self.timeout.set_option(id, value) {
            return Ok(());
        }
        output::refuse_limit(self.metadata().name, id)?;
        self.inner_mut()?.set_option(id, value)
    }

    fn option(&self, id: OptionId) -> Result<OptionValue, Error> {
        if let Some(value) = self.timeout.option(id) {
            return Ok(value);
        }
        output::refuse_limit(self.metadata().name, id)?;
        self.inner()?.option(id)
    }

    fn local_address(&self) -> Option<Address> {
        self.inner.as_ref()?.local_address()
    }

    fn remote_address(&self) -> Option<Address> {
        self.inner.as_ref()?.remote_address()
    }
}

/// The reading thread's side.
struct Receiving {
    patient: Patient,
}

impl Work for Receiving {
    type Job = Catch;

    fn run(&mut self, catch: &mut Catch, stop: &Stop) -> Tell {
        let Catch {
            each,
            most,
            told,
            outcome,
        } = catch;
        while !stop.is_set() {
            let received = self.patient.call(|fd| {
                let mut room = BytesMut::with_capacity(*each * *most);
                net::recv_many(fd, &mut room, *each, *most, told).map(|_| room)
            });
            match received {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                received => {
                    *outcome = Some(received);
                    break;
                }
            }
        }
        Tell::Readable
    }
}

/// The writing thread's side: the machine of all datagram sockets.
struct Sending {
    patient: Patient,
    sender: Sender<UdpKind>,
}

impl Sink for Sending {
    fn step(&mut self, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        Ok(self.sender.flush(self.patient.as_fd(), 1, out))
    }

    fn wait(&mut self) -> Result<(), Error> {
        match self.patient.wait(Interest::WRITE) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::io("sending a datagram", error)),
        }
    }
}
