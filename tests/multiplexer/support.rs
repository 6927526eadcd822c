//! Two multiplexers that face each other, and handlers that note what they see.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tidegate::buffer::Bytes;
use tidegate::channel::ChannelBuilder;
use tidegate::channel::events::{ChannelInputShutdown, ChannelOutputShutdown};
use tidegate::{
    Channel, Context, EmbeddedChannel, Error, Failure, Handler, HandlerResult, Message, Pipeline,
};

use crate::hub::Hub;
use crate::mux::Mux;

/// What one stream's handler saw.
#[derive(Default)]
pub struct Seen {
    pub events: RefCell<Vec<&'static str>>,
    pub data: RefCell<Vec<Bytes>>,
    pub frames: Cell<u64>,
    pub bytes: Cell<u64>,
    /// The number that the next frame begins with, where frames are numbered.
    pub next: Cell<u32>,
}

impl Seen {
    pub fn events(&self) -> String {
        self.events.borrow().join(" ")
    }

    pub fn text(&self) -> String {
        self.data
            .borrow()
            .iter()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .collect::<Vec<_>>()
            .join("|")
    }

    fn note(&self, event: &'static str) {
        self.events.borrow_mut().push(event);
    }
}

/// The last handler of a stream.
pub struct Probe {
    pub seen: Rc<Seen>,
    pub hub: Rc<Hub>,
    /// Check the numbers that frames begin with, instead of keeping them.
    pub counts: bool,
}

impl Probe {
    /// Rule 6: no handler of a stream runs on the parent's stack.
    fn check(&self) {
        assert!(
            !self.hub.parent_runs.get(),
            "a stream's handler runs on its parent's stack"
        );
    }
}

impl Handler for Probe {
    fn handler_added(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.check();
        Ok(())
    }

    fn channel_registered(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.check();
        self.seen.note("registered");
        Ok(())
    }

    fn channel_active(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.check();
        self.seen.note("active");
        Ok(())
    }

    fn channel_read(&mut self, _ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.check();
        let bytes = msg
            .into_bytes()
            .map_err(|_| Failure::msg("streams carry bytes"))?;
        self.seen.frames.set(self.seen.frames.get() + 1);
        self.seen
            .bytes
            .set(self.seen.bytes.get() + bytes.len() as u64);
        if self.counts {
            let number = bytes
                .first_chunk()
                .map(|number| u32::from_be_bytes(*number));
            assert_eq!(
                number,
                Some(self.seen.next.get()),
                "frames of a stream keep their order"
            );
            self.seen.next.set(self.seen.next.get() + 1);
        } else {
            self.seen.data.borrow_mut().push(bytes);
        }
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.check();
        self.seen.note(if ctx.is_writable() {
            "writable"
        } else {
            "unwritable"
        });
        Ok(())
    }

    fn user_event_triggered(&mut self, _ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        self.check();
        if event.is::<ChannelInputShutdown>() {
            self.seen.note("input-shut");
        } else if event.is::<ChannelOutputShutdown>() {
            self.seen.note("output-shut");
        }
        Ok(())
    }

    fn exception_caught(&mut self, _ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.check();
        let known = cause.downcast_ref::<Error>().is_some();
        self.seen.note(if known { "error" } else { "failure" });
        Ok(())
    }

    fn channel_inactive(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.check();
        self.seen.note("inactive");
        Ok(())
    }

    fn channel_unregistered(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.check();
        self.seen.note("unregistered");
        Ok(())
    }

    fn handler_removed(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.check();
        Ok(())
    }
}

/// Sends back what it gets; passes on everything else.
pub struct Echo;

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }
}

/// The streams that the peer opened, with what each has seen, by their number.
pub type Accepted = BTreeMap<u16, (Channel, Rc<Seen>)>;

/// One end of the connection.
pub struct Side {
    pub embedded: EmbeddedChannel,
    pub hub: Rc<Hub>,
    /// Streams that the peer opened, by id.
    pub accepted: Rc<RefCell<Accepted>>,
}

impl Side {
    /// `fill` makes the pipelines of streams that the peer opens.
    pub fn new(
        fill: impl Fn(&mut Pipeline<'_>, Rc<Seen>, Rc<Hub>) -> Result<(), Error> + 'static,
    ) -> Result<Self, Failure> {
        let accepted: Rc<RefCell<BTreeMap<_, _>>> = Rc::default();
        let hub = Hub::new();
        let (weak, streams) = (Rc::downgrade(&hub), accepted.clone());
        *hub.accept.borrow_mut() = Some(Rc::new(move |id, pipeline: &mut Pipeline<'_>| {
            let seen = Rc::new(Seen::default());
            streams
                .borrow_mut()
                .insert(id, (pipeline.channel(), seen.clone()));
            weak.upgrade()
                .map_or(Ok(()), |hub| fill(pipeline, seen, hub))
        }));
        let mux = Mux::new(hub.clone());
        let embedded = EmbeddedChannel::new(|pipeline| pipeline.add_last(mux))?;
        Ok(Self {
            embedded,
            hub,
            accepted,
        })
    }

    /// One whose accepted streams end in a [`Probe`].
    pub fn probing(counts: bool) -> Result<Self, Failure> {
        Self::new(move |pipeline, seen, hub| pipeline.add_last(Probe { seen, hub, counts }))
    }

    /// Opens a stream that ends in a [`Probe`].
    pub fn open(
        &mut self,
        id: u16,
        builder: ChannelBuilder,
        counts: bool,
    ) -> Result<(Channel, Rc<Seen>), Failure> {
        let seen = Rc::new(Seen::default());
        let probe = Probe {
            seen: seen.clone(),
            hub: self.hub.clone(),
            counts,
        };
        let hub = self.hub.clone();
        let opened = self
            .embedded
            .run(|parent| hub.open(parent, id, builder, |pipeline| pipeline.add_last(probe)))?;
        if let Some(error) = opened.cause() {
            return Err(error.into());
        }
        Ok((opened.channel().clone(), seen))
    }

    /// The stream that the peer opened.
    pub fn accepted(&self, id: u16) -> (Channel, Rc<Seen>) {
        self.accepted.borrow()[&id].clone()
    }

    /// Does something with a channel of this side, in the loop's turn.
    pub fn run<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.embedded.run(|_| work())
    }
}

/// Carries bytes between two sides until nothing moves.
pub fn settle(a: &mut Side, b: &mut Side) {
    while carry(a, b) + carry(b, a) > 0 {}
}

/// Carries what `from` has sent; how many messages.
pub fn carry(from: &mut Side, to: &mut Side) -> usize {
    let mut carried = 0;
    let sent = std::iter::from_fn(|| from.embedded.read_outbound()).inspect(|_| carried += 1);
    to.embedded.feed(sent);
    carried
}
