//! A toy multiplexer on the public API: streams within one connection are channels with pipelines of their own, on a
//! transport that has no descriptor. It proves that a protocol like HTTP/2 fits, and pins what such a protocol
//! relies on: order, back-pressure per stream, how streams and connections end, and that nothing runs on a stack where
//! it does not belong.

#[path = "../../sys/tests/support/counting.rs"]
mod counting;
mod ending;
mod frame;
mod hub;
mod mux;
mod order;
mod pressure;
mod scale;
mod stream;
mod support;

#[global_allocator]
static COUNTING: counting::Counting = counting::Counting;
