//! What the streams of one connection share, loop-confined: their queues and credits, and what is to be sent.
//!
//! Between the parent's handler and the streams' transports nobody calls anybody. A stream puts its frames into the
//! hub and asks the handler to come round; the handler puts what arrived into the hub and signals the stream. So
//! neither runs on the other's stack.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use tidegate::buffer::Bytes;
use tidegate::channel::{ChannelBuilder, LocalHandle, Signal};
use tidegate::{Channel, ChannelFuture, Error, ErrorKind, Message, Pipeline};

use crate::frame::{Control, WINDOW};
use crate::mux::Mux;
use crate::stream::Stream;

/// Bytes that may wait in the hub while the parent is writable or not.
pub const STAGED_MAX: usize = 16 << 10;

/// Fills the pipeline of a stream that the peer opened.
pub type Initializer = Rc<dyn Fn(u16, &mut Pipeline<'_>) -> Result<(), Error>>;

/// One stream, seen from the connection.
pub struct Entry {
    /// Known once the stream is on its loop.
    pub signal: Option<Signal>,
    pub inbound: VecDeque<Bytes>,
    /// The peer writes nothing more.
    pub ended: bool,
    /// It was told of `inbound` and has not looked yet.
    pub told: bool,
    /// Bytes that may still be sent.
    pub credit: usize,
    /// Bytes that were read and not credited to the peer yet.
    pub consumed: usize,
    /// A flush was refused; it waits for credit or for room.
    pub blocked: bool,
    /// We write nothing more.
    pub end_sent: bool,
}

/// Streams by their ids, which are small numbers.
#[derive(Default)]
pub struct Table(Vec<Option<Entry>>);

impl Table {
    pub fn insert(&mut self, id: u16, entry: Entry) {
        let needed = usize::from(id) + 1;
        if self.0.len() < needed {
            self.0.resize_with(needed, || None);
        }
        self.0[usize::from(id)] = Some(entry);
    }

    pub fn remove(&mut self, id: u16) {
        if let Some(place) = self.0.get_mut(usize::from(id)) {
            *place = None;
        }
    }

    pub fn get(&self, id: u16) -> Option<&Entry> {
        self.0.get(usize::from(id))?.as_ref()
    }

    pub fn get_mut(&mut self, id: u16) -> Option<&mut Entry> {
        self.0.get_mut(usize::from(id))?.as_mut()
    }

    pub fn contains(&self, id: u16) -> bool {
        self.get(id).is_some()
    }

    pub fn values(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter().flatten()
    }
}

/// Something to be sent.
pub enum Out {
    Data(u16, Message),
    Control(Control),
}

#[derive(Default)]
pub struct State {
    pub streams: Table,
    pub out: VecDeque<Out>,
    /// Payload bytes in `out`.
    pub staged: usize,
    /// Streams whose flush was refused for want of room.
    pub waiting: VecDeque<u16>,
    /// The highest stream that the peer has opened.
    pub newest: u16,
    pub handler: Option<LocalHandle<Mux>>,
    /// The handler was asked to come round.
    pub asked: bool,
    pub is_over: bool,
}

/// See the module's page.
pub struct Hub {
    pub state: RefCell<State>,
    /// What streams of the peer get; none are accepted without.
    pub accept: RefCell<Option<Initializer>>,
    /// The parent's handler is on the stack. Streams' handlers look at it: they must never find it set.
    pub parent_runs: Cell<bool>,
}

impl Hub {
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            state: RefCell::default(),
            accept: RefCell::default(),
            parent_runs: Cell::new(false),
        })
    }

    /// Opens a stream. To be called in the loop's turn.
    pub fn open(
        self: &Rc<Self>,
        parent: &Channel,
        id: u16,
        builder: ChannelBuilder,
        init: impl FnOnce(&mut Pipeline<'_>) -> Result<(), Error> + 'static,
    ) -> Result<ChannelFuture, Error> {
        {
            let mut state = self.state.borrow_mut();
            if state.is_over {
                return Err(over());
            }
            let entry = Entry {
                signal: None,
                inbound: VecDeque::new(),
                ended: false,
                told: false,
                credit: WINDOW,
                consumed: 0,
                blocked: false,
                end_sent: false,
            };
            state.streams.insert(id, entry);
        }
        builder
            .parent(parent)
            .open(Stream::new(self.clone(), id), init)
    }

    pub fn open_streams(&self) -> usize {
        self.state.borrow().streams.values().count()
    }

    /// Asks the parent's handler to send what there is.
    pub fn ask(&self, state: &mut State) {
        if !state.asked
            && let Some(handler) = &state.handler
        {
            state.asked = handler
                .run(|mux, ctx| {
                    mux.pump(ctx);
                    Ok(())
                })
                .is_ok();
        }
    }

    pub fn send(&self, state: &mut State, out: Out) {
        if let Out::Data(_, msg) = &out {
            state.staged += msg.readable_bytes().unwrap_or(0);
        }
        state.out.push_back(out);
        self.ask(state);
    }

    /// A frame of the peer.
    pub fn deliver(self: &Rc<Self>, parent: &Channel, id: u16, payload: Bytes) {
        if !self.state.borrow().streams.contains(id) && !self.accept_new(parent, id) {
            let mut state = self.state.borrow_mut();
            return self.send(&mut state, Out::Control(Control::Reset { stream: id }));
        }
        if let Some(entry) = self.state.borrow_mut().streams.get_mut(id) {
            entry.inbound.push_back(payload);
            entry.tell();
        }
    }

    /// True if the peer may open this stream, and has.
    fn accept_new(self: &Rc<Self>, parent: &Channel, id: u16) -> bool {
        let Some(accept) = self.accept.borrow().clone() else {
            return false;
        };
        if id <= self.state.borrow().newest {
            return false;
        }
        self.state.borrow_mut().newest = id;
        self.open(parent, id, Channel::builder(), move |pipeline| {
            accept(id, pipeline)
        })
        .is_ok()
    }

    pub fn control(&self, control: Control) {
        let mut state = self.state.borrow_mut();
        let Some(entry) = state.streams.get_mut(control.stream()) else {
            return;
        };
        match control {
            Control::Credit { bytes, .. } => {
                entry.credit += bytes as usize;
                entry.wake();
            }
            Control::End { .. } => {
                entry.ended = true;
                entry.tell();
            }
            Control::Reset { .. } => {
                if let Some(signal) = &entry.signal {
                    signal.failed(Error::new(
                        ErrorKind::ConnectionReset,
                        "the peer has closed the stream",
                    ));
                }
            }
        }
    }

    /// There is room again: streams whose flush was refused go on, in the order in which they came.
    pub fn wake_waiting(&self) {
        let mut state = self.state.borrow_mut();
        while let Some(id) = state.waiting.pop_front() {
            if let Some(entry) = state.streams.get_mut(id) {
                entry.wake();
            }
        }
    }

    /// The connection is gone.
    pub fn end(&self) {
        let mut state = self.state.borrow_mut();
        state.is_over = true;
        state.handler = None;
        state.out.clear();
        for entry in state.streams.values() {
            if let Some(signal) = &entry.signal {
                signal.failed(over());
            }
        }
    }
}

impl Entry {
    /// Something arrived.
    fn tell(&mut self) {
        if !self.told
            && let Some(signal) = &self.signal
        {
            self.told = true;
            signal.readable();
        }
    }

    /// A flush may get further.
    fn wake(&mut self) {
        if self.blocked
            && let Some(signal) = &self.signal
        {
            self.blocked = false;
            signal.writable();
        }
    }
}

pub fn over() -> Error {
    Error::new(
        ErrorKind::ChannelClosed,
        "the connection of the stream has ended",
    )
}
