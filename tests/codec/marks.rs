//! Frames with a mark behind them: lines and delimiters; and frames of one length.

use bytes::BytesMut;
use tidegate::codec::{Decoder, DelimiterDecoder, FixedLengthDecoder, LineDecoder, LineEncoder};
use tidegate::error::ErrorKind;

use crate::fuzz::subject::frames;
use crate::fuzz::trial::Event;
use crate::support::{encoded, expect, item, left, too_long};

fn lines(decoder: &LineDecoder, input: &[u8], expected: &[Event]) {
    expect(|| frames(decoder.clone(), 11), input, expected);
}

fn delimited(decoder: &DelimiterDecoder, input: &[u8], expected: &[Event]) {
    expect(|| frames(decoder.clone(), 13), input, expected);
}

/// Rules: H17
#[test]
fn lines_end_with_lf_or_crlf_and_a_lone_cr_is_data() {
    let input = b"one\ntwo\r\n\n\r\na\rb\r\r\n\rlast";
    lines(
        &LineDecoder::new(10),
        input,
        &[
            item("one"),
            item("two"),
            item(""),
            item(""),
            item("a\rb\r"),
            left(5),
        ],
    );
    lines(
        &LineDecoder::new(10).strip(false),
        input,
        &[
            item("one\n"),
            item("two\r\n"),
            item("\n"),
            item("\r\n"),
            item("a\rb\r\r\n"),
            left(5),
        ],
    );
}

#[test]
fn the_last_line_needs_no_end_if_asked() {
    let decoder = LineDecoder::new(10).last_line(true);
    lines(&decoder, b"one\nlast", &[item("one"), item("last")]);
    lines(&decoder, b"one\n", &[item("one")]);
    lines(&decoder, b"ten bytes.\r", &[too_long("a line of 11 bytes")]);
}

/// Rules: H17
#[test]
fn the_limit_of_a_line_does_not_count_its_end() {
    for fail_fast in [true, false] {
        let decoder = LineDecoder::new(10).fail_fast(fail_fast);
        lines(
            &decoder,
            b"ten bytes.\r\nten bytes.\n",
            &[item("ten bytes."), item("ten bytes.")],
        );
    }
}

/// Rules: H17
#[test]
fn a_line_that_is_too_long_is_reported_once_and_the_next_one_comes() {
    let input = b"ok\neleven byte\nok\r\nmuch more than eleven bytes\r\nok\n";
    lines(
        &LineDecoder::new(10),
        input,
        &[
            item("ok"),
            too_long("a line of 11 bytes, more than the 10 that LineDecoder allows"),
            item("ok"),
            too_long("a line of 27 bytes"),
            item("ok"),
        ],
    );
    lines(
        &LineDecoder::new(10).fail_fast(true),
        input,
        &[
            item("ok"),
            too_long("a line of more than the 10 bytes"),
            item("ok"),
            too_long("a line of more than the 10 bytes"),
            item("ok"),
        ],
    );
}

/// Rules: H17
#[test]
fn a_line_that_never_ends_keeps_no_memory() {
    for fail_fast in [true, false] {
        let mut decoder = LineDecoder::new(10).fail_fast(fail_fast);
        let mut src = BytesMut::new();
        let mut errors = 0;
        for _ in 0..1000 {
            src.extend_from_slice(b"0123456789abcdef");
            errors += usize::from(decoder.decode(&mut src).is_err());
            assert!(src.is_empty());
        }
        assert_eq!(errors, usize::from(fail_fast), "early, and once");
        assert_eq!(
            decoder.decode_eof(&mut src).is_err(),
            !fail_fast,
            "or at the end"
        );
        assert_eq!(decoder.decode_eof(&mut src).unwrap(), None);
    }
}

#[test]
fn another_input_in_the_place_of_the_last_is_no_matter() {
    let mut decoder = LineDecoder::new(100);
    assert_eq!(
        decoder.decode(&mut BytesMut::from("no end here")).unwrap(),
        None
    );
    assert_eq!(decoder.decode(&mut BytesMut::new()).unwrap(), None);
    let mut delimiters = DelimiterDecoder::new(100, ["--"]);
    assert_eq!(
        delimiters
            .decode(&mut BytesMut::from("no end here"))
            .unwrap(),
        None
    );
    assert_eq!(delimiters.decode(&mut BytesMut::from("x")).unwrap(), None);
}

#[test]
fn the_line_encoder_writes_what_the_decoder_reads_and_nothing_else() {
    for mut encoder in [LineEncoder::new(), LineEncoder::new().crlf()] {
        let input = ["one", "", "a\rb"]
            .map(|line| encoded(&mut encoder, line).unwrap())
            .concat();
        lines(
            &LineDecoder::new(10),
            &input,
            &[item("one"), item(""), item("a\rb")],
        );
        let error = encoded(&mut encoder, "QUIT\nRSET").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unencodable);
        assert!(
            error.to_string().contains("byte 4 of the message is an LF"),
            "{error}"
        );
    }
    // "x\r" and LF would be read as "x".
    assert!(encoded(&mut LineEncoder::new(), "x\r").is_err());
    let crlf = encoded(&mut LineEncoder::new().crlf(), "x\r").unwrap();
    lines(&LineDecoder::new(10), &crlf, &[item("x\r")]);
}

/// Rules: H18
#[test]
fn any_of_several_delimiters_ends_a_frame_and_the_shortest_frame_wins() {
    let decoder = DelimiterDecoder::new(10, [&b"\0"[..], b"--", b"END"]);
    let input = b"one--two\0threeEND\0--rest";
    delimited(
        &decoder,
        input,
        &[
            item("one"),
            item("two"),
            item("three"),
            item(""),
            item(""),
            left(4),
        ],
    );
    delimited(
        &decoder.strip(false),
        input,
        &[
            item("one--"),
            item("two\0"),
            item("threeEND"),
            item("\0"),
            item("--"),
            left(4),
        ],
    );
}

/// Rules: H18
#[test]
fn lf_and_crlf_as_delimiters_do_what_the_line_decoder_does() {
    for set in [[&b"\n"[..], b"\r\n"], [&b"\r\n"[..], b"\n"]] {
        delimited(
            &DelimiterDecoder::new(10, set),
            b"one\r\ntwo\n\r\n",
            &[item("one"), item("two"), item("")],
        );
    }
}

/// Rules: H18
#[test]
fn of_delimiters_within_one_another_the_first_to_be_complete_wins() {
    // Netty's choice would depend on the reads: "x" if all of it has come, "xa" if the c has not.
    delimited(
        &DelimiterDecoder::new(10, ["abc", "b"]),
        b"xabc.b",
        &[item("xa"), item("c.")],
    );
    delimited(
        &DelimiterDecoder::new(10, ["aa", "aaa"]),
        b"xaaa",
        &[item("x"), left(1)],
    );
}

/// Rules: H18
#[test]
fn a_delimited_frame_that_is_too_long_is_reported_once_and_the_next_one_comes() {
    let input =
        b"ok--eleven byte--ten bytes.--much-more than-eleven bytes--ok--never ends-never ends";
    delimited(
        &DelimiterDecoder::new(10, ["--", "????"]),
        input,
        &[
            item("ok"),
            too_long("a frame of more than the 10 bytes that DelimiterDecoder allows"),
            item("ten bytes."),
            too_long("more than the 10 bytes"),
            item("ok"),
            too_long("more than the 10 bytes"),
        ],
    );
    delimited(
        &DelimiterDecoder::new(10, ["--", "????"]).fail_fast(false),
        input,
        &[
            item("ok"),
            too_long("a frame of 11 bytes, more than the 10"),
            item("ten bytes."),
            too_long("a frame of 27 bytes"),
            item("ok"),
            too_long("a frame of 21 bytes"),
        ],
    );
}

#[test]
fn a_delimiter_that_never_comes_is_not_searched_for_again_and_again() {
    // Quadratic, this would look at 200,000 times 200,000 bytes: minutes instead of milliseconds.
    let mut src = BytesMut::from(&b"x\0".repeat(100_000)[..]);
    let mut decoder = DelimiterDecoder::new(10, ["absent", "\0"]);
    let mut frames = 0;
    while decoder.decode(&mut src).unwrap().is_some() {
        frames += 1;
    }
    assert_eq!(frames, 100_000);
}

/// Rules: H18
#[test]
fn delimiters_that_cannot_work_are_the_callers_fault() {
    for (decoder, words) in [
        (DelimiterDecoder::new(10, [""]), "an empty delimiter"),
        (DelimiterDecoder::new(10, [b"x"; 0]), "without a delimiter"),
        (DelimiterDecoder::new(0, ["x"]), "frame_max is 0"),
    ] {
        let error = decoder
            .clone()
            .decode(&mut BytesMut::from("abc"))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(words), "{error}");
        assert!(decoder.check().is_err());
    }
}

/// Rules: H19
#[test]
fn fixed_frames_are_exact() {
    let make = || frames(FixedLengthDecoder::new(3), 3);
    expect(make, b"abcdefgh", &[item("abc"), item("def"), left(2)]);
    let error = FixedLengthDecoder::new(0)
        .decode(&mut BytesMut::new())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}
