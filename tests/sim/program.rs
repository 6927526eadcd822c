//! One run: a machine, loops, a server, and a few hundred random steps; then everything heals, comes to rest, is looked
//! at, and ends.

use std::fmt;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::time::Duration;

use tidegate::bootstrap::{Bootstrap, ServerBootstrap};
use tidegate::channel::AcceptOverload;
use tidegate::channel::WaterMark;
use tidegate::channel::options::{
    ACCEPT_OVERLOAD, ALLOW_HALF_CLOSURE, AUTO_READ, CONNECT_TIMEOUT, MAX_MESSAGES_PER_READ,
    SO_BACKLOG, WRITE_BUFFER_WATER_MARK, WRITE_SPIN_COUNT,
};
use tidegate::event_loop::EventLoop;
use tidegate::sim::{Faults, Outcome, Peer, Plan, Random, World};
use tidegate::{Backend, Channel, ChannelFuture, Error, Pipeline, Spin};

use crate::acts::{act, promise};
use crate::handlers::{App, Guard, RECORD};
use crate::model::{End, Model, Phase, Settled, byte, with};
use crate::wire::Wire;

/// Connections of one run.
const CLIENTS_MAX: usize = 5;
/// Turns of one loop, or steps of the world, without the clock or anything else getting anywhere.
const BUSY_MAX: u32 = 600;
/// After the last fault everything is at rest by then: the longest is a connect that is lost again and again.
const REST: Duration = Duration::from_secs(600);

/// What came of a run.
pub struct Finding {
    pub seed: u64,
    pub complaints: Vec<String>,
    pub log: String,
    pub digest: u64,
    pub totals: Totals,
}

/// How much happened: a model that does nothing finds nothing.
#[derive(Default, Clone, Copy)]
pub struct Totals {
    /// Runs over each of [`BACKENDS`], and those of them that found something.
    runs: [u64; 3],
    found: [u64; 3],
    /// Those over Unix streams.
    unix_runs: u64,
    channels: u64,
    bytes: u64,
    writes: u64,
    failed_writes: u64,
    errors: u64,
    turns: u64,
}

impl Totals {
    fn add_ends(&mut self, model: &Model) {
        self.channels += model.ends.len() as u64;
        for end in &model.ends {
            let failed = end.writes.iter().filter(|write| **write == Settled::Failed);
            self.bytes += end.received;
            self.writes += end.writes.len() as u64;
            self.failed_writes += failed.count() as u64;
            self.errors += u64::from(end.errors);
        }
    }

    pub fn add(&mut self, other: &Totals) {
        for (backend, runs) in other.runs.iter().enumerate() {
            self.runs[backend] += runs;
            self.found[backend] += other.found[backend];
        }
        self.unix_runs += other.unix_runs;
        self.channels += other.channels;
        self.bytes += other.bytes;
        self.writes += other.writes;
        self.failed_writes += other.failed_writes;
        self.errors += other.errors;
        self.turns += other.turns;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            runs,
            found,
            unix_runs,
            channels,
            bytes,
            writes,
            failed_writes,
            errors,
            turns,
        } = self;
        for (backend, (runs, found)) in BACKENDS.iter().zip(runs.iter().zip(found)) {
            write!(f, "{backend}: {runs} runs, {found} failed; ")?;
        }
        write!(
            f,
            "{unix_runs} over Unix streams; {channels} channels, {bytes} bytes, {writes} writes ({failed_writes} failed), {errors} errors, {turns} turns"
        )
    }
}

/// A side without a loop.
struct Script {
    peer: Option<Peer>,
    port: u16,
    sent: u64,
    received: u64,
    is_over: bool,
    has_ended: bool,
}

struct Run {
    world: World,
    loops: Vec<EventLoop>,
    client: Bootstrap,
    wire: Wire,
    server: Channel,
    clients: Vec<ChannelFuture>,
    scripts: Vec<Script>,
    stuck: u32,
    progress: u64,
    is_spinning: bool,
}

/// Runs a seed. A panic of the library is a complaint as well.
pub fn run(seed: u64, steps: u64, keeps_log: bool) -> Finding {
    Model::begin(seed);
    let plan = Plan {
        keeps_log,
        ..Plan::stormy(seed)
    };
    // One machine in four breaks nothing: there everything has to arrive.
    let faults = match seed % 4 {
        0 => plan.faults.harmless(),
        _ => plan.faults,
    };
    let mut run = Run::begin(seed, plan.with_faults(faults));
    for _ in 0..steps {
        run.one_step();
    }
    run.rest();
    run.finish(seed)
}

/// The same programs over every selector: by edges, by levels, and by poll.
const BACKENDS: [Backend; 3] = [Backend::Epoll, Backend::EpollLevel, Backend::Poll];

fn backend_of(seed: u64) -> Backend {
    let backend = BACKENDS[(seed % 3) as usize];
    match Backend::available().contains(&backend) {
        true => backend,
        false => Backend::Poll,
    }
}

fn draw(limit: u64) -> u64 {
    with(|model| model.random.below(limit))
}

fn one_in(chances: u32) -> bool {
    with(|model| model.random.one_in(chances))
}

impl Run {
    fn begin(seed: u64, plan: Plan) -> Self {
        let random = &mut Random::new(seed ^ 0xC0FFEE);
        let mut world = World::new(plan).unwrap();
        let backend = backend_of(seed);
        let spins = [
            Spin::Off,
            Spin::Off,
            Spin::Count(3),
            Spin::For(Duration::from_micros(5)),
        ];
        let loops: Vec<EventLoop> = (0..1 + random.below(3))
            .map(|_| {
                let ratio = [1, 50, 90, 100][random.below(4) as usize];
                let spin = spins[random.below(4) as usize];
                let chosen = world.add_loop(|b| b.selector(backend).io_ratio(ratio).spin(spin));
                chosen.unwrap()
            })
            .collect();
        let marks = |random: &mut Random| {
            let low = random.below(500) as usize + 100;
            WaterMark::new(low, low + random.below(2_000) as usize).unwrap()
        };
        let (client_half, server_half) = (random.one_in(2), random.one_in(2));
        let (answers, closes) = (random.below(6) as u32, random.one_in(3));
        let fill = move |pipeline: &mut Pipeline<'_>, is_client: bool| -> Result<(), Error> {
            let guard = Guard::of(&pipeline.channel(), is_client);
            let end = guard.end();
            pipeline.add_last_named("guard", guard)?;
            pipeline.add_last_named(
                "app",
                App {
                    end,
                    answers,
                    closes_on_error: closes,
                },
            )
        };
        let overload = match random.one_in(4) {
            true => AcceptOverload::Shed,
            false => AcceptOverload::default(),
        };
        let wire = Wire::of(seed);
        let server = ServerBootstrap::new(&loops[0], &loops[loops.len() - 1])
            .option(SO_BACKLOG, random.below(8) as i32 + 1)
            .option(ACCEPT_OVERLOAD, overload)
            .option(MAX_MESSAGES_PER_READ, random.below(4) as i32 + 1)
            .child_option(ALLOW_HALF_CLOSURE, server_half)
            .child_option(AUTO_READ, !random.one_in(4))
            .child_option(WRITE_BUFFER_WATER_MARK, marks(random))
            .child_option(MAX_MESSAGES_PER_READ, random.below(16) as i32 + 1)
            .child_option(WRITE_SPIN_COUNT, random.below(8) as i32 + 1)
            .child_handler(move |pipeline| fill(pipeline, false));
        let bound = wire.bind(server);
        let client = Bootstrap::new(&loops[0])
            .option(ALLOW_HALF_CLOSURE, client_half)
            .option(AUTO_READ, !random.one_in(4))
            .option(WRITE_BUFFER_WATER_MARK, marks(random))
            .option(WRITE_SPIN_COUNT, random.below(8) as i32 + 1)
            .option(CONNECT_TIMEOUT, Duration::from_secs(random.below(3) * 10))
            .handler(move |pipeline| fill(pipeline, true));
        let outcome = world.run_until(Duration::from_secs(10), || bound.is_done());
        if outcome != Outcome::Done || !bound.is_success() {
            with(|model| model.complain(format!("bind: {outcome:?}, {:?}", bound.cause())));
        }
        Self {
            world,
            loops,
            client,
            wire,
            server: bound.channel().clone(),
            clients: Vec::new(),
            scripts: Vec::new(),
            stuck: 0,
            progress: 0,
            is_spinning: false,
        }
    }

    fn one_step(&mut self) {
        match draw(100) {
            0..=39 => {
                for _ in 0..=draw(6) {
                    self.turn();
                }
            }
            40..=43 if self.clients.len() < CLIENTS_MAX => self.connect(),
            44..=45 if self.scripts.len() < CLIENTS_MAX => self.connect_script(),
            46..=57 => self.script(),
            _ => self.act(),
        }
    }

    /// One step of the world, and whether anything came of it.
    fn turn(&mut self) {
        self.world.step();
        let progress = with(|model| model.progress);
        let is_calm = self.world.busy_steps() == 0 && self.world.turns_awake() <= BUSY_MAX;
        if progress != self.progress || is_calm {
            self.progress = progress;
            self.stuck = 0;
        } else {
            self.stuck += 1;
        }
        if self.stuck > BUSY_MAX && !self.is_spinning {
            self.is_spinning = true;
            let elapsed = self.world.simulation().elapsed();
            with(|model| {
                model.complain(format!("the loops are busy and get nowhere at {elapsed:?}"))
            });
        }
    }

    fn connect(&mut self) {
        let lot = draw(self.loops.len() as u64) as usize;
        let client = self.client.clone().loops(&self.loops[lot]);
        let connecting = self.wire.connect(client, self.clients.len());
        if one_in(20) {
            connecting.cancel();
        }
        self.clients.push(connecting);
    }

    fn connect_script(&mut self) {
        let number = self.scripts.len();
        let connected = self.wire.connect_script(self.world.simulation(), number);
        if let Ok((peer, port)) = connected {
            self.scripts.push(Script {
                peer: Some(peer),
                port,
                sent: 0,
                received: 0,
                is_over: false,
                has_ended: false,
            });
        }
    }

    /// Something that a peer does.
    fn script(&mut self) {
        if self.scripts.is_empty() {
            return;
        }
        let lot = draw(self.scripts.len() as u64) as usize;
        let script = &mut self.scripts[lot];
        match draw(40) {
            0..=14 => script.receive(),
            15..=34 => script.send(),
            35 => {
                if let Some(peer) = &script.peer
                    && peer.shutdown(Shutdown::Write).is_ok()
                {
                    script.has_ended = true;
                }
            }
            36 => {
                if let Some(peer) = script.peer.take() {
                    peer.reset();
                }
            }
            37 => script.peer = None,
            _ => {}
        }
    }

    /// Something that a program does with a channel, from inside of its loop or from outside.
    fn act(&mut self) {
        let count = with(|model| model.ends.len());
        if count == 0 {
            return;
        }
        let end = draw(count as u64) as usize;
        let (channel, phase) =
            with(|model| (model.ends[end].channel.clone(), model.ends[end].phase));
        if phase != Phase::Active {
            return;
        }
        let lot = draw(100);
        let size = draw(if one_in(8) { 3_000 } else { 200 }) as usize;
        if !channel.is_writable() {
            with(|model| model.ends[end].saw_unwritable = true);
        }
        if one_in(2) {
            let event_loop = channel.event_loop().clone();
            let given = event_loop.execute(move || {
                with(|model| model.tasks_run += 1);
                act(end, &channel, lot, size);
            });
            with(|model| model.tasks_given += u64::from(given.is_ok()));
        } else {
            act(end, &channel, lot, size);
        }
    }

    /// No more faults, everybody reads, everything is flushed: now all that can arrive arrives.
    fn rest(&mut self) {
        self.world.simulation().set_faults(Faults::NONE);
        let channels: Vec<Channel> =
            with(|model| model.ends.iter().map(|end| end.channel.clone()).collect());
        for channel in &channels {
            channel.flush();
        }
        self.settle("after the last fault");
        self.look_at_reads();
        for channel in &channels {
            channel.set_auto_read(true);
        }
        self.settle("after the last pause");
        // Those that were accepted meanwhile.
        for channel in with(|model| {
            model
                .ends
                .iter()
                .map(|end| end.channel.clone())
                .collect::<Vec<_>>()
        }) {
            channel.set_auto_read(true);
            channel.flush();
        }
        self.settle("after the last flush");
        // Now everybody sleeps: listeners have to wake who they are for.
        let active = |model: &mut Model| -> Vec<(usize, Channel)> {
            let ends = model.ends.iter().enumerate();
            let active = ends.filter(|(_, end)| end.phase == Phase::Active);
            active
                .map(|(name, end)| (name, end.channel.clone()))
                .collect()
        };
        for (end, channel) in with(active) {
            promise(end, &channel);
        }
        self.settle("after the last promise");
        self.look_at_rest();
        self.look_at_ends();
        self.end_connections();
    }

    /// Who has paused reading and asked for a message has got one, if one is there and no connection breaks.
    fn look_at_reads(&self) {
        with(|model| {
            let mut complaints = Vec::new();
            for (name, end) in model.ends.iter().enumerate() {
                let has_asked = end.asks && !end.is_lazy && reads(end) && model.is_harmless;
                let sent = self.sent_to(model, end).filter(|_| has_asked);
                let waiting = sent.unwrap_or(0).saturating_sub(end.seen);
                if waiting >= RECORD as u64 {
                    complaints.push(format!(
                        "end {name}: has asked for a message, {waiting} bytes wait, and none has come"
                    ));
                }
            }
            for complaint in complaints {
                model.complain(complaint);
            }
        });
    }

    /// What the other side has sent, if it lives.
    fn sent_to(&self, model: &Model, end: &End) -> Option<u64> {
        let is_other = |other: &&End| other.port == end.port && other.is_client != end.is_client;
        let other = model.ends.iter().find(is_other)?;
        let writes = other.phase == Phase::Active && !other.is_closing && other.errors == 0;
        writes.then_some(other.sent)
    }

    /// Until nothing happens any more.
    fn settle(&mut self, when: &str) {
        let until = self.world.simulation().elapsed() + REST;
        loop {
            self.turn();
            let before = with(|model| model.progress);
            for script in &mut self.scripts {
                script.receive();
            }
            let has_read = with(|model| model.progress) != before;
            if self.world.is_idle() && !has_read {
                return;
            }
            if self.is_spinning {
                return;
            }
            if self.world.simulation().elapsed() > until {
                with(|model| model.complain(format!("{when}: no rest within {REST:?}")));
                return;
            }
        }
    }

    /// What has to be so when nothing happens any more.
    fn look_at_rest(&mut self) {
        with(|model| {
            let mut complaints = Vec::new();
            for (name, end) in model.ends.iter().enumerate() {
                let Some(read) = self.read_by_the_other_side(model, end) else {
                    continue;
                };
                let mut complain = |text: String| complaints.push(format!("end {name}: {text}"));
                if end.is_in_batch {
                    complain("the last message was followed by no end of its batch".to_owned());
                }
                if end.flushed != end.sent {
                    complain(format!("flushed {} of {}", end.flushed, end.sent));
                }
                if read != end.sent {
                    let sent = end.sent;
                    complain(format!(
                        "sent {sent}, the other side has read {read}: somebody waits for an edge that was given"
                    ));
                }
                let is_done = |write: &Settled| *write == Settled::Succeeded;
                if let Some(write) = end.writes.iter().position(|write| !is_done(write)) {
                    let what = end.writes[write];
                    complain(format!("at rest, write {write} is {what:?}"));
                }
                if end.saw_unwritable {
                    complain(
                        "was unwritable, and nobody said that it is writable again".to_owned(),
                    );
                }
                if !end.channel.is_writable() {
                    complain("at rest and not writable".to_owned());
                }
            }
            if model.tasks_run != model.tasks_given {
                let (run, given) = (model.tasks_run, model.tasks_given);
                complaints.push(format!(
                    "{given} tasks were given to loops, {run} have run: nobody was woken"
                ));
            }
            // The listener goes on, whatever became of other clients.
            let has_child = |port| {
                let is_child = |end: &End| end.port == Some(port) && !end.is_client;
                model.ends.iter().any(is_child)
            };
            for (name, end) in model.ends.iter().enumerate() {
                let is_alive = end.is_client && reads(end);
                if let Some(port) = end.port.filter(|_| is_alive)
                    && !has_child(port)
                {
                    complaints.push(format!("end {name}: connected, and was never accepted"));
                }
            }
            for script in &self.scripts {
                let is_other = |end: &&End| end.port == Some(script.port) && !end.is_client;
                if let Some(end) = model.ends.iter().find(is_other)
                    && script.lives()
                    && reads(end)
                    && end.received != script.sent
                {
                    complaints.push(format!(
                        "a peer sent {}, read {}",
                        script.sent, end.received
                    ));
                }
            }
            for complaint in complaints {
                model.complain(complaint);
            }
        });
    }

    /// Who has heard that its input has ended has had all that the kernel took from the other side.
    fn look_at_ends(&self) {
        with(|model| {
            let mut complaints = Vec::new();
            for (name, end) in model.ends.iter().enumerate() {
                let taken = self.taken_from_the_other_side(model, end);
                if let Some(taken) = taken.filter(|_| has_heard_the_end(end))
                    && end.received < taken
                {
                    let received = end.received;
                    complaints.push(format!(
                        "end {name}: heard that the input has ended after {received} bytes of {taken}"
                    ));
                }
            }
            for complaint in complaints {
                model.complain(complaint);
            }
        });
    }

    /// How much the kernel has taken from the other side, however that has ended.
    fn taken_from_the_other_side(&self, model: &Model, end: &End) -> Option<u64> {
        let is_other = |other: &&End| other.port == end.port && other.is_client != end.is_client;
        if let Some(other) = model.ends.iter().find(is_other) {
            return Some(other.taken);
        }
        let mut scripts = self.scripts.iter();
        let script = scripts.find(|script| Some(script.port) == end.port)?;
        Some(script.sent)
    }

    /// How much the other side has read, if both still live and it reads.
    fn read_by_the_other_side(&self, model: &Model, end: &End) -> Option<u64> {
        let writes =
            end.phase == Phase::Active && !end.is_closing && !end.is_output_shut && end.errors == 0;
        if !writes {
            return None;
        }
        let is_other = |other: &&End| other.port == end.port && other.is_client != end.is_client;
        if let Some(other) = model.ends.iter().find(is_other) {
            return reads(other).then_some(other.received);
        }
        let script = self
            .scripts
            .iter()
            .find(|script| Some(script.port) == end.port)?;
        script.lives().then_some(script.received)
    }

    /// One side of each connection closes; what the other does about it is its own affair. Then the rest closes.
    fn end_connections(&mut self) {
        let channels: Vec<Channel> =
            with(|model| model.ends.iter().map(|end| end.channel.clone()).collect());
        for (end, channel) in channels.iter().enumerate() {
            if one_in(2) {
                with(|model| model.ends[end].is_closing = true);
                channel.close();
            }
        }
        for script in &mut self.scripts {
            if one_in(2) {
                script.peer = None;
            }
        }
        self.settle("after closing one side");
        self.look_at_ends();
        self.server.close();
        let channels: Vec<Channel> =
            with(|model| model.ends.iter().map(|end| end.channel.clone()).collect());
        for channel in &channels {
            channel.close();
        }
        for client in &self.clients {
            client.channel().close();
        }
        self.scripts.clear();
        self.settle("after closing everything");
    }

    fn finish(mut self, seed: u64) -> Finding {
        with(|model| {
            let mut complaints = Vec::new();
            for (name, end) in model.ends.iter().enumerate() {
                if end.phase != Phase::Removed {
                    complaints.push(format!("end {name}: in the end {:?}", end.phase));
                }
                if let Some(write) = end.writes.iter().position(|write| *write == Settled::Not) {
                    complaints.push(format!("end {name}: write {write} was never settled"));
                }
                let other = model
                    .ends
                    .iter()
                    .find(|other| other.port == end.port && other.is_client != end.is_client);
                if let Some(other) = other.filter(|_| end.port.is_some() && end.received > 0)
                    && end.received > other.sent
                {
                    complaints.push(format!("end {name}: read more than was sent"));
                }
            }
            let fired = model.timers.iter().position(|(fired, _)| *fired != 1);
            if let Some(timer) = fired {
                let times = model.timers[timer].0;
                complaints.push(format!("timer {timer} fired {times} times"));
            }
            for complaint in complaints {
                model.complain(complaint);
            }
        });
        for (index, client) in self.clients.iter().enumerate() {
            if !client.is_done() {
                with(|model| model.complain(format!("connect {index} was never settled")));
            }
            if client.channel().is_open() {
                with(|model| model.complain(format!("the channel of connect {index} is open")));
            }
        }
        let mut totals = Totals::default();
        for each in &self.loops {
            let metrics = each.metrics();
            totals.turns += metrics.turns;
            if metrics.panics > 0 {
                with(|model| model.complain(format!("{} panics in a loop", metrics.panics)));
            }
            if metrics.ghost_events > 0 {
                let ghosts = metrics.ghost_events;
                with(|model| {
                    model.complain(format!("{ghosts} events of descriptors that were closed"))
                });
            }
        }
        let quiet = Duration::from_millis(draw(50));
        let ends: Vec<_> = self
            .loops
            .iter()
            .map(|each| each.shutdown_gracefully(quiet, Duration::from_secs(2)))
            .collect();
        let outcome = self.world.run_until(Duration::from_secs(5), || {
            ends.iter().all(|end| end.is_done())
        });
        if outcome != Outcome::Done {
            with(|model| model.complain(format!("the loops do not end: {outcome:?}")));
        }
        self.world.drop_loops();
        let Self {
            world,
            loops,
            client,
            server,
            clients,
            ..
        } = self;
        drop((loops, client, server, clients));
        let mut model = Model::end();
        // Handles of loops and channels hold the wakers.
        totals.add_ends(&model);
        model.ends.clear();
        let simulation = world.simulation();
        // Other processes close their duplicates.
        simulation.advance(Duration::from_millis(50));
        let open = simulation.open_descriptors();
        if !open.is_empty() {
            model.complain(format!("descriptors are left: {open:?}"));
        }
        let files = simulation.socket_files();
        if !files.is_empty() {
            model.complain(format!("files of sockets are left: {files:?}"));
        }
        let (log, kernel) = (simulation.log(), simulation.digest());
        let backend = (seed % 3) as usize;
        totals.runs[backend] = 1;
        totals.unix_runs = u64::from(Wire::of(seed) == Wire::Unix);
        totals.found[backend] = u64::from(!model.complaints.is_empty());
        Finding {
            seed,
            complaints: model.complaints,
            log,
            digest: kernel ^ model.digest,
            totals,
        }
    }
}

/// Whether this side was told that its input has ended, and neither it nor an error has ended it. All of the other side's
/// bytes stand before that.
fn has_heard_the_end(end: &End) -> bool {
    let has_ended = end.is_input_shut || end.phase > Phase::Active;
    let is_whole = !end.is_closing && !end.has_shut_input && end.errors == 0;
    has_ended && is_whole && end.port.is_some() && !end.writes.contains(&Settled::Failed)
}

/// Whether this side takes what comes.
fn reads(end: &End) -> bool {
    end.phase == Phase::Active && !end.is_closing && !end.is_input_shut && end.errors == 0
}

impl Script {
    fn lives(&self) -> bool {
        self.peer.is_some() && !self.is_over
    }

    fn receive(&mut self) {
        let Some(peer) = &self.peer else { return };
        let mut room = [0; 512];
        loop {
            match peer.receive(&mut room) {
                Ok(0) => self.is_over = true,
                Ok(count) => {
                    let places = self.received..;
                    let wrong = places
                        .zip(&room[..count])
                        .any(|(at, found)| byte(self.port, false, at) != *found);
                    self.received += count as u64;
                    with(|model| {
                        model.progress += 1;
                        if wrong {
                            model.complain(format!("peer {}: wrong bytes", self.port));
                        }
                    });
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.is_over = true,
            }
            return;
        }
    }

    fn send(&mut self) {
        let Some(peer) = self.peer.as_ref().filter(|_| !self.has_ended) else {
            return;
        };
        let length = draw(400);
        let places = self.sent..self.sent + length;
        let bytes: Vec<u8> = places.map(|at| byte(self.port, true, at)).collect();
        match peer.send(&bytes) {
            Ok(count) => self.sent += count as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.is_over = true,
        }
    }
}
