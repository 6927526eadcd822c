//! Channels and their pipelines.
