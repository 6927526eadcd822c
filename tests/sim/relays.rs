//! Random programs on pipelines whose handlers stand on several loops: the channel's, and those of other groups. The order in
//! which the loops have their turns is drawn, and how much each does in one, down to a single task.
//!
//! * Numbers pass each stage as they were fed: in order, all of them, once. Where a stage is taken out some may be lost.
//! * Reading goes on as long as somebody wants to read; who asks for one message gets one; who has switched auto-read off gets none.
//! * At most 64 messages, and a batch, are on their way to a stage elsewhere.
//! * The end of a batch comes behind its last message: what was written for that is flushed.
//! * Every promise is settled. Every error that is fired comes to the last stage.
//! * Each stage is added, registered, active, inactive, unregistered, removed, once each and in that order; after
//!   `channel_inactive` nothing else comes. Of the end of the input it hears behind the last number.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate::channel::options::ALLOW_HALF_CLOSURE;
use tidegate::sim::{Outcome, Plan, Random, World};
use tidegate::{Channel, Error, EventLoop, EventLoopGroup};

use crate::relay_stages::{
    KINDS, Kind, Model, Phase, Pipe, Source, Stage, draw, feed, fire_event, one_in, with,
};

/// Messages on their way to a stage elsewhere, with the batch that was begun before there were as many.
const UNDELIVERED_MAX: u64 = 64 + 16;

/// Nothing of this takes time.
const REST: Duration = Duration::from_secs(60);

pub struct Finding {
    pub seed: u64,
    pub complaints: Vec<String>,
    pub log: String,
    pub numbers: u64,
}

struct Run {
    world: World,
    /// The channel's first.
    loops: Vec<EventLoop>,
    /// How many turns each loop has among so many.
    speeds: Vec<u64>,
    /// Of handlers; the last one is the channel's own, which may be the first as well.
    groups: Vec<EventLoopGroup>,
    channel: Channel,
    half_closure: bool,
    /// Nothing before the first stage elsewhere makes many messages of one.
    is_bounded: bool,
    first_elsewhere: Option<usize>,
    ends_group: bool,
    closes: bool,
    edits: bool,
    added: Vec<String>,
}

/// Runs a seed.
pub fn run(seed: u64, steps: u64, keeps_log: bool) -> Finding {
    Model::begin(seed, keeps_log);
    let mut run = Run::begin(seed);
    for _ in 0..steps {
        run.one_step();
    }
    run.rest();
    run.end();
    let Run {
        mut world,
        groups,
        loops,
        channel,
        ..
    } = run;
    world.drop_loops();
    drop((groups, loops, channel));
    with(|model| {
        model.signal = None;
        for seen in &mut model.stages {
            seen.handle = None;
        }
        let unsettled = model.promises.iter().filter(|it| !it.is_done()).count();
        if unsettled > 0 {
            model.complain(format!("{unsettled} writes were never settled"));
        }
    });
    let model = Model::end();
    let mut log = model.log.unwrap_or_default();
    let _ = writeln!(log, "{:?}", model.complaints);
    Finding {
        seed,
        complaints: model.complaints,
        log,
        numbers: model.fed,
    }
}

impl Run {
    fn begin(seed: u64) -> Self {
        let random = &mut Random::new(seed ^ 0x1E1A_7500);
        let mut plan = Plan::calm(seed);
        plan.keeps_log = false;
        plan.resumes_max = [2, 3, 5, 8, 40, 1024][random.below(6) as usize];
        plan.tasks_max =
            [Some(1), Some(1), Some(2), Some(5), Some(30), None][random.below(6) as usize];
        let mut world = World::new(plan).unwrap();
        let own = world.add_group(1, |b| b).unwrap();
        let mut groups = vec![
            world
                .add_group(1 + random.below(2) as usize, |b| b)
                .unwrap(),
            world.add_group(1, |b| b).unwrap(),
        ];
        let mut loops: Vec<EventLoop> = own.iter().cloned().collect();
        loops.extend(groups.iter().flat_map(|group| group.iter().cloned()));
        if random.one_in(4) {
            // On the channel's own loop.
            groups[0] = own.clone();
        }
        groups.push(own);
        let speeds = loops
            .iter()
            .map(|_| [1, 1, 4, 20][random.below(4) as usize])
            .collect();
        let ends_group = random.one_in(12);
        let closes = random.one_in(8);
        let edits = random.one_in(3);
        with(|model| {
            model.drives = random.one_in(2);
            model.is_lossy = ends_group || closes;
        });
        // The last stage is made first: it has the number 0.
        let sink_at = random.below(3);
        let sink = Stage::announce(Kind::Pass, sink_at > 0, false);
        let mut stages = VecDeque::new();
        let (mut is_bounded, mut first_elsewhere) = (true, None);
        for _ in 0..1 + random.below(3) {
            let at = random.below(3);
            let kind = KINDS[random.below(4) as usize];
            let stage = Stage::announce(kind, at > 0, false);
            if at > 0 && first_elsewhere.is_none() {
                first_elsewhere = Some(stage.0);
            }
            is_bounded &= first_elsewhere.is_some() || kind != Kind::Split;
            stages.push_back((stage, at));
        }
        stages.push_back((sink, sink_at));
        let half_closure = random.one_in(2);
        let fill = groups.clone();
        let opened = Channel::builder()
            .option(ALLOW_HALF_CLOSURE, half_closure)
            .open_on(
                &loops[0],
                || Pipe,
                move |pipeline| -> Result<(), Error> {
                    for (stage, at) in stages {
                        let name = format!("stage {}", stage.0);
                        match at {
                            0 => pipeline.add_last_named(&name, Stage::new(stage))?,
                            _ => pipeline.add_last_on_named(
                                &fill[at as usize - 1],
                                &name,
                                move || Stage::new(stage),
                            )?,
                        }
                    }
                    Ok(())
                },
            );
        let channel = opened.channel().clone();
        Self {
            world,
            loops,
            speeds,
            groups,
            channel,
            half_closure,
            is_bounded,
            first_elsewhere,
            ends_group,
            closes,
            edits,
            added: Vec::new(),
        }
    }

    fn one_step(&mut self) {
        match draw(20) {
            0..=11 => {
                for _ in 0..=draw(8) {
                    self.turn();
                }
            }
            12..=14 => {
                let (count, times) = match draw(16) {
                    0 => (1 + draw(3), 100),
                    1 => (1 + draw(150), 1),
                    2..=4 => (10, 1 + draw(3)),
                    _ => (1 + draw(4), 1 + draw(3)),
                };
                for _ in 0..times {
                    feed(count);
                }
            }
            15..=17 => self.act_somewhere(),
            18 => self.act_from_outside(),
            _ => self.rarely(),
        }
        self.look_at_bound();
    }

    /// A turn of one loop.
    fn turn(&mut self) {
        let sum: u64 = self.speeds.iter().sum();
        let mut lot = draw(sum);
        for (event_loop, speed) in self.loops.iter().zip(&self.speeds) {
            if lot < *speed {
                return self.world.turn_of(event_loop);
            }
            lot -= speed;
        }
    }

    fn act_somewhere(&mut self) {
        let count = with(|model| model.stages.len()) as u64;
        let lot = draw(12);
        let id = draw(count) as usize;
        let stage = with(|model| {
            (
                model.stages[id].handle.clone(),
                model.stages[id].is_elsewhere,
            )
        });
        let (Some(handle), is_elsewhere) = stage else {
            return;
        };
        // Nearer to the head than the other loop nothing keeps its reads back.
        self.is_bounded &= is_elsewhere;
        drop(handle.run(move |stage, ctx| stage.act(ctx, lot)));
    }

    fn act_from_outside(&self) {
        match draw(8) {
            0 => self.channel.set_auto_read(false),
            1 => self.channel.set_auto_read(true),
            2 => self.channel.read(),
            3 => fire_event(&self.channel),
            4 => {
                let is_blocked = with(|model| {
                    model.is_blocked = !model.is_blocked;
                    model.is_blocked
                });
                if !is_blocked {
                    self.tell_writable();
                }
            }
            _ => {
                with(|model| model.written += 1);
                let future = self
                    .channel
                    .write_and_flush(tidegate::Message::new(u64::MAX));
                with(|model| model.promises.push(future));
            }
        }
    }

    fn tell_writable(&self) {
        let signal = with(|model| {
            model.is_blocked = false;
            model.signal.clone()
        });
        if let Some(signal) = signal {
            signal.writable();
        }
    }

    fn rarely(&mut self) {
        match draw(10) {
            0..=2 if self.edits => self.add(),
            3 if self.edits => self.replace(),
            4..=5 if self.edits => self.take_out(),
            6 if self.closes && one_in(4) => {
                drop(self.channel.close());
            }
            7 if self.ends_group && one_in(4) => {
                let group = &self.groups[draw(2) as usize];
                if group.iter().all(|each| *each != self.loops[0]) {
                    drop(group.shutdown_gracefully(Duration::ZERO, Duration::ZERO));
                }
            }
            _ => {}
        }
    }

    fn add(&mut self) {
        self.is_bounded = false;
        let at = draw(3) as usize;
        let kind = KINDS[draw(4) as usize];
        let group = at.checked_sub(1).map(|at| self.groups[at].clone());
        let stage = Stage::announce(kind, at > 0, true);
        let name = format!("stage {}", stage.0);
        self.added.push(name.clone());
        let is_first = one_in(2);
        drop(self.channel.edit(move |pipeline| match group {
            None if is_first => pipeline.add_first_named(&name, Stage::new(stage)),
            None => pipeline.add_before("stage 0", Some(&name), Stage::new(stage)),
            Some(group) if is_first => {
                pipeline.add_first_on_named(&group, &name, move || Stage::new(stage))
            }
            Some(group) => {
                pipeline.add_before_on(&group, "stage 0", Some(&name), move || Stage::new(stage))
            }
        }));
    }

    fn some_name(&mut self) -> Option<String> {
        if self.added.is_empty() {
            return None;
        }
        let lot = draw(self.added.len() as u64) as usize;
        with(|model| model.is_lossy = true);
        Some(self.added.swap_remove(lot))
    }

    fn take_out(&mut self) {
        if let Some(name) = self.some_name() {
            with(|model| model.note(|| format!("{name} is taken out")));
            drop(self.channel.edit(move |pipeline| pipeline.remove(&name)));
        }
    }

    fn replace(&mut self) {
        let Some(old) = self.some_name() else { return };
        let stage = Stage::announce(Kind::Pass, false, true);
        let name = format!("stage {}", stage.0);
        self.added.push(name.clone());
        with(|model| model.note(|| format!("{old} is replaced by {name}")));
        drop(
            self.channel
                .edit(move |pipeline| pipeline.replace(&old, Some(&name), Stage::new(stage))),
        );
    }

    fn look_at_bound(&self) {
        let Some(first) = self.first_elsewhere.filter(|_| self.is_bounded) else {
            return;
        };
        with(|model| {
            let under_way = model.messages_read - model.stages[first].messages;
            if under_way > UNDELIVERED_MAX {
                model.complain(format!(
                    "{under_way} messages are on their way to stage {first}"
                ));
            }
        });
    }

    /// Until nothing happens any more.
    fn settle(&mut self, when: &str) {
        let outcome = self.world.run_for(REST);
        with(|model| model.note(|| format!("at rest {when}")));
        if outcome != Outcome::Idle {
            with(|model| model.complain(format!("{when}: {outcome:?}")));
        }
    }

    /// Everybody reads, everything is flushed: now all that can arrive arrives.
    fn rest(&mut self) {
        self.tell_writable();
        self.settle("after the last act");
        self.channel.set_auto_read(true);
        self.settle("after the last pause");
        with(|model| {
            let (written, sent) = (model.echoes.len(), model.echoed.len());
            if written != sent && !model.is_lossy {
                model.complain(format!("{written} answers, and {sent} are sent"));
            }
        });
        self.channel.flush();
        self.settle("after the last flush");
        if !self.channel.is_active() {
            let late = self
                .channel
                .write_and_flush(tidegate::Message::new(u64::MAX));
            self.settle("after a late write");
            with(|model| {
                let causes: Vec<_> = model.promises.iter().filter_map(|it| it.cause()).collect();
                model.note(|| format!("closed: {:?}, {causes:?}", late.cause()));
                if !model.is_lossy {
                    model.complain(format!("nobody has closed it: {:?}", late.cause()));
                }
            });
            return;
        }
        self.look_at_rest("with auto-read");
        self.channel.set_auto_read(false);
        with(|model| model.drives = false);
        self.settle("without auto-read");
        let seen = |model: &Model| (model.messages_read, model.sink().next);
        let before = with(|model| seen(model));
        for _ in 0..5 {
            feed(1 + draw(4));
        }
        self.settle("after feeding a channel that does not read");
        with(|model| {
            if seen(model) != before {
                let now = seen(model);
                model.complain(format!("auto-read is off, and {before:?} became {now:?}"));
            }
        });
        for _ in 0..3 {
            let before = with(|model| model.sink().next);
            self.channel.read();
            self.settle("after one read()");
            with(|model| {
                if model.sink().next == before {
                    model.complain(format!("read() brought nothing behind {before:?}"));
                }
            });
        }
        self.channel.set_auto_read(true);
        self.settle("with auto-read again");
        self.look_at_rest("with auto-read again");
    }

    fn look_at_rest(&self, when: &str) {
        with(|model| {
            let mut complaints = Vec::new();
            if !model.source.is_empty() {
                complaints.push(format!(
                    "{} messages wait, and nobody reads",
                    model.source.len()
                ));
            }
            if !model.is_lossy {
                let (seen, fed) = (model.sink().next.unwrap_or(0), model.fed);
                if seen != fed {
                    complaints.push(format!("{seen} of {fed} numbers have come"));
                }
                if model.written != model.taken {
                    complaints.push(format!(
                        "{} were written, {} are sent",
                        model.written, model.taken
                    ));
                }
                if model.fired != model.caught {
                    complaints.push(format!(
                        "{} errors were fired, {} have come",
                        model.fired, model.caught
                    ));
                }
                if model.events != model.events_seen {
                    complaints.push(format!(
                        "{} events were fired, {} have come",
                        model.events, model.events_seen
                    ));
                }
            }
            let unsettled = model.promises.iter().filter(|it| !it.is_done()).count();
            if unsettled > 0 {
                complaints.push(format!("{unsettled} writes are not settled"));
            }
            for complaint in complaints {
                model.complain(format!("{when}: {complaint}"));
            }
        });
    }

    fn end(&mut self) {
        let is_active = self.channel.is_active();
        if is_active {
            if one_in(3) {
                self.channel.set_auto_read(false);
                self.settle("before the end");
            }
            for _ in 0..draw(4) {
                feed(1 + draw(40));
            }
            if one_in(2) {
                self.some_turns();
            }
            if one_in(2) {
                let signal = with(|model| {
                    model.source.push_back(Source::End);
                    model.signal.clone()
                });
                if let Some(signal) = signal {
                    signal.peer_closing();
                }
                self.channel.set_auto_read(true);
                self.settle("after the end of the input");
                with(|model| {
                    let (seen, fed) = (model.sink().next.unwrap_or(0), model.fed);
                    if seen != fed && !model.is_lossy {
                        model.complain(format!(
                            "the input has ended, and {seen} of {fed} numbers have come"
                        ));
                    }
                });
                if self.half_closure && !self.channel.is_active() {
                    with(|model| model.complain("half a channel was closed"));
                }
            }
        }
        let closed = self.channel.close();
        self.settle("after the close");
        with(|model| {
            if !closed.is_done() {
                model.complain("the close is not settled");
            }
            let mut complaints = Vec::new();
            for (id, seen) in model.stages.iter().enumerate() {
                // One that never came to be is not missed: the edit was too late, or its loop had ended by then.
                let has_excuse = seen.is_late || self.ends_group && seen.is_elsewhere;
                let never_was = has_excuse && seen.phase == Phase::New;
                let is_over = seen.phase == Phase::Removed || never_was;
                if !is_over {
                    complaints.push(format!("stage {id}: in the end {:?}", seen.phase));
                }
            }
            for complaint in complaints {
                model.complain(complaint);
            }
        });
    }

    fn some_turns(&mut self) {
        for _ in 0..draw(60) {
            self.turn();
        }
    }
}

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 150;
const STEPS: u64 = 60;

/// Rules: B12, 6.7
#[test]
fn random_programs_of_relays_keep_every_promise() {
    let number = crate::number;
    let steps = number("STEPS").unwrap_or(STEPS);
    if let Some(seed) = number("SEED") {
        let finding = run(seed, steps, true);
        std::fs::create_dir_all("target").unwrap();
        std::fs::write("target/relays.log", &finding.log).unwrap();
        assert!(
            finding.complaints.is_empty(),
            "{}",
            finding.complaints.join("\n")
        );
        return;
    }
    let (first, seeds) = (
        number("FIRST").unwrap_or(0),
        number("SEEDS").unwrap_or(SEEDS),
    );
    let enough = number("FAILURES").unwrap_or(10) as usize;
    let (next, numbers) = (AtomicU64::new(first), AtomicU64::new(0));
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
                    let finding = run(seed, steps, false);
                    numbers.fetch_add(finding.numbers, Ordering::Relaxed);
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
    println!("relays: {seeds} seeds, {} numbers", numbers.into_inner());
    let report: Vec<String> = failed
        .iter()
        .map(|finding| {
            let complaints = finding.complaints.join("\n    ");
            format!(
                "seed {} (replay with `SEED={0}`):\n    {complaints}",
                finding.seed
            )
        })
        .collect();
    assert!(report.is_empty(), "{}", report.join("\n"));
}
