//! Random programs of loops that end: channels whose handlers stand on several loops, some in the pipeline of another that is
//! elsewhere itself; loops that are stopped, shut down and drained one after the other, from outside and by handlers, at any
//! moment; and everything that one can wait for.
//!
//! * Each handler is added, registered, active, inactive, unregistered, removed: in that order, once each, and nothing comes between or
//!   behind the last three. Who has been added hears the last three.
//! * Where the channel is closed, or its loop shut down with time enough, while the other loops live, all that was fired before
//!   comes to the last handler.
//! * Everything that somebody waits for is settled when all loops have ended: writes, closes, tasks, timers, futures, drains,
//!   channels that were opened at the last moment, the ends of the loops.
//! * Nobody is busy for ever.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate::channel::Declared;
use tidegate::sim::{Outcome, Plan, Random, World};
use tidegate::{
    Channel, Context, Error, EventLoop, EventLoopGroup, Failure, Handler, HandlerResult, Message,
    Pipeline,
};

use crate::endings::Alone;

/// Longer than every timeout of a program.
const REST: Duration = Duration::from_secs(130);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Phase {
    New,
    Added,
    Registered,
    Active,
    Inactive,
    Unregistered,
    Removed,
}

struct Seen {
    phase: Phase,
    is_active: bool,
    next: u64,
}

type Wait = (String, Box<dyn Fn() -> bool>);

#[derive(Default)]
struct Model {
    stages: Vec<Seen>,
    waits: Vec<Wait>,
    complaints: Vec<String>,
    log: Option<Vec<String>>,
    /// Handlers may act; more and more rarely, so that a run ends.
    acts_left: u64,
    /// A loop was ended by a handler.
    is_disturbed: bool,
    fed: u64,
    groups: Vec<EventLoopGroup>,
}

thread_local! {
    static MODEL: RefCell<Option<(Model, Random)>> = const { RefCell::new(None) };
}

fn with<R>(look: impl FnOnce(&mut Model) -> R) -> R {
    MODEL.with_borrow_mut(|model| look(&mut model.as_mut().expect("a run has begun").0))
}

fn draw(limit: u64) -> u64 {
    MODEL.with_borrow_mut(|model| model.as_mut().expect("a run has begun").1.below(limit))
}

fn note(line: impl FnOnce() -> String) {
    with(|model| {
        if let Some(log) = &mut model.log {
            log.push(line());
        }
    });
}

fn complain(text: String) {
    note(|| format!("COMPLAINT {text}"));
    with(|model| model.complaints.push(text));
}

fn wait_for(what: impl Into<String>, is_done: impl Fn() -> bool + 'static) {
    let what = what.into();
    note(|| format!("waits for {what}"));
    with(|model| model.waits.push((what, Box::new(is_done))));
}

/// A handler, where it is to stand, and those that it puts behind itself into the pipeline that it finds itself in.
struct Spec {
    id: usize,
    /// 0: here. Otherwise on the group of that number, less one.
    at: usize,
    splits: bool,
    inner: Vec<Spec>,
}

impl Spec {
    fn draw(depth: u64) -> Self {
        let id = with(|model| {
            model.stages.push(Seen {
                phase: Phase::New,
                is_active: false,
                next: 0,
            });
            model.stages.len() - 1
        });
        let groups = with(|model| model.groups.len()) as u64;
        let at = if draw(3) == 0 {
            0
        } else {
            draw(groups + 1) as usize
        };
        let splits = draw(3) == 0;
        let count = if depth == 0 { 0 } else { draw(3) };
        let inner: Vec<_> = (0..count).map(|_| Self::draw(depth - 1)).collect();
        note(|| {
            let ids: Vec<_> = inner.iter().map(|spec| spec.id).collect();
            format!("stage {id} at {at}, splits: {splits}, inner {ids:?}")
        });
        Self {
            id,
            at,
            splits,
            inner,
        }
    }

    fn add(self, pipeline: &mut Pipeline<'_>, groups: &[EventLoopGroup]) -> Result<(), Error> {
        let name = format!("stage {}", self.id);
        match self.at {
            0 => pipeline.add_last_named(&name, Stage::new(self, groups)),
            at => {
                let all = groups.to_vec();
                pipeline.add_last_on_named(&groups[at - 1], &name, move || Stage::new(self, &all))
            }
        }
    }
}

type Range = (u64, u64);

struct Stage {
    id: usize,
    splits: bool,
    inner: Vec<Spec>,
    groups: Vec<EventLoopGroup>,
    held: VecDeque<Range>,
}

impl Stage {
    fn new(spec: Spec, groups: &[EventLoopGroup]) -> Self {
        Self {
            id: spec.id,
            splits: spec.splits,
            inner: spec.inner,
            groups: groups.to_vec(),
            held: VecDeque::new(),
        }
    }

    fn enter(&self, to: Phase) {
        let id = self.id;
        note(|| format!("stage {id}: {to:?}"));
        let (before, was_active) = with(|model| {
            let seen = &mut model.stages[id];
            let before = seen.phase;
            seen.phase = before.max(to);
            seen.is_active |= to == Phase::Active;
            (before, seen.is_active)
        });
        let is_right = match to {
            // Its loop ended before it had heard of anything.
            Phase::Removed => matches!(before, Phase::Unregistered | Phase::Added),
            Phase::Unregistered => before == Phase::Inactive || !was_active && before < to,
            Phase::Added => before == Phase::New,
            _ => before < to && before >= Phase::Added,
        };
        if !is_right {
            complain(format!("stage {id}: {to:?} after {before:?}"));
        }
    }

    fn lives(&self, what: &str) {
        let id = self.id;
        let phase = with(|model| model.stages[id].phase);
        if phase >= Phase::Inactive || phase == Phase::New {
            complain(format!("stage {id}: {what} while {phase:?}"));
        }
    }

    fn give_one(&mut self, ctx: &mut Context<'_>) {
        let Some((first, count)) = self.held.pop_front() else {
            return;
        };
        if count > 1 {
            self.held.push_front((first + 1, count - 1));
        }
        ctx.fire_channel_read(Message::new((first, 1_u64)));
        if !self.held.is_empty() {
            ctx.resume();
        }
    }

    /// Something, or nothing.
    fn act(&mut self, ctx: &mut Context<'_>) {
        if draw(3) != 0 || !may_act() {
            return;
        }
        let id = self.id;
        let lot = draw(12);
        note(|| format!("stage {id} acts {lot}"));
        match lot {
            0 | 1 => {
                let future = ctx.write_future("x");
                wait_for(format!("a write of stage {id}"), move || future.is_done());
            }
            2 => {
                let future = ctx.channel().close();
                with(|model| model.is_disturbed = true);
                wait_for(format!("a close of stage {id}"), move || future.is_done());
            }
            3 => {
                let promise = ctx.new_promise();
                ctx.notify(&promise, 1);
                ctx.write_with("x", promise);
                ctx.flush();
            }
            4 => {
                let mut pipeline = ctx.pipeline();
                let phase = with(|model| model.stages[id].phase);
                if phase >= Phase::Inactive {
                    pipeline.fire_channel_read("late");
                    pipeline.fire_channel_inactive();
                    pipeline.fire_user_event_triggered(Message::new(0_u8));
                }
            }
            5 => drop(ctx.handle::<Self>().run(|stage, ctx| {
                stage.act(ctx);
                Ok(())
            })),
            6 => {
                let future = ctx.write_future("x");
                let groups = self.groups.clone();
                future.add_listener(move |_, _| open(&groups));
            }
            7 => drop(ctx.channel().edit(|pipeline| {
                let _ = pipeline.first();
                Ok::<_, Error>(())
            })),
            _ => act_on_loops(&self.groups),
        }
    }
}

fn may_act() -> bool {
    with(|model| {
        model.acts_left = model.acts_left.saturating_sub(1);
        model.acts_left > 0
    })
}

fn some_loop(groups: &[EventLoopGroup]) -> EventLoop {
    let group = &groups[draw(groups.len() as u64) as usize];
    let count = group.iter().count() as u64;
    let at = draw(count) as usize;
    group.iter().nth(at).expect("as many as counted").clone()
}

/// What anybody may ask of a loop.
fn act_on_loops(groups: &[EventLoopGroup]) {
    let event_loop = some_loop(groups);
    let name = event_loop.id().as_u64();
    let all = groups.to_vec();
    match draw(9) {
        0 | 1 => {
            let future = event_loop.submit(move || act_later(&all));
            wait_for(format!("a task of loop {name}"), move || future.is_done());
        }
        2 => {
            let delay = Duration::from_millis(draw(3_000));
            let future = event_loop.schedule(delay, move || act_later(&all));
            wait_for(format!("a timer of loop {name}"), move || future.is_done());
        }
        3 => {
            let (sender, receiver) = event_loop.new_promise::<u8>();
            let future = event_loop.spawn_local(move || async move { drop(receiver.await) });
            wait_for(format!("a future of loop {name}"), move || future.is_done());
            let other = some_loop(groups);
            let delay = Duration::from_millis(draw(500));
            drop(other.schedule(delay, move || drop(sender)));
        }
        4 => {
            let every = Duration::from_millis(200 + draw(2_000));
            let future = event_loop.schedule_at_fixed_rate(every, every, || ());
            wait_for(format!("a rhythm of loop {name}"), move || future.is_done());
        }
        5 => open(groups),
        6 if draw(4) == 0 => {
            with(|model| model.is_disturbed = true);
            let report = event_loop.drain(Duration::from_millis(draw(2_000)));
            wait_for(format!("a drain of loop {name}"), move || report.is_done());
        }
        7 if draw(4) == 0 => {
            with(|model| model.is_disturbed = true);
            end(&event_loop);
        }
        _ => {}
    }
}

fn act_later(groups: &[EventLoopGroup]) {
    if may_act() {
        act_on_loops(groups);
    }
}

/// Asks a loop to end, in one of the ways.
fn end(event_loop: &EventLoop) {
    let millis = |most| Duration::from_millis(draw(most));
    let name = event_loop.id().as_u64();
    let lot = draw(4);
    note(|| format!("loop {name} is to end: {lot}"));
    let ended = match lot {
        0 => event_loop.stop(),
        1 => event_loop.shutdown_gracefully(Duration::ZERO, Duration::ZERO),
        2 => event_loop.shutdown_gracefully(Duration::ZERO, millis(60_000)),
        _ => event_loop.shutdown_gracefully(millis(3_000), millis(20_000)),
    };
    wait_for(format!("the end of loop {name}"), move || ended.is_done());
}

/// One more channel.
fn open(groups: &[EventLoopGroup]) {
    if !may_act() {
        return;
    }
    drop(open_on(&some_loop(groups), groups));
}

fn open_on(event_loop: &EventLoop, groups: &[EventLoopGroup]) -> Channel {
    let specs: Vec<_> = (0..1 + draw(3)).map(|_| Spec::draw(2)).collect();
    let all = groups.to_vec();
    let opened = Channel::builder().open_on(
        event_loop,
        || Alone,
        move |pipeline| -> Result<(), Error> {
            for spec in specs {
                spec.add(pipeline, &all)?;
            }
            Ok(())
        },
    );
    let channel = opened.channel().clone();
    let name = channel.id();
    let closed = channel.close_future();
    wait_for("a channel's beginning", move || opened.is_done());
    wait_for(format!("the end of channel {name}"), move || {
        closed.is_done()
    });
    channel
}

impl Handler for Stage {
    fn declared(&self) -> Option<Declared> {
        let inbound = [
            Declared::CHANNEL_REGISTERED,
            Declared::CHANNEL_UNREGISTERED,
            Declared::CHANNEL_ACTIVE,
            Declared::CHANNEL_INACTIVE,
            Declared::CHANNEL_READ,
            Declared::USER_EVENT_TRIGGERED,
            Declared::EXCEPTION_CAUGHT,
        ];
        inbound.into_iter().reduce(Declared::and)
    }

    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.enter(Phase::Added);
        for spec in std::mem::take(&mut self.inner) {
            // Of a group that has ended.
            let _ = spec.add(&mut ctx.pipeline(), &self.groups);
        }
        Ok(())
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.enter(Phase::Removed);
        self.act(ctx);
        Ok(())
    }

    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.enter(Phase::Registered);
        ctx.fire_channel_registered();
        Ok(())
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.enter(Phase::Active);
        self.act(ctx);
        ctx.fire_channel_active();
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.enter(Phase::Inactive);
        if !self.held.is_empty() {
            complain(format!("stage {}: inactive, and more is held", self.id));
        }
        self.act(ctx);
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.enter(Phase::Unregistered);
        self.act(ctx);
        ctx.fire_channel_unregistered();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.lives("a message");
        let id = self.id;
        let (first, count) = *msg
            .downcast_ref::<Range>()
            .ok_or("no range")
            .map_err(Failure::msg)?;
        note(|| format!("stage {id}: {first} and {count}"));
        let due = with(|model| {
            let next = &mut model.stages[id].next;
            std::mem::replace(next, first + count)
        });
        if first < due {
            complain(format!("stage {id}: {first} came where {due} was due"));
        }
        self.act(ctx);
        if self.splits {
            let is_first = self.held.is_empty();
            self.held.push_back((first, count));
            if is_first {
                self.give_one(ctx);
            }
        } else {
            ctx.fire_channel_read(msg);
        }
        Ok(())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.lives("a resume");
        self.give_one(ctx);
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        self.lives("an event");
        ctx.fire_user_event_triggered(event);
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.lives(&format!("an error ({cause})"));
        ctx.fire_exception_caught(cause);
        Ok(())
    }

    fn write_done(
        &mut self,
        ctx: &mut Context<'_>,
        _key: u64,
        _result: Result<(), Error>,
    ) -> HandlerResult {
        self.act(ctx);
        Ok(())
    }
}

struct Finding {
    seed: u64,
    complaints: Vec<String>,
    log: String,
}

fn turns(world: &mut World, loops: &[EventLoop], count: u64) {
    for _ in 0..count {
        let at = draw(loops.len() as u64) as usize;
        world.turn_of(&loops[at]);
    }
}

fn settle(world: &mut World, when: &str) {
    note(|| format!("until rest {when}"));
    let outcome = world.run_for(REST);
    if !matches!(outcome, Outcome::Idle | Outcome::Done) {
        complain(format!("{when}: {outcome:?}"));
    }
}

fn run(seed: u64, keeps_log: bool) -> Finding {
    let mut random = Random::new(seed ^ 0x0E9D_1465);
    let mut plan = Plan::calm(seed);
    plan.keeps_log = false;
    plan.resumes_max = [2, 3, 8, 1024][random.below(4) as usize];
    plan.tasks_max = [Some(1), Some(2), Some(9), None][random.below(4) as usize];
    let is_calm = random.one_in(3);
    let mut world = World::new(plan).unwrap();
    let mut groups = Vec::new();
    for count in [1, 1, 1 + random.below(2) as usize] {
        groups.push(world.add_group(count, |b| b).unwrap());
    }
    let mut loops: Vec<_> = groups
        .iter()
        .flat_map(|group| group.iter().cloned())
        .collect();
    let model = Model {
        log: keeps_log.then(Vec::new),
        acts_left: if is_calm { 0 } else { random.below(60) },
        groups: groups.clone(),
        ..Model::default()
    };
    MODEL.set(Some((model, random)));
    let channel = open_on(&loops[0], &groups);
    let stages = with(|model| model.stages.len());
    if draw(4) > 0 {
        settle(&mut world, "after the beginning");
    }
    for _ in 0..draw(6) {
        let count = 1 + draw(if draw(8) == 0 { 2_000 } else { 30 });
        let range: Range = with(|model| {
            model.fed += count;
            (model.fed - count, count)
        });
        channel.fire_channel_read(Message::new(range));
        let count = draw(20);
        turns(&mut world, &loops, count);
        act_later(&groups);
    }
    // Its own loop lives as long as the others do not.
    let way = draw(4);
    note(|| format!("the end: {way}"));
    let mut is_kind = way < 2;
    match way {
        0 => {
            let closed = channel.close();
            wait_for("the close", move || closed.is_done());
        }
        1 => {
            let ended = groups[0].shutdown_gracefully(Duration::from_millis(draw(2_000)), REST / 2);
            wait_for("the end of the channel's group", move || ended.is_done());
        }
        _ => {}
    }
    if is_kind {
        settle(&mut world, "after the kind end");
        is_kind = !with(|model| model.is_disturbed);
    }
    if is_kind {
        let fed = with(|model| model.fed);
        for id in 0..stages {
            let (phase, next) = with(|model| (model.stages[id].phase, model.stages[id].next));
            if phase != Phase::Removed || next != fed {
                complain(format!(
                    "stage {id} is {phase:?} and has heard {next} of {fed}"
                ));
            }
        }
    }
    while !loops.is_empty() {
        let at = draw(loops.len() as u64) as usize;
        let event_loop = loops.swap_remove(at);
        end(&event_loop);
        match draw(3) {
            0 => settle(&mut world, "after an end"),
            1 if !loops.is_empty() => {
                let count = draw(40);
                turns(&mut world, &loops, count);
            }
            _ => {}
        }
    }
    if draw(3) > 0 {
        settle(&mut world, "after the last end");
    }
    note(|| "the loops are dropped".to_owned());
    world.drop_loops();
    for id in 0..with(|model| model.stages.len()) {
        let phase = with(|model| model.stages[id].phase);
        if !matches!(phase, Phase::New | Phase::Removed) {
            complain(format!("stage {id} is {phase:?} in the end"));
        }
    }
    let waits = with(|model| std::mem::take(&mut model.waits));
    for (what, is_done) in &waits {
        if !is_done() {
            complain(format!("{what} was never settled"));
        }
    }
    with(|model| model.groups.clear());
    drop((waits, groups, channel));
    drop(world);
    let (model, _) = MODEL.take().expect("it has begun");
    let complaints = model.complaints;
    let mut log = model.log.unwrap_or_default();
    log.extend(complaints.iter().cloned());
    Finding {
        seed,
        complaints,
        log: log.join("\n"),
    }
}

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 200;

/// Rules: A25, A45, B12, B19, E21
#[test]
fn random_programs_of_ends_keep_every_promise() {
    let number = crate::number;
    if let Some(seed) = number("SEED") {
        let finding = run(seed, true);
        std::fs::create_dir_all("target").unwrap();
        std::fs::write("target/last.log", &finding.log).unwrap();
        let complaints = finding.complaints.join("\n");
        assert!(complaints.is_empty(), "{complaints}");
        return;
    }
    let first = number("FIRST").unwrap_or(0);
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let enough = number("FAILURES").unwrap_or(10) as usize;
    let next = AtomicU64::new(first);
    let failed: Mutex<Vec<Finding>> = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(8) {
            scope.spawn(|| {
                while !crate::IS_OVER.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    let finding = run(seed, false);
                    if !finding.complaints.is_empty() {
                        let mut failed = failed.lock().unwrap();
                        failed.push(finding);
                        if failed.len() >= enough {
                            crate::IS_OVER.store(true, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort_by_key(|finding| finding.seed);
    let report: Vec<String> = failed
        .iter()
        .map(|finding| {
            let complaints = finding.complaints.join("\n    ");
            let seed = finding.seed;
            format!("seed {seed} (replay with `SEED={seed}`):\n    {complaints}")
        })
        .collect();
    assert!(report.is_empty(), "{}", report.join("\n"));
}
