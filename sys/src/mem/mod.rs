//! Memory structures that need unsafe: inline closures, erased values, the task queue.
pub mod erased;
pub use erased::Erased;
