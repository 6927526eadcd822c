//! transforming
