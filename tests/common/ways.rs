//! Every way to build a loop that a behaviour must not depend on: each selector of this machine, three shares of I/O,
//! with and without spinning. Called by the tests of transports and bootstraps; each test binary uses its part.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fmt;

use tidegate::event_loop::{Backend, EventLoopGroup, LocalEventLoop, Spin};

/// The extremes and the default.
const IO_RATIOS: [u8; 3] = [1, 50, 100];

const SPINS: [Spin; 2] = [Spin::Off, Spin::Count(20)];

/// One way to build a loop.
#[derive(Clone, Copy)]
pub struct Way {
    pub backend: Backend,
    io_ratio: u8,
    spin: Spin,
}

impl Way {
    pub fn group(self, threads: usize) -> EventLoopGroup {
        let builder = EventLoopGroup::builder()
            .threads(threads)
            .selector(self.backend)
            .io_ratio(self.io_ratio)
            .spin(self.spin);
        builder.build().expect("a group")
    }

    /// Whether this is with the selector that a loop has by itself; for what does not depend on it.
    pub fn is_default_backend(self) -> bool {
        Backend::available().first() == Some(&self.backend)
    }

    pub fn local(self) -> LocalEventLoop {
        let builder = LocalEventLoop::builder()
            .selector(self.backend)
            .io_ratio(self.io_ratio)
            .spin(self.spin);
        builder.build().expect("a loop")
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (backend, io_ratio, spin) = (self.backend, self.io_ratio, self.spin);
        write!(f, "{backend}, io_ratio {io_ratio}, {spin:?}")
    }
}

fn ways() -> impl Iterator<Item = Way> {
    let ratios = |backend: Backend| IO_RATIOS.map(|io_ratio| (backend, io_ratio));
    let spins = |(backend, io_ratio)| {
        SPINS.map(|spin| Way {
            backend,
            io_ratio,
            spin,
        })
    };
    let backends = Backend::available().iter().copied();
    backends.flat_map(ratios).flat_map(spins)
}

/// Runs a test every way. A failed test's output ends with the way that it failed in.
pub fn each_way(test: impl Fn(Way)) {
    each_way_with(|_| true, test);
}

/// The same, in the ways that the test is about.
pub fn each_way_with(is_meant: impl Fn(Way) -> bool, test: impl Fn(Way)) {
    for way in ways().filter(|way| is_meant(*way)) {
        eprintln!("-- {way}");
        test(way);
    }
}
