//! Handlers that watch the clock.
//!
//! None of them sets a timer per message: what happens is noted with its time, and one timer looks at the notes when
//! something could be due, and sets itself again for the rest. A period of zero switches a watch off, others count as at
//! least one millisecond (H31); periods too long for the clock never end.
//!
//! - `idle`: [`IdleState`] tells when nothing was read, written, or either.
//! - `read`: [`ReadTimeout`] closes when nothing was read.
//! - `write`: [`WriteTimeout`] closes when a write takes too long.
//! - `unwritable`: [`UnwritableGuard`] closes when the peer takes nothing of what waits for it.
//! - `period`: periods, and the error of those that close.

mod idle;
mod period;
mod read;
mod unwritable;
mod write;

pub use idle::{IdleEvent, IdleKind, IdleState};
pub use read::ReadTimeout;
pub use unwritable::UnwritableGuard;
pub use write::WriteTimeout;
