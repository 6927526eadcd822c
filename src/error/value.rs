//! [`Error`]: one word, cheap to clone, with kind, fault, circumstances and source.
//!
//! It allocates once when made and never when cloned. It keeps no backtrace: errors of peers are
//! ordinary events here, and a backtrace of the event loop tells nothing.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::classify;
use super::kind::{ErrorKind, Fault};

/// The error that this library gives out.
///
/// It is `Clone`, because one cause often fails many promises, and it implements
/// [`std::error::Error`]. [`kind`](Error::kind) is for `match`, [`fault`](Error::fault) tells who has
/// to act, and the text says what was being done and what to do about it.
///
/// ```
/// use tidegate::error::{Error, ErrorKind, Fault};
///
/// let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
/// let error = Error::io("connect to 192.0.2.1:80", refused);
/// assert_eq!(error.kind(), ErrorKind::ConnectRefused);
/// assert_eq!(error.fault(), Fault::Peer);
/// assert_eq!(error.to_string(), "connect to 192.0.2.1:80: connection refused");
/// ```
#[derive(Clone)]
pub struct Error(Arc<Repr>);

struct Repr {
    kind: ErrorKind,
    fault: Fault,
    context: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`. `context` says what was being done, and what to do about it.
    #[cold]
    pub fn new(kind: ErrorKind, context: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Repr {
            kind,
            fault: kind.fault(),
            context: context.into(),
            source: None,
        }))
    }

    /// An error of the operating system; kind and fault follow from its errno.
    ///
    /// If `source` carries an `Error` of ours (it went through an `io` interface), its kind and fault
    /// are kept.
    #[cold]
    pub fn io(context: impl Into<Cow<'static, str>>, source: io::Error) -> Self {
        let (kind, fault) = match ours(&source) {
            Some(inside) => (inside.kind(), inside.fault()),
            None => classify::classify(&source),
        };
        Self(Arc::new(Repr {
            kind,
            fault,
            context: context.into(),
            source: Some(Box::new(source)),
        }))
    }

    /// A failed attempt to connect to `remote`: as [`Error::io`], except that a time-out of the kernel
    /// is a [`ErrorKind::ConnectTimeout`] here. The text names the address.
    #[cold]
    pub fn connect(remote: &dyn fmt::Display, source: io::Error) -> Self {
        let (kind, fault) = match ours(&source) {
            Some(inside) => (inside.kind(), inside.fault()),
            None => classify::classify_connect(&source),
        };
        Self(Arc::new(Repr {
            kind,
            fault,
            context: format!("connect to {remote}").into(),
            source: Some(Box::new(source)),
        }))
    }

    /// An error of `kind` with the error that led to it.
    #[cold]
    pub fn with_source(
        kind: ErrorKind,
        context: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Repr {
            kind,
            fault: kind.fault(),
            context: context.into(),
            source: Some(source.into()),
        }))
    }

    /// The same error with another party at fault, where the circumstances tell more than the kind.
    ///
    /// The source is kept if no clone of this error exists; otherwise this error becomes the source.
    #[must_use]
    pub fn with_fault(self, fault: Fault) -> Self {
        match Arc::try_unwrap(self.0) {
            Ok(repr) => Self(Arc::new(Repr { fault, ..repr })),
            Err(shared) => Self(Arc::new(Repr {
                kind: shared.kind,
                fault,
                context: "".into(),
                source: Some(Box::new(Self(shared))),
            })),
        }
    }

    /// What happened.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whose doing it was.
    pub fn fault(&self) -> Fault {
        self.0.fault
    }

    /// Whether the peer is at fault for this, or for the end of the channel that this follows from.
    pub(crate) fn comes_from_peer(&self) -> bool {
        let follows = self.kind() == ErrorKind::ChannelClosed;
        let cause = self.0.source.as_ref().filter(|_| follows);
        let cause = cause.and_then(|source| source.downcast_ref::<Self>());
        cause.unwrap_or(self).fault() == Fault::Peer
    }

    /// What was being done, and what to do about it, without the source.
    pub fn context(&self) -> &str {
        &self.0.context
    }

    /// The `io::ErrorKind` of the nearest error of the operating system underneath, if there is one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        self.io_error().map(io::Error::kind)
    }

    /// The errno of the nearest error of the operating system underneath, if there is one.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.io_error().and_then(io::Error::raw_os_error)
    }

    /// True if both are clones of one error.
    pub fn is_same(&self, other: &Error) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The first source of type `E`, however deep; also this error itself if `E` is [`Error`].
    pub fn find<E: StdError + 'static>(&self) -> Option<&E> {
        let mut next: Option<&(dyn StdError + 'static)> = Some(self);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    fn io_error(&self) -> Option<&io::Error> {
        self.find()
    }
}

/// The error of ours that went through an `io` interface.
fn ours(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repr {
            kind,
            context,
            source,
            ..
        } = &*self.0;
        match (context.is_empty(), source) {
            (true, None) => kind.fmt(f),
            (true, Some(source)) => source.fmt(f),
            (false, None) => f.write_str(context),
            (false, Some(source)) => write!(f, "{context}: {source}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.0.kind)
            .field("fault", &self.0.fault)
            .field("context", &self.0.context);
        if let Some(source) = &self.0.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.source {
            Some(source) => Some(&**source),
            None => None,
        }
    }
}

/// Classifies the error; the text is the source's alone. Prefer [`Error::io`], which says what was
/// being done.
impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        Error::io("", source)
    }
}

/// For code behind `io` interfaces; the way back through [`Error::io`] keeps kind and fault.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = error.io_kind().unwrap_or(match error.kind() {
            ErrorKind::ChannelClosed | ErrorKind::OutputShutdown => io::ErrorKind::BrokenPipe,
            ErrorKind::NotYetConnected => io::ErrorKind::NotConnected,
            ErrorKind::ConnectTimeout | ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            ErrorKind::InvalidArgument => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::Other,
        });
        io::Error::new(kind, error)
    }
}
