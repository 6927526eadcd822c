//! [`IntoMessage`]: what the methods that take a message take. It says little more than `Into<Message>`, which it is for: that
//! nothing is borrowed, so that a message can be told from what becomes one, and what the compiler says of everything else.
//! Called wherever a message comes from a user.

use super::message::Message;

/// Becomes a message: a [`Message`], bytes (`BytesMut`, `Bytes`, `Vec<u8>`, `String`, `&'static str`, byte strings), and
/// whatever has `Into<Message>` and borrows nothing. A value of any other type is wrapped: `Message::new(value)`.
///
/// ```
/// use tidegate::{EmbeddedChannel, Failure, Message};
///
/// struct Reply(u32);
///
/// // Spares its users the wrapping.
/// impl From<Reply> for Message {
///     fn from(reply: Reply) -> Self {
///         Self::new(reply)
///     }
/// }
///
/// let mut channel = EmbeddedChannel::new(|_| Ok::<_, Failure>(()))?;
/// channel.write_outbound("text")?;
/// channel.write_outbound(Message::new(7_u64))?;
/// channel.write_outbound(Reply(8))?;
/// assert_eq!(channel.read_outbound().unwrap().as_bytes(), Some(&b"text"[..]));
/// assert_eq!(channel.read_outbound_as::<u64>(), Some(7));
/// assert_eq!(channel.read_outbound_as::<Reply>().unwrap().0, 8);
/// # Ok::<(), Failure>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no message yet",
    label = "neither a `Message` nor bytes",
    note = "any value that is `Send + 'static` becomes one: `Message::new(value)`",
    note = "`impl From<{Self}> for Message` does so for all places"
)]
pub trait IntoMessage: 'static {
    /// The message.
    fn into_message(self) -> Message;
}

#[diagnostic::do_not_recommend]
impl<T: Into<Message> + 'static> IntoMessage for T {
    #[inline(always)]
    fn into_message(self) -> Message {
        self.into()
    }
}
