//! How channels end when their loops do: the last events, whatever their handlers have left over. Random programs of it are in
//! `last`.

use std::cell::RefCell;
use std::time::Duration;

use tidegate::channel::{Flush, Io, Metadata, OutboundBuffer, Progress, Read, Transport};
use tidegate::sim::{Outcome, Plan, World};
use tidegate::{Channel, Context, Error, Handler, HandlerResult, Message};

const LIMIT: Duration = Duration::from_secs(60);

/// Connected to nobody.
pub struct Alone;

impl Transport for Alone {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: "alone",
            has_disconnect: false,
            max_messages_per_read: 16,
            is_server: false,
        }
    }

    fn is_active(&self) -> bool {
        true
    }

    fn accepts(&self, _msg: &Message) -> bool {
        true
    }

    fn read(&mut self, _io: &mut Io<'_>) -> Result<Read, Error> {
        Ok(Read::WouldBlock)
    }

    fn flush(&mut self, _io: &mut Io<'_>, _out: &mut OutboundBuffer) -> Result<Flush, Error> {
        Ok(Flush::Blocked)
    }

    fn close(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
        Ok(Progress::Done)
    }
}

thread_local! {
    static HEARD: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

fn hear(what: &'static str) -> HandlerResult {
    HEARD.with_borrow_mut(|heard| heard.push(what));
    Ok(())
}

/// Always has one more.
struct Endless;

impl Handler for Endless {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.resume();
        Ok(())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_read(Message::new(0_u8));
        ctx.resume();
        Ok(())
    }
}

struct Last;

impl Handler for Last {
    fn channel_read(&mut self, _ctx: &mut Context<'_>, _msg: Message) -> HandlerResult {
        Ok(())
    }

    fn channel_inactive(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        hear("inactive")
    }

    fn channel_unregistered(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        hear("unregistered")
    }

    fn handler_removed(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        hear("removed")
    }
}

/// Here and behind a handler on another group's loop.
///
/// Rules: A25, A45, E21, 6.7
#[test]
fn who_always_has_more_to_emit_does_not_keep_a_loop_from_ending() {
    for is_elsewhere in [false, true] {
        HEARD.take();
        let mut plan = Plan::calm(1);
        plan.resumes_max = 2;
        let mut world = World::new(plan).unwrap();
        let own = world.add_group(1, |b| b).unwrap();
        let others = world.add_group(1, |b| b).unwrap();
        let fill = others.clone();
        let opened = Channel::builder().open_on(
            &own.next(),
            || Alone,
            move |pipeline| {
                if is_elsewhere {
                    pipeline.add_last_on(&fill, || Endless)?;
                } else {
                    pipeline.add_last(Endless)?;
                }
                pipeline.add_last(Last)
            },
        );
        for _ in 0..100 {
            world.step();
        }
        assert!(opened.is_success() && HEARD.take().is_empty());
        let ended = match is_elsewhere {
            true => others.stop(),
            false => own.stop(),
        };
        assert_eq!(world.run_until(LIMIT, || ended.is_done()), Outcome::Done);
        world.run_for(LIMIT);
        assert_eq!(HEARD.take(), ["inactive", "unregistered", "removed"]);
    }
}
