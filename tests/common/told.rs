//! [`Told`]: a client's transport without a descriptor, which does what the test tells it and tells the test what it is
//! asked. Used by the tests of names with several addresses.

use std::sync::mpsc::{Receiver, Sender};

use tidegate::buffer::Message;
use tidegate::channel::options::{ChannelOption, OptionId, OptionType, OptionValue};
use tidegate::channel::{
    Address, Flush, Inet, Io, Metadata, OutboundBuffer, Progress, Read, Signal, Transport,
};
use tidegate::error::{Error, ErrorKind};
use tidegate::transport::ClientTransport;

use crate::probe::DEADLINE;

/// Whom a transport tells.
pub const WHOM: ChannelOption<Whom> = ChannelOption::named("WHOM");

/// A value of [`WHOM`].
#[derive(Clone)]
pub struct Whom(pub Sender<Did>);

impl OptionType for Whom {}

/// A connect to this port says that it has succeeded, and fails.
pub const FAILS: u16 = 1;

/// What a transport was asked for.
pub enum Did {
    Register,
    Reading(bool),
    /// To this port, from there.
    Connect(u16, Option<Address>, Signal),
    Check,
    Read,
    Close,
}

/// The next connect after a registration: where to, where from, and how its transport reports.
pub fn connects(did: &Receiver<Did>) -> (u16, Option<Address>, Signal) {
    let next = || did.recv_timeout(DEADLINE).expect("before the deadline");
    assert!(matches!(next(), Did::Register));
    match next() {
        Did::Connect(port, local, signal) => (port, local, signal),
        _ => panic!("no connect"),
    }
}

/// See the module's page. Connects and closes are pending until the test says that they are over.
pub struct Told {
    whom: Option<Whom>,
    is_connected: bool,
}

impl Told {
    fn tell(&self, did: Did) {
        // The test may have seen enough.
        let _ = self.whom.as_ref().map(|whom| whom.0.send(did));
    }
}

impl ClientTransport for Told {
    type Family = Inet;

    fn unconnected() -> Self {
        Self {
            whom: None,
            is_connected: false,
        }
    }
}

impl Transport for Told {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: "told",
            has_disconnect: false,
            max_messages_per_read: 16,
            is_server: false,
        }
    }

    fn is_active(&self) -> bool {
        self.is_connected
    }

    fn register(&mut self, _io: &mut Io<'_>) -> Result<(), Error> {
        self.tell(Did::Register);
        Ok(())
    }

    fn connect(
        &mut self,
        io: &mut Io<'_>,
        remote: &Address,
        local: Option<&Address>,
    ) -> Result<Progress, Error> {
        let port = remote.as_inet().map_or(0, |remote| remote.port());
        self.tell(Did::Connect(port, local.cloned(), io.signal()));
        if port == FAILS {
            io.signal().connected(Ok(()));
            return Err(Error::new(ErrorKind::ConnectRefused, "as told"));
        }
        Ok(Progress::Pending)
    }

    fn check_connect(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
        self.tell(Did::Check);
        self.is_connected = true;
        Ok(Progress::Done)
    }

    fn accepts(&self, _msg: &Message) -> bool {
        false
    }

    fn reading(&mut self, _io: &mut Io<'_>, wanted: bool) {
        self.tell(Did::Reading(wanted));
    }

    fn starts_readable(&mut self) -> bool {
        false
    }

    fn read(&mut self, _io: &mut Io<'_>) -> Result<Read, Error> {
        self.tell(Did::Read);
        Ok(Read::WouldBlock)
    }

    fn flush(&mut self, _io: &mut Io<'_>, _out: &mut OutboundBuffer) -> Result<Flush, Error> {
        Ok(Flush::Drained)
    }

    fn close(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
        self.tell(Did::Close);
        Ok(Progress::Pending)
    }

    fn set_option(&mut self, id: OptionId, value: &OptionValue) -> Result<(), Error> {
        if id == WHOM.id() {
            self.whom = WHOM.restore(value);
        }
        Ok(())
    }
}
