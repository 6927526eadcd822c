//! Runs a decoder over a vector, cut in one piece, at every single place, and into single bytes.

use std::iter;

use bytes::BytesMut;
use tidegate::codec::Encoder;
use tidegate::error::{Error, ErrorKind};

use crate::fuzz::subject::Subject;
use crate::fuzz::trial::{Event, run};

/// A value.
pub fn item(bytes: impl AsRef<[u8]>) -> Event {
    Event::Item(bytes.as_ref().to_vec())
}

/// An error whose text holds `words`: see [`expect`].
pub fn fails(kind: ErrorKind, words: &str) -> Event {
    Event::Failed(kind, words.to_owned())
}

pub fn malformed(words: &str) -> Event {
    fails(ErrorKind::Malformed, words)
}

pub fn too_long(words: &str) -> Event {
    fails(ErrorKind::TooLong, words)
}

/// So many bytes are left when the stream ends.
pub fn left(bytes: usize) -> Event {
    Event::Left(bytes)
}

/// Whatever the reads, `input` must come out as `expected`; texts of errors need only hold the expected words, but must
/// be the same for all reads.
pub fn expect(make: impl Fn() -> Box<dyn Subject>, input: impl AsRef<[u8]>, expected: &[Event]) {
    let input = input.as_ref();
    let whole = run(&mut *make(), [input]);
    assert_eq!(whole.len(), expected.len(), "{whole:?}");
    for (got, expected) in iter::zip(&whole, expected) {
        match (got, expected) {
            (Event::Failed(kind, text), Event::Failed(kind_expected, words)) => {
                assert_eq!(kind, kind_expected, "{text}");
                assert!(text.contains(words), "{text:?} does not say {words:?}");
            }
            _ => assert_eq!(got, expected, "{whole:?}"),
        }
    }
    for at in 0..=input.len() {
        let (first, second) = input.split_at(at);
        let cut = run(
            &mut *make(),
            [first, second].into_iter().filter(|r| !r.is_empty()),
        );
        assert_eq!(cut, whole, "cut at {at}");
    }
    let bytes = run(&mut *make(), input.chunks(1));
    assert_eq!(bytes, whole, "byte by byte");
}

/// What the encoder appends; it must leave alone what is there, also when it fails.
pub fn encoded<E, Item>(encoder: &mut E, item: Item) -> Result<Vec<u8>, Error>
where
    E: Encoder<Item, Error = Error>,
{
    let mut dst = BytesMut::from("before");
    let result = encoder.encode(item, &mut dst);
    assert!(dst.starts_with(b"before"));
    match result {
        Ok(()) => Ok(dst[6..].to_vec()),
        Err(error) => {
            assert_eq!(dst, "before", "after {error}");
            Err(error)
        }
    }
}
