//! [`PcapFile`]: where the captures of many channels are written, one record after the other. A writer that fails ends the
//! capture and nothing else.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::format;

/// Records gather to so many bytes before they are written.
const BUFFER_BYTES: usize = 64 * 1024;

/// A capture in the pcap format, which Wireshark, tshark and tcpdump read: raw IP packets with time stamps of nanoseconds.
///
/// It writes into whatever it is given: a file, a pipe to Wireshark, memory. Clones are the same capture; captures of any
/// loops may share one. Records are buffered (64 KiB), and written out when a captured channel ends, by
/// [`flush`](Self::flush), and when the last clone is dropped. The writer is called by the loops: one that blocks holds
/// them up.
///
/// The first error of the writer is logged and stops the capture; the channels go on.
#[derive(Clone)]
pub struct PcapFile {
    inner: Arc<Inner>,
}

struct Inner {
    is_paused: AtomicBool,
    /// Channels without addresses so far, wrapping.
    nameless: AtomicU16,
    output: Mutex<Output>,
}

struct Output {
    /// None once it has failed.
    writer: Option<Box<dyn Write + Send>>,
    buffer: Vec<u8>,
}

impl PcapFile {
    /// A capture that is written into `writer`, from its beginning.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Self {
            inner: Arc::new(Inner {
                is_paused: AtomicBool::new(false),
                nameless: AtomicU16::new(0),
                output: Mutex::new(Output {
                    writer: Some(Box::new(writer)),
                    buffer: format::file_header().to_vec(),
                }),
            }),
        }
    }

    /// Leaves out what passes from now on, until [`resume`](Self::resume). Readers of the capture see a gap.
    pub fn pause(&self) {
        self.inner.is_paused.store(true, Ordering::Relaxed);
    }

    /// Captures again.
    pub fn resume(&self) {
        self.inner.is_paused.store(false, Ordering::Relaxed);
    }

    /// Writes out what is buffered.
    pub fn flush(&self) {
        self.inner.lock().flush();
    }

    /// False once the writer has failed.
    pub fn is_healthy(&self) -> bool {
        self.inner.lock().writer.is_some()
    }

    /// A number for a channel that has no addresses.
    pub(super) fn next_number(&self) -> u16 {
        self.inner.nameless.fetch_add(1, Ordering::Relaxed)
    }

    /// Has `record` append records with the time of now. What it appends is dropped while the capture is paused: its
    /// caller counts on.
    pub(super) fn append(&self, record: impl FnOnce(&mut Vec<u8>, Duration)) {
        let is_paused = self.inner.is_paused.load(Ordering::Relaxed);
        let mut output = self.inner.lock();
        // Under the lock, so that records are in the order of their times. A clock before 1970 is no reason to fail.
        let at = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let before = output.buffer.len();
        record(&mut output.buffer, at);
        if is_paused || output.writer.is_none() {
            output.buffer.truncate(before);
        } else if output.buffer.len() >= BUFFER_BYTES {
            output.write();
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Output> {
        // A writer that panicked has cost its channel; the others go on.
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Output {
    /// Hands what is buffered to the writer.
    fn write(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let result = match &mut self.writer {
            Some(writer) => writer.write_all(&buffer),
            None => Ok(()),
        };
        self.buffer = buffer;
        self.buffer.clear();
        self.note(result);
    }

    fn flush(&mut self) {
        self.write();
        let result = self.writer.as_mut().map_or(Ok(()), Write::flush);
        self.note(result);
    }

    /// The first error is the last.
    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.writer = None;
            self.buffer = Vec::new();
            tracing::warn!(%error, "writing a capture failed; it ends here, the channels go on");
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.flush();
    }
}

impl fmt::Debug for PcapFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PcapFile").finish_non_exhaustive()
    }
}
