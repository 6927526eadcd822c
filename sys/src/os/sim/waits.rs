//! The system calls that wait, and those that say what to wait for: epoll and poll(2).

use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use super::kernel::{FileId, Kernel, Kind, LastWait, Set, Watched, errno};
use super::log::What;
use super::plan::STALL_MAX;
use super::tcp::{ERR, HUP, IN, OUT};

/// One event of a wait: the mask and the user data.
pub(super) type Report = (u32, u64);

/// One entry of poll(2).
pub(super) struct Polled {
    pub(super) file: Option<FileId>,
    pub(super) asked: u32,
    pub(super) ready: u32,
}

const ET: u32 = 1 << 31;
const ADD: i32 = 1;
const MOD: i32 = 3;

impl Kernel {
    pub(in crate::os) fn epoll_create(&mut self) -> io::Result<OwnedFd> {
        self.open(Kind::Epoll(Set::default()))
    }

    pub(in crate::os) fn epoll_ctl(
        &mut self,
        set: FileId,
        op: i32,
        target: BorrowedFd<'_>,
        mask: u32,
        data: u64,
    ) -> io::Result<()> {
        let name = match op {
            ADD => "epoll add",
            MOD => "epoll mod",
            _ => "epoll del",
        };
        // A real descriptor cannot be waited for here.
        let Some(target) = self.file_behind(target) else {
            return errno(libc::EPERM);
        };
        let answer = self.try_epoll_ctl(set, op, target, mask, data);
        self.noted(name, target, u64::from(mask), answer, |()| 0)
    }

    fn try_epoll_ctl(
        &mut self,
        set: FileId,
        op: i32,
        target: FileId,
        mask: u32,
        data: u64,
    ) -> io::Result<()> {
        match self.file(target).map(|file| &file.kind) {
            None => return errno(libc::EBADF),
            Some(Kind::Reserve) => return errno(libc::EPERM),
            Some(_) => {}
        }
        let Some(watched) = self.set(set).map(|set| set.interest.get_mut(&target)) else {
            return errno(libc::EINVAL);
        };
        match (op, watched) {
            (ADD, Some(_)) => return errno(libc::EEXIST),
            (ADD, None) => {
                if let Some(file) = self.file(target) {
                    file.watchers.push(set);
                }
                if let Some(set) = self.set(set) {
                    let is_ready = false;
                    set.interest.insert(
                        target,
                        Watched {
                            mask,
                            data,
                            is_ready,
                        },
                    );
                }
            }
            (_, None) => return errno(libc::ENOENT),
            (MOD, Some(watched)) => {
                watched.mask = mask;
                watched.data = data;
            }
            (_, Some(_)) => {
                if let Some(file) = self.file(target) {
                    file.watchers.retain(|each| *each != set);
                }
                if let Some(set) = self.set(set) {
                    set.interest.remove(&target);
                    set.ready.retain(|each| *each != target);
                }
                return Ok(());
            }
        }
        // What is ready at that moment is news.
        if self.poll_file(target) & (mask | ERR | HUP) != 0
            && let Some(found) = self.set(set)
            && let Some(watched) = found.interest.get_mut(&target)
            && !watched.is_ready
        {
            watched.is_ready = true;
            found.ready.push_back(target);
            self.wake(set, IN);
        }
        Ok(())
    }

    pub(in crate::os) fn epoll_wait(
        &mut self,
        set: FileId,
        limit: usize,
        timeout: Option<Duration>,
        mut report: impl FnMut(usize, Report),
    ) -> io::Result<usize> {
        self.note_wait(Some(LastWait::Epoll(set)));
        let mut reports = Vec::new();
        let answer = self.wait(timeout, |kernel| {
            kernel.collect(set, &mut reports, limit);
            reports.len()
        });
        for (place, each) in reports.into_iter().enumerate() {
            report(place, each);
        }
        self.log_wait("epoll wait", set, answer)
    }

    /// poll(2) of one file, which only asks.
    pub(in crate::os) fn is_ready(&mut self, file: FileId, asked: u32) -> bool {
        self.poll_file(file) & (asked | ERR | HUP) != 0
    }

    /// poll(2): `list` names files with what they ask for, and gets what is ready.
    pub(super) fn poll(
        &mut self,
        list: &mut [Polled],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        let asked = |each: &Polled| Some((each.file?, each.asked));
        let list_of_files = list.iter().filter_map(asked).collect();
        self.note_wait(Some(LastWait::Poll(list_of_files)));
        let answer = self.wait(timeout, |kernel| {
            for each in list.iter_mut() {
                each.ready = match each.file {
                    None => u32::from(libc::POLLNVAL.unsigned_abs()),
                    Some(file) => kernel.poll_file(file) & (each.asked | ERR | HUP),
                };
            }
            if kernel.strikes("spurious", kernel.faults.spurious) {
                let lot = kernel.random.below(list.len() as u64) as usize;
                if let Some(each) = list.get_mut(lot).filter(|each| each.file.is_some()) {
                    each.ready |= each.asked & (IN | OUT);
                }
            }
            list.iter().filter(|each| each.ready != 0).count()
        });
        for each in list.iter().filter(|each| each.ready != 0) {
            if let Some(file) = each.file {
                let mask = each.ready;
                self.note(What::Report { file, mask });
            }
        }
        self.log_wait("poll", 0, answer)
    }

    fn log_wait(
        &mut self,
        name: &'static str,
        file: FileId,
        answer: io::Result<usize>,
    ) -> io::Result<usize> {
        let count = *answer.as_ref().unwrap_or(&0);
        self.activity += count as u64;
        self.noted(name, file, 0, answer, |&count| count as i64)
    }

    /// Waits until `look` finds something. Whoever waits moves the clock: nobody else can.
    ///
    /// # Panics
    /// If nothing can ever happen: the program would sleep for ever.
    fn wait(
        &mut self,
        timeout: Option<Duration>,
        mut look: impl FnMut(&mut Self) -> usize,
    ) -> io::Result<usize> {
        let began = self.now();
        let nanos = |timeout: Duration| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let deadline = timeout.map(|timeout| began.saturating_add(nanos(timeout)));
        if self.strikes("interrupt", self.faults.interrupt) {
            // A signal comes at any time of the wait.
            if let Some(deadline) = deadline {
                let part = self.random.below(deadline - began + 1);
                let first = self
                    .agenda
                    .first_key_value()
                    .map_or(u64::MAX, |((at, _), _)| *at);
                self.wait_until((began + part).min(first));
            }
            return errno(libc::EINTR);
        }
        let may_stall = timeout != Some(Duration::ZERO);
        let stalls = may_stall && self.strikes("stall", self.faults.stall);
        let found = loop {
            let found = look(self);
            if found > 0 || deadline.is_some_and(|deadline| self.now() >= deadline) {
                break found;
            }
            let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
            match [next, deadline].into_iter().flatten().min() {
                Some(then) => self.wait_until(then),
                None => panic!(
                    "a simulated wait without a timeout, and nothing is under way that could end it: {:?}",
                    self.describe_open()
                ),
            }
            self.deliver();
        };
        if stalls {
            let pause = self.random.below(STALL_MAX.as_nanos() as u64);
            self.lose_time(pause);
        }
        Ok(found)
    }

    pub(super) fn note_wait(&mut self, wait: Option<LastWait>) {
        let who = self.waiter;
        if who >= self.waits.len() {
            self.waits.resize_with(who + 1, || None);
        }
        self.waits[who] = wait;
    }

    pub(super) fn has_news_for(&mut self, who: usize) -> bool {
        self.sweep();
        let Some(wait) = self.waits.get_mut(who).and_then(Option::take) else {
            return true;
        };
        let has_news = match &wait {
            LastWait::Broken => false,
            LastWait::Epoll(id) => self.set_has_news(*id),
            LastWait::Poll(list) => list.iter().any(|&(file, asked)| {
                self.file(file).is_none() || self.poll_file(file) & (asked | ERR | HUP) != 0
            }),
        };
        self.waits[who] = Some(wait);
        has_news
    }

    /// Whether a wait on this set would report something; true if it is gone.
    fn set_has_news(&mut self, id: FileId) -> bool {
        let Some(set) = self.set(id) else { return true };
        let woken: Vec<(FileId, u32)> = set
            .ready
            .iter()
            .filter_map(|file| Some((*file, set.interest.get(file)?.mask)))
            .collect();
        woken
            .into_iter()
            .any(|(file, mask)| self.poll_file(file) & (mask | ERR | HUP) != 0)
    }

    /// __ep_eventpoll_poll: whether a set has something to tell. What has not is struck from those that were woken.
    pub(super) fn poll_set(&mut self, id: FileId) -> bool {
        while let Some(set) = self.set(id)
            && let Some(&file) = set.ready.front()
        {
            let mask = set.interest.get(&file).map_or(0, |watched| watched.mask);
            if self.poll_file(file) & (mask | ERR | HUP) != 0 {
                return true;
            }
            if let Some(set) = self.set(id) {
                set.ready.pop_front();
                if let Some(watched) = set.interest.get_mut(&file) {
                    watched.is_ready = false;
                }
            }
        }
        false
    }

    /// ep_send_events: looks at each that was woken, and tells what is so now.
    fn collect(&mut self, id: FileId, reports: &mut Vec<Report>, limit: usize) {
        let Some(set) = self.set(id) else { return };
        let mut woken = std::mem::take(&mut set.ready);
        if woken.is_empty() && self.faults.spurious == 0 {
            return;
        }
        if woken.len() > 1 && self.strikes("shuffle", self.faults.shuffle) {
            let turn = self.random.below(woken.len() as u64) as usize;
            woken.rotate_left(turn);
        }
        if self.strikes("spurious", self.faults.spurious) {
            self.lie(id, &woken, reports);
        }
        let mut again = Vec::new();
        while reports.len() < limit
            && let Some(file) = woken.pop_front()
        {
            let ready = self.poll_file(file);
            let Some(watched) = self.set(id).and_then(|set| set.interest.get_mut(&file)) else {
                continue;
            };
            watched.is_ready = false;
            let mask = ready & (watched.mask | ERR | HUP);
            if mask == 0 {
                continue;
            }
            reports.push((mask, watched.data));
            if watched.mask & ET == 0 {
                watched.is_ready = true;
                again.push(file);
            }
            self.note(What::Report { file, mask });
        }
        if let Some(set) = self.set(id) {
            // What was woken meanwhile stands behind what did not fit.
            woken.extend(set.ready.drain(..));
            woken.extend(again);
            set.ready = woken;
        }
    }

    /// Reports one descriptor that nothing has happened to.
    fn lie(&mut self, id: FileId, woken: &VecDeque<FileId>, reports: &mut Vec<Report>) {
        let count = self.set(id).map_or(0, |set| set.interest.len());
        let lot = self.random.below(count as u64) as usize;
        let Some(set) = self.set(id) else { return };
        let Some((&file, watched)) = set.interest.iter().nth(lot) else {
            return;
        };
        let mask = watched.mask & (IN | OUT);
        let data = watched.data;
        if mask != 0 && !woken.contains(&file) {
            reports.push((mask, data));
            self.note(What::Report { file, mask });
        }
    }
}
