//! Eventfds, pipes of which only the length matters, timers, and descriptors that are only held.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;

use super::kernel::{Due, FileId, Kernel, Kind, Timer, errno};
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

    pub(in crate::os) fn timer(&mut self) -> io::Result<OwnedFd> {
        self.open(Kind::Timer(Timer::default()))
    }

    /// timerfd_settime: the deadline by the clock, in nanoseconds, or none.
    pub(in crate::os) fn set_timer(
        &mut self,
        file: FileId,
        deadline: Option<u64>,
    ) -> io::Result<()> {
        let now = self.now();
        let Some(Kind::Timer(timer)) = self.file(file).map(|file| &mut file.kind) else {
            return errno(libc::EINVAL);
        };
        timer.times_set += 1;
        timer.has_come = deadline.is_some_and(|deadline| deadline <= now);
        let (has_come, times_set) = (timer.has_come, timer.times_set);
        let noted = deadline.unwrap_or(0);
        match deadline {
            Some(_) if has_come => self.wake(file, IN),
            Some(deadline) => {
                let timer = file;
                self.schedule(deadline, Due::Deadline { timer, times_set });
            }
            None => {}
        }
        self.noted("set timer", file, noted, Ok(()), |()| 0)
    }

    pub(super) fn reach_deadline(&mut self, file: FileId, times_set: u32) {
        if let Some(Kind::Timer(timer)) = self.file(file).map(|file| &mut file.kind)
            && timer.times_set == times_set
        {
            timer.has_come = true;
            self.wake(file, IN);
        }
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
        let mut one;
        let count = match &mut self.file(file)?.kind {
            Kind::Counter(count) => count,
            Kind::Timer(timer) => {
                one = u64::from(timer.has_come);
                timer.has_come &= max < size_of::<u64>();
                &mut one
            }
            _ => return None,
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
