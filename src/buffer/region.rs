//! [`FileRegion`]: a part of a file that a transport sends without copying it through user space.
//!
//! Handlers build one and write it; the transport asks for the file, sends and reports. This module
//! never reads the file's bytes, and touches the file system only where the method says so.

use std::{
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::error::{Error, ErrorKind};

/// `count` bytes of a file from `position` on, to be sent with sendfile where the system has it.
///
/// It is one word wide, so that a [`Message`](crate::buffer::Message) holds it as it is. An open
/// file can be shared: regions of one `Arc<File>` do not disturb each other, because each sends from
/// a position of its own and never moves the file's cursor.
///
/// Sending completes when `count` bytes have been transferred; a region of zero bytes completes at
/// once. A file that turns out shorter than its region fails the write.
pub struct FileRegion(Box<Region>);

struct Region {
    source: Source,
    position: u64,
    count: u64,
    /// 0 <= transferred <= count
    transferred: u64,
}

enum Source {
    Open(Arc<File>),
    Path(PathBuf),
}

impl FileRegion {
    /// A region of an open file: `count` bytes starting `position` bytes into it.
    #[must_use]
    pub fn new(file: impl Into<Arc<File>>, position: u64, count: u64) -> Self {
        Self::from_source(Source::Open(file.into()), position, count)
    }

    /// Opens the file now; the call may wait for the disk.
    ///
    /// # Errors
    /// What opening the file for reading answers.
    pub fn open(path: impl AsRef<Path>, position: u64, count: u64) -> io::Result<Self> {
        Ok(Self::new(File::open(path)?, position, count))
    }

    /// Opens the file now and takes all of it, as long as it is at this moment.
    ///
    /// # Errors
    /// What opening the file or asking for its length answers.
    pub fn whole(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = File::open(path)?;
        let count = file.metadata()?.len();
        Ok(Self::new(file, 0, count))
    }

    /// Notes the path; the file is opened when the transport first sends from it, so that a queue of
    /// regions holds no descriptors. A file that cannot be opened then fails the write.
    #[must_use]
    pub fn lazy(path: impl Into<PathBuf>, position: u64, count: u64) -> Self {
        Self::from_source(Source::Path(path.into()), position, count)
    }

    fn from_source(source: Source, position: u64, count: u64) -> Self {
        Self(Box::new(Region {
            source,
            position,
            count,
            transferred: 0,
        }))
    }

    /// The open file; opens it if only its path was known.
    ///
    /// # Errors
    /// What opening the file for reading answers.
    pub fn file(&mut self) -> io::Result<&Arc<File>> {
        if let Source::Path(path) = &self.0.source {
            self.0.source = Source::Open(Arc::new(File::open(path)?));
        }
        match &self.0.source {
            Source::Open(file) => Ok(file),
            Source::Path(_) => unreachable!("a region whose file was opened above has it open"),
        }
    }

    /// Hands the open file, the offset of the next byte and the bytes left to `send`, which says how
    /// many it sent and may move the offset as sendfile does. Returns what it sent.
    ///
    /// # Errors
    /// What opening the file or `send` answers; [`ErrorKind::FileTooShort`] inside an
    /// [`io::ErrorKind::UnexpectedEof`] when `send` found no bytes because the file ends before the
    /// region does (C20).
    pub fn transfer(
        &mut self,
        send: impl FnOnce(&File, &mut u64, u64) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let left = self.remaining();
        if left == 0 {
            return Ok(0);
        }
        let mut offset = self.0.position.saturating_add(self.0.transferred);
        let file = self.file()?;
        let sent = send(file, &mut offset, left)?;
        if sent == 0 {
            self.check_length()?;
        }
        self.advance(sent as u64);
        Ok(sent)
    }

    /// Notes that `bytes` more were sent, never more than were left.
    pub fn advance(&mut self, bytes: u64) {
        debug_assert!(
            bytes <= self.remaining(),
            "a transport sent more of a file than was asked"
        );
        self.0.transferred += bytes.min(self.remaining());
    }

    /// Where in the file the region starts, in bytes.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.0.position
    }

    /// How long the region is, in bytes.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.count
    }

    /// How many bytes of it were sent so far.
    #[must_use]
    pub fn transferred(&self) -> u64 {
        self.0.transferred
    }

    /// How many bytes of it are still to be sent.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.0.count - self.0.transferred
    }

    /// Tells whether all of it was sent; true from the start for a region of zero bytes.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.remaining() == 0
    }

    /// Nothing was sent: either the socket is full, or the file is shorter than the region.
    fn check_length(&mut self) -> io::Result<()> {
        let end = self.0.position.saturating_add(self.0.count);
        let length = self.file()?.metadata()?.len();
        if length < end {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                Error::new(
                    ErrorKind::FileTooShort,
                    format!("the file has {length} bytes, the region to send ends at {end}"),
                ),
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for FileRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("FileRegion");
        if let Source::Path(path) = &self.0.source {
            debug.field("path", path);
        }
        debug
            .field("position", &self.0.position)
            .field("count", &self.0.count)
            .field("transferred", &self.0.transferred)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Write,
        os::unix::fs::FileExt,
        process,
        sync::atomic::{AtomicU32, Ordering},
    };

    use super::*;

    /// A file of its own for one test, removed at the end.
    struct Temp(PathBuf);

    impl Temp {
        fn with(contents: &[u8]) -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("region-{}-{number}", process::id()));
            File::create(&path)
                .and_then(|mut file| file.write_all(contents))
                .expect("writable");
            Self(path)
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    /// Sends at most `step` bytes a time the way sendfile does, and collects them.
    fn send_all(region: &mut FileRegion, step: u64) -> io::Result<Vec<u8>> {
        let mut sent = Vec::new();
        while !region.is_done() {
            let count = region.transfer(|file, offset, left| {
                let mut part = vec![0; left.min(step) as usize];
                let count = file.read_at(&mut part, *offset)?;
                *offset += count as u64;
                sent.extend_from_slice(&part[..count]);
                Ok(count)
            })?;
            assert_eq!(sent.len() as u64, region.transferred());
            if count == 0 {
                break;
            }
        }
        Ok(sent)
    }

    #[test]
    fn a_region_is_sent_in_parts_from_its_own_position() {
        let temp = Temp::with(b"0123456789");
        let mut region = FileRegion::open(&temp.0, 2, 7).expect("opens");
        assert_eq!(send_all(&mut region, 3).expect("reads"), b"2345678");
        assert_eq!(
            (region.position(), region.count(), region.remaining()),
            (2, 7, 0)
        );
    }

    #[test]
    fn regions_of_one_open_file_do_not_disturb_each_other() {
        let temp = Temp::with(b"0123456789");
        let file = Arc::new(File::open(&temp.0).expect("opens"));
        let mut front = FileRegion::new(Arc::clone(&file), 0, 5);
        let mut back = FileRegion::new(file, 5, 5);
        assert_eq!(send_all(&mut back, 2).expect("reads"), b"56789");
        assert_eq!(send_all(&mut front, 2).expect("reads"), b"01234");
    }

    #[test]
    fn a_lazy_region_opens_its_file_when_first_sent() {
        let temp = Temp::with(b"abc");
        let mut region = FileRegion::lazy(&temp.0, 0, 3);
        assert!(format!("{region:?}").contains("path"));
        assert_eq!(send_all(&mut region, 10).expect("reads"), b"abc");
        let mut missing = FileRegion::lazy(temp.0.with_extension("missing"), 0, 3);
        let error = send_all(&mut missing, 10).expect_err("no such file");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_shorter_than_its_region_fails_once_its_end_is_reached() {
        let temp = Temp::with(b"abc");
        let mut region = FileRegion::open(&temp.0, 1, 3).expect("opens");
        let error = send_all(&mut region, 10).expect_err("one byte is missing");
        assert_eq!(Error::io("send", error).kind(), ErrorKind::FileTooShort);
        assert_eq!(region.transferred(), 2);
    }

    #[test]
    fn nothing_sent_from_a_file_that_is_long_enough_is_no_error() {
        let temp = Temp::with(b"abc");
        let mut region = FileRegion::whole(&temp.0).expect("opens");
        assert_eq!(region.count(), 3);
        assert_eq!(
            region.transfer(|_, _, _| Ok(0)).expect("the file is fine"),
            0
        );
        assert!(!region.is_done());
    }

    #[test]
    fn an_empty_region_is_done_from_the_start_and_opens_nothing() {
        let mut region = FileRegion::lazy("does/not/exist", 0, 0);
        assert!(region.is_done());
        assert_eq!(
            region
                .transfer(|_, _, _| unreachable!("nothing to send"))
                .expect("done"),
            0
        );
    }
}
