//! [`Kernel`]: the whole simulated machine: its clock, its descriptors, its sockets, its network. What it does is
//! spread over the files that add to it: `network`, `sockets`, `waits`.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{self, PipeWriter};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use super::failing::Failing;
use super::keeper::Keeper;
use super::log::{Log, What};
use super::namespace::Namespace;
use super::plan::{self, Faults, Plan};
use super::random::Random;
use super::tcp::{ANY, ERR, End, HUP, IN, OUT, Tcp};
use super::udp::{Letter, Udp, UdpId};
use super::unix::{Unix, UnixId};

/// The name of a descriptor's object, never used again.
pub(in crate::os) type FileId = u32;

pub(in crate::os) struct Kernel {
    pub(super) plan: Plan,
    pub(super) faults: Faults,
    pub(super) failing: Vec<Failing>,
    /// How many calls have failed because of those.
    pub(super) failed_calls: u64,
    pub(super) random: Random,
    pub(super) log: Log,
    /// Nanoseconds since the simulation began, plus [`START_NS`].
    now: u64,
    keeper: Keeper,
    /// Scratch of `sweep`.
    closed: Vec<FileId>,
    /// By real number.
    numbers: Vec<Option<FileId>>,
    /// Numbers of duplicates, as they were when they were met last.
    duplicates: BTreeMap<RawFd, FileId>,
    /// By name; those that are gone are empty.
    files: Vec<Option<File>>,
    pub(super) open_files: usize,
    /// By name; those that are gone are empty.
    ends: Vec<Option<Tcp>>,
    /// What happens later, by time and then by age.
    pub(super) agenda: BTreeMap<(u64, u64), Due>,
    pub(super) agenda_next: u64,
    /// TCP sockets that were given an address by bind.
    pub(super) bound: Vec<End>,
    /// Sockets of the Unix domain, by name; those that are gone are empty.
    pub(super) unix: Vec<Option<Unix>>,
    pub(super) namespace: Namespace,
    /// Sockets for datagrams, by name; those that are gone are empty.
    pub(super) udp: Vec<Option<Udp>>,
    pub(super) next_port: u16,
    /// Events that waits have reported, and entries of the agenda that have happened.
    pub(super) activity: u64,
    /// The time until which somebody has waited.
    pub(super) waited_until: u64,
    /// Who makes the calls, and the last wait of each.
    pub(super) waiter: usize,
    pub(super) waits: Vec<Option<LastWait>>,
}

/// What a wait looked at.
pub(super) enum LastWait {
    Epoll(FileId),
    /// The entries of a list, with what they asked for.
    Poll(Vec<(FileId, u32)>),
    /// It failed, and looked at nothing.
    Broken,
}

/// The clock does not begin at zero, as no machine's does.
pub(super) const START_NS: u64 = 1_000_000_000;

pub(super) struct File {
    pub(super) kind: Kind,
    number: RawFd,
    keeper: PipeWriter,
    /// The epoll sets that watch it.
    pub(super) watchers: Vec<FileId>,
}

pub(super) enum Kind {
    Socket(Socket),
    Epoll(Set),
    /// An eventfd, or the reading end of a pipe of which only the length matters.
    Counter(u64),
    /// The writing end of that.
    CounterWriter(FileId),
    /// A timerfd.
    Timer(Timer),
    /// Something that is only held.
    Reserve,
    /// A folder with a lock on it.
    Locked(PathBuf),
}

/// A deadline as a descriptor.
#[derive(Default)]
pub(super) struct Timer {
    /// How often it was set: what the agenda holds of an earlier time does not count.
    pub(super) times_set: u32,
    /// The deadline has come, and nobody has read that or set another one.
    pub(super) has_come: bool,
}

/// A socket, by what it is one of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Socket {
    Tcp(End),
    Unix(UnixId),
    Udp(UdpId),
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Kind::Socket(Socket::Tcp(_)) => "socket",
            Kind::Socket(Socket::Unix(_)) => "unix socket",
            Kind::Socket(Socket::Udp(_)) => "udp socket",
            Kind::Epoll(_) => "epoll",
            Kind::Counter(_) => "counter",
            Kind::CounterWriter(_) => "counter's writer",
            Kind::Timer(_) => "timer",
            Kind::Reserve => "reserve",
            Kind::Locked(_) => "locked folder",
        }
    }
}

/// What one epoll instance watches.
#[derive(Default)]
pub(super) struct Set {
    pub(super) interest: BTreeMap<FileId, Watched>,
    /// Those that a wait has to look at, in the order of their wake-ups.
    pub(super) ready: VecDeque<FileId>,
}

pub(super) struct Watched {
    pub(super) mask: u32,
    pub(super) data: u64,
    pub(super) is_ready: bool,
}

/// What the agenda holds.
pub(super) enum Due {
    Packet {
        from: End,
        to: End,
        packet: Packet,
    },
    /// A client's first packet, for whoever listens where it wants to go.
    Syn {
        from: End,
    },
    /// A datagram has left the machine; without a letter it is lost.
    Datagram {
        sender: UdpId,
        letter: Option<Letter>,
        cost: usize,
    },
    /// The news that nobody has the port where a datagram went to.
    Unreachable {
        from: SocketAddr,
        to: SocketAddr,
    },
    /// The deadline of a timer that was set so many times.
    Deadline {
        timer: FileId,
        times_set: u32,
    },
    /// Look whether the first packet was answered.
    SynRetry(End),
    /// There is memory again.
    Relief(Socket),
    /// Nothing was acknowledged for too long.
    GiveUp(End),
    /// Readiness after an EAGAIN that was made up.
    Again(FileId),
    /// Another process closes its duplicate of a descriptor.
    Release(OwnedFd),
}

pub(super) enum Packet {
    SynAck,
    /// The client's answer to that.
    Established,
    Data(Vec<u8>),
    Ack(usize),
    /// There is room to receive again.
    Window,
    Fin,
    FinAck,
    Reset,
}

impl Packet {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Packet::SynAck => "SYN+ACK",
            Packet::Established => "established",
            Packet::Data(_) => "data",
            Packet::Ack(_) => "ack",
            Packet::Window => "window",
            Packet::Fin => "FIN",
            Packet::FinAck => "ack of FIN",
            Packet::Reset => "RST",
        }
    }

    pub(super) fn length(&self) -> usize {
        match self {
            Packet::Data(bytes) => bytes.len(),
            Packet::Ack(bytes) => *bytes,
            _ => 0,
        }
    }
}

/// Which pipe it is one end of.
fn pipe_of(fd: BorrowedFd<'_>) -> Option<u64> {
    let found = fs::File::from(fd.try_clone_to_owned().ok()?)
        .metadata()
        .ok()?;
    found.file_type().is_fifo().then(|| found.ino())
}

pub(super) fn errno<T>(number: i32) -> io::Result<T> {
    Err(io::Error::from_raw_os_error(number))
}

impl Kernel {
    pub(super) fn new(plan: Plan) -> io::Result<Self> {
        Ok(Self {
            faults: plan.faults,
            failing: plan.failing.clone(),
            failed_calls: 0,
            random: Random::new(plan.seed),
            log: Log::new(plan.keeps_log),
            plan,
            now: START_NS,
            keeper: Keeper::new()?,
            closed: Vec::new(),
            numbers: Vec::new(),
            duplicates: BTreeMap::new(),
            files: Vec::new(),
            open_files: 0,
            ends: Vec::new(),
            agenda: BTreeMap::new(),
            agenda_next: 0,
            bound: Vec::new(),
            unix: Vec::new(),
            namespace: Namespace::default(),
            udp: Vec::new(),
            next_port: 40_000,
            activity: 0,
            waited_until: 0,
            waiter: 0,
            waits: Vec::new(),
        })
    }

    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// A look at the clock takes time as well: a loop that polls until a time has come gets there.
    #[inline]
    pub(super) fn look_at_clock(&mut self) -> u64 {
        self.now += plan::LOOK_NS;
        self.now
    }

    /// Time passes because somebody waits.
    pub(super) fn wait_until(&mut self, then: u64) {
        if then > self.now {
            self.now = then;
            self.waited_until = then;
        }
    }

    /// Time passes, and nobody asked for it.
    pub(in crate::os) fn lose_time(&mut self, nanos: u64) {
        self.now = self.now.saturating_add(nanos);
    }

    /// The beginning of every system call: time passes, closings are seen, packets arrive.
    #[inline]
    pub(super) fn enter(&mut self) {
        self.now += plan::CALL_NS;
        self.sweep();
        self.deliver();
    }

    pub(super) fn note(&mut self, what: What) {
        self.log.add(self.now, what);
    }

    /// Notes a call and its answer.
    pub(super) fn noted<T>(
        &mut self,
        name: &'static str,
        file: FileId,
        argument: u64,
        answer: io::Result<T>,
        count: impl FnOnce(&T) -> i64,
    ) -> io::Result<T> {
        let number = match &answer {
            Ok(value) => count(value),
            Err(error) => -i64::from(error.raw_os_error().unwrap_or(1)),
        };
        self.note(What::Call {
            name,
            file,
            argument,
            answer: number,
        });
        answer
    }

    /// Draws for a fault, and notes it.
    pub(super) fn strikes(&mut self, name: &'static str, chances: u32) -> bool {
        let strikes = self.random.one_in(chances);
        if strikes {
            self.note(What::Fault(name));
        }
        strikes
    }

    // Descriptors.

    pub(super) fn open(&mut self, kind: Kind) -> io::Result<OwnedFd> {
        if self.open_files >= self.plan.descriptors_max {
            return errno(libc::EMFILE);
        }
        let id = self.files.len() as FileId;
        let (fd, keeper) = self.keeper.issue(id)?;
        let number = fd.as_raw_fd();
        let index = number as usize;
        if index >= self.numbers.len() {
            self.numbers.resize(index + 1, None);
        }
        self.numbers[index] = Some(id);
        if matches!(kind, Kind::Socket(_)) && self.strikes("fork", self.faults.fork) {
            let kept = self.random.below(plan::FORK_NS_MAX);
            self.schedule(self.now + kept, Due::Release(fd.try_clone()?));
        }
        self.note(What::Opened {
            file: id,
            kind: kind.name(),
        });
        match kind {
            Kind::Socket(Socket::Tcp(end)) => {
                if let Some(tcp) = self.end(end) {
                    tcp.file = Some(id);
                }
            }
            Kind::Socket(Socket::Unix(unix)) => {
                if let Some(unix) = self.unix(unix) {
                    unix.file = Some(id);
                }
            }
            Kind::Socket(Socket::Udp(udp)) => {
                if let Some(udp) = self.udp(udp) {
                    udp.file = Some(id);
                }
            }
            _ => {}
        }
        self.files.push(Some(File {
            kind,
            number,
            keeper,
            watchers: Vec::new(),
        }));
        self.open_files += 1;
        Ok(fd)
    }

    /// The simulated object behind a number. `sweep` has to come before.
    fn file_of(&self, number: RawFd) -> Option<FileId> {
        *self.numbers.get(usize::try_from(number).ok()?)?
    }

    /// The same for the list of a poll(2), whose descriptors were met before.
    pub(super) fn file_polled(&self, number: RawFd) -> Option<FileId> {
        let duplicate = || self.duplicates.get(&number).copied();
        self.file_of(number).or_else(duplicate)
    }

    /// The same, also for a duplicate, whose number nobody was told. It stands on the same pipe.
    pub(super) fn file_behind(&mut self, fd: BorrowedFd<'_>) -> Option<FileId> {
        let known = self.file_of(fd.as_raw_fd());
        if known.is_some() {
            return known;
        }
        let wanted = pipe_of(fd)?;
        let is_it = |file: &File| pipe_of(file.keeper.as_fd()) == Some(wanted);
        let mut files = self.files.iter();
        let found = files.position(|file| file.as_ref().is_some_and(is_it))? as FileId;
        self.duplicates.insert(fd.as_raw_fd(), found);
        Some(found)
    }

    pub(super) fn file(&mut self, id: FileId) -> Option<&mut File> {
        self.files.get_mut(id as usize)?.as_mut()
    }

    /// The socket that a file is.
    pub(super) fn socket_of(&mut self, id: FileId) -> io::Result<Socket> {
        match self.file(id).map(|file| &file.kind) {
            Some(Kind::Socket(socket)) => Ok(*socket),
            _ => errno(libc::ENOTSOCK),
        }
    }

    /// Sees which descriptors were closed since the last time.
    #[inline]
    pub(super) fn sweep(&mut self) {
        let mut closed = std::mem::take(&mut self.closed);
        self.keeper.closed(&mut closed);
        for id in closed.drain(..) {
            self.close(id);
        }
        self.closed = closed;
    }

    fn close(&mut self, id: FileId) {
        let Some(file) = self.files.get_mut(id as usize).and_then(Option::take) else {
            return;
        };
        self.note(What::Closed { file: id });
        self.open_files -= 1;
        let number = &mut self.numbers[file.number as usize];
        if *number == Some(id) {
            *number = None;
        }
        self.duplicates.retain(|_, file| *file != id);
        self.keeper.forget(id, file.keeper);
        for watcher in file.watchers {
            if let Some(set) = self.set(watcher) {
                set.interest.remove(&id);
            }
        }
        match file.kind {
            Kind::Socket(Socket::Tcp(end)) => self.close_tcp(end),
            Kind::Socket(Socket::Unix(unix)) => self.close_unix(unix),
            Kind::Socket(Socket::Udp(udp)) => self.close_udp(udp),
            Kind::Epoll(set) => {
                for watched in set.interest.into_keys() {
                    if let Some(file) = self.file(watched) {
                        file.watchers.retain(|each| *each != id);
                    }
                }
            }
            Kind::Counter(_)
            | Kind::CounterWriter(_)
            | Kind::Timer(_)
            | Kind::Reserve
            | Kind::Locked(_) => {}
        }
    }

    /// What is open, for whoever looks for leaks.
    pub(super) fn describe_open(&mut self) -> Vec<String> {
        self.sweep();
        let name = |(id, file): (usize, &Option<File>)| {
            let file = file.as_ref()?;
            Some(format!("f{id}: {}", file.kind.name()))
        };
        self.files.iter().enumerate().filter_map(name).collect()
    }

    // Sockets.

    pub(super) fn add_end(&mut self, tcp: Tcp) -> End {
        self.ends.push(Some(tcp));
        (self.ends.len() - 1) as End
    }

    pub(super) fn end(&mut self, end: End) -> Option<&mut Tcp> {
        self.ends.get_mut(end as usize)?.as_mut()
    }

    pub(super) fn remove_end(&mut self, end: End) -> Option<Tcp> {
        self.bound.retain(|each| *each != end);
        self.ends.get_mut(end as usize)?.take()
    }

    /// One of them, to look at.
    pub(super) fn ends_at(&self, end: End) -> Option<&Tcp> {
        self.ends.get(end as usize)?.as_ref()
    }

    /// The file that was opened last.
    pub(super) fn last_file(&self) -> FileId {
        (self.files.len() as FileId).saturating_sub(1)
    }

    /// Those that there are.
    pub(super) fn ends(&self) -> impl Iterator<Item = (End, &Tcp)> {
        let named = self.ends.iter().enumerate();
        named.filter_map(|(end, tcp)| Some((end as End, tcp.as_ref()?)))
    }

    // Readiness.

    pub(super) fn set(&mut self, id: FileId) -> Option<&mut Set> {
        match &mut self.file(id)?.kind {
            Kind::Epoll(set) => Some(set),
            _ => None,
        }
    }

    /// What is ready of a file now.
    pub(super) fn poll_file(&mut self, id: FileId) -> u32 {
        let socket = match self.file(id).map(|file| &file.kind) {
            Some(Kind::Socket(socket)) => *socket,
            Some(Kind::Counter(count)) => {
                let readable = if *count > 0 { IN } else { 0 };
                let writable = if *count < u64::MAX - 1 { OUT } else { 0 };
                return readable | writable;
            }
            Some(Kind::CounterWriter(_)) => return OUT,
            Some(Kind::Timer(timer)) => return if timer.has_come { IN } else { 0 },
            Some(Kind::Epoll(_)) => return if self.poll_set(id) { IN } else { 0 },
            Some(Kind::Reserve | Kind::Locked(_)) | None => return 0,
        };
        match socket {
            Socket::Tcp(end) => self.end(end).map_or(HUP, Tcp::poll),
            Socket::Unix(unix) => self.unix(unix).map_or(HUP, |unix| unix.poll()),
            Socket::Udp(udp) => self.udp(udp).map_or(HUP, |udp| udp.poll()),
        }
    }

    /// Something has happened to a file (ep_poll_callback): the sets that care will look at it.
    pub(super) fn wake(&mut self, id: FileId, key: u32) {
        let Some(file) = self.file(id) else { return };
        let watchers = std::mem::take(&mut file.watchers);
        for watcher in &watchers {
            if let Some(set) = self.set(*watcher)
                && let Some(watched) = set.interest.get_mut(&id)
                && (key == ANY || key & (watched.mask | ERR | HUP) != 0)
            {
                if !watched.is_ready {
                    watched.is_ready = true;
                    set.ready.push_back(id);
                }
                // A set may be watched by another one.
                self.wake(*watcher, IN);
            }
        }
        if let Some(file) = self.file(id) {
            file.watchers = watchers;
        }
    }

    /// The files there are, for whoever looks for one of a kind.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.files.iter().flatten().map(|file| &file.kind)
    }

    pub(super) fn wake_end(&mut self, end: End, key: u32) {
        if let Some(file) = self.end(end).and_then(|tcp| tcp.file) {
            self.wake(file, key);
        }
    }

    // The agenda.

    pub(super) fn schedule(&mut self, at: u64, due: Due) {
        self.agenda_next += 1;
        self.agenda.insert((at, self.agenda_next), due);
    }
}
