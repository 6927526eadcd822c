//! [`Failure`]: what a handler's callback returns when it fails.
//!
//! Opaque, so that any error goes in by `?`. For that it may not implement `std::error::Error` itself
//! (the conversion from every error would then include itself, which the language forbids).

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use super::kind::{ErrorKind, Fault};
use super::value::Error;

/// The opaque error of a handler's callback: any `std::error::Error` that is `Send + Sync` becomes one
/// by `?`.
///
/// ```
/// use tidegate::error::Failure;
///
/// fn parse(text: &str) -> Result<u32, Failure> {
///     if text.is_empty() {
///         return Err(Failure::msg("an empty frame is not a number"));
///     }
///     Ok(text.parse()?)
/// }
///
/// let failure = parse("twelve").unwrap_err();
/// assert!(failure.is::<std::num::ParseIntError>());
/// ```
pub struct Failure(Box<dyn StdError + Send + Sync>);

impl Failure {
    /// A failure that is only a text.
    #[cold]
    pub fn msg(text: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Text(text.into())))
    }

    /// A failure from an error that is boxed already.
    pub fn from_boxed(source: Box<dyn StdError + Send + Sync>) -> Self {
        Self(source)
    }

    /// True if the error inside is an `E`.
    pub fn is<E: StdError + 'static>(&self) -> bool {
        self.0.is::<E>()
    }

    /// The error inside, if it is an `E`.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }

    /// Takes the error out, if it is an `E`; otherwise gives the failure back.
    pub fn downcast<E: StdError + 'static>(self) -> Result<E, Self> {
        match self.0.downcast() {
            Ok(error) => Ok(*error),
            Err(other) => Err(Self(other)),
        }
    }

    /// The error inside.
    pub fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0
    }

    /// Its kind: that of an [`Error`] of this library, otherwise [`ErrorKind::User`].
    pub fn kind(&self) -> ErrorKind {
        self.downcast_ref::<Error>()
            .map_or(ErrorKind::User, Error::kind)
    }

    /// Whose doing it is: what an [`Error`] of this library says, otherwise that of [`ErrorKind::User`].
    pub fn fault(&self) -> Fault {
        self.downcast_ref::<Error>()
            .map_or(ErrorKind::User.fault(), Error::fault)
    }

    /// The library's error again if it was one, otherwise an [`ErrorKind::User`] with this as its source.
    #[cold]
    pub fn into_error(self) -> Error {
        match self.downcast::<Error>() {
            Ok(error) => error,
            Err(other) => Error::with_source(ErrorKind::User, "", other.0),
        }
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Failure {
    #[cold]
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.into_error()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The error inside [`Failure::msg`].
#[derive(Debug)]
struct Text(Cow<'static, str>);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Text {}
