//! The Unix domain as a domain of sockets: its addresses, and the files that binding to them makes.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use tidegate_sys::os::net::{
    self,
    unix::{self, DirectoryLock, FileIdentity},
};

use crate::channel::{Address, ChannelOption, OptionId, OptionValue, Unix, UnixAddress};
use crate::error::{Error, ErrorKind};
use crate::transport::socket::domain::{Domain, Peer, Place};
use crate::transport::socket::options::Family;

/// Remove the file of a socket that nobody has any more, when it stands in the way of a bind: one of a program that did not end
/// well. What is no socket, and a live one, stay, and the bind fails. A live one is not asked for a connection: it need not
/// listen yet, and a server hears nothing of it, whether its queue is full or not.
///
/// Programs that have this on take turns by a lock on the folder (flock(2)), so that none removes what another one has just
/// made. A bind waits for its turn for a second at most, without holding its loop: nothing of this blocks but the file system.
///
/// Default false. Source: this crate; OpenSSH calls it `StreamLocalBindUnlink`.
pub const UNLINK_STALE: ChannelOption<bool> = ChannelOption::named("UNLINK_STALE");

/// Remove the file that binding made when the channel closes, if it still is the same one.
///
/// Default true. Source: this crate; Go calls it `SetUnlinkOnClose`.
pub const UNLINK_ON_CLOSE: ChannelOption<bool> = ChannelOption::named("UNLINK_ON_CLOSE");

impl Domain for Unix {
    type Name = UnixAddress;
    type Peer = UnixPeer;
    type Place = SocketFile;

    fn name(transport: &str, address: &Address, verb: &str) -> Result<UnixAddress, Error> {
        match address {
            Address::Unix(address) => Ok(address.clone()),
            // What handlers give as text.
            Address::Name(text) => Ok(UnixAddress::from(&**text)),
            _ => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "{transport} can't {verb} {address}: it takes a UnixAddress, a path or an abstract name"
                ),
            )),
        }
    }

    fn family(_name: Option<UnixAddress>) -> Family {
        Family::Unix
    }
}

/// Whom a connection leads to. Clients are mostly unnamed, so that says nothing about whether there is a peer.
#[derive(Debug, Default)]
pub struct UnixPeer(Option<UnixAddress>);

impl Peer<UnixAddress> for UnixPeer {
    fn of(address: UnixAddress) -> Self {
        Self(Some(address))
    }

    fn name(&self) -> Option<UnixAddress> {
        self.0.clone()
    }
}

/// For the text of errors.
impl fmt::Display for UnixPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(UnixAddress::Unnamed) => f.write_str("an unnamed peer"),
            Some(address) => address.fmt(f),
            None => f.write_str("nobody"),
        }
    }
}

/// The file that binding makes, and what is done about it.
#[derive(Debug)]
pub struct SocketFile {
    unlinks_stale: bool,
    unlinks_on_close: bool,
    made: Option<Box<Made>>,
    /// Between the bind and the moment from which the socket answers.
    lock: Option<DirectoryLock>,
}

#[derive(Debug)]
struct Made {
    /// Absolute, because the program may go elsewhere.
    path: PathBuf,
    identity: FileIdentity,
}

impl Default for SocketFile {
    fn default() -> Self {
        Self {
            unlinks_stale: false,
            unlinks_on_close: true,
            made: None,
            lock: None,
        }
    }
}

impl Place<UnixAddress> for SocketFile {
    fn bind(&mut self, socket: BorrowedFd<'_>, name: &UnixAddress) -> io::Result<()> {
        let Some(path) = name.as_path() else {
            return net::bind(socket, name);
        };
        if self.unlinks_stale {
            self.lock = lock(path)?;
        }
        let mut bound = net::bind(socket, name);
        let is_taken = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
        if self.unlinks_stale && bound.as_ref().is_err_and(is_taken) && remove_stale(path, name)? {
            bound = net::bind(socket, name);
        }
        bound?;
        let found = std::path::absolute(path).and_then(|path| {
            let (identity, _) = FileIdentity::of(&path)?;
            Ok(Box::new(Made { path, identity }))
        });
        // If it is gone already there is nothing to remove later.
        self.made = found.ok();
        Ok(())
    }

    fn ready(&mut self) {
        self.lock = None;
    }

    fn leave(&mut self) {
        self.lock = None;
        let Some(made) = self.made.take().filter(|_| self.unlinks_on_close) else {
            return;
        };
        if let Err(error) = made.identity.remove(&made.path) {
            let path = made.path.display();
            tracing::warn!(%path, %error, "the file of a closed socket could not be removed");
        }
    }

    fn set_option(&mut self, id: OptionId, value: &OptionValue) -> bool {
        let Some(place) = self.flag(id) else {
            return false;
        };
        if let Some(on) = UNLINK_STALE.restore(value) {
            *place = on;
        }
        true
    }

    fn option(&self, id: OptionId) -> Option<OptionValue> {
        let on = match id {
            id if id == UNLINK_STALE.id() => self.unlinks_stale,
            id if id == UNLINK_ON_CLOSE.id() => self.unlinks_on_close,
            _ => return None,
        };
        Some(OptionValue::Bool(on))
    }
}

impl SocketFile {
    fn flag(&mut self, id: OptionId) -> Option<&mut bool> {
        match id {
            id if id == UNLINK_STALE.id() => Some(&mut self.unlinks_stale),
            id if id == UNLINK_ON_CLOSE.id() => Some(&mut self.unlinks_on_close),
            _ => None,
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The lock on the folder of `path`; `None` where folders can't be locked. Whoever holds it makes a few system calls, but may be
/// stopped in the middle of them: nobody waits here, and the bind is asked again.
fn lock(path: &Path) -> io::Result<Option<DirectoryLock>> {
    match DirectoryLock::of_parent(path) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let text = "another program holds a lock on its folder (flock), perhaps to bind there, too; try again";
            let error = Error::new(ErrorKind::AddrInUse, text);
            Err(io::Error::new(io::ErrorKind::WouldBlock, error))
        }
        // Folders that may not be read, or a file system without locks: the bind tells the rest.
        Err(_) => Ok(None),
    }
}

/// Removes the file if it is that of a socket which nobody has any more; whether it is gone.
///
/// Found out by connecting a socket for datagrams to it. Systems look for a socket behind the file first (ECONNREFUSED if there is
/// none), then at its type (EPROTOTYPE if it is for connections): unix_find_bsd of Linux, unp_connect of the BSDs and XNU. A
/// socket for connections would be refused by a live one as well: by any that does not listen yet, and, on the BSDs and XNU,
/// by one whose queue is full.
fn remove_stale(path: &Path, name: &UnixAddress) -> io::Result<bool> {
    let (identity, is_socket) = match FileIdentity::of(path) {
        Ok(found) => found,
        Err(error) => return Ok(error.kind() == io::ErrorKind::NotFound),
    };
    if !is_socket {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "the file there is no socket, and stays",
        ));
    }
    let probe = unix::datagram_socket()?;
    match net::connect(probe.as_fd(), name) {
        // Another kind of socket, no permission: somebody may be there.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let removed = identity.remove(path)?;
            if removed {
                let path = path.display();
                tracing::info!(%path, "removed the file of a socket that nobody has any more");
            }
            Ok(removed)
        }
        _ => Ok(false),
    }
}
