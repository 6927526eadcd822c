//! The handlers of the model: `Guard` next to the head, `App` next to the tail, and what comes and goes between them.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use tidegate::channel::events::{ChannelInputShutdown, PeerClosing};
use tidegate::codec::Decoder;
use tidegate::{Channel, Context, Error, Failure, Handler, HandlerResult, Message, Promise};

use crate::model::{End, Model, Phase, byte, follow, with};
use crate::wire::number_of;

/// Next to the head. It writes the bytes of the stream into what passes on its way out, so that their order is the
/// order in which they reach the head, and holds what comes in against the stream of the other side. It also sees that
/// the life of the channel has its order.
pub struct Guard {
    end: usize,
}

impl Guard {
    /// Makes the channel known to the model.
    pub fn of(channel: &Channel, is_client: bool) -> Self {
        let end = with(|model| {
            model.ends.push(End {
                channel: channel.clone(),
                port: None,
                is_client,
                phase: Phase::New,
                sent: 0,
                flushed: 0,
                received: 0,
                seen: 0,
                writes: Vec::new(),
                taken: 0,
                is_in_batch: false,
                asks: false,
                is_lazy: false,
                is_over: false,
                had_decoder: false,
                saw_unwritable: false,
                is_output_shut: false,
                is_input_shut: false,
                has_shut_input: false,
                is_closing: false,
                errors: 0,
            });
            model.ends.len() - 1
        });
        Self { end }
    }

    pub fn end(&self) -> usize {
        self.end
    }

    fn enter(&self, from: &[Phase], to: Phase) {
        with(|model| {
            model.note(self.end, to as u64);
            let phase = model.ends[self.end].phase;
            if !from.contains(&phase) {
                model.complain(format!("end {}: {to:?} after {phase:?}", self.end));
            }
            model.ends[self.end].phase = to;
        });
    }

    /// For what may only come while the channel is active.
    fn while_active(&self, what: &str) {
        while_active(self.end, what);
    }
}

/// Whether the other side is known, and nothing has ended it. A connection that may break says nothing.
fn other_side_lives(model: &Model, end: usize) -> bool {
    let this = &model.ends[end];
    let is_whole =
        |end: &End| !end.is_closing && !end.is_output_shut && !end.is_input_shut && end.errors == 0;
    if !model.is_harmless || !is_whole(this) || this.port.is_none() {
        return false;
    }
    let is_other = |other: &&End| other.port == this.port && other.is_client != this.is_client;
    model.ends.iter().find(is_other).is_some_and(|other| {
        let is_active = other.phase == Phase::Active;
        is_active && is_whole(other)
    })
}

fn while_active(end: usize, what: &str) {
    with(|model| {
        model.note(end, 64 + what.len() as u64);
        let phase = model.ends[end].phase;
        if phase != Phase::Active {
            model.complain(format!("end {end}: {what} while {phase:?}"));
        }
    });
}

impl Handler for Guard {
    fn handler_removed(&mut self, _: &mut Context<'_>) -> HandlerResult {
        // A connect that failed was never active.
        let from = [Phase::New, Phase::Registered, Phase::Unregistered];
        self.enter(&from, Phase::Removed);
        Ok(())
    }

    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.enter(&[Phase::New], Phase::Registered);
        ctx.fire_channel_registered();
        Ok(())
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.enter(&[Phase::Registered], Phase::Active);
        let channel = ctx.channel();
        with(|model| {
            let port = number_of(&channel, model.ends[self.end].is_client);
            if port.is_none() {
                model.complain(format!("end {}: active without an address", self.end));
            }
            model.ends[self.end].port = port;
        });
        ctx.fire_channel_active();
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.enter(&[Phase::Active], Phase::Inactive);
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.enter(&[Phase::Inactive, Phase::Registered], Phase::Unregistered);
        ctx.fire_channel_unregistered();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.while_active("channel_read");
        let bytes = msg.as_bytes().unwrap_or_default();
        with(|model| {
            let end = &mut model.ends[self.end];
            let port = end.port.unwrap_or(0);
            let start = end.received;
            let from_client = !end.is_client;
            end.received += bytes.len() as u64;
            let wrong = (start..)
                .zip(bytes)
                .find(|&(at, found)| byte(port, from_client, at) != *found);
            if let Some((at, _)) = wrong {
                model.complain(format!("end {}: byte {at} is not what was sent", self.end));
            }
            if bytes.is_empty() {
                model.complain(format!("end {}: an empty read", self.end));
            }
        });
        ctx.fire_channel_read(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.while_active("channel_read_complete");
        ctx.fire_channel_read_complete();
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        self.while_active("user_event_triggered");
        if event.is::<ChannelInputShutdown>() {
            with(|model| model.ends[self.end].is_input_shut = true);
        }
        if event.is::<PeerClosing>() {
            with(|model| {
                if other_side_lives(model, self.end) {
                    model.complain(format!(
                        "end {}: told that the peer closes, and it does not: somebody else's event",
                        self.end
                    ));
                }
            });
        }
        ctx.fire_user_event_triggered(event);
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.while_active("channel_writability_changed");
        ctx.fire_channel_writability_changed();
        Ok(())
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        let length = msg.readable_bytes().unwrap_or(0);
        let stamped: Bytes = with(|model| {
            let end = &mut model.ends[self.end];
            let (port, from_client) = (end.port.unwrap_or(0), end.is_client);
            let start = end.sent;
            end.sent += length as u64;
            (start..end.sent)
                .map(|at| byte(port, from_client, at))
                .collect()
        });
        ctx.write_with(stamped, promise);
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        with(|model| {
            let end = &mut model.ends[self.end];
            end.flushed = end.sent;
        });
        ctx.flush();
        Ok(())
    }
}

/// Next to the tail: the program that uses the channel. What it is sent it now and then answers, from inside.
pub struct App {
    pub end: usize,
    /// Once in so many reads; never if zero.
    pub answers: u32,
    pub closes_on_error: bool,
}

impl Handler for App {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        // A decoder before it gives what is left when the channel is inactive already.
        with(|model| {
            model.note(self.end, 65);
            if model.ends[self.end].is_over {
                model.complain(format!("end {}: read at the tail after the end", self.end));
            }
        });
        let bytes = msg.as_bytes().unwrap_or_default();
        let answer = with(|model| {
            let end = &mut model.ends[self.end];
            let port = end.port.unwrap_or(0);
            let start = end.seen;
            let from_client = !end.is_client;
            end.asks = false;
            end.is_in_batch = true;
            end.seen += bytes.len() as u64;
            let may_write = !end.is_output_shut && !end.is_closing;
            let is_right = (start..)
                .zip(bytes)
                .all(|(at, found)| byte(port, from_client, at) == *found);
            if !is_right {
                model.complain(format!("end {}: the tail sees another order", self.end));
            }
            let answers = may_write && model.answers_left > 0 && model.random.one_in(self.answers);
            model.answers_left -= u32::from(answers);
            answers.then(|| model.random.below(200) as usize)
        });
        if let Some(length) = answer {
            let future = ctx.write_future(BytesMut::zeroed(length));
            follow(self.end, &future, length);
            ctx.flush();
        }
        Ok(())
    }

    fn channel_read_complete(&mut self, _: &mut Context<'_>) -> HandlerResult {
        with(|model| model.ends[self.end].is_in_batch = false);
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let was_cut = ctx.input_was_cut();
        with(|model| {
            let end = &mut model.ends[self.end];
            end.is_over = true;
            let (received, seen) = (end.received, end.seen);
            // A part of a record is no record where the input was cut, also if the decoder that has dropped it has left since.
            let most = match was_cut && end.had_decoder {
                true => RECORD as u64 - 1,
                false => 0,
            };
            if !(seen..=seen + most).contains(&received) {
                let text =
                    format!("{received} bytes came in, {seen} reached the tail before inactive");
                model.complain(format!("end {}: {text}", self.end));
            }
        });
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if ctx.is_writable() {
            with(|model| model.ends[self.end].saw_unwritable = false);
        }
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        if event.is::<PeerClosing>() && with(|model| model.random.one_in(2)) {
            ctx.read();
        }
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, _: Failure) -> HandlerResult {
        with(|model| {
            model.note(self.end, 66);
            if model.ends[self.end].is_over {
                model.complain(format!("end {}: an error after the end", self.end));
            }
            model.ends[self.end].errors += 1;
        });
        if self.closes_on_error {
            ctx.close();
        }
        Ok(())
    }
}

/// Cuts the stream into records of this length; what is left at the end is one as well.
pub struct Records;

pub const RECORD: usize = 64;

impl Decoder for Records {
    type Item = BytesMut;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        Ok((src.len() >= RECORD).then(|| src.split_to(RECORD)))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        let length = src.len().min(RECORD);
        Ok((length > 0).then(|| src.split_to(length)))
    }
}

/// Does nothing.
pub struct Pass;

impl Handler for Pass {}

/// Hands a message on in two halves.
pub struct Split;

impl Handler for Split {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        match msg.downcast::<BytesMut>() {
            Ok(mut bytes) if bytes.len() > 1 => {
                let rest = bytes.split_off(bytes.len() / 2);
                ctx.fire_channel_read(bytes);
                ctx.fire_channel_read(rest);
            }
            Ok(bytes) => ctx.fire_channel_read(bytes),
            Err(msg) => ctx.fire_channel_read(msg),
        }
        Ok(())
    }
}

/// Hands on one message at a time, and only while reading is wanted.
#[derive(Default)]
pub struct OneByOne {
    waiting: VecDeque<Message>,
}

impl Handler for OneByOne {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.waiting.push_back(msg);
        ctx.resume();
        Ok(())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if let Some(msg) = self.waiting.pop_front() {
            ctx.fire_channel_read(msg);
        }
        if !self.waiting.is_empty() {
            ctx.resume();
        }
        Ok(())
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if !self.waiting.is_empty() {
            for msg in self.waiting.drain(..) {
                ctx.fire_channel_read(msg);
            }
            ctx.fire_channel_read_complete();
        }
        Ok(())
    }
}

/// Holds what is written until it is flushed.
#[derive(Default)]
pub struct Collect {
    held: Vec<(Message, Promise)>,
}

impl Collect {
    fn let_go(&mut self, ctx: &mut Context<'_>) {
        for (msg, promise) in self.held.drain(..) {
            ctx.write_with(msg, promise);
        }
    }
}

impl Handler for Collect {
    fn write(&mut self, _: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        self.held.push((msg, promise));
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.let_go(ctx);
        ctx.flush();
        Ok(())
    }

    fn close(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        self.let_go(ctx);
        ctx.close_with(promise);
        Ok(())
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.let_go(ctx);
        Ok(())
    }
}
