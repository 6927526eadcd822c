//! [`Backlog`]: the clients of a local server that it has not accepted yet.
//!
//! As with a kernel, a client is connected when it stands in the backlog, not when it is accepted. Those beyond the limit
//! (`SO_BACKLOG`) wait to be connected; their connect timeout counts meanwhile.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::address::LocalAddress;
use super::end::End;
use crate::channel::{Progress, Signal};
use crate::error::{Error, ErrorKind};

/// See the module's page.
pub(super) struct Backlog {
    name: LocalAddress,
    state: Mutex<State>,
}

struct State {
    /// In the order in which they came. The first `limit` are connected, the others not.
    clients: VecDeque<Client>,
    /// At least 1.
    limit: usize,
    is_open: bool,
    /// The server has found nobody, and was not signalled since.
    server_waits: bool,
    tell_server: Signal,
}

struct Client {
    /// The server's end.
    end: End,
    /// Who is to be told that it is connected now.
    waiting: Option<Signal>,
}

impl Backlog {
    pub(super) fn new(name: LocalAddress, limit: usize, tell_server: Signal) -> Self {
        let state = State {
            clients: VecDeque::new(),
            limit: limit.max(1),
            is_open: true,
            server_waits: false,
            tell_server,
        };
        Self {
            name,
            state: Mutex::new(state),
        }
    }

    /// A client connects: its end of the connection, and whether it is connected at once or will be told when it is.
    pub(super) fn join(
        &self,
        client: &Signal,
        name: LocalAddress,
        room: usize,
    ) -> Result<(End, Progress), Error> {
        let mut state = self.lock();
        if !state.is_open {
            return Err(refused(&self.name));
        }
        let (ours, theirs) = End::pair(name, self.name.clone(), room);
        // Before the server can see it; nothing has come yet.
        ours.attach(client);
        let is_in = state.clients.len() < state.limit;
        state.clients.push_back(Client {
            end: theirs,
            waiting: (!is_in).then(|| client.clone()),
        });
        let told = std::mem::take(&mut state.server_waits).then(|| state.tell_server.clone());
        drop(state);
        if let Some(server) = told {
            server.readable();
        }
        let progress = if is_in {
            Progress::Done
        } else {
            Progress::Pending
        };
        Ok((ours, progress))
    }

    /// The client with this end gives up before it is connected.
    pub(super) fn forget(&self, client: &End) {
        let mut state = self.lock();
        let at = state
            .clients
            .iter()
            .position(|each| each.end.is_of(client) && each.waiting.is_some());
        let gone = at.and_then(|at| state.clients.remove(at));
        drop(state);
        drop(gone);
    }

    /// Whether somebody waits. If not the server is signalled when somebody does.
    pub(super) fn has_clients(&self) -> bool {
        let mut state = self.lock();
        state.server_waits = state.clients.is_empty();
        !state.server_waits
    }

    /// The client that came first.
    pub(super) fn accept(&self) -> Option<End> {
        let mut state = self.lock();
        let first = state.clients.pop_front();
        state.server_waits = first.is_none();
        let connected = state.let_in();
        drop(state);
        tell_connected(connected);
        first.map(|client| client.end)
    }

    pub(super) fn set_limit(&self, limit: usize) {
        let mut state = self.lock();
        state.limit = limit.max(1);
        let connected = state.let_in();
        drop(state);
        tell_connected(connected);
    }

    /// The server closes: who is connected is reset, who is not is refused.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_open = false;
        let clients = std::mem::take(&mut state.clients);
        drop(state);
        for Client { end, waiting } in clients {
            match waiting {
                Some(signal) => signal.connected(Err(refused(&self.name))),
                None => drop(end),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Those for whom there is room now.
    fn let_in(&mut self) -> Vec<Signal> {
        let limit = self.limit;
        let clients = self.clients.iter_mut().take(limit);
        // The newest first, until one that was in before: all in front of it were, too.
        let waiting = clients.rev().map_while(|client| client.waiting.take());
        let mut waiting: Vec<Signal> = waiting.collect();
        waiting.reverse();
        waiting
    }
}

fn tell_connected(clients: Vec<Signal>) {
    for client in clients {
        client.connected(Ok(()));
    }
}

/// Nobody is there to connect to.
pub(super) fn refused(name: &LocalAddress) -> Error {
    Error::new(
        ErrorKind::ConnectRefused,
        format!("connecting to {name}: no server of this process is bound to that name"),
    )
}
