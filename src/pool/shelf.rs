//! [`Shelf`]: the idle channels of a pool.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::channel::Channel;
use crate::error::{Error, ErrorKind};

pub(super) struct Shelf {
    state: Mutex<State>,
    is_fifo: bool,
    max_idle: Option<usize>,
}

#[derive(Default)]
struct State {
    idle: VecDeque<Channel>,
    is_closed: bool,
}

impl Shelf {
    pub(super) fn new(is_fifo: bool, max_idle: Option<usize>) -> Self {
        Self {
            state: Mutex::default(),
            is_fifo,
            max_idle,
        }
    }

    /// The next channel in turn that is alive, if there is one.
    pub(super) fn take(&self) -> Result<Option<Channel>, Error> {
        loop {
            let mut state = self.lock();
            if state.is_closed {
                return Err(closed());
            }
            let next = if self.is_fifo {
                state.idle.pop_front()
            } else {
                state.idle.pop_back()
            };
            drop(state);
            match next {
                Some(channel) if !channel.is_active() => {
                    channel.close();
                }
                next => return Ok(next),
            }
        }
    }

    /// Takes a channel in.
    pub(super) fn put(&self, channel: &Channel) -> Result<(), Error> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(closed());
        }
        if let Some(max) = self.max_idle
            && state.idle.len() >= max
        {
            return Err(Error::new(
                ErrorKind::Rejected,
                format!("the channel pool is full: {max} channels are idle"),
            ));
        }
        state.idle.push_back(channel.clone());
        drop(state);
        if !channel.is_open() {
            // Its end may have been told before it was in here.
            self.remove(channel);
        }
        Ok(())
    }

    pub(super) fn remove(&self, channel: &Channel) {
        let mut state = self.lock();
        let position = state.idle.iter().position(|each| each == channel);
        let removed = position.and_then(|at| state.idle.remove(at));
        drop(state);
        drop(removed);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().idle.len()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Takes nothing in any more, and gives nothing out. Gives what was there.
    pub(super) fn close(&self) -> VecDeque<Channel> {
        let mut state = self.lock();
        state.is_closed = true;
        std::mem::take(&mut state.idle)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::ChannelClosed, "the channel pool is closed")
}
