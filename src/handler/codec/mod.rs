//! Codecs in a pipeline.
