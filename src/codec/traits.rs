//! [`Decoder`] and [`Encoder`]: what a codec is. Handlers call them; they call nobody.

use bytes::BytesMut;

use crate::error::{Error, Failure};

/// Cuts values out of a stream of bytes.
///
/// ```
/// use bytes::{Buf, BytesMut};
/// use tidegate::codec::Decoder;
/// use tidegate::Error;
///
/// /// Numbers of two bytes, the high one first.
/// struct Numbers;
///
/// impl Decoder for Numbers {
///     type Item = u16;
///     type Error = Error;
///
///     fn decode(&mut self, src: &mut BytesMut) -> Result<Option<u16>, Error> {
///         Ok((src.len() >= 2).then(|| src.get_u16()))
///     }
/// }
///
/// let mut bytes = BytesMut::from(&[0, 1, 2][..]);
/// assert_eq!(Numbers.decode(&mut bytes).unwrap(), Some(1));
/// assert_eq!(Numbers.decode(&mut bytes).unwrap(), None);
/// assert_eq!(&bytes[..], [2]);
/// ```
pub trait Decoder {
    /// What comes out.
    type Item;
    /// What goes wrong. A decoder that has failed may be called again: it says in its documentation where it goes on.
    type Error: Into<Failure>;

    /// The next value, or `None` if `src` does not hold a whole one yet.
    ///
    /// `src` holds what was received and not yet consumed; the decoder takes what it has understood from its front and
    /// leaves the rest. It is called again when there is more, and at once after each value. A decoder may take
    /// bytes without giving a value (a comment, a frame it discards). It may not give values without taking bytes
    /// for ever: a caller is free to take that for a broken decoder.
    ///
    /// # Errors
    /// When the bytes are not what the protocol allows.
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Self::Item>, Self::Error>;

    /// As [`decode`](Self::decode), when no more bytes will come. It is called until it gives `None`; what is then left in
    /// `src` was cut off, and the caller reports it.
    ///
    /// # Errors
    /// As `decode`.
    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Self::Item>, Self::Error> {
        self.decode(src)
    }

    /// How many bytes `src` must hold before another `decode` can bring anything, as far as the last one has learned; 0 if
    /// it does not know. Whoever collects the bytes of a long frame need not ask in between.
    fn needs(&self) -> usize {
        0
    }

    /// As [`decode`](Self::decode), or with `ended` as [`decode_eof`](Self::decode_eof), for values that are bytes and are
    /// looked at only once: what `look` makes of them comes out.
    ///
    /// A decoder of frames may lend the bytes where they are, and save the cost of a buffer of their own.
    ///
    /// # Errors
    /// As `decode`.
    fn decode_with<R>(
        &mut self,
        src: &mut BytesMut,
        ended: bool,
        look: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, Self::Error>
    where
        Self: Sized,
        Self::Item: AsRef<[u8]>,
    {
        let decoded = if ended {
            self.decode_eof(src)
        } else {
            self.decode(src)
        };
        Ok(decoded?.map(|bytes| look(bytes.as_ref())))
    }
}

/// Turns values into bytes.
pub trait Encoder<Item> {
    /// What goes wrong.
    type Error: Into<Failure>;

    /// Appends the value's bytes to `dst`, which may hold bytes already.
    ///
    /// # Errors
    /// When the value cannot be said in the protocol. `dst` is then as before the call.
    fn encode(&mut self, item: Item, dst: &mut BytesMut) -> Result<(), Self::Error>;
}

/// The error of a codec inside another as this crate's: its own kind is kept.
#[cold]
pub(super) fn into_error(error: impl Into<Failure>) -> Error {
    error.into().into_error()
}
