//! The parent's handler: frames between the connection and the hub.

use std::rc::Rc;

use tidegate::buffer::BytesMut;
use tidegate::{Context, Failure, Handler, HandlerResult, Message};

use crate::frame::{CONTROL, Control, Splitter, header};
use crate::hub::{Hub, Out};

/// Frames that are flushed together.
const FLUSHED_TOGETHER: usize = 30;

/// Bytes of frames that may be under way before memory for more is allocated.
const SCRATCH: usize = 1 << 20;

/// Payloads up to this size are copied behind their header; larger ones travel as they are.
const COPIED_MAX: usize = 256;

pub struct Mux {
    pub hub: Rc<Hub>,
    splitter: Splitter,
    /// Frames are made here; the memory comes back when they were sent.
    scratch: BytesMut,
}

impl Mux {
    pub fn new(hub: Rc<Hub>) -> Self {
        Self {
            hub,
            splitter: Splitter::default(),
            scratch: BytesMut::with_capacity(SCRATCH),
        }
    }

    /// Sends what the streams have staged, as long as the parent is writable.
    pub fn pump(&mut self, ctx: &mut Context<'_>) {
        self.hub.clone().on_parents_stack(|| self.send_staged(ctx));
    }

    fn send_staged(&mut self, ctx: &mut Context<'_>) {
        self.hub.state.borrow_mut().asked = false;
        // All of it, if nothing is under way.
        let _ = self.scratch.try_reclaim(SCRATCH);
        let mut sent = 0;
        // The stream whose frames were the last ones, and how many of them there were.
        let mut last = (CONTROL, 0);
        while ctx.is_writable() {
            let mut state = self.hub.state.borrow_mut();
            let Some(out) = state.out.pop_front() else {
                break;
            };
            match out {
                Out::Control(control) => {
                    drop(state);
                    control.encode(&mut self.scratch);
                }
                Out::Data(id, msg) => {
                    state.staged -= msg.readable_bytes().unwrap_or(0);
                    drop(state);
                    self.frame(ctx, id, msg);
                    if id != last.0 {
                        self.hub.written(last);
                        last = (id, 0);
                    }
                    last.1 += 1;
                }
            }
            sent += 1;
            if sent % FLUSHED_TOGETHER == 0 {
                self.flush(ctx);
            }
        }
        if sent > 0 {
            self.flush(ctx);
            self.hub.written(last);
            self.hub.wake_waiting();
        }
    }

    fn frame(&mut self, ctx: &mut Context<'_>, id: u16, msg: Message) {
        let payload = msg.as_bytes().unwrap_or(&[]);
        self.scratch.extend_from_slice(&header(id, payload.len()));
        if payload.len() <= COPIED_MAX {
            self.scratch.extend_from_slice(payload);
        } else {
            ctx.write(self.scratch.split().freeze());
            ctx.write(msg);
        }
    }

    fn flush(&mut self, ctx: &mut Context<'_>) {
        if !self.scratch.is_empty() {
            ctx.write(self.scratch.split().freeze());
        }
        ctx.flush();
    }
}

impl Hub {
    /// So many frames of a stream are with the parent.
    fn written(&self, (id, count): (u16, usize)) {
        let state = self.state.borrow();
        if let Some(signal) = state
            .streams
            .get(id)
            .and_then(|entry| entry.signal.as_ref())
        {
            signal.written(count);
        }
    }

    /// Marks that the parent's handler runs.
    fn on_parents_stack(&self, run: impl FnOnce()) {
        self.parent_runs.set(true);
        run();
        self.parent_runs.set(false);
    }
}

impl Handler for Mux {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.hub.state.borrow_mut().handler = Some(ctx.local_handle());
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let bytes = msg
            .into_bytes()
            .map_err(|_| Failure::msg("the connection carries bytes"))?;
        let parent = ctx.channel();
        let hub = self.hub.clone();
        let splitter = &mut self.splitter;
        self.hub.on_parents_stack(|| {
            splitter.feed(bytes, |id, payload| {
                if id != CONTROL {
                    hub.deliver(&parent, id, payload);
                } else if let Some(control) = Control::decode(&payload) {
                    hub.control(control);
                }
            });
        });
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.pump(ctx);
        ctx.fire_channel_writability_changed();
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.hub.on_parents_stack(|| self.hub.end());
        ctx.fire_channel_inactive();
        Ok(())
    }
}
