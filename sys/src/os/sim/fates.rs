//! Calls that are made to fail ([`Failing`](super::Failing)): whether one does, and what follows in the machine.

use nix::errno::Errno;

use super::kernel::{Due, FileId, Kernel, Kind, LastWait, Socket};
use super::log::What;
use super::tcp::ANY;

/// How long after an EAGAIN that was not true readiness is told.
const AGAIN_NS: u64 = 50_000;

impl Kernel {
    /// Whether a call fails: -1 with errno set, as the real one would answer.
    pub(super) fn fate(&mut self, call: &'static str) -> i32 {
        let mut struck = None;
        for failing in self.failing.iter_mut().filter(|each| each.call == call) {
            if failing.after > 0 {
                failing.after -= 1;
            } else if failing.times > 0 && struck.is_none() {
                failing.times -= 1;
                struck = Some(failing.errno);
            }
        }
        let Some(errno) = struck else { return 0 };
        self.failed_calls += 1;
        if matches!(call, "epoll_wait" | "poll") {
            // After a signal it is made again at once; a broken selector is slept for.
            let is_signal = errno == libc::EINTR;
            self.note_wait((!is_signal).then_some(LastWait::Broken));
        }
        self.note(What::Failed { name: call, errno });
        Errno::from_raw(errno).set();
        -1
    }

    /// The same for a call on a file.
    pub(super) fn fate_on(&mut self, call: &'static str, file: FileId) -> i32 {
        let call = self.name_on(file, call);
        let before = self.failed_calls;
        let fate = self.fate(call);
        if self.failed_calls > before && Errno::last() == Errno::EAGAIN {
            self.promise_readiness(file);
        }
        fate
    }

    /// After an EAGAIN that was made up.
    fn promise_readiness(&mut self, file: FileId) {
        if let Ok(socket) = self.socket_of(file) {
            match socket {
                Socket::Tcp(end) => {
                    if let Some(tcp) = self.end(end) {
                        tcp.is_short = true;
                        tcp.no_space = true;
                    }
                }
                Socket::Unix(unix) => {
                    if let Some(unix) = self.unix(unix) {
                        unix.is_short = true;
                    }
                }
                Socket::Udp(udp) => {
                    if let Some(udp) = self.udp(udp) {
                        udp.is_short = true;
                    }
                }
            }
            self.schedule(self.now() + AGAIN_NS, Due::Relief(socket));
        }
        self.schedule(self.now() + AGAIN_NS, Due::Again(file));
    }

    /// Whoever was told to come again is told to come now.
    pub(super) fn again(&mut self, file: FileId) {
        self.wake(file, ANY);
    }

    /// The name of a read or a write that is one of a counter.
    fn name_on(&mut self, file: FileId, call: &'static str) -> &'static str {
        let is_counter = self
            .file(file)
            .is_some_and(|file| matches!(file.kind, Kind::Counter(_) | Kind::CounterWriter(_)));
        match (is_counter, call) {
            (true, "read") => "read(eventfd)",
            (true, "write") => "write(eventfd)",
            _ => call,
        }
    }
}
