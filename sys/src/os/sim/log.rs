//! [`Log`]: everything that happened in a simulation, in order. Two runs of one seed have the same log, byte for byte.
//!
//! Sockets and descriptors are named by the order in which they were made: their real numbers depend on what else the
//! process has open.

use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};

/// One thing that happened.
#[derive(Clone, Hash)]
pub(super) enum What {
    Opened {
        file: u32,
        kind: &'static str,
    },
    Closed {
        file: u32,
    },
    /// A system call; a negative answer is an errno.
    Call {
        name: &'static str,
        file: u32,
        argument: u64,
        answer: i64,
    },
    /// One event of a wait.
    Report {
        file: u32,
        mask: u32,
    },
    Sent {
        name: &'static str,
        from: u32,
        to: u32,
        length: u32,
        arrives: u64,
    },
    Arrived {
        name: &'static str,
        to: u32,
    },
    Fault(&'static str),
    /// A call that was made to fail.
    Failed {
        name: &'static str,
        errno: i32,
    },
    Note(Box<str>),
}

pub(super) struct Log {
    lines: Vec<(u64, What)>,
    is_kept: bool,
    digest: Fnv,
}

impl Log {
    pub(super) fn new(is_kept: bool) -> Self {
        Self {
            lines: Vec::new(),
            is_kept,
            digest: Fnv(0xCBF2_9CE4_8422_2325),
        }
    }

    #[inline]
    pub(super) fn add(&mut self, at: u64, what: What) {
        (at, &what).hash(&mut self.digest);
        if self.is_kept {
            self.lines.push((at, what));
        }
    }

    /// A number that two logs share if their lines are the same.
    pub(super) fn digest(&self) -> u64 {
        self.digest.0
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, what) in &self.lines {
            write!(f, "{:>6}.{:09} ", at / 1_000_000_000, at % 1_000_000_000)?;
            match what {
                What::Opened { file, kind } => write!(f, "f{file} opened: {kind}")?,
                What::Closed { file } => write!(f, "f{file} closed")?,
                What::Call {
                    name,
                    file,
                    argument,
                    answer,
                } => {
                    write!(f, "f{file} {name}({argument}) = ")?;
                    match answer {
                        0.. => write!(f, "{answer}")?,
                        _ => f.write_str(&errno_name(-*answer as i32))?,
                    }
                }
                What::Report { file, mask } => write!(f, "f{file} reports {}", Mask(*mask))?,
                What::Sent {
                    name,
                    from,
                    to,
                    length,
                    arrives,
                } => write!(f, "t{from} sends t{to} {name} {length} for {arrives}")?,
                What::Arrived { name, to } => write!(f, "t{to} receives {name}")?,
                What::Fault(name) => write!(f, "fault: {name}")?,
                What::Failed { name, errno } => {
                    write!(f, "fault: {name} fails with {}", errno_name(*errno))?;
                }
                What::Note(text) => f.write_str(text)?,
            }
            f.write_char('\n')?;
        }
        Ok(())
    }
}

fn errno_name(errno: i32) -> String {
    format!("{:?}", nix::errno::Errno::from_raw(errno))
}

/// The bits of epoll and poll by name.
struct Mask(u32);

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(u32, &str); 6] = [
            (super::tcp::IN, "IN"),
            (super::tcp::PRI, "PRI"),
            (super::tcp::OUT, "OUT"),
            (super::tcp::ERR, "ERR"),
            (super::tcp::HUP, "HUP"),
            (super::tcp::RDHUP, "RDHUP"),
        ];
        let mut separator = "";
        for (bit, name) in NAMES {
            if self.0 & bit != 0 {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        Ok(())
    }
}

/// FNV-1a, word by word where a word is written: the hasher of the standard library promises no stable answer.
struct Fnv(u64);

impl Fnv {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0 ^ word)
            .wrapping_mul(0x0000_0100_0000_01B3)
            .rotate_left(29);
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.mix(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }
}
