//! The event loop: tasks, timers, turns, groups.
mod attached; pub(crate) mod boundary; mod budget; mod closing; mod config; mod core; mod current; mod futures; mod group; mod group_builder; mod handle; mod metrics; mod phases; mod scheduled; mod shared; mod spawn; mod spin; mod timers; mod turn;
pub(crate) use self::core::LoopCore;
pub(crate) use self::current::is_current;
pub use self::shared::EventLoop;
pub use self::timers::TimerKey;
