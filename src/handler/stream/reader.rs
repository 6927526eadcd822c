//! Inputs over things that can be read at once: [`ChunkedReader`], [`ChunkedFile`], [`ChunkedBytes`].
//!
//! They are read on the channel's loop, which serves nobody else meanwhile. Local files and memory are fine; a reader
//! that waits for a network or a pipe is not: read that on a thread of its own, and send what it gives through a
//! [`ChunkedFeed`](super::ChunkedFeed).

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::{Bytes, BytesMut};

use super::input::{ChunkedInput, NextChunk};
use crate::buffer::Message;
use crate::error::{Error, ErrorKind, Failure};

/// Bytes per chunk, as in Netty's ChunkedStream and ChunkedFile.
const CHUNK_SIZE: usize = 8192;

/// The chunks of anything that implements [`Read`], up to its end.
///
/// Read on the channel's loop, so it must not block; an answer of [`io::ErrorKind::WouldBlock`] suspends the transfer
/// until [`ChunkedWrite::resume_transfer`](super::ChunkedWrite::resume_transfer).
///
/// ```
/// use tidegate::EmbeddedChannel;
/// use tidegate::handler::stream::{Chunked, ChunkedReader, ChunkedWrite};
///
/// let mut channel = EmbeddedChannel::new(|p| p.add_last(ChunkedWrite::new()))?;
/// let input = ChunkedReader::new(&b"low tide"[..]).chunk_size(4);
/// channel.write_outbound(Chunked::new(input))?;
/// assert_eq!(channel.read_outbound().unwrap().as_bytes(), Some(&b"low "[..]));
/// assert_eq!(channel.read_outbound().unwrap().as_bytes(), Some(&b"tide"[..]));
/// # Ok::<(), tidegate::Failure>(())
/// ```
pub struct ChunkedReader<R> {
    reader: R,
    chunk_size: usize,
    /// What the reader must give in all, if that is known.
    length: Option<u64>,
    progress: u64,
}

impl<R: Read + Send + 'static> ChunkedReader<R> {
    /// Chunks of at most 8192 bytes.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            chunk_size: CHUNK_SIZE,
            length: None,
            progress: 0,
        }
    }

    /// Chunks of at most so many bytes; at least one.
    #[must_use]
    pub fn chunk_size(mut self, bytes: usize) -> Self {
        self.chunk_size = bytes.max(1);
        self
    }

    /// Sends exactly so many bytes. A reader that ends earlier fails the write with
    /// [`ErrorKind::FileTooShort`]; what it has beyond is not read.
    #[must_use]
    pub fn length(mut self, bytes: u64) -> Self {
        self.length = Some(bytes);
        self
    }

    /// The most that the next read may bring.
    fn room(&self) -> usize {
        let left = self.length.map(|length| length - self.progress);
        let left = left.and_then(|left| usize::try_from(left).ok());
        left.map_or(self.chunk_size, |left| left.min(self.chunk_size))
    }
}

impl<R: Read + Send + 'static> ChunkedInput for ChunkedReader<R> {
    fn next_chunk(&mut self) -> Result<NextChunk, Failure> {
        let room = self.room();
        if room == 0 {
            return Ok(NextChunk::End);
        }
        let mut chunk = BytesMut::zeroed(room);
        let read = loop {
            match self.reader.read(&mut chunk) {
                Ok(read) => break read.min(room),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(NextChunk::Suspended);
                }
                Err(error) => return Err(Error::io("read the next chunk", error).into()),
            }
        };
        if read == 0 {
            return match self.length {
                None => Ok(NextChunk::End),
                Some(length) => Err(Error::new(
                    ErrorKind::FileTooShort,
                    format!(
                        "the input ended after {} of {length} bytes; announce only what is there",
                        self.progress
                    ),
                )
                .into()),
            };
        }
        chunk.truncate(read);
        self.progress += read as u64;
        let chunk = Message::new(chunk);
        Ok(if self.length == Some(self.progress) {
            NextChunk::Last(chunk)
        } else {
            NextChunk::Chunk(chunk)
        })
    }

    fn length(&self) -> Option<u64> {
        self.length
    }

    fn progress(&self) -> u64 {
        self.progress
    }
}

impl<R> fmt::Debug for ChunkedReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkedReader")
            .field("chunk_size", &self.chunk_size)
            .field("length", &self.length)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

/// The chunks of a file, for pipelines that must see its bytes (TLS, compression); otherwise a
/// [`FileRegion`](crate::FileRegion) is cheaper. The file is read on the channel's loop.
///
/// ```
/// use std::io::Write;
/// use tidegate::handler::stream::{Chunked, ChunkedFile, ChunkedWrite};
/// use tidegate::{EmbeddedChannel, Failure};
///
/// # let path = std::env::temp_dir().join(format!("tidegate-doc-{}", std::process::id()));
/// std::fs::File::create(&path)?.write_all(b"0123456789")?;
/// let file = ChunkedFile::region(std::fs::File::open(&path)?, 2, 5)?;
/// # std::fs::remove_file(&path)?;
/// let mut channel = EmbeddedChannel::new(|p| p.add_last(ChunkedWrite::new()))?;
/// channel.write_outbound(Chunked::new(file))?;
/// assert_eq!(channel.read_outbound().unwrap().as_bytes(), Some(&b"23456"[..]));
/// # Ok::<(), Failure>(())
/// ```
#[derive(Debug)]
pub struct ChunkedFile(ChunkedReader<File>);

impl ChunkedFile {
    /// The whole file of this path.
    ///
    /// # Errors
    /// The file cannot be opened, or its length not be learned.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let failed = |error| Error::io(format!("open {}", path.display()), error);
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok(Self(ChunkedReader::new(file).length(length)))
    }

    /// `length` bytes of a file, from `offset` on. If there are fewer when they are read, the write fails with
    /// [`ErrorKind::FileTooShort`].
    ///
    /// # Errors
    /// The file cannot be positioned.
    pub fn region(mut file: File, offset: u64, length: u64) -> Result<Self, Error> {
        file.seek(SeekFrom::Start(offset))
            .map_err(|error| Error::io(format!("seek a file to {offset}"), error))?;
        Ok(Self(ChunkedReader::new(file).length(length)))
    }

    /// Chunks of at most so many bytes (8192 otherwise); at least one.
    #[must_use]
    pub fn chunk_size(self, bytes: usize) -> Self {
        Self(self.0.chunk_size(bytes))
    }
}

impl ChunkedInput for ChunkedFile {
    fn next_chunk(&mut self) -> Result<NextChunk, Failure> {
        self.0.next_chunk()
    }

    fn length(&self) -> Option<u64> {
        self.0.length
    }

    fn progress(&self) -> u64 {
        self.0.progress
    }
}

/// The chunks of something in memory, without copying it.
///
/// ```
/// use tidegate::handler::stream::{ChunkedBytes, ChunkedInput};
///
/// let input = ChunkedBytes::new("spring tide").chunk_size(6);
/// assert_eq!(input.length(), Some(11));
/// ```
#[derive(Debug)]
pub struct ChunkedBytes {
    rest: Bytes,
    length: u64,
    chunk_size: usize,
}

impl ChunkedBytes {
    /// Chunks of at most 8192 bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let rest = bytes.into();
        Self {
            length: rest.len() as u64,
            rest,
            chunk_size: CHUNK_SIZE,
        }
    }

    /// Chunks of at most so many bytes; at least one.
    #[must_use]
    pub fn chunk_size(mut self, bytes: usize) -> Self {
        self.chunk_size = bytes.max(1);
        self
    }
}

impl ChunkedInput for ChunkedBytes {
    fn next_chunk(&mut self) -> Result<NextChunk, Failure> {
        if self.rest.is_empty() {
            return Ok(NextChunk::End);
        }
        let size = self.rest.len().min(self.chunk_size);
        let chunk = Message::new(self.rest.split_to(size));
        Ok(if self.rest.is_empty() {
            NextChunk::Last(chunk)
        } else {
            NextChunk::Chunk(chunk)
        })
    }

    fn length(&self) -> Option<u64> {
        Some(self.length)
    }

    fn progress(&self) -> u64 {
        self.length - self.rest.len() as u64
    }
}
