//! Framing against tokio-util's, in one run and on the same bytes: a buffer of 64 KiB, as a busy reader gets it, decoded to
//! its end, and every value encoded again into a second buffer.
//!
//! `make bench BENCH=codecs`. A result is the ratio of two lines of one group; those that do the same are named alike.
//! `cargo bench --bench codecs -- ours 1000` runs one case so often without criterion, for perf and callgrind.
//!
//! Processor time per frame on 2026-11-21 (2 cores of a busy virtual machine, x86-64), decoded and encoded: length field 41 ns
//! against 51; a line as a `String` 52 against 54, as a `BytesMut` 49. What was learned on the way:
//!
//! - Half of what is left is bytes': one atomic increment by `split_to`, one decrement by the drop. Nothing in its
//!   public interface splits without them, so twice the speed is out of reach for a `BytesMut` per frame.
//! - A `Header` in a `Result` between measuring and writing, and a `BytesMut` collected from two branches, cost a third: they
//!   are copied by 16 bytes where they were just written by 8 (`codec::cut`, `codec::header`).
//! - Splitting a line and advancing over its end afterwards lost 14 % against truncating what was split.
//! - `StringDecoder` over frames that were split first lost 25 %: it looks at the line in place (`decode_with`).
//! - What is left of a line's time is mostly memchr (twice: the encoder refuses a line with an LF in it, which `LinesCodec`
//!   does not look for), the check of UTF-8, and the allocation of the `String`.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput};
use tidegate::codec::{
    Decoder, Encoder, LengthFieldDecoder, LengthFieldPrepender, LineDecoder, LineEncoder,
    StringDecoder,
};
use tokio_util::codec as theirs;
use tokio_util::codec::{LengthDelimitedCodec, LinesCodec};

const BUFFER: usize = 64 * 1024;
const BODY: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, case, rounds, ..] = &arguments[..]
        && let Ok(rounds) = rounds.parse()
    {
        return alone(case, rounds);
    }
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("length field, 64-byte frames");
    group.throughput(Throughput::Elements((BUFFER / (BODY + 4)) as u64));
    for (name, pass) in [
        ("tidegate", frames_ours as Pass),
        ("tokio-util", frames_theirs),
    ] {
        run(&mut group, name, &framed(), pass);
    }
    group.finish();
    let mut group = criterion.benchmark_group("lines of 64 bytes");
    group.throughput(Throughput::Elements((BUFFER / (BODY + 1)) as u64));
    for (name, pass) in [
        ("tidegate, String", strings_ours as Pass),
        ("tokio-util, String", strings_theirs),
        ("tidegate, BytesMut", lines_ours),
    ] {
        run(&mut group, name, &lines(), pass);
    }
    group.finish();
    criterion.final_summary();
}

/// Decodes all of the first buffer and encodes it into the second; how many values there were.
type Pass = fn(&mut BytesMut, &mut BytesMut) -> usize;

fn run(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    template: &BytesMut,
    pass: Pass,
) {
    let mut out = BytesMut::with_capacity(2 * BUFFER);
    group.bench_function(name, |bencher| {
        bencher.iter_batched(
            || template.clone(),
            |mut input| {
                out.clear();
                black_box(pass(&mut input, &mut out))
            },
            BatchSize::SmallInput,
        );
    });
}

fn alone(case: &str, rounds: usize) {
    let (template, pass): (_, Pass) = match case {
        "ours" => (framed(), frames_ours),
        "theirs" => (framed(), frames_theirs),
        "lines" => (lines(), lines_ours),
        "strings" => (lines(), strings_ours),
        _ => (lines(), strings_theirs),
    };
    let mut out = BytesMut::with_capacity(2 * BUFFER);
    let mut values = 0;
    for _ in 0..rounds {
        out.clear();
        values += pass(&mut template.clone(), &mut out);
    }
    println!("{values} values");
}

fn framed() -> BytesMut {
    let mut bytes = BytesMut::with_capacity(BUFFER);
    while bytes.len() + BODY + 4 <= BUFFER {
        bytes.extend_from_slice(&[0, 0, 0, BODY as u8]);
        bytes.extend_from_slice(&[b'x'; BODY]);
    }
    bytes
}

fn lines() -> BytesMut {
    let mut bytes = BytesMut::with_capacity(BUFFER);
    while bytes.len() + BODY < BUFFER {
        bytes.extend_from_slice(&[b'x'; BODY]);
        bytes.extend_from_slice(b"\n");
    }
    bytes
}

/// As a handler does: one decoder for the life of a connection, values out of a loop.
fn ours<D, E>(decoder: &mut D, encoder: &mut E, input: &mut BytesMut, out: &mut BytesMut) -> usize
where
    D: Decoder<Error = tidegate::Error>,
    E: Encoder<D::Item, Error = tidegate::Error>,
{
    let mut values = 0;
    while let Some(value) = decoder.decode(input).expect("good input") {
        encoder.encode(value, out).expect("it was decoded");
        values += 1;
    }
    values
}

fn frames_ours(input: &mut BytesMut, out: &mut BytesMut) -> usize {
    let mut decoder = LengthFieldDecoder::new(8 << 20, 0, 4).strip(4);
    ours(&mut decoder, &mut LengthFieldPrepender::new(4), input, out)
}

fn frames_theirs(input: &mut BytesMut, out: &mut BytesMut) -> usize {
    use theirs::{Decoder, Encoder};

    let mut codec = LengthDelimitedCodec::new();
    let mut values = 0;
    while let Some(frame) = codec.decode(input).expect("good input") {
        codec.encode(frame.freeze(), out).expect("it was decoded");
        values += 1;
    }
    values
}

fn lines_ours(input: &mut BytesMut, out: &mut BytesMut) -> usize {
    ours(
        &mut LineDecoder::new(8192),
        &mut LineEncoder::new(),
        input,
        out,
    )
}

fn strings_ours(input: &mut BytesMut, out: &mut BytesMut) -> usize {
    let mut decoder = StringDecoder::new(LineDecoder::new(8192));
    ours(&mut decoder, &mut LineEncoder::new(), input, out)
}

fn strings_theirs(input: &mut BytesMut, out: &mut BytesMut) -> usize {
    use theirs::{Decoder, Encoder};

    let mut codec = LinesCodec::new_with_max_length(8192);
    let mut values = 0;
    while let Some(line) = codec.decode(input).expect("good input") {
        codec.encode(line, out).expect("it was decoded");
        values += 1;
    }
    values
}
