//! Handlers that watch the clock.
