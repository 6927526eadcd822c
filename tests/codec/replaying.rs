//! Decoders without length checks: what is replayed, what is not, and what is refused.

use bytes::BytesMut;
use tidegate::codec::{Decoder, Halt, Input, Replaying};
use tidegate::error::{Error, ErrorKind};

use crate::fuzz::subject::{Of, Subject, frames};
use crate::support::{expect, item, left, malformed, too_long};

/// A word, its length before it in two bytes, and a number behind it.
fn record(input: &mut Input<'_>) -> Result<Option<BytesMut>, Halt> {
    let len = input.take_u16()?;
    let mut word = input.take_bytes(len.into())?;
    word.extend_from_slice(input.take_u32_le()?.to_string().as_bytes());
    Ok(Some(word))
}

/// Rules: H11
#[test]
fn a_replay_begins_anew_until_all_is_there() {
    expect(
        || frames(Replaying::new(30, record), 30),
        b"\0\x03abc\x07\0\0\0\0\0\x01\x01\0\0\0\x01",
        &[item("abc7"), item("257"), left(2)],
    );
}

/// Rules: H11
#[test]
fn what_lies_before_a_checkpoint_is_not_replayed() {
    let mut sum = 0u64;
    let mut runs = 0;
    let mut decoder = Replaying::new(8, |input: &mut Input<'_>| -> Result<Option<u64>, Halt> {
        runs += 1;
        loop {
            match input.take_u8()? {
                0 => return Ok(Some(std::mem::take(&mut sum))),
                number => sum += u64::from(number),
            }
            input.checkpoint();
        }
    });
    let mut src = BytesMut::new();
    for number in [1, 2, 3] {
        src.extend_from_slice(&[number]);
        assert_eq!(decoder.decode(&mut src).unwrap(), None);
        assert!(src.is_empty());
    }
    src.extend_from_slice(&[4, 0]);
    assert_eq!(decoder.decode(&mut src).unwrap(), Some(10));
    assert_eq!(runs, 4, "once per read");
}

#[test]
fn a_replay_is_not_run_before_it_has_what_it_asked_for() {
    let mut runs = 0;
    let mut decoder = Replaying::new(100, |input: &mut Input<'_>| {
        runs += 1;
        input.take_array::<100>().map(Some)
    });
    let mut src = BytesMut::new();
    for _ in 0..99 {
        src.extend_from_slice(b"x");
        assert_eq!(decoder.decode(&mut src).unwrap(), None);
    }
    src.extend_from_slice(b"x");
    assert_eq!(decoder.decode(&mut src).unwrap(), Some([b'x'; 100]));
    assert_eq!(runs, 2);
}

#[test]
fn a_split_copies_nothing_and_is_a_checkpoint() {
    let mut len = None;
    let mut decoder = Replaying::new(100, move |input: &mut Input<'_>| -> Result<_, Halt> {
        let known = match len {
            Some(known) => known,
            None => *len.insert(input.take_u8()?.into()),
        };
        input.checkpoint();
        let body = input.split(known)?;
        len = None;
        Ok(Some(body))
    });
    let mut src = BytesMut::from(&b"\x05hello\x02"[..]);
    let address = src.as_ptr() as usize;
    let body = decoder.decode(&mut src).unwrap().unwrap();
    assert_eq!(
        (&body[..], body.as_ptr() as usize),
        (&b"hello"[..], address + 1)
    );
    assert_eq!(decoder.decode(&mut src).unwrap(), None);
    src.extend_from_slice(b"ok");
    assert_eq!(decoder.decode(&mut src).unwrap().unwrap(), "ok");
}

/// Rules: H11
#[test]
fn a_replay_that_neither_takes_nor_moves_is_an_error() {
    let mut decoder = Replaying::new(8, |_: &mut Input<'_>| -> Result<Option<()>, Halt> {
        Ok(None)
    });
    let error = decoder.decode(&mut BytesMut::from("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoProgress);
    let mut endless = Replaying::new(8, |input: &mut Input<'_>| -> Result<Option<()>, Halt> {
        input.checkpoint();
        Ok(None)
    });
    let error = endless.decode(&mut BytesMut::from("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoProgress);
}

#[test]
fn a_message_beyond_the_limit_ends_the_stream_whatever_the_reads() {
    expect(
        || frames(Replaying::new(9, record), 9),
        b"\0\x03abc\x07\0\0\0\0\x04abcd\x07\0\0\0\0\x03abc\x07\0\0\0",
        &[
            item("abc7"),
            too_long("more than the 9 bytes that Replaying allows"),
        ],
    );
    let word = |input: &mut Input<'_>| -> Result<_, Halt> {
        Ok(Some(BytesMut::from(input.take_until(b' ')?)))
    };
    expect(
        || frames(Replaying::new(4, word), 4),
        b"one two three ",
        &[item("one"), item("two"), too_long("the 4 bytes")],
    );
}

#[test]
fn an_error_of_ones_own_takes_what_was_read() {
    let digits = |input: &mut Input<'_>| -> Result<_, Halt> {
        match input.take_u8()? {
            digit @ b'0'..=b'9' => Ok(Some(BytesMut::from(&[digit][..]))),
            other => Err(Error::new(ErrorKind::Malformed, format!("{other} is no digit")).into()),
        }
    };
    expect(
        || frames(Replaying::new(4, digits), 4),
        b"1x2",
        &[item("1"), malformed("120 is no digit"), item("2")],
    );
}

/// Rules: H11
#[test]
fn at_the_end_of_the_stream_the_rest_can_be_taken() {
    fn rest() -> Box<dyn Subject> {
        let all = |input: &mut Input<'_>| -> Result<_, Halt> {
            if input.is_ended() && input.remaining() == 0 {
                input.take_u8()?;
            }
            Ok(Some(input.take_rest()?.to_vec()))
        };
        Box::new(Of {
            decoder: Replaying::new(20, all),
            keeps: 20,
            bytes: |bytes| bytes,
        })
    }
    expect(rest, b"all of it", &[item("all of it")]);
    expect(rest, b"", &[]);
    expect(rest, b"more than twenty bytes", &[too_long("the 20 bytes")]);
}
