//! Random programs with datagrams: sockets that are bound, connected, paused and closed, over small buffers, a network that
//! loses and overtakes, and everything else that a stormy plan has.
//!
//! * A datagram comes as it was sent: not cut, not joined with another one, from whom it says, and at most once. One that is
//!   longer than its receiver takes is an error there, and nothing of it is read.
//! * Those of one sender to one receiver come in order, unless the network lets one overtake.
//! * Every promise of a write is settled once. It fails only if the channel closed, if the datagram is too long for the
//!   network, or if the peer of a connected socket is gone; and an error never ends a channel.
//! * Where the network loses nothing and buffers are large, everything comes that was sent to a socket which is open.
//! * Left alone, everything comes to rest; no loop spins, no descriptor is left; the same seed is the same run.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tidegate::bootstrap::Bootstrap;
use tidegate::channel::Datagram;
use tidegate::channel::options::{AUTO_READ, MAX_DATAGRAM_PAYLOAD_SIZE};
use tidegate::event_loop::EventLoop;
use tidegate::sim::{Faults, Outcome, Plan, Random, World};
use tidegate::transport::udp::Udp;
use tidegate::{
    Backend, Channel, ChannelFuture, Context, Error, ErrorKind, Failure, Handler, HandlerResult,
    Message,
};

use crate::number;

const SOCKETS_MAX: usize = 6;
/// What a packet has room for.
const BYTES_MAX: usize = 65_507;
const REST: Duration = Duration::from_secs(60);

/// One datagram socket, as the model knows it.
struct Place {
    channel: Channel,
    address: Option<SocketAddr>,
    /// Connected to this one.
    peer: Option<SocketAddr>,
    size_max: usize,
    is_closing: bool,
    is_inactive: bool,
    /// The newest that has come from each sender.
    newest: HashMap<SocketAddr, u64>,
    errors: u32,
}

/// One datagram.
struct Sent {
    from: usize,
    to: SocketAddr,
    length: usize,
    settled: Option<bool>,
    arrived: u32,
}

#[derive(Default)]
struct Net {
    places: Vec<Place>,
    sent: Vec<Sent>,
    has_overtaking: bool,
    complaints: Vec<String>,
    refusals: u32,
    cut: u32,
}

type Shared = Arc<Mutex<Net>>;

fn look(net: &Shared) -> MutexGuard<'_, Net> {
    net.lock().unwrap()
}

impl Net {
    fn complain(&mut self, text: String) {
        if self.complaints.len() < 20 {
            self.complaints.push(text);
        }
    }
}

/// The content of the datagram of this number, at least eight bytes.
fn content(number: u64, length: usize) -> Bytes {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend((8..length as u64).map(|at| (number.wrapping_mul(31) ^ at) as u8));
    bytes.into()
}

/// Holds what comes against what was sent.
struct Catch {
    net: Shared,
    place: usize,
}

impl Catch {
    fn take(&self, datagram: &Datagram) -> Result<(), String> {
        let net = &mut *look(&self.net);
        let place = &mut net.places[self.place];
        if place.is_inactive {
            return Err("a datagram after channel_inactive".to_owned());
        }
        let bytes = &datagram.content;
        let Some((head, _)) = bytes.split_first_chunk() else {
            return Err(format!("{} bytes: a part of a datagram", bytes.len()));
        };
        let number = u64::from_be_bytes(*head);
        let Some(sent) = net.sent.get_mut(number as usize) else {
            return Err(format!("a datagram {number} that nobody sent"));
        };
        if *bytes != content(number, sent.length) {
            let length = sent.length;
            return Err(format!(
                "{} bytes of datagram {number}, which has {length}",
                bytes.len()
            ));
        }
        if bytes.len() > place.size_max {
            return Err(format!("datagram {number} is longer than was asked for"));
        }
        sent.arrived += 1;
        if sent.arrived > 1 {
            return Err(format!("datagram {number} came twice"));
        }
        let from = datagram.peer.as_inet();
        if place.peer.is_some() && place.peer != from {
            return Err(format!("a connected socket heard of {from:?}"));
        }
        let Some(from) = from else {
            return Err("a datagram from nowhere".to_owned());
        };
        if place.address != Some(sent.to) {
            return Err(format!("datagram {number} was for {}", sent.to));
        }
        let newest = place.newest.entry(from).or_default();
        let was = std::mem::replace(newest, number.max(*newest));
        if was > number && !net.has_overtaking {
            return Err(format!("datagram {number} came after {was}"));
        }
        let sender = net.places[net.sent[number as usize].from].address;
        match sender == Some(from) {
            true => Ok(()),
            false => Err(format!("datagram {number} of {sender:?} came from {from}")),
        }
    }

    fn complain(&self, text: &str) {
        look(&self.net).complain(format!("socket {}: {text}", self.place));
    }
}

impl Handler for Catch {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let address = ctx
            .channel()
            .local_address()
            .and_then(|name| name.as_inet());
        look(&self.net).places[self.place].address = address;
        Ok(())
    }

    fn channel_inactive(&mut self, _: &mut Context<'_>) -> HandlerResult {
        let net = &mut *look(&self.net);
        let place = &mut net.places[self.place];
        place.is_inactive = true;
        if !place.is_closing {
            let name = self.place;
            net.complain(format!("socket {name} was closed by nobody"));
        }
        Ok(())
    }

    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        match msg.downcast::<Datagram>() {
            Ok(datagram) => {
                if let Err(complaint) = self.take(&datagram) {
                    self.complain(&complaint);
                }
            }
            Err(other) => self.complain(&format!("read {}", other.type_name())),
        }
        Ok(())
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, failure: Failure) -> HandlerResult {
        let error = failure.into_error();
        let net = &mut *look(&self.net);
        let place = &mut net.places[self.place];
        place.errors += 1;
        let is_connected = place.peer.is_some();
        match error.kind() {
            ErrorKind::TooLong => net.cut += 1,
            ErrorKind::ConnectRefused if is_connected => net.refusals += 1,
            _ => net.complain(format!("socket {}: {error}", self.place)),
        }
        Ok(())
    }
}

struct Run {
    world: World,
    loops: Vec<EventLoop>,
    random: Random,
    net: Shared,
    opening: Vec<ChannelFuture>,
    is_harmless: bool,
    has_spun: bool,
}

/// What came of a run: complaints, the digest, the log; and how many were sent, came, were refused, too long.
struct Finding {
    complaints: Vec<String>,
    digest: u64,
    log: String,
    counts: [u64; 4],
}

fn run(seed: u64, steps: u64, keeps_log: bool) -> Finding {
    let mut plan = Plan {
        keeps_log,
        ..Plan::stormy(seed)
    };
    let is_harmless = seed.is_multiple_of(4);
    if is_harmless {
        plan.faults = plan.faults.harmless();
        plan.recv_buffer = 10 << 20..=10 << 20;
    }
    let mut run = Run::begin(seed, plan, is_harmless);
    for _ in 0..steps {
        run.one_step();
    }
    run.rest();
    run.finish()
}

impl Run {
    fn begin(seed: u64, plan: Plan, is_harmless: bool) -> Self {
        let mut random = Random::new(seed ^ 0xDA7A_64A3);
        let has_overtaking = plan.faults.overtake > 0;
        let mut world = World::new(plan).unwrap();
        let known = [Backend::Epoll, Backend::EpollLevel, Backend::Poll];
        let backend = Some(known[(seed % 3) as usize])
            .filter(|backend| Backend::available().contains(backend))
            .unwrap_or(Backend::Poll);
        let loops = (0..1 + random.below(2))
            .map(|_| world.add_loop(|builder| builder.selector(backend)).unwrap())
            .collect();
        let net = Net {
            has_overtaking,
            ..Net::default()
        };
        let mut run = Self {
            world,
            loops,
            random,
            net: Arc::new(Mutex::new(net)),
            opening: Vec::new(),
            is_harmless,
            has_spun: false,
        };
        run.open();
        run.open();
        run
    }

    fn one_step(&mut self) {
        match self.random.below(100) {
            0..=34 => {
                for _ in 0..=self.random.below(4) {
                    self.world.step();
                }
            }
            35..=37 => self.open(),
            38..=79 => self.send(),
            80..=91 => self.with_one(|_, channel| {
                channel.flush();
            }),
            92..=97 => {
                let reads = self.random.one_in(2);
                self.with_one(|_, channel| channel.set_auto_read(reads));
            }
            98 => {
                let net = self.net.clone();
                self.with_one(|place, channel| {
                    look(&net).places[place].is_closing = true;
                    channel.close();
                });
            }
            _ => {}
        }
    }

    fn with_one(&mut self, act: impl FnOnce(usize, &Channel)) {
        let count = look(&self.net).places.len();
        let lot = self.random.below(count as u64) as usize;
        let channel = look(&self.net).places[lot].channel.clone();
        act(lot, &channel);
    }

    /// An address that somebody has, has had, or nobody ever had.
    fn somewhere(&mut self) -> SocketAddr {
        let nobody = SocketAddr::from(([10, 0, 0, 1], 9));
        let known: Vec<SocketAddr> = look(&self.net)
            .places
            .iter()
            .filter_map(|place| place.address)
            .collect();
        match self.random.one_in(12) || known.is_empty() {
            true => nobody,
            false => known[self.random.below(known.len() as u64) as usize],
        }
    }

    /// Binds a socket, or connects one.
    fn open(&mut self) {
        let place = look(&self.net).places.len();
        if place >= SOCKETS_MAX {
            return;
        }
        let lot = self.random.below(self.loops.len() as u64) as usize;
        let size_max = 8 << self.random.below(10);
        let catch = self.net.clone();
        let recipe = Bootstrap::new(&self.loops[lot])
            .transport::<Udp>()
            .option(MAX_DATAGRAM_PAYLOAD_SIZE, size_max)
            .option(AUTO_READ, !self.random.one_in(5))
            .handler(move |pipeline| {
                let net = catch.clone();
                pipeline.add_last(Catch { net, place })
            });
        let peer = self.random.one_in(3).then(|| self.somewhere());
        let local = SocketAddr::from(([10, 0, 0, 1], 0));
        // The model knows the socket before its handler runs.
        let opening = match peer {
            Some(peer) => recipe.local_address(local).connect(peer),
            None => recipe.bind(local),
        };
        look(&self.net).places.push(Place {
            channel: opening.channel().clone(),
            address: None,
            peer,
            size_max: size_max as usize,
            is_closing: false,
            is_inactive: false,
            newest: HashMap::new(),
            errors: 0,
        });
        self.opening.push(opening);
    }

    fn send(&mut self) {
        let count = look(&self.net).places.len() as u64;
        let from = self.random.below(count) as usize;
        let to = self.somewhere();
        let length = match self.random.below(40) {
            0 => BYTES_MAX + 1,
            1..=4 => 8 + self.random.below(3_000) as usize,
            // Of one length, so that some are sent as one.
            _ => 8 << self.random.below(5),
        };
        // Some come faster than one call can take them.
        let times = match self.random.below(25) {
            0 if length < 1_000 => 33 + self.random.below(50),
            _ => 1,
        };
        for _ in 0..times {
            self.write(from, to, length);
        }
        if self.random.one_in(3) {
            look(&self.net).places[from].channel.flush();
        }
    }

    fn write(&self, from: usize, to: SocketAddr, length: usize) {
        let (number, channel, peer) = {
            let net = &mut *look(&self.net);
            let place = &net.places[from];
            if place.address.is_none() {
                return;
            }
            let (channel, peer) = (place.channel.clone(), place.peer);
            net.sent.push(Sent {
                from,
                to: peer.unwrap_or(to),
                length,
                settled: None,
                arrived: 0,
            });
            (net.sent.len() as u64 - 1, channel, peer)
        };
        let bytes = content(number, length);
        let written = match peer {
            Some(_) => channel.write_future(bytes),
            None => channel.write_future(Message::new(Datagram::new(bytes, to))),
        };
        let told = self.net.clone();
        written.add_listener(move |_: &Channel, result: &Result<(), Error>| {
            settle(&told, number, result);
        });
    }

    /// Until nothing happens any more.
    fn come_to_rest(&mut self, when: &str) {
        match self.world.run_for(REST) {
            Outcome::Idle | Outcome::TimedOut => {}
            other => {
                if !std::mem::replace(&mut self.has_spun, true) {
                    look(&self.net).complain(format!("{when}: {other:?}"));
                }
            }
        }
        if !self.world.is_idle() && !self.has_spun {
            look(&self.net).complain(format!("{when}: no rest within {REST:?}"));
        }
    }

    fn channels(&self) -> Vec<Channel> {
        let net = look(&self.net);
        net.places
            .iter()
            .map(|place| place.channel.clone())
            .collect()
    }

    fn rest(&mut self) {
        self.world.simulation().set_faults(Faults::NONE);
        for channel in self.channels() {
            channel.set_auto_read(true);
            channel.flush();
        }
        self.come_to_rest("after the last fault");
        let net = &mut *look(&self.net);
        let mut complaints = Vec::new();
        for (number, sent) in net.sent.iter().enumerate() {
            let from = &net.places[sent.from];
            if sent.settled.is_none() {
                complaints.push(format!("datagram {number} is neither sent nor failed"));
            }
            if sent.arrived > 0 && sent.settled != Some(true) {
                complaints.push(format!("datagram {number} came, and its write has failed"));
            }
            // Somebody who takes everything that fits.
            let takes = |place: &&Place| {
                let is_it = place.address == Some(sent.to) && !place.is_closing;
                let hears = place.peer.is_none() || place.peer == from.address;
                is_it && hears && place.size_max >= sent.length
            };
            let is_awaited = net.places.iter().find(takes).is_some();
            if self.is_harmless && is_awaited && sent.settled == Some(true) && sent.arrived == 0 {
                complaints.push(format!("datagram {number} was sent, and never came"));
            }
        }
        for complaint in complaints {
            net.complain(complaint);
        }
    }

    fn finish(mut self) -> Finding {
        for place in &mut look(&self.net).places {
            place.is_closing = true;
        }
        for channel in self.channels() {
            channel.close();
        }
        self.come_to_rest("after closing everything");
        for (name, opening) in self.opening.iter().enumerate() {
            if !opening.is_done() || opening.channel().is_open() {
                look(&self.net).complain(format!("socket {name} is neither closed nor failed"));
            }
        }
        let quiet = Duration::ZERO;
        let ends: Vec<_> = self
            .loops
            .iter()
            .map(|each| each.shutdown_gracefully(quiet, Duration::from_secs(2)))
            .collect();
        let outcome = self.world.run_until(Duration::from_secs(5), || {
            ends.iter().all(|end| end.is_done())
        });
        if outcome != Outcome::Done {
            look(&self.net).complain(format!("the loops do not end: {outcome:?}"));
        }
        self.world.drop_loops();
        let Self {
            world, loops, net, ..
        } = self;
        drop((loops, self.opening));
        let mut net = std::mem::take(&mut *look(&net));
        net.places.clear();
        let simulation = world.simulation();
        simulation.advance(Duration::from_millis(50));
        let open = simulation.open_descriptors();
        if !open.is_empty() {
            net.complain(format!("descriptors are left: {open:?}"));
        }
        let arrived = net.sent.iter().map(|sent| u64::from(sent.arrived)).sum();
        Finding {
            digest: simulation.digest(),
            log: simulation.log(),
            counts: [
                net.sent.len() as u64,
                arrived,
                u64::from(net.refusals),
                u64::from(net.cut),
            ],
            complaints: net.complaints,
        }
    }
}

/// The promise of a write is kept.
fn settle(net: &Shared, number: u64, result: &Result<(), Error>) {
    let net = &mut *look(net);
    let sent = &mut net.sent[number as usize];
    let was = sent.settled.replace(result.is_ok());
    let (place, length) = (&net.places[sent.from], sent.length);
    let may_fail = match result.as_ref().err().map(Error::kind) {
        None => length <= BYTES_MAX,
        Some(ErrorKind::ChannelClosed) => place.is_closing,
        // EMSGSIZE.
        Some(ErrorKind::InvalidArgument) => length > BYTES_MAX,
        Some(ErrorKind::ConnectRefused) => place.peer.is_some(),
        Some(_) => false,
    };
    if was.is_some() {
        net.complain(format!("the write of datagram {number} was settled twice"));
    }
    if !may_fail {
        net.complain(format!("datagram {number} of {length} bytes: {result:?}"));
    }
}

#[test]
fn random_datagrams_keep_every_promise() {
    let steps = number("STEPS").unwrap_or(200);
    if let Some(seed) = number("SEED") {
        let finding = run(seed, steps, true);
        std::fs::create_dir_all("target").unwrap();
        std::fs::write("target/sim-datagrams.log", &finding.log).unwrap();
        assert!(
            finding.complaints.is_empty(),
            "{}",
            finding.complaints.join("\n")
        );
        return;
    }
    let (seeds, first) = (number("SEEDS").unwrap_or(200), number("FIRST").unwrap_or(0));
    let next = AtomicU64::new(first);
    let totals = Mutex::new(([0; 4], Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds || totals.lock().unwrap().1.len() >= 10 {
                        break;
                    }
                    let finding = run(seed, steps, false);
                    let mut totals = totals.lock().unwrap();
                    for (total, count) in totals.0.iter_mut().zip(finding.counts) {
                        *total += count;
                    }
                    if !finding.complaints.is_empty() {
                        let complaints = finding.complaints.join("\n    ");
                        let text = format!("seed {seed} (SEED={seed} make sim):\n    {complaints}");
                        totals.1.push(text);
                    }
                }
            });
        }
    });
    let ([sent, arrived, refused, cut], failed) = totals.into_inner().unwrap();
    println!(
        "sim: {seeds} seeds of datagrams: {sent} sent, {arrived} came, {refused} refusals told, {cut} too long for their receiver"
    );
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(arrived > 0 && refused > 0 && cut > 0);
}

#[test]
fn the_same_seed_is_the_same_run_of_datagrams() {
    for seed in 0..12 {
        let one = run(seed, 200, true);
        let other = run(seed, 200, true);
        assert!(one.log == other.log, "seed {seed}");
        assert_eq!(run(seed, 200, false).digest, one.digest);
    }
}
