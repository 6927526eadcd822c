//! User events that the channel itself fires. One more stands with what fires it: [`Draining`](super::Draining).

/// The peer closed its sending side while reading is paused. Fired once; data and end of input stay in the
/// kernel until `read()`.
///
/// Selectors that report levels instead of edges could only tell it over and over: with those it comes if the peer's
/// end is there when reading pauses, and else not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerClosing;

/// The input side ended while `ALLOW_HALF_CLOSURE` is on; the channel stays open for writing. Fired once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelInputShutdown;

/// Follows [`ChannelInputShutdown`] when all data had been read; no further read is attempted. Fired once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelInputShutdownReadComplete;

/// The output side was shut down; later writes fail. Fired once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelOutputShutdown;
