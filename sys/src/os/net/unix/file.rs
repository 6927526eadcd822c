//! Files of sockets: which one it is, and a lock on the folder in which one is made. Called by the transports that bind.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::os::syscall::{self, simulated};

/// Which file a path leads to now: the same path may lead to another one later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// The file at the end of the path itself, and whether it is a socket. Symbolic links are not followed.
    pub fn of(path: &Path) -> io::Result<(Self, bool)> {
        simulated!(|kernel| {
            let inode = kernel.inode_at(path)?;
            // No device of the real kernel has this number.
            let device = u64::MAX;
            Ok((Self { device, inode }, true))
        });
        let found = fs::symlink_metadata(path)?;
        let identity = Self {
            device: found.dev(),
            inode: found.ino(),
        };
        Ok((identity, found.file_type().is_socket()))
    }

    /// Removes the file at the path if it is this one; whether it was. Another one is left alone.
    pub fn remove(self, path: &Path) -> io::Result<bool> {
        match Self::of(path) {
            Ok((found, _)) if found == self => match remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                done => Ok(done.is_ok()),
            },
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    simulated!(|kernel| kernel.unlink(path));
    fs::remove_file(path)
}

/// A lock on a folder (flock(2)) among programs that ask for it; dropped, it ends. It leaves no file behind.
#[derive(Debug)]
pub struct DirectoryLock {
    /// Held for its lock.
    _folder: OwnedFd,
}

impl DirectoryLock {
    /// The lock on the folder of `path`, without waiting: `WouldBlock` if another one has it.
    pub fn of_parent(path: &Path) -> io::Result<Self> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        simulated!(|kernel| {
            let folder = kernel.lock_folder(folder)?;
            Ok(Self { _folder: folder })
        });
        let folder = OwnedFd::from(File::open(folder)?);
        // SAFETY: takes no pointer.
        syscall::retry(|| unsafe {
            libc::flock(folder.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB)
        })?;
        Ok(Self { _folder: folder })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_file_is_removed_and_only_one_holds_the_lock() {
        let folder = std::env::temp_dir().join(format!("tidegate-file-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("one");
        fs::write(&path, "").unwrap();
        let (one, is_socket) = FileIdentity::of(&path).unwrap();
        assert!(!is_socket);
        // Another file is put in its place while it exists still, so that its number is not used again.
        let other = folder.join("other");
        fs::write(&other, "").unwrap();
        let kept = File::open(&path).unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(!one.remove(&path).unwrap());
        let (other, _) = FileIdentity::of(&path).unwrap();
        assert!(other.remove(&path).unwrap());
        assert!(!other.remove(&path).unwrap());
        drop(kept);

        let lock = DirectoryLock::of_parent(&path).unwrap();
        let error = DirectoryLock::of_parent(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        drop(DirectoryLock::of_parent(&path).unwrap());
        fs::remove_dir_all(&folder).unwrap();
    }
}
