//! A storm of signals: 1,000 a second to each of certain threads, whose handler does nothing and lets no system call be
//! repeated by the kernel (no SA_RESTART). What a profiler's timer does to a program, and worse.
//!
//! A test binary or a benchmark declares this file as a module; it needs the crate `nix` with its feature `signal`. The
//! signal is SIGUSR1, and the handler stays installed.
#![cfg(target_os = "linux")]

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Time between two signals to the same thread.
const PERIOD: Duration = Duration::from_millis(1);

/// How often the threads are listed anew.
const LISTED_EVERY: u32 = 20;

static ARRIVED: AtomicU64 = AtomicU64::new(0);

extern "C" fn take(_signal: libc::c_int) {
    ARRIVED.fetch_add(1, Ordering::Relaxed);
}

/// Blows until it is dropped.
pub struct Storm {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Storm {
    /// Begins with signals to every thread of the process, present and to come, whose name (15 bytes of it) is `meant`.
    pub fn over(meant: impl Fn(&str) -> bool + Send + 'static) -> io::Result<Self> {
        let action = SigAction::new(SigHandler::Handler(take), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler is async-signal-safe: it adds to an atomic and nothing else.
        unsafe { sigaction(Signal::SIGUSR1, &action) }?;
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = is_over.clone();
        let thread = thread::Builder::new()
            .name("storm".into())
            .spawn(move || blow(&seen, &meant))?;
        Ok(Self {
            is_over,
            thread: Some(thread),
        })
    }

    /// How many signals have arrived so far, of all storms.
    pub fn arrived() -> u64 {
        ARRIVED.load(Ordering::Relaxed)
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn blow(is_over: &AtomicBool, meant: &impl Fn(&str) -> bool) {
    let mut next = Instant::now();
    let mut threads = Vec::new();
    for round in 0_u32.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        if round % LISTED_EVERY == 0 {
            threads = list(meant);
        }
        threads.iter().copied().for_each(send);
        next += PERIOD;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// The threads of this process that are meant, by the kernel's numbers; never the one that asks.
fn list(meant: &impl Fn(&str) -> bool) -> Vec<libc::pid_t> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let meant = tasks.filter_map(|task| {
        let task = task.ok()?;
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let name = name.trim_end();
        let number = task.file_name().to_str()?.parse().ok()?;
        (name != "storm" && meant(name)).then_some(number)
    });
    meant.collect()
}

fn send(thread: libc::pid_t) {
    let (process, signal) = (std::process::id() as libc::pid_t, libc::SIGUSR1);
    // SAFETY: tgkill takes three integers and touches no memory of ours. A thread that is gone is an error that it
    // returns; a number that is used again is a thread of this process still, and has the handler.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
}
