//! What these tests share: reading what was sent, inputs that tell when they are closed.

use std::sync::{Arc, Mutex};

use tidegate::handler::stream::{ChunkedInput, NextChunk};
use tidegate::{EmbeddedChannel, Failure, Message};

/// Everything that was sent, as text, a message each.
pub fn outbound(channel: &mut EmbeddedChannel) -> Vec<String> {
    std::iter::from_fn(|| channel.read_outbound())
        .map(|msg| text(&msg))
        .collect()
}

/// Everything that reached the tail, as one text.
pub fn inbound(channel: &mut EmbeddedChannel) -> String {
    std::iter::from_fn(|| channel.read_inbound())
        .map(|msg| text(&msg))
        .collect()
}

pub fn text(msg: &Message) -> String {
    String::from_utf8_lossy(msg.as_bytes().unwrap_or_default()).into_owned()
}

/// What happened, in order, from any thread.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn add(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// One step of a [`Scripted`] input.
#[derive(Clone, Copy)]
pub enum Step {
    Chunk(&'static str),
    Last(&'static str),
    Suspend,
    Fail,
    End,
}

/// An input that does what its steps say, and logs `name pulled` and `name closed`.
pub struct Scripted {
    pub name: &'static str,
    pub steps: Vec<Step>,
    pub progress: u64,
    pub log: Log,
}

impl Scripted {
    pub fn new(name: &'static str, steps: &[Step], log: &Log) -> Self {
        let mut steps = steps.to_vec();
        steps.reverse();
        Self {
            name,
            steps,
            progress: 0,
            log: log.clone(),
        }
    }
}

impl ChunkedInput for Scripted {
    fn next_chunk(&mut self) -> Result<NextChunk, Failure> {
        self.log.add(format!("{} pulled", self.name));
        Ok(match self.steps.pop() {
            Some(Step::Chunk(chunk)) => {
                self.progress += chunk.len() as u64;
                NextChunk::Chunk(chunk.into())
            }
            Some(Step::Last(chunk)) => {
                self.progress += chunk.len() as u64;
                NextChunk::Last(chunk.into())
            }
            Some(Step::Suspend) => NextChunk::Suspended,
            Some(Step::Fail) => return Err(Failure::msg("the disk is gone")),
            Some(Step::End) | None => NextChunk::End,
        })
    }

    fn progress(&self) -> u64 {
        self.progress
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.log.add(format!("{} closed", self.name));
    }
}
