//! Length fields: every parameter, what is wrong with lengths, and the prepender.

use bytes::{Bytes, BytesMut};
use tidegate::codec::{Decoder, LengthFieldDecoder, LengthFieldPrepender, Prepender};
use tidegate::error::{ErrorKind, Fault};

use crate::fuzz::subject::frames;
use crate::support::{encoded, expect, item, left, malformed, too_long};

fn check(decoder: &LengthFieldDecoder, input: &[u8], expected: &[crate::fuzz::trial::Event]) {
    expect(|| frames(decoder.clone(), 64), input, expected);
}

/// Rules: H13, H14
#[test]
fn every_width_and_order_of_the_field_is_read() {
    for (length, input) in [
        (1, &b"\x03abc\0\x01x"[..]),
        (2, b"\0\x03abc\0\0\0\x01x"),
        (3, b"\0\0\x03abc\0\0\0\0\0\x01x"),
        (4, b"\0\0\0\x03abc\0\0\0\0\0\0\0\x01x"),
        (
            8,
            b"\0\0\0\0\0\0\0\x03abc\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01x",
        ),
    ] {
        let decoder = LengthFieldDecoder::new(64, 0, length).strip(length);
        check(&decoder, input, &[item("abc"), item(""), item("x")]);
    }
    for (length, input) in [
        (1, &b"\x03abc\0\x01x"[..]),
        (2, b"\x03\0abc\0\0\x01\0x"),
        (3, b"\x03\0\0abc\0\0\0\x01\0\0x"),
        (4, b"\x03\0\0\0abc\0\0\0\0\x01\0\0\0x"),
        (
            8,
            b"\x03\0\0\0\0\0\0\0abc\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0x",
        ),
    ] {
        let decoder = LengthFieldDecoder::new(64, 0, length)
            .strip(length)
            .little_endian();
        check(&decoder, input, &[item("abc"), item(""), item("x")]);
    }
}

/// Rules: H13, H14
#[test]
fn the_combinations_of_offset_adjustment_and_strip_are_netty_s() {
    // The body alone is counted, the header is kept.
    let decoder = LengthFieldDecoder::new(64, 0, 2);
    check(&decoder, b"\0\x05HELLO", &[item(b"\0\x05HELLO")]);
    // The field counts itself.
    let decoder = LengthFieldDecoder::new(64, 0, 2).adjust(-2);
    check(&decoder, b"\0\x07HELLO", &[item(b"\0\x07HELLO")]);
    // A header before the length.
    let decoder = LengthFieldDecoder::new(64, 2, 3);
    check(
        &decoder,
        b"\xca\xfe\0\0\x05HELLO",
        &[item(b"\xca\xfe\0\0\x05HELLO")],
    );
    // A header behind it.
    let decoder = LengthFieldDecoder::new(64, 0, 3).adjust(2);
    check(
        &decoder,
        b"\0\0\x05\xca\xfeHELLO",
        &[item(b"\0\0\x05\xca\xfeHELLO")],
    );
    // One on either side, the first and the field dropped.
    let decoder = LengthFieldDecoder::new(64, 1, 2).adjust(1).strip(3);
    check(&decoder, b"\xca\0\x05\xfeHELLO", &[item(b"\xfeHELLO")]);
    // The whole frame is counted.
    let decoder = LengthFieldDecoder::new(64, 1, 2).adjust(-3).strip(3);
    check(&decoder, b"\xca\0\x09\xfeHELLO", &[item(b"\xfeHELLO")]);
}

/// Rules: H14
#[test]
fn a_frame_that_is_cut_off_stays_in_the_input() {
    let decoder = LengthFieldDecoder::new(64, 0, 2).strip(2);
    check(&decoder, b"\0\x01x\0\x05HEL", &[item("x"), left(5)]);
    check(&decoder, b"\0\x01x\0", &[item("x"), left(1)]);
}

/// Rules: H14
#[test]
fn a_negative_length_is_skipped_with_its_header() {
    let decoder = LengthFieldDecoder::new(64, 1, 8).strip(9);
    check(
        &decoder,
        b".\xff\xff\xff\xff\xff\xff\xff\xfe.\0\0\0\0\0\0\0\x02ok",
        &[
            malformed("length field says -2: a length cannot be negative"),
            item("ok"),
        ],
    );
}

/// Rules: H14
#[test]
fn a_frame_shorter_than_its_header_is_skipped_with_its_header() {
    let decoder = LengthFieldDecoder::new(64, 0, 2).adjust(-2);
    check(
        &decoder,
        b"\0\x01\0\x04ok",
        &[
            malformed(
                "says 1, which with an adjustment of -2 makes a frame of 1 bytes, less than its header of 2",
            ),
            item(b"\0\x04ok"),
        ],
    );
}

/// Rules: H14
#[test]
fn a_frame_shorter_than_what_is_stripped_is_skipped_whole() {
    let decoder = LengthFieldDecoder::new(64, 0, 1).strip(4);
    check(
        &decoder,
        b"\x02ab\x04wxyz",
        &[malformed("a frame of 3 bytes, less than the 4"), item("z")],
    );
}

/// Rules: H15
#[test]
fn a_frame_that_is_too_long_is_reported_once_and_the_next_one_comes() {
    for fail_fast in [true, false] {
        let decoder = LengthFieldDecoder::new(64, 0, 1)
            .strip(1)
            .fail_fast(fail_fast);
        let input = [
            b"\x02ok\x40".as_slice(),
            &[b'x'; 64],
            b"\x02ok\xff",
            &[b'x'; 255],
            b"\x01.",
        ]
        .concat();
        check(
            &decoder,
            &input,
            &[
                item("ok"),
                too_long("a frame of 65 bytes, more than the 64 that LengthFieldDecoder allows"),
                item("ok"),
                too_long("a frame of 256 bytes"),
                item("."),
            ],
        );
    }
}

/// Rules: H15
#[test]
fn a_too_long_frame_that_never_ends_is_reported_all_the_same() {
    for fail_fast in [true, false] {
        let decoder = LengthFieldDecoder::new(64, 0, 4).fail_fast(fail_fast);
        check(
            &decoder,
            b"\xff\xff\xff\xffxyz",
            &[too_long("4294967299 bytes")],
        );
    }
}

/// Rules: H15
#[test]
fn fail_fast_says_when() {
    let input = [b"\xff".as_slice(), &[b'x'; 254]].concat();
    let mut early = LengthFieldDecoder::new(64, 0, 1);
    let mut src = BytesMut::from(&input[..]);
    assert_eq!(
        early.decode(&mut src).unwrap_err().kind(),
        ErrorKind::TooLong
    );
    assert_eq!(early.decode(&mut src).unwrap(), None);
    assert!(src.is_empty(), "discarded as it arrives");

    let mut late = LengthFieldDecoder::new(64, 0, 1).fail_fast(false);
    let mut src = BytesMut::from(&input[..]);
    assert_eq!(late.decode(&mut src).unwrap(), None);
    assert!(src.is_empty());
    src.extend_from_slice(b"x\x01.");
    assert_eq!(
        late.decode(&mut src).unwrap_err().kind(),
        ErrorKind::TooLong
    );
    assert_eq!(late.decode(&mut src).unwrap().unwrap(), b"\x01."[..]);
}

/// Rules: H14
#[test]
fn lengths_that_overflow_are_too_long_or_malformed_and_never_wrap() {
    let huge = b"\x7f\xff\xff\xff\xff\xff\xff\xff....";
    for adjust in [0, 1, i64::MAX] {
        let decoder = LengthFieldDecoder::new(64, 0, 8).adjust(adjust);
        check(&decoder, huge, &[too_long("9223372036854775807 bytes")]);
    }
    let decoder = LengthFieldDecoder::new(64, 0, 1).adjust(i64::MIN);
    check(&decoder, b"\x05", &[malformed("less than its header of 1")]);
}

/// Rules: H13
#[test]
fn parameters_that_cannot_work_are_the_callers_fault_at_the_first_decode() {
    for (decoder, words) in [
        (LengthFieldDecoder::new(0, 0, 1), "frame_max is 0"),
        (LengthFieldDecoder::new(64, 0, 5), "use 1, 2, 3, 4 or 8"),
        (LengthFieldDecoder::new(64, 0, 0), "use 1, 2, 3, 4 or 8"),
        (
            LengthFieldDecoder::new(64, 61, 4),
            "outside of a frame of at most 64 bytes",
        ),
        (
            LengthFieldDecoder::new(64, usize::MAX, 4),
            "outside of a frame",
        ),
        (LengthFieldDecoder::new(3, 0, 4), "outside of a frame"),
    ] {
        let mut src = BytesMut::from("12345678");
        let error = decoder.clone().decode(&mut src).unwrap_err();
        assert_eq!(
            (error.kind(), error.fault()),
            (ErrorKind::InvalidArgument, Fault::Caller)
        );
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(decoder.check().unwrap_err().to_string(), error.to_string());
        assert_eq!(src.len(), 8, "nothing is consumed");
    }
    assert!(LengthFieldDecoder::new(64, 60, 4).check().is_ok());
}

#[test]
fn the_last_frame_of_a_read_takes_the_buffer_with_it() {
    let mut decoder = LengthFieldDecoder::new(64, 0, 1).strip(1);
    let mut src = BytesMut::from(&b"\x01a\x02bc"[..]);
    let address = src.as_ptr() as usize;
    let first = decoder.decode(&mut src).unwrap().unwrap();
    let last = decoder.decode(&mut src).unwrap().unwrap();
    assert_eq!((&first[..], &last[..]), (&b"a"[..], &b"bc"[..]));
    assert_eq!(first.as_ptr() as usize, address + 1, "nothing was copied");
    assert_eq!(last.as_ptr() as usize, address + 3);
    assert_eq!(src.capacity(), 0, "nothing of the buffer is kept");

    // Room behind the bytes is its owner's to fill again.
    let mut src = BytesMut::with_capacity(1024);
    src.extend_from_slice(b"\x01a");
    decoder.decode(&mut src).unwrap().unwrap();
    assert!(src.capacity() >= 1000);
}

/// Rules: H16
#[test]
fn the_prepender_writes_what_the_decoder_reads() {
    for length in [1, 2, 3, 4, 8] {
        for little_endian in [false, true] {
            let mut prepender = LengthFieldPrepender::new(length);
            let mut decoder = LengthFieldDecoder::new(64, 0, length).strip(length);
            if little_endian {
                prepender = prepender.little_endian();
                decoder = decoder.little_endian();
            }
            let input = ["one", "", "three"]
                .map(|body| encoded(&mut prepender, body).unwrap())
                .concat();
            check(&decoder, &input, &[item("one"), item(""), item("three")]);
        }
    }
    let bytes = encoded(&mut LengthFieldPrepender::new(2), Bytes::from_static(b"x")).unwrap();
    assert_eq!(
        bytes,
        encoded(&mut LengthFieldPrepender::new(2), BytesMut::from("x")).unwrap()
    );
}

/// Rules: H16
#[test]
fn the_prepender_adjusts_and_counts_itself() {
    let header = |prepender: LengthFieldPrepender, body| prepender.header(body).unwrap().to_vec();
    assert_eq!(header(LengthFieldPrepender::new(2).inclusive(), 5), [0, 7]);
    assert_eq!(header(LengthFieldPrepender::new(2).adjust(-1), 5), [0, 4]);
    assert_eq!(
        header(
            LengthFieldPrepender::new(3)
                .adjust(1)
                .inclusive()
                .little_endian(),
            5
        ),
        [9, 0, 0]
    );
    assert_eq!(
        header(LengthFieldPrepender::new(8), 0x0102_0304),
        [0, 0, 0, 0, 1, 2, 3, 4]
    );
}

/// Rules: H16
#[test]
fn lengths_that_the_field_cannot_say_are_refused() {
    for (length, most) in [
        (1, 0xff),
        (2, 0xffff),
        (3, 0xff_ffff),
        (4, 0xffff_ffff_usize),
    ] {
        let prepender = LengthFieldPrepender::new(length);
        assert_eq!(prepender.header(most).unwrap().to_vec(), vec![0xff; length]);
        let error = prepender.header(most + 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unencodable);
        assert!(
            error
                .to_string()
                .contains(&format!("does not fit into a field of {length} bytes")),
            "{error}"
        );
    }
    let error = encoded(&mut LengthFieldPrepender::new(2).adjust(-3), "ab").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unencodable);
    assert!(error.to_string().contains("has length -1"), "{error}");
    for adjust in [i64::MAX, i64::MIN] {
        assert!(
            LengthFieldPrepender::new(4)
                .adjust(adjust)
                .header(7)
                .is_err()
        );
    }
    for length in [0, 5, 9, usize::MAX] {
        let error = encoded(&mut LengthFieldPrepender::new(length), "ab").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
