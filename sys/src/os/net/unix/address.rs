//! [`UnixAddress`] and its form in the kernel, sockaddr_un.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libc::{sockaddr, sockaddr_un, socklen_t};

use super::rights::RightsControl;
use crate::os::name::Name;
use crate::os::net::addr::{Form, SocketAddress};
use crate::os::syscall::socklen_of;

/// The most bytes of a path, or of an abstract name: `sun_path` without a byte for its end.
pub const PATH_MAX: usize = size_of::<sockaddr_un>() - PATH - 1;

/// Where `sun_path` begins.
const PATH: usize = memoffset::offset_of!(sockaddr_un, sun_path);

/// The address of a Unix domain socket.
///
/// As text, a first `@` stands for an abstract name, as in socat, systemd and Go: `"@bus"` is the name `bus`. A file whose
/// name really begins so is `"./@bus"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnixAddress {
    /// None: a socket that was not bound. To bind to it asks Linux for an abstract name that nobody has.
    Unnamed,
    /// A file, at most [`PATH_MAX`] bytes.
    Path(Arc<Path>),
    /// A name outside of the file system that vanishes with its last socket, at most [`PATH_MAX`] bytes of any value. Linux
    /// only.
    Abstract(Arc<[u8]>),
}

impl UnixAddress {
    /// The address of a file.
    pub fn path(path: impl AsRef<Path>) -> Self {
        Self::Path(Arc::from(path.as_ref()))
    }

    /// A name outside of the file system.
    pub fn abstract_name(name: impl AsRef<[u8]>) -> Self {
        Self::Abstract(Arc::from(name.as_ref()))
    }

    /// The file, if it is one.
    pub fn as_path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            _ => None,
        }
    }

    fn from_text(text: &[u8]) -> Self {
        match text {
            [b'@', name @ ..] => Self::abstract_name(name),
            path => Self::path(OsStr::from_bytes(path)),
        }
    }
}

impl From<&str> for UnixAddress {
    fn from(text: &str) -> Self {
        Self::from_text(text.as_bytes())
    }
}

impl From<String> for UnixAddress {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&Path> for UnixAddress {
    fn from(path: &Path) -> Self {
        Self::path(path)
    }
}

impl From<PathBuf> for UnixAddress {
    fn from(path: PathBuf) -> Self {
        Self::path(path)
    }
}

impl From<&PathBuf> for UnixAddress {
    fn from(path: &PathBuf) -> Self {
        Self::path(path)
    }
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unnamed => f.write_str("(unnamed)"),
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
        }
    }
}

/// A sockaddr_un, and how many bytes of it count.
pub struct RawUnix {
    form: sockaddr_un,
    len: socklen_t,
}

impl RawUnix {
    /// The bytes of `sun_path`.
    fn put(bytes: &[u8], at: usize, len: usize) -> Self {
        let mut raw = Self::room();
        raw.form.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (place, byte) in raw.form.sun_path[at..].iter_mut().zip(bytes) {
            *place = libc::c_char::from_ne_bytes([*byte]);
        }
        // At most the size of the structure: the callers have looked.
        raw.len = (PATH + len) as socklen_t;
        raw
    }
}

impl Form<UnixAddress> for RawUnix {
    type Control = RightsControl;

    fn new(address: &UnixAddress) -> io::Result<Self> {
        match address {
            UnixAddress::Unnamed => Ok(Self::put(&[], 0, 0)),
            UnixAddress::Path(path) => {
                let bytes = path.as_os_str().as_bytes();
                if bytes.is_empty() || bytes.contains(&0) {
                    return Err(refused(
                        "a path of a socket is not empty and has no zero byte",
                    ));
                }
                check_length(bytes)?;
                // With the zero byte that ends it, as everybody expects it.
                Ok(Self::put(bytes, 0, bytes.len() + 1))
            }
            UnixAddress::Abstract(_) if !cfg!(any(target_os = "linux", target_os = "android")) => {
                Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "only Linux has abstract names; use a path",
                ))
            }
            UnixAddress::Abstract(name) => {
                check_length(name)?;
                Ok(Self::put(name, 1, name.len() + 1))
            }
        }
    }

    fn room() -> Self {
        Self {
            // SAFETY: a C structure of integers, for which zeroes are values.
            form: unsafe { std::mem::zeroed() },
            len: socklen_of::<sockaddr_un>(),
        }
    }

    fn as_ptr(&self) -> *const sockaddr {
        (&raw const self.form).cast()
    }

    fn as_mut_ptr(&mut self) -> *mut sockaddr {
        (&raw mut self.form).cast()
    }

    fn len(&self) -> socklen_t {
        self.len
    }

    fn decode(&self, length: socklen_t) -> io::Result<UnixAddress> {
        // Who sends without a name comes with an address of no bytes, or of its family only.
        if length > 0 && libc::c_int::from(self.form.sun_family) != libc::AF_UNIX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the socket is none of the Unix domain",
            ));
        }
        // Linux counts a zero byte behind a path that fills the structure.
        let end = (length as usize).min(size_of::<sockaddr_un>());
        let count = end.saturating_sub(PATH);
        let mut bytes = [0; size_of::<sockaddr_un>() - PATH];
        for (byte, place) in bytes.iter_mut().zip(&self.form.sun_path[..count]) {
            // A char of C has a sign here, and none there.
            [*byte] = place.to_ne_bytes();
        }
        let text = bytes[..count]
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or(&[]);
        Ok(match (text, &bytes[..count]) {
            ([], [0, name @ ..]) if cfg!(any(target_os = "linux", target_os = "android")) => {
                UnixAddress::abstract_name(name)
            }
            // The BSDs fill the rest with zeroes.
            ([], _) => UnixAddress::Unnamed,
            (path, _) => UnixAddress::path(OsStr::from_bytes(path)),
        })
    }
}

impl SocketAddress for UnixAddress {
    type Form = RawUnix;

    fn family(&self) -> libc::c_int {
        libc::AF_UNIX
    }

    fn name(&self) -> Name {
        self.into()
    }

    fn from_name(name: Name) -> Option<Self> {
        match name {
            Name::Inet(_) => None,
            Name::Unix(bytes) => Some(match &bytes[..] {
                [] => Self::Unnamed,
                [0, name @ ..] => Self::abstract_name(name),
                path => Self::path(OsStr::from_bytes(path)),
            }),
        }
    }
}

impl From<&UnixAddress> for Name {
    fn from(address: &UnixAddress) -> Self {
        Self::Unix(match address {
            UnixAddress::Unnamed => Box::default(),
            UnixAddress::Path(path) => path.as_os_str().as_bytes().into(),
            UnixAddress::Abstract(name) => [&[0], &name[..]].concat().into(),
        })
    }
}

fn check_length(bytes: &[u8]) -> io::Result<()> {
    if bytes.len() <= PATH_MAX {
        return Ok(());
    }
    Err(refused(&format!(
        "{} bytes are too many for the address of a Unix socket, which has room for {PATH_MAX}; a shorter path, also a \
         relative one, or a symbolic link to the folder will do",
        bytes.len()
    )))
}

fn refused(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.to_owned())
}

const _: () = {
    use memoffset::offset_of;

    // One family byte after a length byte on the BSDs, two family bytes elsewhere.
    assert!(offset_of!(sockaddr_un, sun_family) == offset_of!(sockaddr, sa_family));
    assert!(PATH == 2);
    // 108 bytes on Linux, 104 on the BSDs and macOS.
    assert!(size_of::<sockaddr_un>() == PATH + PATH_MAX + 1);
    assert!(PATH_MAX == 107 || PATH_MAX == 103);
};

#[cfg(test)]
mod tests {
    use super::*;

    fn round(address: &UnixAddress) -> UnixAddress {
        let raw = RawUnix::new(address).unwrap();
        raw.decode(raw.len()).unwrap()
    }

    #[test]
    fn addresses_survive_the_round_trip() {
        for address in [
            UnixAddress::Unnamed,
            UnixAddress::path("/run/tidegate.sock"),
            UnixAddress::path("x".repeat(PATH_MAX)),
        ] {
            assert_eq!(round(&address), address);
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn abstract_names_may_have_any_byte() {
        for name in [&b"bus"[..], b"\0\xff\0", b"", &[7; PATH_MAX]] {
            let address = UnixAddress::abstract_name(name);
            assert_eq!(round(&address), address);
        }
        assert_eq!(UnixAddress::abstract_name(b"a\0b").to_string(), r"@a\x00b");
    }

    #[test]
    fn text_is_a_path_unless_it_begins_as_an_abstract_name() {
        assert_eq!(UnixAddress::from("@bus"), UnixAddress::abstract_name("bus"));
        assert_eq!(UnixAddress::from("./@bus"), UnixAddress::path("./@bus"));
        assert_eq!(UnixAddress::from("/a").as_path(), Some(Path::new("/a")));
        assert_eq!(UnixAddress::Unnamed.as_path(), None);
    }

    #[test]
    fn what_has_no_form_is_refused_with_its_reason() {
        for (path, reason) in [
            (String::new(), "not empty"),
            ("a\0b".to_owned(), "zero byte"),
            ("x".repeat(PATH_MAX + 1), "too many"),
        ] {
            let error = RawUnix::new(&UnixAddress::path(path)).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(reason), "{error}");
        }
    }

    #[test]
    fn what_other_kernels_write_is_understood() {
        // No address at all, a family alone, a path without an end, zeroes behind a path.
        assert_eq!(RawUnix::room().decode(0).unwrap(), UnixAddress::Unnamed);
        let mut raw = RawUnix::put(b"/a", 0, 2);
        assert_eq!(raw.decode(PATH as _).unwrap(), UnixAddress::Unnamed);
        assert_eq!(
            raw.decode((PATH + 2) as _).unwrap(),
            UnixAddress::path("/a")
        );
        assert_eq!(
            raw.decode((PATH + 9) as _).unwrap(),
            UnixAddress::path("/a")
        );
        assert_eq!(raw.decode(4096).unwrap(), UnixAddress::path("/a"));
        raw.form.sun_family = libc::AF_INET as _;
        let error = raw.decode(16).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
