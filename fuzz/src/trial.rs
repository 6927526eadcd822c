//! One input through one decoder, and through it again with other reads.

use bytes::BytesMut;
use tidegate::error::{Error, ErrorKind};

use super::random::Random;
use super::subject::{Codec, Subject};

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A value, as bytes.
    Item(Vec<u8>),
    /// An error: its kind and its text.
    Failed(ErrorKind, String),
    /// So many bytes were left at the end.
    Left(usize),
    /// It fails again and again without taking a byte: parameters that cannot work.
    Stuck,
}

impl From<Error> for Event {
    fn from(error: Error) -> Self {
        Event::Failed(error.kind(), error.to_string())
    }
}

/// Feeds `reads` one after the other, as a handler would, and collects what comes out.
///
/// # Panics
/// If the decoder gives values without taking bytes, is called more often than its input can justify, or keeps more than
/// it may (`subject.keeps()`) between two reads.
pub fn run<'a>(subject: &mut dyn Subject, reads: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut src = BytesMut::new();
    let mut events = Vec::new();
    for read in reads {
        if src.is_empty() {
            // As the first read of a connection: a buffer with no room behind it.
            src = BytesMut::from(read);
        } else {
            src.extend_from_slice(read);
        }
        if drain(subject, &mut src, false, &mut events) {
            return events;
        }
        assert!(
            src.len() <= subject.keeps(),
            "{} bytes are kept between two reads, {} are allowed",
            src.len(),
            subject.keeps()
        );
    }
    if !drain(subject, &mut src, true, &mut events) && !src.is_empty() {
        events.push(Event::Left(src.len()));
    }
    events
}

/// Decodes until there is nothing more to decode; true if the decoder is stuck.
fn drain(
    subject: &mut dyn Subject,
    src: &mut BytesMut,
    ended: bool,
    events: &mut Vec<Event>,
) -> bool {
    // Each call takes a byte, or is the only one that does not: an error that came early, or the last.
    let mut calls_left = 2 * src.len() + 4;
    let mut idle = 0;
    loop {
        assert!(calls_left > 0, "too many calls for {} bytes", src.len());
        calls_left -= 1;
        let before = src.len();
        match subject.step(src, ended) {
            Ok(None) => return false,
            Ok(Some(item)) => {
                assert!(src.len() < before, "a value from nothing: {item:?}");
                events.push(Event::Item(item));
                idle = 0;
            }
            Err(error) => {
                idle = if src.len() < before { 0 } else { idle + 1 };
                events.push(error.into());
                if idle == 2 {
                    events.push(Event::Stuck);
                    return true;
                }
            }
        }
    }
}

/// Runs the input in one read and in random reads; both must give the same.
///
/// # Panics
/// As [`run`], and if the two differ. The text gives all that is needed to run it again.
pub fn compare(codec: &Codec, config: u32, input: &[u8], random: &mut Random) -> Vec<Event> {
    let whole = run(&mut *(codec.make)(config), [input]);
    let most = 1 + random.below(input.len().max(1));
    let mut reads = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        let (read, left) = rest.split_at(rest.len().min(1 + random.below(most)));
        reads.push(read);
        rest = left;
    }
    let cut = run(&mut *(codec.make)(config), reads.iter().copied());
    assert!(
        whole == cut,
        "{}: the reads make a difference\nconfig {config}\ninput {:?}\nreads {:?}\nin one  {whole:?}\nin many {cut:?}",
        codec.name,
        input.escape_ascii().to_string(),
        reads.iter().map(|read| read.len()).collect::<Vec<_>>()
    );
    whole
}
