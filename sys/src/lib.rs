//! The one place with unsafe code under Tidegate, in two folders that do not know each other:
//! [`os`], the only door to the kernel, and [`mem`], the cross-thread task queue and type-erased
//! inline values.
#![deny(missing_docs)]
#![deny(clippy::undocumented_unsafe_blocks)]
#![deny(unsafe_op_in_unsafe_fn)]

pub mod mem;
pub mod os;
