//! [`Prepend`]: a header before each message of bytes.

use std::any::{Any, type_name};

use super::room;
use crate::buffer::Message;
use crate::channel::{Context, Handler, HandlerResult, IntoHandler};
use crate::codec::Prepender;
use crate::error::Error;
use crate::future::Promise;

/// Bodies of at most so many bytes are copied behind their header.
///
/// Counted by callgrind (rustc 1.95, x86-64): a second buffer costs 400 instructions from here to the outbound buffer
/// and out of it, and 40 more for each handler in between; copying costs 10 for each 100 bytes. The kernel's share for
/// one more part of a gathering write comes on top. Netty always writes two.
const COPIED_MAX: usize = 1024;

/// Writes a [`Prepender`]'s header before each message of bytes; other messages pass.
///
/// A large body is not copied: header and body are two buffers, which leave in one gathering write. The promise of the
/// message is that of its body, or of both where they are one buffer. It cannot be cancelled once the header
/// is on its way. A body that cannot be announced fails its promise, and nothing is written.
///
/// A prepender given to `pipeline.add_last(..)` becomes one of these.
///
/// ```
/// use tidegate::EmbeddedChannel;
/// use tidegate::codec::LengthFieldPrepender;
///
/// let mut channel = EmbeddedChannel::new(|pipeline| {
///     pipeline.add_last(LengthFieldPrepender::new(2))
/// })?;
/// channel.write_outbound("tide")?;
/// assert_eq!(channel.read_outbound().unwrap().as_bytes(), Some(&b"\0\x04tide"[..]));
/// # Ok::<(), tidegate::Failure>(())
/// ```
#[derive(Debug)]
pub struct Prepend<P> {
    prepender: P,
}

impl<P: Prepender> Prepend<P> {
    /// A handler of this prepender.
    pub fn new(prepender: P) -> Self {
        Self { prepender }
    }

    /// The prepender.
    pub fn prepender(&mut self) -> &mut P {
        &mut self.prepender
    }
}

impl<P: Prepender + 'static> Handler for Prepend<P> {
    fn wrapped(&mut self) -> Option<(&mut dyn Any, &'static str)> {
        Some((&mut self.prepender, type_name::<P>()))
    }

    fn into_wrapped(self: Box<Self>) -> Option<Box<dyn Any>> {
        Some(Box::new(self.prepender))
    }

    #[inline]
    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        let Some(body) = msg.as_bytes() else {
            ctx.write_with(msg, promise);
            return Ok(());
        };
        let header = self.prepender.header(body.len())?;
        if body.len() <= COPIED_MAX {
            let framed = room::encode(|dst| {
                dst.extend_from_slice(&header);
                dst.extend_from_slice(body);
                Ok::<(), Error>(())
            })?;
            ctx.write_with(framed, promise);
        } else if promise.set_uncancellable() {
            let header = room::encode(|dst| {
                dst.extend_from_slice(&header);
                Ok::<(), Error>(())
            })?;
            ctx.write(header);
            ctx.write_with(msg, promise);
        }
        Ok(())
    }
}

/// Marks the conversion of a prepender into a [`Prepend`].
#[derive(Debug)]
pub enum ForPrepender {}

impl<P: Prepender + 'static> IntoHandler<ForPrepender> for P {
    type Handler = Prepend<P>;

    fn into_handler(self) -> Prepend<P> {
        Prepend::new(self)
    }
}
