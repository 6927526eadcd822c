//! [`Keeper`]: the real descriptors that stand for simulated ones, and the news that one was closed.
//!
//! A simulated socket is an [`OwnedFd`] like any other, and closing it is the real close(2): whoever owns one may
//! drop it, dup it or send it to another thread, and nothing has to be told. So each stands on a descriptor of its
//! own, the reading end of a pipe that nobody uses. The keeper holds the writing end, which reports an error as soon
//! as the last descriptor of the other end is gone. That is the moment at which Linux closes a socket as well.
//!
//! 1. The number is the real kernel's: the lowest that is free, so a number that was closed is used again at once.
//! 2. A number says nothing by itself. Before any number is looked up, [`Keeper::closed`] is asked, so that a
//!    number that now means something else (a file, another socket) is never taken for the old one.
//! 3. Closings are told in the order in which they happened.

use std::io::{self, PipeWriter};
use std::os::fd::OwnedFd;

pub(super) struct Keeper {
    watch: imp::Watch,
}

impl Keeper {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            watch: imp::Watch::new()?,
        })
    }

    /// A descriptor to be given away, and what has to be kept while it is open.
    pub(super) fn issue(&mut self, file: u32) -> io::Result<(OwnedFd, PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        self.watch.add(&writer, file)?;
        Ok((reader.into(), writer))
    }

    /// Puts the files into `closed` whose descriptors are gone. What was issued with them has to be forgotten by
    /// [`Keeper::forget`] before the next call.
    #[inline]
    pub(super) fn closed(&mut self, closed: &mut Vec<u32>) {
        self.watch.closed(closed);
    }

    pub(super) fn forget(&mut self, file: u32, writer: PipeWriter) {
        self.watch.forget(file);
        drop(writer);
    }
}

/// One call answers for all of them: it is made before every simulated system call.
#[cfg(tidegate_epoll)]
mod imp {
    use std::io::{self, PipeWriter};

    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

    pub(super) struct Watch(Epoll);

    impl Watch {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
        }

        /// Errors are reported whatever is asked for.
        pub(super) fn add(&mut self, writer: &PipeWriter, file: u32) -> io::Result<()> {
            let event = EpollEvent::new(EpollFlags::empty(), u64::from(file));
            Ok(self.0.add(writer, event)?)
        }

        #[inline]
        pub(super) fn closed(&mut self, closed: &mut Vec<u32>) {
            let mut batch = [EpollEvent::empty(); 32];
            if let Ok(count) = self.0.wait(&mut batch, EpollTimeout::ZERO) {
                closed.extend(batch[..count].iter().map(|event| event.data() as u32));
            }
        }

        /// Closing the writer is enough.
        pub(super) fn forget(&mut self, _file: u32) {}
    }
}

#[cfg(not(tidegate_epoll))]
mod imp {
    use std::io::{self, PipeWriter};
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    /// Duplicates of the writing ends: a list that the kernel reads needs descriptors that surely live.
    pub(super) struct Watch(Vec<(u32, OwnedFd)>);

    impl Watch {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self(Vec::new()))
        }

        pub(super) fn add(&mut self, writer: &PipeWriter, file: u32) -> io::Result<()> {
            let writer: BorrowedFd<'_> = writer.as_fd();
            self.0.push((file, writer.try_clone_to_owned()?));
            Ok(())
        }

        pub(super) fn closed(&mut self, closed: &mut Vec<u32>) {
            let fds = self.0.iter().map(|(_, fd)| fd.as_fd());
            let mut list: Vec<PollFd<'_>> =
                fds.map(|fd| PollFd::new(fd, PollFlags::empty())).collect();
            if poll(&mut list, PollTimeout::ZERO).is_ok() {
                let is_over =
                    |entry: &PollFd<'_>| entry.revents().is_some_and(|bits| !bits.is_empty());
                let over = self.0.iter().zip(&list).filter(|(_, entry)| is_over(entry));
                closed.extend(over.map(|((file, _), _)| *file));
            }
        }

        pub(super) fn forget(&mut self, file: u32) {
            self.0.retain(|(each, _)| *each != file);
        }
    }
}
