//! How channels end when their loops do: the last events, whatever their handlers have left over. Random programs of it are in
//! `last`.

use std::cell::RefCell;
use std::time::Duration;

use tidegate::channel::{Flush, Io, Metadata, OutboundBuffer, Progress, Read, Transport};
use tidegate::sim::{Outcome, Plan, World};
use tidegate::{Channel, Context, Error, EventLoopGroup, Handler, HandlerResult, Message};

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

/// Tells under its name what it hears, and has more handlers added behind itself.
struct Told {
    name: &'static str,
    inner: Option<[EventLoopGroup; 2]>,
}

thread_local! {
    static TOLD: RefCell<Vec<(&'static str, &'static str)>> = const { RefCell::new(Vec::new()) };
}

impl Told {
    fn new(name: &'static str) -> Self {
        Self { name, inner: None }
    }

    fn tell(&self, what: &'static str) -> HandlerResult {
        TOLD.with_borrow_mut(|told| told.push((self.name, what)));
        Ok(())
    }
}

impl Handler for Told {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.tell("added")?;
        if let Some([middle, last]) = self.inner.take() {
            ctx.pipeline()
                .add_last_on(&middle, || Told::new("middle"))?;
            ctx.pipeline().add_last_on(&last, || Told::new("last"))?;
        }
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_inactive();
        self.tell("inactive")
    }

    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_unregistered();
        self.tell("unregistered")
    }

    fn handler_removed(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.tell("removed")
    }
}

/// A channel whose handlers are on three other loops, two of them inside of what a third has added; the first may be so slow that
/// nobody behind it hears of the beginning. Its own loop ends, and that of the third in the middle of the last events, whichever
/// loop turns when. Who has heard the one hears the other, once, and leaves behind them.
///
/// Rules: A25, 6.7
#[test]
fn last_events_that_are_cut_off_on_their_way_through_other_loops_are_told_in_pairs() {
    const TURNS: u32 = 10;
    for is_slow in [true, false] {
        let schedules = 0..1_usize << TURNS;
        let cut_off = schedules.filter(|schedule| is_cut_off(is_slow, *schedule, TURNS));
        assert!(cut_off.count() > 0, "no schedule has cut anything off");
    }
}

/// Bit for bit of the schedule, the loop of the handler that has added others turns, or that of the one between. Whether the
/// last handler has heard only one of the last events when its loop is stopped.
fn is_cut_off(is_slow: bool, schedule: usize, turns: u32) -> bool {
    TOLD.take();
    // One task a turn, so that the two last events come apart.
    let mut plan = Plan::calm(1);
    plan.tasks_max = Some(1);
    let mut world = World::new(plan).unwrap();
    let [own, slow, outer, middle] = [(); 4].map(|()| world.add_group(1, |b| b).unwrap());
    let (of_slow, of_outer) = (slow.clone(), outer.clone());
    let inner = [middle.clone(), outer.clone()];
    let opened = Channel::builder().open_on(
        &own.next(),
        || Alone,
        move |pipeline| {
            pipeline.add_last_on(&of_slow, || Told::new("slow"))?;
            pipeline.add_last_on(&of_outer, || Told {
                name: "outer",
                inner: Some(inner),
            })
        },
    );
    let loops = [&outer, &middle, &own, &slow].map(EventLoopGroup::next);
    let first = if is_slow { &loops[..3] } else { &loops };
    for _ in 0..30 {
        first.iter().for_each(|each| world.turn_of(each));
    }
    assert!(opened.is_success());
    let own_ended = own.stop();
    for _ in 0..10 {
        first[2..].iter().for_each(|each| world.turn_of(each));
    }
    for turn in 0..turns {
        world.turn_of(&loops[schedule >> turn & 1]);
    }
    let outer_ended = outer.stop();
    world.turn_of(&loops[0]);
    let is_cut_off = TOLD.with_borrow(|told| {
        told.contains(&("last", "inactive")) && !told.contains(&("middle", "unregistered"))
    });
    let outcome = world.run_until(LIMIT, || own_ended.is_done() && outer_ended.is_done());
    assert_eq!(outcome, Outcome::Done);
    world.run_for(LIMIT);
    let told = TOLD.take();
    for name in ["slow", "outer", "middle", "last"] {
        let heard = told.iter().filter(|(who, _)| *who == name);
        let heard: Vec<_> = heard.map(|(_, what)| *what).collect();
        let in_pairs = ["added", "inactive", "unregistered", "removed"];
        assert!(
            heard.is_empty() || heard == in_pairs || heard == ["added", "removed"],
            "{name} of schedule {schedule}: {heard:?} in {told:?}"
        );
    }
    is_cut_off
}
