//! aggregating
