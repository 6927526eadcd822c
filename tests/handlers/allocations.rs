//! What the handlers cost in memory while messages pass: nothing, once warm, where nobody asked for more than that. A write
//! whose promise was void is given one where somebody has to know of its end: one allocation.

use std::time::Duration;

use tidegate::buffer::Bytes;
use tidegate::handler::flow::FlowControl;
use tidegate::handler::flush::FlushConsolidation;
use tidegate::handler::logging::Logging;
use tidegate::handler::timeout::{IdleState, ReadTimeout, UnwritableGuard, WriteTimeout};
use tidegate::{Context, EmbeddedChannel, Handler, HandlerResult, Message};

use crate::counting;

const LONG: Duration = Duration::from_secs(3600);
const ROUNDS: u32 = 1000;

struct Echo;

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

fn bytes_of() -> Message {
    Bytes::from_static(b"a message of many").into()
}

/// Allocations per message that is read and answered, behind `handler`.
fn per_message(handler: impl Handler) -> f64 {
    let mut channel = EmbeddedChannel::new(|p| {
        p.add_last(handler)?;
        p.add_last(Echo)
    })
    .unwrap();
    let mut round = |_| {
        channel.pipeline(|p| {
            p.fire_channel_read(bytes_of());
            p.fire_channel_read_complete();
        });
        assert!(channel.read_outbound().is_some());
        channel.advance(Duration::from_millis(1));
    };
    (0..100).for_each(&mut round);
    let (count, ()) = counting::allocations(|| (0..ROUNDS).for_each(&mut round));
    count as f64 / f64::from(ROUNDS)
}

/// Reading, answering and flushing through each of them.
#[test]
fn nothing_is_allocated_for_a_message() {
    assert_eq!(per_message(IdleState::new().reader(LONG)), 0.0);
    assert_eq!(per_message(ReadTimeout::new(LONG)), 0.0);
    assert_eq!(per_message(UnwritableGuard::new(LONG)), 0.0);
    assert_eq!(per_message(FlushConsolidation::new()), 0.0);
    let always = FlushConsolidation::new().consolidate_when_no_read_in_progress(true);
    assert_eq!(per_message(always), 0.0);
    assert_eq!(per_message(FlowControl::new()), 0.0);
    assert_eq!(per_message(Logging::new(tracing::Level::DEBUG)), 0.0);
}

/// Watching the end of writes that nobody else watches: the states of their promises are used again.
#[test]
fn a_watched_write_allocates_nothing() {
    assert_eq!(per_message(IdleState::new().all(LONG)), 0.0);
    assert_eq!(per_message(WriteTimeout::new(LONG)), 0.0);
}
