//! Eventfds, pipes of which only the length matters, timers, and descriptors that are only held.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;

use super::kernel::{FileId, Kernel, Kind, errno};
use super::tcp::IN;

impl Kernel {
    pub(in crate::os) fn counter(&mut self) -> io::Result<OwnedFd> {
        self.open(Kind::Counter(0))
    }

    pub(in crate::os) fn reserve(&mut self) -> io::Result<OwnedFd> {
        self.open(Kind::Reserve)
    }

    /// Both ends of a pipe.
    pub(in crate::os) fn pipe(&mut self) -> io::Result<(OwnedFd, OwnedFd)> {
        let reader = self.open(Kind::Counter(0))?;
        let counter = self.last_file();
        let writer = self.open(Kind::CounterWriter(counter))?;
        Ok((reader, writer))
    }

    pub(super) fn write_counter(
        &mut self,
        file: FileId,
        slices: &[IoSlice<'_>],
    ) -> Option<io::Result<usize>> {
        let counter = match self.file(file)?.kind {
            Kind::Counter(_) => file,
            Kind::CounterWriter(counter) => counter,
            _ => return None,
        };
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let added = slices
            .first()
            .and_then(|slice| slice.first_chunk())
            .map_or(1, |bytes| u64::from_ne_bytes(*bytes));
        let answer = match self.file(counter).map(|file| &mut file.kind) {
            Some(Kind::Counter(count)) if *count > u64::MAX - 1 - added.min(u64::MAX - 1) => {
                errno(libc::EAGAIN)
            }
            Some(Kind::Counter(count)) => {
                *count += added;
                Ok(offered)
            }
            _ => errno(libc::EPIPE),
        };
        if answer.is_ok() {
            self.wake(counter, IN);
        }
        Some(self.noted("write", file, added, answer, |&written| written as i64))
    }

    pub(super) fn read_counter(&mut self, file: FileId, max: usize) -> Option<io::Result<u64>> {
        let Kind::Counter(count) = &mut self.file(file)?.kind else {
            return None;
        };
        let answer = if max < size_of::<u64>() {
            errno(libc::EINVAL)
        } else if *count == 0 {
            errno(libc::EAGAIN)
        } else {
            Ok(std::mem::take(count))
        };
        Some(self.noted("read", file, max as u64, answer, |&count| count as i64))
    }
}
