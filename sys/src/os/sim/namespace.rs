//! [`Namespace`]: where sockets of the Unix domain have their names: files of a file system that has nothing but these, and
//! abstract names.
//!
//! A path is an absolute one here (the working directory is the real one), and every folder exists.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::unix::UnixId;

#[derive(Default)]
pub(super) struct Namespace {
    /// A file stays when its socket is gone.
    files: BTreeMap<PathBuf, Inode>,
    abstracts: BTreeMap<Box<[u8]>, UnixId>,
    last_inode: u64,
    /// Names that were asked for without saying which.
    given: u32,
}

struct Inode {
    number: u64,
    socket: UnixId,
}

impl Namespace {
    /// Binds; the name that it came to be.
    pub(super) fn take(&mut self, name: &[u8], socket: UnixId) -> io::Result<Box<[u8]>> {
        match name {
            // Autobind (unix(7)): a zero byte and five digits.
            [] => loop {
                self.given += 1;
                let name: Box<[u8]> = format!("\0{:05x}", self.given).into_bytes().into();
                if !self.abstracts.contains_key(&name) {
                    self.abstracts.insert(name.clone(), socket);
                    return Ok(name);
                }
            },
            [0, ..] if self.abstracts.contains_key(name) => errno(libc::EADDRINUSE),
            [0, ..] => {
                self.abstracts.insert(name.into(), socket);
                Ok(name.into())
            }
            path => {
                let file = absolute(path)?;
                if self.files.contains_key(&file) {
                    return errno(libc::EADDRINUSE);
                }
                self.last_inode += 1;
                let number = self.last_inode;
                self.files.insert(file, Inode { number, socket });
                Ok(path.into())
            }
        }
    }

    /// Whose name it is. A file may be left of a socket that is gone.
    pub(super) fn find(&self, name: &[u8]) -> io::Result<UnixId> {
        let found = match name {
            [] => return errno(libc::EINVAL),
            [0, ..] => self.abstracts.get(name).copied(),
            path => match self.files.get(&absolute(path)?) {
                Some(inode) => Some(inode.socket),
                None => return errno(libc::ENOENT),
            },
        };
        found.ok_or_else(|| io::Error::from_raw_os_error(libc::ECONNREFUSED))
    }

    /// The number of a file.
    pub(super) fn inode(&self, path: &Path) -> io::Result<u64> {
        match self.files.get(&std::path::absolute(path)?) {
            Some(inode) => Ok(inode.number),
            None => errno(libc::ENOENT),
        }
    }

    /// All files.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.keys()
    }

    /// Removes a file; its socket does not hear of it.
    pub(super) fn unlink(&mut self, path: &Path) -> io::Result<()> {
        match self.files.remove(&std::path::absolute(path)?) {
            Some(_) => Ok(()),
            None => errno(libc::ENOENT),
        }
    }

    /// The socket is gone.
    pub(super) fn leave(&mut self, name: &[u8]) {
        self.abstracts.remove(name);
    }
}

fn absolute(path: &[u8]) -> io::Result<PathBuf> {
    std::path::absolute(Path::new(OsStr::from_bytes(path)))
}

fn errno<T>(number: i32) -> io::Result<T> {
    Err(io::Error::from_raw_os_error(number))
}
