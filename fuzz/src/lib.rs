//! What every decoder is put through: one input, cut in two ways, must give the same values and errors, keep its memory
//! bounded and make progress. Shared by the libFuzzer targets beside this folder, by the stable driver `mutate`, and
//! by tests/codec, where a short run is part of `make test`.
//!
//! - `subject`: the decoders, each with many settings, and inputs to begin with.
//! - `whole`: parsers of whole inputs, as subjects like the others.
//! - `trial`: one input through one decoder.
//! - `random`: the generator and the mutations.

pub mod random;
pub mod subject;
pub mod trial;
pub mod whole;

/// One input, as libFuzzer gives it: four bytes choose the settings, two the reads, the rest is what the peer sends.
pub fn one_input(codec: &subject::Codec, data: &[u8]) {
    let Some((head, input)) = data.split_first_chunk::<6>() else {
        return;
    };
    let config = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let reads = u64::from(u16::from_le_bytes([head[4], head[5]]));
    trial::compare(codec, config, input, &mut random::Random::new(reads));
}
