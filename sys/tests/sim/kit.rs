//! What the programs are told with: a stage that notes every answer, and the two kernels that each is run on.

use std::cell::Cell;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use tidegate_sys::os::sim::{Plan, Simulation};
use tidegate_sys::os::{
    Backend, Events, Interest, Ready, Selector, Token, Waited, clock, io as sys, net,
};

/// After so much silence the real kernel has nothing more to say; on loopback its news takes microseconds.
const SILENCE: Duration = Duration::from_millis(8);

/// What the real kernel is given when its answers differ: on a busy machine what was sent through the loopback is left to
/// a thread of the kernel (softirq), which may have to wait for a processor.
const PATIENCE: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_secs(1),
];

thread_local! {
    /// Time for what was sent before it is looked for. Zero in a simulation, and in the first run on the real kernel.
    static SETTLES: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Before something is looked for that was sent.
pub fn settle() {
    let time = SETTLES.get();
    if !time.is_zero() {
        thread::sleep(time);
    }
}

fn silence() -> Duration {
    SILENCE.max(SETTLES.get())
}

/// What a program has and tells.
pub struct Stage {
    pub selector: Selector,
    pub events: Events,
    pub told: String,
}

impl Stage {
    pub fn new(backend: Backend) -> Self {
        Self {
            selector: Selector::open(backend).unwrap(),
            events: Events::new(),
            told: String::new(),
        }
    }

    pub fn tell<T: std::fmt::Debug>(&mut self, what: &str, answer: io::Result<T>) {
        match answer {
            Ok(value) => writeln!(self.told, "{what}: {value:?}"),
            Err(error) => writeln!(self.told, "{what}: errno {:?}", error.raw_os_error()),
        }
        .unwrap();
    }

    pub fn watch(&mut self, fd: &OwnedFd, slot: u32, interest: Interest) {
        let token = Token::new(slot, 0);
        self.selector.register(fd.as_fd(), token, interest).unwrap();
    }

    /// What is reported until nothing is, one set of bits per registration.
    pub fn gather(&mut self, what: &str) {
        let mut found = [Ready::NONE; 8];
        let silence = silence();
        let until = clock::now() + silence;
        loop {
            let left = until.saturating_since(clock::now());
            match self.selector.wait(&mut self.events, Some(left)).unwrap() {
                Waited::Events(_) => {
                    for event in self.events.iter() {
                        found[event.token.slot() as usize] |= event.ready;
                    }
                    if !self.selector.is_edge_triggered() && left < silence / 2 {
                        break;
                    }
                }
                Waited::TimedOut => break,
                Waited::Interrupted => {}
            }
        }
        for (slot, ready) in found
            .iter()
            .enumerate()
            .filter(|(_, ready)| !ready.is_empty())
        {
            writeln!(self.told, "{what}: {slot} {ready:?}").unwrap();
        }
        if found.iter().all(|ready| ready.is_empty()) {
            writeln!(self.told, "{what}: silence").unwrap();
        }
    }

    pub fn receive(&mut self, what: &str, fd: &OwnedFd) {
        settle();
        let mut bytes = BytesMut::new();
        let answer = sys::read_into(fd.as_fd(), &mut bytes, 4096);
        self.tell(what, answer);
    }

    pub fn send(&mut self, what: &str, fd: &OwnedFd, bytes: &[u8]) {
        self.tell(what, sys::send(fd.as_fd(), bytes));
    }

    pub fn names(&mut self, what: &str, fd: &OwnedFd) {
        self.tell(what, net::peer_addr::<SocketAddr>(fd.as_fd()).map(drop));
    }
}

/// Lets what is under way arrive.
pub fn pause() {
    let mut selector = Selector::open(Backend::Epoll).unwrap();
    let mut events = Events::new();
    while selector.wait(&mut events, Some(silence())).unwrap() != Waited::TimedOut {}
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn listener() -> (OwnedFd, SocketAddr) {
    let any = address("127.0.0.1:0");
    let socket = net::tcp_socket(&any).unwrap();
    net::bind(socket.as_fd(), &any).unwrap();
    net::listen(socket.as_fd(), 16).unwrap();
    let bound = net::local_addr::<SocketAddr>(socket.as_fd()).unwrap();
    (socket, bound)
}

pub fn client(address: &SocketAddr) -> OwnedFd {
    let socket = net::tcp_socket(address).unwrap();
    net::set_int(socket.as_fd(), net::TCP_NODELAY, 1).unwrap();
    net::connect(socket.as_fd(), address).unwrap();
    socket
}

/// (listener, client, accepted)
pub fn pair() -> (OwnedFd, OwnedFd, OwnedFd) {
    let (listener, address) = listener();
    let near = client(&address);
    let mut tries = 0;
    let (far, peer) = loop {
        pause();
        tries += 1;
        match net::accept::<SocketAddr>(listener.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < 1000 => {}
            accepted => break accepted.unwrap(),
        }
    };
    assert_eq!(peer, net::local_addr::<SocketAddr>(near.as_fd()).unwrap());
    (listener, near, far)
}

pub fn reset(fd: OwnedFd) {
    net::set_linger(fd.as_fd(), Some(Duration::ZERO)).unwrap();
    drop(fd);
}

/// Runs a program on both kernels.
pub fn on_both(program: fn(&mut Stage)) {
    for backend in [Backend::Epoll, Backend::EpollLevel, Backend::Poll] {
        let simulation = Simulation::install(Plan::calm(1)).unwrap();
        let mut stage = Stage::new(backend);
        program(&mut stage);
        let simulated = std::mem::take(&mut stage.told);
        drop(stage);
        assert!(simulation.open_descriptors().is_empty());
        let log = simulation.log().to_string();
        drop(simulation);

        let mut real = String::new();
        for patience in PATIENCE {
            SETTLES.set(patience);
            let mut stage = Stage::new(backend);
            program(&mut stage);
            SETTLES.set(Duration::ZERO);
            real = stage.told;
            if real == simulated {
                break;
            }
        }
        assert!(
            real == simulated,
            "{backend}\nreal:\n{real}\nsimulated:\n{simulated}\n{log}"
        );
    }
}
