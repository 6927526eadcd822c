//! Channels and their pipelines.

pub(crate) mod outbound;
