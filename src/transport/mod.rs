//! What carries channels: `tcp`, and `embedded` for tests. They do not know each other.

pub mod embedded;
