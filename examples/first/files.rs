//! Files and sizes.
//!
//! The file that is made up is removed at the end, also when that comes by Ctrl-C: a thread waits for the signals that
//! usually end a program, which every other thread blocks.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

pub const MIB: u64 = 1 << 20;

/// A file of pseudo-random bytes, the same ones every time; removed when dropped.
pub struct MadeUp {
    pub path: PathBuf,
}

impl MadeUp {
    /// Called before there are other threads: they inherit which signals are blocked.
    pub fn new() -> Result<Self, String> {
        let path = env::temp_dir().join(format!("tidegate-first-{}", process::id()));
        remove_on_signals(path.clone())
            .map_err(|error| format!("cannot wait for signals: {error}"))?;
        Self::fill(&path).map_err(|error| {
            format!(
                "cannot write {}: {error}; set TMPDIR to a folder with room, or give a file",
                path.display()
            )
        })?;
        Ok(Self { path })
    }

    fn fill(path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create_new(path)?);
        // Marsaglia's xorshift: any seed but 0.
        let mut word: u64 = 0x7469_6465_6761_7465;
        for _ in 0..8 * MIB / 8 {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            file.write_all(&word.to_le_bytes())?;
        }
        file.flush()
    }
}

/// Ends the process when it is told to, as it would have ended by itself, but without leaving the file behind.
fn remove_on_signals(path: PathBuf) -> io::Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block()?;
    let wait = move || {
        if let Ok(signal) = signals.wait() {
            let _ = fs::remove_file(&path);
            // What a shell reports of a process that a signal has ended.
            process::exit(128 + signal as i32);
        }
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(wait)
        .map(drop)
}

impl Drop for MadeUp {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            eprintln!("first: cannot remove {}: {error}", self.path.display());
        }
    }
}

pub fn size(path: &Path) -> Result<u64, String> {
    let shown = path.display();
    let metadata = fs::metadata(path)
        .map_err(|error| format!("cannot open {shown}: {error}; check the path"))?;
    if !metadata.is_file() {
        return Err(format!("{shown} is not a regular file; give one that is"));
    }
    Ok(metadata.len())
}

/// Bytes, for people.
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < MIB {
            return write!(f, "{} bytes", self.0);
        }
        write!(f, "{:.1} MiB", self.0 as f64 / MIB as f64)
    }
}

/// The most memory that this process ever held, where the system tells.
pub fn peak_resident() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Size(kib * 1024).to_string())
}
