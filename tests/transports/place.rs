//! [`Place`]: where a test runs: over a row, on a group of loops. And running a test in each place.

use std::sync::mpsc::Receiver;

use tidegate::bootstrap::{Bootstrap, ServerBootstrap};
use tidegate::buffer::RecvAllocator;
use tidegate::channel::options::{RECV_ALLOCATOR, WRITE_SPIN_COUNT};
use tidegate::channel::{Address, Channel, ChannelFuture};
use tidegate::event_loop::{Backend, EventLoopGroup};

use crate::probe::{DEADLINE, Probe, Seen, next};
use crate::row::{Feature, Peer, ROWS, Row};
use crate::ways::{Way, each_way_with};

/// A send buffer that is soon full.
pub const SMALL: i32 = 256 << 10;

/// The same for a peer that reads nothing: of one that reads, each segment would wait for an acknowledgement.
pub const SMALLEST: i32 = 64 << 10;

/// A row, and a group of two loops.
pub struct Place<'a> {
    pub row: &'a dyn Row,
    pub group: &'a EventLoopGroup,
}

/// Runs a test over every row.
pub fn everywhere(test: impl Fn(&Place<'_>)) {
    everywhere_with(&[], test);
}

/// Runs a test over the rows that have all of these.
pub fn everywhere_with(needed: &[Feature], test: impl Fn(&Place<'_>)) {
    run(needed, |_, _| true, test);
}

/// The same where a paused channel is told of its peer's closing: not by selectors that report levels.
pub fn everywhere_with_edges(test: impl Fn(&Place<'_>)) {
    let edges = |backend| matches!(backend, Backend::Epoll | Backend::Kqueue);
    run(
        &[Feature::HearsWhilePaused],
        |row, way| !row.has_descriptor() || edges(way.backend),
        test,
    );
}

fn run(needed: &[Feature], fits: impl Fn(&dyn Row, Way) -> bool, test: impl Fn(&Place<'_>)) {
    let only = std::env::var("ROW").ok();
    for row in ROWS {
        if only.as_ref().is_some_and(|only| only != row.name()) {
            continue;
        }
        let lacking = needed.iter().find(|each| row.lacks().contains(each));
        if let Some(lacking) = lacking {
            eprintln!("-- not over {}: {lacking:?}", row.name());
            continue;
        }
        each_way_with(
            |way| row.runs(way) && fits(*row, way),
            |way| {
                eprintln!("-- over {}", row.name());
                let group = way.group(2);
                test(&Place {
                    row: *row,
                    group: &group,
                });
                group.stop();
                let has_ended = group.await_termination(DEADLINE).expect("not a loop");
                assert!(has_ended, "the loops ended");
            },
        );
    }
}

impl Place<'_> {
    /// A server of ours at a free address.
    pub fn bind(&self, recipe: ServerBootstrap) -> Channel {
        let bound = self.row.bind(recipe, self.row.free());
        bound.sync_timeout(DEADLINE).expect("bound")
    }

    /// A client of ours.
    pub fn connect(&self, recipe: Bootstrap, address: Address) -> ChannelFuture {
        self.row.connect(recipe, address)
    }

    /// A foreign client of a server of ours.
    pub fn visit(&self, server: &Channel) -> Box<dyn Peer> {
        self.row
            .visit(&server.local_address().expect("it is bound"))
    }

    /// See [`Row::narrow`].
    pub fn narrow(&self, recipe: Bootstrap, bytes: i32) -> Bootstrap {
        self.row.narrow(recipe, bytes)
    }

    /// See [`Row::narrow_children`].
    pub fn narrow_children(&self, recipe: ServerBootstrap, bytes: i32) -> ServerBootstrap {
        self.row.narrow_children(recipe, bytes)
    }

    /// Whether the row has this.
    pub fn has(&self, feature: Feature) -> bool {
        !self.row.lacks().contains(&feature)
    }

    /// Each read of the client brings so many bytes, or the message that it is.
    pub fn bit_by_bit(&self, recipe: Bootstrap, bytes: usize) -> Bootstrap {
        match self.has(Feature::ReadsBytes) {
            true => recipe.option(RECV_ALLOCATOR, RecvAllocator::Fixed(bytes)),
            false => recipe,
        }
    }

    /// The client's loop makes one call for a flush, if any.
    pub fn write_by_write(&self, recipe: Bootstrap) -> Bootstrap {
        match self.has(Feature::LoopWrites) {
            true => recipe.option(WRITE_SPIN_COUNT, 1),
            false => recipe,
        }
    }

    /// A recipe for a client with a [`Probe`], and what that sees.
    pub fn probed(&self) -> (Bootstrap, Receiver<Seen>) {
        let (tell, seen) = Probe::channel();
        let recipe = Bootstrap::new(self.group);
        (
            recipe.handler(move |pipeline| pipeline.add_last(Probe(tell.clone()))),
            seen,
        )
    }

    /// Our client with a [`Probe`], and the foreign peer that it is connected to.
    pub fn client_and_peer(
        &self,
        prepare: impl FnOnce(Bootstrap) -> Bootstrap,
    ) -> (Channel, Box<dyn Peer>, Receiver<Seen>) {
        let listener = self.row.listen();
        let (recipe, seen) = self.probed();
        let client = self.connect(prepare(recipe), listener.address());
        let peer = listener.accept();
        let client = client.sync_timeout(DEADLINE).expect("connected");
        assert_eq!(next(&seen), Seen::Registered);
        assert_eq!(next(&seen), Seen::Active);
        (client, peer, seen)
    }
}

/// Turns of the channel's loop go by.
pub fn let_turns_pass(client: &Channel) {
    for _ in 0..10 {
        client
            .event_loop()
            .submit(|| ())
            .sync_timeout(DEADLINE)
            .expect("the loop lives");
    }
}
