//! [`Message`]: what travels through a pipeline.
//!
//! Handlers make and take messages, the pipeline moves them from node to node, and the outbound
//! buffer keeps them until they are written. A message owns its value; nothing here shares one.

use std::{
    any::{Any, TypeId, type_name},
    fmt,
};

use bytes::{Buf, Bytes, BytesMut};
use tidegate_sys::mem::Erased;

use crate::buffer::FileRegion;

/// What a value that is not bytes counts as when pending writes are measured, in bytes (C1).
const UNKNOWN_SIZE: usize = 8;

/// An owned value whose type only its receiver needs to know.
///
/// `BytesMut`, `Bytes` and [`FileRegion`] are kept as they are; any other `T: Any + Send` inside the
/// message when it is at most 24 bytes, in a box when it is larger. What goes in as one of these
/// types comes out as the same type, and a message put into a message is the inner one.
///
/// ```
/// use tidegate::buffer::{Bytes, Message};
///
/// let message = Message::new(Bytes::from_static(b"ping"));
/// assert_eq!(message.as_bytes(), Some(&b"ping"[..]));
/// let message = message.downcast::<String>().unwrap_err();
/// assert_eq!(message.downcast::<Bytes>().unwrap(), "ping");
/// ```
pub struct Message {
    repr: Repr,
}

// Ordered by how often they come; the tag of the first is the cheapest to test.
enum Repr {
    BytesMut(BytesMut),
    Bytes(Bytes),
    /// Never one of the types above, nor a Message. A file region is one word and needs no variant.
    Other(Erased),
}

// Every hop of the pipeline moves a message: four words of value and one of tag.
const _: () = assert!(size_of::<Message>() <= 5 * 8 && size_of::<Option<Message>>() <= 5 * 8);

impl Message {
    /// Puts a value in. Allocates only for a value of more than 24 bytes that is none of the buffer
    /// types.
    #[inline]
    #[must_use]
    pub fn new<T: Any + Send>(value: T) -> Self {
        // These compare constants: one arm remains of the generated code.
        if same::<T, BytesMut>() {
            Self::from(cast::<T, BytesMut>(value))
        } else if same::<T, Bytes>() {
            Self::from(cast::<T, Bytes>(value))
        } else if same::<T, Self>() {
            cast::<T, Self>(value)
        } else {
            Self {
                repr: Repr::Other(Erased::new(value)),
            }
        }
    }

    /// Takes the value out if it is a `T`.
    ///
    /// # Errors
    /// The message as it was, when the value is of another type.
    #[inline]
    pub fn downcast<T: Any + Send>(self) -> Result<T, Self> {
        if same::<T, Self>() {
            return Ok(cast(self));
        }
        match self.repr {
            Repr::BytesMut(bytes) if same::<T, BytesMut>() => Ok(cast(bytes)),
            Repr::Bytes(bytes) if same::<T, Bytes>() => Ok(cast(bytes)),
            Repr::Other(value) if !same::<T, BytesMut>() && !same::<T, Bytes>() => {
                value.downcast().map_err(|value| Self {
                    repr: Repr::Other(value),
                })
            }
            repr => Err(Self { repr }),
        }
    }

    /// Takes the bytes out of a `Bytes` or a `BytesMut`, without copying.
    ///
    /// # Errors
    /// The message as it was, when it is neither.
    #[inline]
    pub fn into_bytes(self) -> Result<Bytes, Self> {
        match self.repr {
            Repr::BytesMut(bytes) => Ok(bytes.freeze()),
            Repr::Bytes(bytes) => Ok(bytes),
            repr => Err(Self { repr }),
        }
    }

    /// Takes the bytes out of a `BytesMut` or a `Bytes`; copies them only out of a `Bytes` that
    /// somebody else holds too.
    ///
    /// # Errors
    /// The message as it was, when it is neither.
    #[inline]
    pub fn into_bytes_mut(self) -> Result<BytesMut, Self> {
        match self.repr {
            Repr::BytesMut(bytes) => Ok(bytes),
            Repr::Bytes(bytes) => Ok(bytes.into()),
            repr => Err(Self { repr }),
        }
    }

    /// Takes the value out as [`downcast`](Self::downcast) does, except that for `BytesMut` and `Bytes` either will do, as in
    /// [`into_bytes_mut`](Self::into_bytes_mut) and [`into_bytes`](Self::into_bytes): who wants bytes need not care what they
    /// came in. Sockets give `BytesMut`; a text, a `Vec<u8>` and what travels inside the process may be `Bytes`. Typed
    /// handlers take their messages so.
    ///
    /// ```
    /// use tidegate::buffer::{BytesMut, Message};
    ///
    /// assert!(Message::from("ping").downcast::<BytesMut>().is_err());
    /// assert_eq!(Message::from("ping").into_value::<BytesMut>().unwrap(), "ping");
    /// ```
    ///
    /// # Errors
    /// The message as it was, when the value is of another type.
    #[inline]
    pub fn into_value<T: Any + Send>(self) -> Result<T, Self> {
        // Constants again. Written out rather than put around a downcast: its result would be moved once more.
        if !same::<T, BytesMut>() && !same::<T, Bytes>() {
            return self.downcast();
        }
        match self.repr {
            Repr::BytesMut(bytes) if same::<T, BytesMut>() => Ok(cast(bytes)),
            Repr::Bytes(bytes) if same::<T, Bytes>() => Ok(cast(bytes)),
            repr => Self { repr }.into_other_bytes(),
        }
    }

    /// The other one of `Bytes` and `BytesMut`.
    #[cold]
    #[inline(never)]
    fn into_other_bytes<T: Any>(self) -> Result<T, Self> {
        if same::<T, Bytes>() {
            self.into_bytes().map(cast)
        } else {
            self.into_bytes_mut().map(cast)
        }
    }

    /// The value, if it is a `T`, for changing it in place.
    #[inline]
    #[must_use]
    pub fn downcast_mut<T: Any + Send>(&mut self) -> Option<&mut T> {
        if same::<T, Self>() {
            return (self as &mut dyn Any).downcast_mut();
        }
        match &mut self.repr {
            Repr::BytesMut(bytes) => (bytes as &mut dyn Any).downcast_mut(),
            Repr::Bytes(bytes) => (bytes as &mut dyn Any).downcast_mut(),
            Repr::Other(value) => value.downcast_mut(),
        }
    }

    /// The value, if it is a `T`.
    #[inline]
    #[must_use]
    pub fn downcast_ref<T: Any + Send>(&self) -> Option<&T> {
        if same::<T, Self>() {
            return (self as &dyn Any).downcast_ref();
        }
        match &self.repr {
            Repr::BytesMut(bytes) => (bytes as &dyn Any).downcast_ref(),
            Repr::Bytes(bytes) => (bytes as &dyn Any).downcast_ref(),
            Repr::Other(value) => value.downcast_ref(),
        }
    }

    /// Tells whether the value is a `T`.
    #[inline]
    #[must_use]
    pub fn is<T: Any + Send>(&self) -> bool {
        same::<T, Self>()
            || match &self.repr {
                Repr::BytesMut(_) => same::<T, BytesMut>(),
                Repr::Bytes(_) => same::<T, Bytes>(),
                Repr::Other(value) => value.is::<T>(),
            }
    }

    /// The bytes of a `Bytes` or a `BytesMut`.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match &self.repr {
            Repr::BytesMut(bytes) => Some(bytes),
            Repr::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The length of a `Bytes` or a `BytesMut`.
    #[inline]
    #[must_use]
    pub fn readable_bytes(&self) -> Option<usize> {
        match &self.repr {
            Repr::BytesMut(bytes) => Some(bytes.len()),
            Repr::Bytes(bytes) => Some(bytes.len()),
            _ => None,
        }
    }

    /// What the message counts as among pending writes, in bytes: the length of a buffer, nothing
    /// for a file region, 8 for anything else (C1).
    #[inline]
    #[must_use]
    pub fn estimated_size(&self) -> usize {
        match &self.repr {
            Repr::BytesMut(bytes) => bytes.len(),
            Repr::Bytes(bytes) => bytes.len(),
            Repr::Other(value) if value.is::<FileRegion>() => 0,
            Repr::Other(_) => UNKNOWN_SIZE,
        }
    }

    /// The name of the value's type, for people.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match &self.repr {
            Repr::BytesMut(_) => type_name::<BytesMut>(),
            Repr::Bytes(_) => type_name::<Bytes>(),
            Repr::Other(value) => value.type_name(),
        }
    }

    /// Drops the first `count` of at least as many bytes; only for buffers.
    #[inline]
    pub(crate) fn advance(&mut self, count: usize) {
        match &mut self.repr {
            Repr::BytesMut(bytes) => bytes.advance(count),
            Repr::Bytes(bytes) => bytes.advance(count),
            _ => debug_assert!(count == 0, "only bytes are written in parts"),
        }
    }

    /// Drops a message whose drop is quiet, without the code for the others.
    #[inline(always)]
    pub(crate) fn drop_quietly(self) {
        match self.repr {
            Repr::BytesMut(bytes) => drop(bytes),
            other => {
                debug_assert!(false, "only a BytesMut is dropped quietly");
                drop_other(other);
            }
        }
    }

    /// Tells whether dropping the message runs code of nobody but this library: the value may have a
    /// `Drop` of the user's, and so may the owner behind a `Bytes`.
    #[inline]
    pub(crate) fn drops_quietly(&self) -> bool {
        matches!(self.repr, Repr::BytesMut(_))
    }
}

#[cold]
fn drop_other(repr: Repr) {
    drop(repr);
}

/// Tells whether two types are the same; the compiler knows.
#[inline(always)]
fn same<T: Any, U: Any>() -> bool {
    TypeId::of::<T>() == TypeId::of::<U>()
}

/// Converts a value into the type that it has already.
#[inline(always)]
fn cast<T: Any, U: Any>(value: T) -> U {
    let mut slot = Some(value);
    let slot = (&mut slot as &mut dyn Any).downcast_mut::<Option<U>>();
    slot.and_then(Option::take)
        .expect("only called where both types are the same")
}

impl From<BytesMut> for Message {
    #[inline]
    fn from(bytes: BytesMut) -> Self {
        Self {
            repr: Repr::BytesMut(bytes),
        }
    }
}

impl From<Bytes> for Message {
    #[inline]
    fn from(bytes: Bytes) -> Self {
        Self {
            repr: Repr::Bytes(bytes),
        }
    }
}

impl From<FileRegion> for Message {
    #[inline]
    fn from(region: FileRegion) -> Self {
        Self {
            repr: Repr::Other(Erased::new(region)),
        }
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static [u8]> for Message {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl<const N: usize> From<&'static [u8; N]> for Message {
    fn from(bytes: &'static [u8; N]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<&'static str> for Message {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl fmt::Debug for Message {
    /// Type and size; contents belong to a logging handler.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.repr {
            Repr::BytesMut(bytes) => write!(f, "BytesMut({} bytes)", bytes.len()),
            Repr::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Repr::Other(value) => match value.downcast_ref::<FileRegion>() {
                Some(region) => region.fmt(f),
                None => write!(f, "{}({} bytes)", value.type_name(), value.size()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Large([u64; 9]);

    fn region() -> FileRegion {
        FileRegion::lazy("unused", 0, 10)
    }

    #[test]
    fn buffers_are_recognised_whichever_way_they_come_in() {
        let message = Message::new(BytesMut::from(&b"abc"[..]));
        assert!(message.is::<BytesMut>() && !message.is::<Bytes>());
        assert!(matches!(message.repr, Repr::BytesMut(_)));
        assert!(matches!(Message::new(Bytes::new()).repr, Repr::Bytes(_)));
        assert!(Message::new(region()).is::<FileRegion>());
        assert!(matches!(
            Message::new(Message::new(Bytes::new())).repr,
            Repr::Bytes(_)
        ));
        assert!(matches!(Message::new(7_u8).repr, Repr::Other(_)));
    }

    #[test]
    fn a_value_comes_out_as_what_it_was() {
        let message = Message::new(Large([3; 9]));
        assert_eq!(message.downcast_ref::<Large>(), Some(&Large([3; 9])));
        let message = message.downcast::<u32>().expect_err("not a number");
        let message = message.downcast::<Bytes>().expect_err("not bytes");
        assert_eq!(
            message.downcast::<Large>().expect("is a Large"),
            Large([3; 9])
        );

        let message = Message::new(BytesMut::from(&b"abc"[..]));
        let message = message.downcast::<Bytes>().expect_err("is a BytesMut");
        assert_eq!(
            message.downcast::<BytesMut>().expect("is a BytesMut"),
            "abc"
        );
    }

    #[test]
    fn a_value_can_be_changed_in_place() {
        let mut number = Message::new(1_u64);
        *number.downcast_mut::<u64>().expect("is a number") += 1;
        assert_eq!(number.downcast_ref::<u64>(), Some(&2));
        let mut bytes = Message::new(BytesMut::from(&b"abc"[..]));
        bytes
            .downcast_mut::<BytesMut>()
            .expect("is a BytesMut")
            .truncate(1);
        assert_eq!(bytes.as_bytes(), Some(&b"a"[..]));
        assert!(bytes.downcast_mut::<Message>().is_some());
        assert!(bytes.downcast_mut::<u64>().is_none());
    }

    #[test]
    fn a_message_is_also_a_message() {
        let message = Message::new(5_i32);
        assert!(message.is::<Message>() && message.downcast_ref::<Message>().is_some());
        let inner = message.downcast::<Message>().expect("is a message");
        assert_eq!(inner.downcast::<i32>().expect("is a number"), 5);
    }

    #[test]
    fn dropping_a_message_drops_its_value_once() {
        let alive = Arc::new(());
        drop(Message::new(Arc::clone(&alive)));
        drop(Message::new((Arc::clone(&alive), [0_u64; 8])));
        let message = Message::new(Arc::clone(&alive));
        drop(message.downcast::<Arc<()>>().expect("is an Arc"));
        drop(Message::new(Arc::clone(&alive)).downcast::<u8>());
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn bytes_come_out_frozen_or_writable() {
        let frozen = Message::new(BytesMut::from(&b"abc"[..]))
            .into_bytes()
            .expect("bytes");
        assert_eq!(frozen, "abc");
        let writable = Message::new(frozen.clone())
            .into_bytes_mut()
            .expect("bytes");
        assert_ne!(
            writable.as_ptr(),
            frozen.as_ptr(),
            "shared bytes are copied"
        );
        assert!(
            Message::new(1_u8)
                .into_bytes()
                .expect_err("no bytes")
                .is::<u8>()
        );
        assert!(
            Message::new(region())
                .into_bytes_mut()
                .expect_err("no bytes")
                .is::<FileRegion>()
        );
    }

    #[test]
    fn who_wants_bytes_gets_them_from_either() {
        let read = || Message::new(BytesMut::from(&b"abc"[..]));
        assert_eq!(read().into_value::<Bytes>().expect("bytes"), "abc");
        assert_eq!(read().into_value::<BytesMut>().expect("bytes"), "abc");
        let text = || Message::from("abc");
        assert_eq!(text().into_value::<Bytes>().expect("bytes"), "abc");
        assert_eq!(text().into_value::<BytesMut>().expect("bytes"), "abc");
        assert!(text().into_value::<String>().is_err());
        let number = Message::new(1_u8).into_value::<Bytes>();
        assert_eq!(
            number.expect_err("no bytes").into_value::<u8>().ok(),
            Some(1)
        );
    }

    #[test]
    fn sizes_are_estimated_as_netty_does() {
        assert_eq!(Message::from("hello").estimated_size(), 5);
        assert_eq!(Message::from(vec![1, 2, 3]).estimated_size(), 3);
        assert_eq!(Message::new(region()).estimated_size(), 0);
        assert_eq!(Message::new(Large([0; 9])).estimated_size(), 8);
        assert_eq!(Message::from(b"xy").readable_bytes(), Some(2));
        assert_eq!(Message::new(region()).readable_bytes(), None);
    }

    #[test]
    fn messages_and_regions_may_change_threads() {
        fn send<T: Send>() {}
        send::<Message>();
        send::<FileRegion>();
    }

    #[test]
    fn debug_tells_type_and_size() {
        assert_eq!(format!("{:?}", Message::from("hello")), "Bytes(5 bytes)");
        assert_eq!(format!("{:?}", Message::new(1_u16)), "u16(2 bytes)");
        assert!(format!("{:?}", Message::new(region())).starts_with("FileRegion"));
        assert_eq!(Message::new(1_u16).type_name(), "u16");
    }
}
