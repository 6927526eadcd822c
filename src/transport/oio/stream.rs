//! [`Stream`]: a channel over anything that reads and writes, on two threads.

use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::census;
use super::hand::Last;
use super::input::{Input, Source};
use super::output::{Output, Sink, is_limit};
use super::threads::Threads;
use crate::buffer::{FileRegion, Message};
use crate::channel::{
    Direction, Flush, Front, Io, Metadata, OptionId, OutboundBuffer, Progress, Read, Transport,
};
use crate::error::{Error, ErrorKind};

/// How long after a write that found no room the next one is tried.
const NO_ROOM_REST: Duration = Duration::from_millis(10);

/// Bytes of a file region that are copied with one read and one write.
const COPY: usize = 64 << 10;

/// A channel over any [`Read`](io::Read) and any [`Write`]: files, terminals, standard input and output, serial lines,
/// pipes to a child process. Each has a thread of its own, on which alone it is used and dropped; neither need be
/// something that a selector knows.
///
/// It reads [`BytesMut`](bytes::BytesMut), and writes [`Bytes`](bytes::Bytes), [`BytesMut`](bytes::BytesMut) and
/// [`FileRegion`]s. After each batch the output is flushed. Ending the output drops the `Write`, which for a pipe is
/// the end that its reader sees.
///
/// A read that waits can't be woken: nothing here knows how. So closing the channel does not wait for the threads, and a
/// thread whose read never returns is there until the process ends, with what it reads from. To have it end, give reads
/// a time-out: what fails with [`TimedOut`](io::ErrorKind::TimedOut) or [`WouldBlock`](io::ErrorKind::WouldBlock) is
/// asked again until the channel closes. [`Descriptor`](super::Descriptor) does that for pipes and terminals. Or say
/// with [`interrupt`](Self::interrupt) how a read is woken.
///
/// ```
/// use std::io;
/// use tidegate::transport::oio::Stream;
/// use tidegate::{Channel, Error, EventLoopGroup};
///
/// let group = EventLoopGroup::new(1)?;
/// let opened = Channel::builder().open_on(
///     &group.next(),
///     || Stream::new("greeting", &b"hello"[..], io::sink()),
///     |_pipeline| Ok::<_, Error>(()),
/// );
/// // It closes at the end of what there is to read.
/// opened.sync()?.close_future().sync()?;
/// # Ok::<(), Error>(())
/// ```
pub struct Stream {
    name: Arc<str>,
    state: State,
    interrupt: Option<Box<dyn FnOnce() + Send>>,
    /// The output has something to do when it is dropped.
    output_drops: bool,
    /// Closing ends when the threads have.
    waits: bool,
}

enum State {
    Unregistered(Box<dyn io::Read + Send>, Box<dyn Write + Send>),
    Running(Threads<Input>),
    Closed,
}

impl Stream {
    /// Reads from `input` and writes to `output`. `name` stands for both in texts.
    pub fn new<W: Write + Send + 'static>(
        name: impl Into<Arc<str>>,
        input: impl io::Read + Send + 'static,
        output: W,
    ) -> Self {
        Self {
            name: name.into(),
            state: State::Unregistered(Box::new(input), Box::new(output)),
            interrupt: None,
            output_drops: std::mem::needs_drop::<W>(),
            waits: false,
        }
    }

    /// Called on the loop, once, when the channel closes: it has to make reads and writes that wait return, now and later
    /// (for a socket, shutdown(2)). With it closing ends when the threads have.
    #[must_use]
    pub fn interrupt(mut self, wake: impl FnOnce() + Send + 'static) -> Self {
        self.interrupt = Some(Box::new(wake));
        self
    }

    fn threads(&mut self) -> Result<&mut Threads<Input>, Error> {
        match &mut self.state {
            State::Running(threads) => Ok(threads),
            State::Unregistered(..) | State::Closed => Err(Error::new(
                ErrorKind::ChannelClosed,
                format!("the channel over {} is closed", self.name),
            )),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Transport for Stream {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: "blocking stream",
            has_disconnect: false,
            max_messages_per_read: 16,
            is_server: false,
        }
    }

    fn is_active(&self) -> bool {
        !matches!(self.state, State::Closed)
    }

    fn register(&mut self, io: &mut Io<'_>) -> Result<(), Error> {
        let State::Unregistered(input, output) = std::mem::replace(&mut self.state, State::Closed)
        else {
            return self.threads().map(drop);
        };
        let writer = Writer {
            name: self.name.clone(),
            output,
            output_drops: self.output_drops,
        };
        let last = Last::new((), io.signal());
        let channel = census::next_channel();
        let input = Input::start(
            format!("oio-read-{channel}"),
            self.name.clone(),
            Source::Any(input),
            io.signal(),
            last.clone(),
        )?;
        let output = Output::new(format!("oio-write-{channel}"), writer, last.clone());
        let interrupt = self.interrupt.take();
        self.waits = interrupt.is_some();
        let threads = Threads::new(input, output, last, move |_| {
            if let Some(interrupt) = interrupt {
                interrupt();
            }
        });
        self.state = State::Running(threads);
        Ok(())
    }

    fn accepts(&self, msg: &Message) -> bool {
        msg.readable_bytes().is_some() || msg.is::<FileRegion>()
    }

    fn read(&mut self, io: &mut Io<'_>) -> Result<Read, Error> {
        self.threads()?.input.read(io)
    }

    fn flush(&mut self, io: &mut Io<'_>, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        self.threads()?.output.flush(io, out)
    }

    fn goes_by(&self, id: OptionId) -> bool {
        !is_limit(id)
    }

    fn shutdown(&mut self, _io: &mut Io<'_>, direction: Direction) -> Result<(), Error> {
        let threads = self.threads()?;
        match direction {
            Direction::Input => threads.input.end(),
            Direction::Output => threads.output.finish(),
        }
        Ok(())
    }

    fn close(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
        self.state = State::Closed;
        Ok(if self.waits {
            Progress::Pending
        } else {
            Progress::Done
        })
    }
}

/// The writing thread's side.
struct Writer {
    name: Arc<str>,
    output: Box<dyn Write + Send>,
    output_drops: bool,
}

impl Writer {
    fn failed(&self, error: io::Error) -> Error {
        Error::io(format!("writing to {}", self.name), error)
    }

    /// What a write has come to: so many bytes, or no room in the time that it waits.
    fn written(&self, answer: io::Result<usize>) -> Result<Option<usize>, Error> {
        match answer {
            Ok(0) => Err(self.failed(io::ErrorKind::WriteZero.into())),
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Some(0)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(self.failed(error)),
        }
    }
}

impl Sink for Writer {
    fn step(&mut self, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        let is_alone = out.flushed_len() == 1;
        let answer = match out.front() {
            Front::Empty => return Ok(Flush::Drained),
            Front::Bytes([]) => {
                let _ = out.advance(0);
                return Ok(Flush::Yielded);
            }
            Front::Bytes(bytes) if is_alone => self.output.write(bytes),
            Front::Bytes(_) => out.gather(|slices, _| self.output.write_vectored(slices)),
            Front::Region(region) => {
                let copied = copy(region, self.output.as_mut());
                let is_done = region.is_done();
                let copied = if is_done {
                    Ok(Some(0))
                } else {
                    self.written(copied)
                };
                return match copied {
                    Ok(None) => Ok(Flush::Blocked),
                    Ok(Some(_)) => {
                        if is_done {
                            let _ = out.complete_front();
                        }
                        Ok(Flush::Yielded)
                    }
                    Err(error) => {
                        let _ = out.fail_front(error.clone());
                        Err(error)
                    }
                };
            }
            // The head refuses those, so none is ever buffered.
            Front::Object(object) => {
                let text = format!("a stream can't send a {}", object.type_name());
                let _ = out.fail_front(Error::new(ErrorKind::Unsupported, text));
                return Ok(Flush::Yielded);
            }
        };
        match self.written(answer)? {
            None => Ok(Flush::Blocked),
            Some(count) => {
                if count > 0 {
                    let _ = out.advance(count);
                }
                Ok(Flush::Yielded)
            }
        }
    }

    /// The write that found no room may have waited itself. One that does not is asked again and again.
    fn wait(&mut self) -> Result<(), Error> {
        thread::sleep(NO_ROOM_REST);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Error> {
        self.output.flush().map_err(|error| self.failed(error))
    }

    fn drops_slowly(&self) -> bool {
        self.output_drops
    }
}

/// The next part of a region, by one read and one write.
fn copy(region: &mut FileRegion, output: &mut dyn Write) -> io::Result<usize> {
    region.transfer(|file, offset, left| {
        let count = usize::try_from(left).map_or(COPY, |left| left.min(COPY));
        let mut bytes = vec![0; count];
        match file.read_at(&mut bytes, *offset)? {
            0 => Ok(0),
            read => output.write(&bytes[..read]),
        }
    })
}
