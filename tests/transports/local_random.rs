//! Random conversations inside the process: two sides on one loop or two, with small buffers, readers that stop and go on,
//! and ends of every kind, at any moment. What holds in all of them:
//!
//! - what is read is what was written, in order, without a gap: a beginning of it, and all of it if the end was orderly;
//! - writes succeed in order, none behind one that failed, and whatever was read has succeeded;
//! - every promise is settled, and both channels close.
//!
//! A seed fixes what is asked of the two sides; how the threads meet is left to chance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate::bootstrap::{Bootstrap, ServerBootstrap};
use tidegate::buffer::Message;
use tidegate::channel::events::ChannelInputShutdown;
use tidegate::channel::options::{ALLOW_HALF_CLOSURE, SO_LINGER, SO_RCVBUF};
use tidegate::channel::{Channel, ChannelFuture, Context, Handler, HandlerResult};
use tidegate::error::{Error, Failure};
use tidegate::event_loop::EventLoopGroup;
use tidegate::transport::local::{Local, LocalAddress};

use crate::probe::{DEADLINE, until};

const SEEDS: u64 = 300;

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// What a side has read.
#[derive(Default)]
struct Tally {
    read: AtomicU64,
    ends: AtomicU64,
    gaps: AtomicU64,
}

/// Checks that numbers come in order, and stops reading for a while now and then.
struct Reader(Arc<Tally>);

impl Handler for Reader {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let number = match msg.as_bytes() {
            Some(bytes) => u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes")),
            None => msg.downcast::<u64>().expect("a number"),
        };
        if number != self.0.read.load(Ordering::SeqCst) {
            self.0.gaps.fetch_add(1, Ordering::SeqCst);
        }
        self.0.read.store(number + 1, Ordering::SeqCst);
        if number % 11 == 5 {
            ctx.set_auto_read(false);
            let channel = ctx.channel();
            let _ = ctx
                .event_loop()
                .execute(move || channel.set_auto_read(true));
        }
        Ok(())
    }

    fn user_event_triggered(&mut self, _: &mut Context<'_>, event: Message) -> HandlerResult {
        let is_end = event.is::<ChannelInputShutdown>();
        self.0.ends.fetch_add(u64::from(is_end), Ordering::SeqCst);
        Ok(())
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, _: Failure) -> HandlerResult {
        Ok(())
    }
}

/// One side, and what it has written.
struct Side {
    channel: Channel,
    tally: Arc<Tally>,
    writes: Vec<ChannelFuture>,
}

impl Side {
    fn write(&mut self, dice: &mut Dice) {
        let number = self.writes.len() as u64;
        let message = if dice.below(3) == 0 {
            Message::new(number)
        } else {
            let mut bytes = number.to_be_bytes().to_vec();
            bytes.resize(8 + dice.below(600) as usize, 0);
            Message::from(bytes)
        };
        self.writes.push(self.channel.write_future(message));
    }

    /// How many of the writes succeeded, once all are settled.
    fn settled(&self, seed: u64) -> u64 {
        let results = self.writes.iter().map(|write| {
            let result = write.sync_timeout(DEADLINE);
            assert!(write.is_done(), "seed {seed}: a promise was not settled");
            result.is_ok()
        });
        let results: Vec<bool> = results.collect();
        let succeeded = results.iter().take_while(|is_ok| **is_ok).count();
        assert!(
            results[succeeded..].iter().all(|is_ok| !is_ok),
            "seed {seed}: a write succeeded behind one that failed"
        );
        succeeded as u64
    }
}

#[test]
fn what_arrives_is_a_beginning_of_what_was_sent_and_every_promise_is_settled() {
    let groups = [1, 1].map(|threads| EventLoopGroup::new(threads).expect("a group"));
    for seed in 0..SEEDS {
        converse(seed, &groups[0], &groups[seed as usize % 2]);
    }
}

fn converse(seed: u64, servers: &EventLoopGroup, clients: &EventLoopGroup) {
    let mut dice = Dice(seed);
    let tallies: [Arc<Tally>; 2] = Default::default();
    let (tell, told) = std::sync::mpsc::channel();
    let room = 1 + dice.below(4096) as i32;
    let tally = tallies[0].clone();
    let server = ServerBootstrap::new(servers, servers)
        .transport::<Local>()
        .child_option(SO_RCVBUF, room)
        .child_option(ALLOW_HALF_CLOSURE, true)
        .child_handler(move |pipeline| {
            let _ = tell.send(pipeline.channel());
            pipeline.add_last(Reader(tally.clone()))
        })
        .bind(LocalAddress::unique());
    let server = server.sync_timeout(DEADLINE).expect("a free name");
    let tally = tallies[1].clone();
    let client = Bootstrap::new(clients)
        .transport::<Local>()
        .option(SO_RCVBUF, room)
        .option(ALLOW_HALF_CLOSURE, true)
        .handler(move |pipeline| pipeline.add_last(Reader(tally.clone())))
        .connect(server.local_address().expect("bound"));
    let client = client.sync_timeout(DEADLINE).expect("connected");
    let child = told.recv_timeout(DEADLINE).expect("a child");
    let mut sides = [child, client].map(|channel| Side {
        tally: tallies[0].clone(),
        channel,
        writes: Vec::new(),
    });
    sides[1].tally = tallies[1].clone();

    for _ in 0..20 + dice.below(200) {
        let side = &mut sides[dice.below(2) as usize];
        match dice.below(8) {
            0 | 1 => {
                side.channel.flush();
            }
            2 => side.channel.read(),
            3 => std::thread::yield_now(),
            _ => side.write(&mut dice),
        }
    }
    let result = match dice.below(4) {
        0 => abrupt(&sides, dice.below(2) as usize, None),
        1 => abrupt(&sides, dice.below(2) as usize, Some(Duration::ZERO)),
        _ => orderly(seed, &sides),
    };
    result.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    for (from, to) in [(0, 1), (1, 0)] {
        let succeeded = sides[from].settled(seed);
        let read = sides[to].tally.read.load(Ordering::SeqCst);
        assert!(read <= succeeded, "seed {seed}: read {read} of {succeeded}");
        assert_eq!(
            sides[to].tally.gaps.load(Ordering::SeqCst),
            0,
            "seed {seed}"
        );
    }
    server.close().sync_timeout(DEADLINE).expect("closed");
}

/// Both end their outputs behind all that they wrote, and everything arrives.
fn orderly(seed: u64, sides: &[Side; 2]) -> Result<(), Error> {
    for side in sides {
        side.channel.flush();
    }
    for side in sides {
        for write in &side.writes {
            write.sync_timeout(DEADLINE)?;
        }
        side.channel.shutdown_output().sync_timeout(DEADLINE)?;
    }
    for (from, to) in [(0, 1), (1, 0)] {
        let tally = &sides[to].tally;
        until("the end of input", || {
            tally.ends.load(Ordering::SeqCst) == 1
        });
        let read = tally.read.load(Ordering::SeqCst);
        assert_eq!(read, sides[from].writes.len() as u64, "seed {seed}");
    }
    for side in sides {
        side.channel.close().sync_timeout(DEADLINE)?;
    }
    Ok(())
}

/// One side closes in the middle of everything. The other one hears of it when it reads, or writes.
fn abrupt(sides: &[Side; 2], who: usize, linger: Option<Duration>) -> Result<(), Error> {
    for side in sides {
        side.channel.flush();
    }
    let (closes, other) = (&sides[who].channel, &sides[1 - who].channel);
    drop(closes.set_option(SO_LINGER, linger));
    closes.close().sync_timeout(DEADLINE)?;
    // Half closure is on: the end of input alone closes nothing.
    drop(other.write_and_flush(Message::new(0_u8)));
    other.close_future().sync_timeout(DEADLINE)?;
    Ok(())
}
