//! The transport of a stream: steps that look into the hub.

use std::rc::Rc;

use tidegate::channel::{
    Direction, Flush, Io, Metadata, OutboundBuffer, Progress, Read, Transport,
};
use tidegate::{Address, Error, Message};

use crate::frame::{Control, WINDOW};
use crate::hub::{Hub, Out, STAGED_MAX, over};

pub struct Stream {
    hub: Rc<Hub>,
    id: u16,
    is_open: bool,
}

impl Stream {
    pub fn new(hub: Rc<Hub>, id: u16) -> Self {
        Self {
            hub,
            id,
            is_open: true,
        }
    }

    fn send_end(&self) {
        let mut state = self.hub.state.borrow_mut();
        let Some(entry) = state.streams.get_mut(self.id) else {
            return;
        };
        if !entry.end_sent {
            entry.end_sent = true;
            self.hub
                .send(&mut state, Out::Control(Control::End { stream: self.id }));
        }
    }
}

impl Transport for Stream {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: "stream",
            has_disconnect: false,
            max_messages_per_read: 16,
            is_server: false,
        }
    }

    fn is_active(&self) -> bool {
        self.is_open
    }

    fn register(&mut self, io: &mut Io<'_>) -> Result<(), Error> {
        match self.hub.state.borrow_mut().streams.get_mut(self.id) {
            Some(entry) => entry.signal = Some(io.signal()),
            None => return Err(over()),
        }
        if self.hub.state.borrow().is_over {
            Err(over())
        } else {
            Ok(())
        }
    }

    fn accepts(&self, msg: &Message) -> bool {
        msg.readable_bytes().is_some_and(|bytes| bytes <= WINDOW)
    }

    fn read(&mut self, _io: &mut Io<'_>) -> Result<Read, Error> {
        let mut state = self.hub.state.borrow_mut();
        let Some(entry) = state.streams.get_mut(self.id) else {
            return Err(over());
        };
        entry.told = false;
        let Some(bytes) = entry.inbound.pop_front() else {
            return Ok(if entry.ended {
                Read::Eof
            } else {
                Read::WouldBlock
            });
        };
        entry.consumed += bytes.len();
        // Half a window at a time, so that credit costs little and never runs dry.
        if entry.consumed >= WINDOW / 2 {
            let credit = std::mem::take(&mut entry.consumed) as u32;
            let credit = Control::Credit {
                stream: self.id,
                bytes: credit,
            };
            self.hub.send(&mut state, Out::Control(credit));
        }
        Ok(Read::Message(bytes.into()))
    }

    fn flush(&mut self, _io: &mut Io<'_>, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        let mut state = self.hub.state.borrow_mut();
        loop {
            let is_full = state.staged >= STAGED_MAX;
            let Some(entry) = state.streams.get_mut(self.id) else {
                return Err(over());
            };
            // What was taken stays in the buffer until it was written, so the next one comes out before its size is known.
            let Some(msg) = out.take_front() else {
                return Ok(Flush::Drained);
            };
            let bytes = msg.readable_bytes().unwrap_or(0);
            if is_full || bytes > entry.credit {
                out.put_back(msg);
                entry.blocked = true;
                if is_full {
                    state.waiting.push_back(self.id);
                }
                return Ok(Flush::Blocked);
            }
            entry.credit -= bytes;
            self.hub.send(&mut state, Out::Data(self.id, msg));
        }
    }

    fn shutdown(&mut self, _io: &mut Io<'_>, direction: Direction) -> Result<(), Error> {
        if direction == Direction::Output {
            self.send_end();
        }
        Ok(())
    }

    fn close(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
        self.is_open = false;
        self.send_end();
        self.hub.state.borrow_mut().streams.remove(self.id);
        Ok(Progress::Done)
    }

    fn local_address(&self) -> Option<Address> {
        Some(Address::from(format!("stream {}", self.id).as_str()))
    }
}
