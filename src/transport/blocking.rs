//! A few threads for system calls that wait, off the loops: closing a socket that lingers, looking up a name.
//!
//! A pool starts a thread when work comes and none is idle, up to its bound; more work waits in line. A thread that
//! has had nothing to do for a while ends, so a pool that is not used has none.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::event_loop::boundary;

/// How long a thread waits for more work.
const IDLE_MAX: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce() + Send>;

/// Threads of one purpose. A static: threads outlive whoever gave them work.
pub(crate) struct Pool {
    /// The name of its threads.
    name: &'static str,
    threads_max: usize,
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    /// 0 <= idle <= threads <= threads_max
    threads: usize,
    idle: usize,
}

impl Pool {
    pub(crate) const fn new(name: &'static str, threads_max: usize) -> Self {
        Self {
            name,
            threads_max,
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                threads: 0,
                idle: 0,
            }),
            work: Condvar::new(),
        }
    }

    /// Runs `job` with what it carries on one of the threads; says whether it waits in line until one is free. Gives the cargo
    /// back if there is none and the system refuses to start one.
    pub(crate) fn run<T: Send + 'static>(
        &'static self,
        cargo: T,
        job: impl FnOnce(T) + Send + 'static,
    ) -> Result<bool, T> {
        let mut state = self.lock();
        let mut waits = state.idle <= state.jobs.len();
        if waits && state.threads < self.threads_max {
            let started = thread::Builder::new()
                .name(self.name.to_owned())
                .spawn(|| self.serve());
            match started {
                Ok(_) => {
                    state.threads += 1;
                    waits = false;
                }
                Err(_) if state.threads > 0 => {}
                Err(_) => return Err(cargo),
            }
        }
        state.jobs.push_back(Box::new(move || job(cargo)));
        drop(state);
        self.work.notify_one();
        Ok(waits)
    }

    /// How many threads there may be.
    pub(crate) fn threads_max(&self) -> usize {
        self.threads_max
    }

    /// The life of a thread.
    fn serve(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                if let Err(panic) = boundary::catch(job) {
                    tracing::error!(pool = self.name, panic, "a job panicked");
                }
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let (woken, waited) = self
                .work
                .wait_timeout(state, IDLE_MAX)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_beyond_the_bound_wait_in_line_and_a_panic_ends_only_its_job() {
        static POOL: Pool = Pool::new("test-pool", 2);
        let (done, results) = mpsc::channel();
        for number in 0..20 {
            let done = done.clone();
            POOL.run(number, move |number| {
                assert_ne!(number, 7, "this one panics on purpose");
                done.send((number, thread::current().id())).unwrap();
            })
            .unwrap();
        }
        drop(done);
        let results: Vec<_> = results.iter().collect();
        assert_eq!(results.len(), 19);
        let threads: std::collections::HashSet<_> =
            results.iter().map(|(_, thread)| *thread).collect();
        assert!((1..=2).contains(&threads.len()));
    }
}
