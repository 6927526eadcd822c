//! Connections kept for the next use.
