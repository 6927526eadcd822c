//! Large things written piece by piece.
