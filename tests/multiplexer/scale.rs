//! Many streams, many frames, and what they cost.

use std::rc::Rc;

use tidegate::buffer::{Bytes, BytesMut};
use tidegate::{Channel, Failure};

use crate::counting::allocations;
use crate::support::{Seen, Side, settle};

const STREAMS: u16 = 1000;

/// Room for the frames of a round, several times over.
const FRAMES_MEMORY: usize = 4096;

struct Many {
    a: Side,
    b: Side,
    streams: Vec<(Channel, Rc<Seen>)>,
    /// Where frames are cut off.
    scratch: BytesMut,
    number: u32,
}

impl Many {
    fn new() -> Result<Self, Failure> {
        let (mut a, b) = (Side::probing(true)?, Side::probing(true)?);
        let streams = (1..=STREAMS)
            .map(|id| a.open(id, Channel::builder(), true))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            a,
            b,
            streams,
            scratch: BytesMut::with_capacity(FRAMES_MEMORY),
            number: 0,
        })
    }

    /// Ten frames of 64 bytes on each stream.
    fn round(&mut self) {
        let _ = self.scratch.try_reclaim(FRAMES_MEMORY);
        let frames: [Bytes; 10] = std::array::from_fn(|_| {
            let mut frame = [0; 64];
            frame[..4].copy_from_slice(&self.number.to_be_bytes());
            self.number += 1;
            self.scratch.extend_from_slice(&frame);
            self.scratch.split().freeze()
        });
        let streams = &self.streams;
        self.a.embedded.run(|_| {
            for (stream, _) in streams {
                for frame in &frames {
                    stream.write(frame.clone());
                }
                stream.flush();
            }
        });
        drop(frames);
        settle(&mut self.a, &mut self.b);
    }

    fn check(&self) {
        for id in 1..=STREAMS {
            assert_eq!(self.b.accepted(id).1.next.get(), self.number, "stream {id}");
        }
    }
}

#[test]
fn a_thousand_streams_carry_a_thousand_frames_each() -> Result<(), Failure> {
    let mut many = Many::new()?;
    for _ in 0..100 {
        many.round();
    }
    many.check();
    assert_eq!(many.b.hub.open_streams(), usize::from(STREAMS));
    many.a.embedded.close();
    assert!(
        many.streams
            .iter()
            .all(|(_, seen)| seen.events().ends_with("inactive unregistered"))
    );
    Ok(())
}

#[test]
fn a_frame_allocates_nothing_once_warm() -> Result<(), Failure> {
    let mut many = Many::new()?;
    // Every stream has granted and used credit by then.
    for _ in 0..20 {
        many.round();
    }
    let (count, ()) = allocations(|| {
        for _ in 0..10 {
            many.round();
        }
    });
    many.check();
    assert_eq!(count, 0, "in 100,000 frames, with the credit for them");
    Ok(())
}
