//! Varints, JSON, text, base64: what each makes of its input.

use tidegate::codec::{
    Base64Decoder, Base64Encoder, JsonDecoder, LineDecoder, Prepender, StringDecoder,
    StringEncoder, Varint32FrameDecoder, Varint32Prepender,
};
use tidegate::error::ErrorKind;

use crate::fuzz::subject::{Of, Subject, frames};
use crate::fuzz::trial::Event;
use crate::support::{encoded, expect, fails, item, left, malformed, too_long};

fn varint(input: &[u8], expected: &[Event]) {
    expect(
        || frames(Varint32FrameDecoder::new(200), 200),
        input,
        expected,
    );
}

#[test]
fn varint_frames_are_cut_by_lengths_of_up_to_five_bytes() {
    let long = [&b"\xc8\x01"[..], &[b'x'; 200]].concat();
    varint(&long, &[item([b'x'; 200])]);
    varint(
        b"\x03abc\0\x01x\x02y",
        &[item("abc"), item(""), item("x"), left(1)],
    );
    // Longer than need be.
    varint(b"\x83\x80\x80\x80\0abc\x80", &[item("abc"), left(1)]);
}

#[test]
fn varint_lengths_that_are_negative_or_longer_than_32_bits_are_malformed() {
    varint(
        b"\xff\xff\xff\xff\x0f\x01x",
        &[malformed("length of -1"), item("x")],
    );
    varint(
        b"\xff\xff\xff\xff\x1f\x01x",
        &[malformed("more than 32 bits"), item("x")],
    );
    varint(
        b"\x80\x80\x80\x80\x80\x01x",
        &[malformed("more than 5 bytes"), item("x")],
    );
}

#[test]
fn varint_frames_that_are_too_long_are_discarded() {
    let input = [
        &b"\xc9\x01"[..],
        &[b'x'; 201],
        b"\x02ok\xff\xff\xff\xff\x07....",
    ]
    .concat();
    varint(
        &input,
        &[
            too_long("a body of 201 bytes, more than the 200"),
            item("ok"),
            too_long("2147483647"),
        ],
    );
}

#[test]
fn varint_headers_are_as_short_as_can_be() {
    for (body, header) in [
        (0, &[0][..]),
        (127, &[0x7f]),
        (128, &[0x80, 1]),
        (300, &[0xac, 2]),
        (16_384, &[0x80, 0x80, 1]),
        (i32::MAX as usize, &[0xff, 0xff, 0xff, 0xff, 7]),
    ] {
        assert_eq!(&Varint32Prepender.header(body).unwrap()[..], header);
    }
    let error = Varint32Prepender.header(1 << 31).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unencodable);
    varint(
        &encoded(&mut Varint32Prepender, "body").unwrap(),
        &[item("body")],
    );
}

fn json(input: &str, expected: &[Event]) {
    expect(|| frames(JsonDecoder::new(20), 20), input, expected);
}

fn elements(input: &str, expected: &[Event]) {
    expect(
        || frames(JsonDecoder::new(20).stream_elements(), 20),
        input,
        expected,
    );
}

/// Rules: H20
#[test]
fn objects_and_arrays_are_cut_at_their_last_bracket() {
    json(
        "{\"a\":1} \r\n\t[1,[2]]{\"b\":{}}{",
        &[
            item("{\"a\":1}"),
            item("[1,[2]]"),
            item("{\"b\":{}}"),
            left(1),
        ],
    );
}

/// Rules: H20
#[test]
fn brackets_in_strings_are_text_and_backslashes_hide_quotes() {
    json(
        r#"{"}":"\"}"}{"\\":"{"}"#,
        &[item(r#"{"}":"\"}"}"#), item(r#"{"\\":"{"}"#)],
    );
    json(r#"["\\\"]"]["#, &[item(r#"["\\\"]"]"#), left(1)]);
}

/// Rules: H20
#[test]
fn an_object_that_is_too_long_is_discarded_to_its_end() {
    json(
        r#"{"twenty":"bytes...."}{"exactly":"twenty"}{"nested":{"more":["]"]}} {} "#,
        &[
            too_long("more than the 20 bytes that JsonDecoder allows"),
            item(r#"{"exactly":"twenty"}"#),
            too_long("more than the 20 bytes"),
            item("{}"),
        ],
    );
}

/// Rules: H20
#[test]
fn what_is_no_json_ends_the_stream() {
    json(
        "{} nonsense {} {}",
        &[
            item("{}"),
            malformed(
                "byte 0x6e at offset 3 of the stream, where JsonDecoder expects an object or an array",
            ),
        ],
    );
    json("}", &[malformed("byte 0x7d at offset 0")]);
}

/// Rules: H20
#[test]
fn elements_of_an_array_come_one_by_one_without_the_space_around_them() {
    elements(
        "[ 1 , \"a,]\\\"\",{\"b\":[2,3]},[4] ,null]\n{\"c\":[5]}[]",
        &[
            item("1"),
            item("\"a,]\\\"\""),
            item("{\"b\":[2,3]}"),
            item("[4]"),
            item("null"),
            item("{\"c\":[5]}"),
        ],
    );
    elements("[1,2", &[item("1"), left(1)]);
    elements(
        "[1,\"much too long for twenty bytes\", 3]{}",
        &[item("1"), too_long("20 bytes"), item("3"), item("{}")],
    );
}

/// Rules: H20
#[test]
fn a_missing_element_is_malformed() {
    elements(
        "[1,,2]",
        &[
            item("1"),
            malformed("byte 0x2c at offset 3 of the stream, where JsonDecoder expects an element"),
        ],
    );
    elements("[1,]", &[item("1"), malformed("byte 0x5d at offset 3")]);
    elements(
        "[1}",
        &[malformed(
            "byte 0x7d at offset 2 of the stream, where JsonDecoder expects a comma or ]",
        )],
    );
}

#[test]
fn a_json_limit_of_nothing_is_the_callers_fault() {
    let mut decoder = JsonDecoder::new(0);
    let error = tidegate::codec::Decoder::decode(&mut decoder, &mut "{}".into()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

fn strings() -> Box<dyn Subject> {
    Box::new(Of {
        decoder: StringDecoder::new(LineDecoder::new(20)),
        keeps: 21,
        bytes: String::into_bytes,
    })
}

#[test]
fn text_is_checked_frame_by_frame_and_errors_name_the_offset() {
    expect(
        strings,
        b"gr\xc3\xbcn\ngr\xfcn\n\xc3\n\xf0\x9f\xa6\x80\n",
        &[
            item("grün"),
            malformed("byte 0xfc at offset 2"),
            malformed("ends inside the character at offset 0"),
            item("🦀"),
        ],
    );
    expect(
        strings,
        [b'x'; 30],
        &[fails(ErrorKind::TooLong, "a line of 30 bytes")],
    );
    assert_eq!(
        encoded(&mut StringEncoder, "grün").unwrap(),
        "grün".as_bytes()
    );
    assert_eq!(
        encoded(&mut StringEncoder, String::from("x")).unwrap(),
        b"x"
    );
}

#[test]
fn base64_is_read_with_padding_or_without_and_errors_name_the_offset() {
    let standard = || frames(Base64Decoder::new(LineDecoder::new(20)), 21);
    expect(
        standard,
        "aGVsbG8=\naGVsbG8\n\nAAA!\nAAAAA\nZh==\n+/+/\nZg=\n",
        &[
            item("hello"),
            item("hello"),
            item(""),
            malformed("not base64: byte 0x21 at offset 3"),
            malformed("ends inside a group of four, at offset 5"),
            malformed("byte 0x68 at offset 1"),
            item([0xfb, 0xff, 0xbf]),
            item("f"),
        ],
    );
    let url_safe = || frames(Base64Decoder::new(LineDecoder::new(20)).url_safe(), 21);
    expect(
        url_safe,
        "-_-_\n+/+/\n",
        &[item([0xfb, 0xff, 0xbf]), malformed("byte 0x2b at offset 0")],
    );
}

#[test]
fn base64_is_written_as_it_is_read() {
    assert_eq!(
        encoded(&mut Base64Encoder::new(), "hello").unwrap(),
        b"aGVsbG8="
    );
    assert_eq!(
        encoded(&mut Base64Encoder::url_safe(), [0xfb, 0xff]).unwrap(),
        b"-_8"
    );
    assert_eq!(encoded(&mut Base64Encoder::new(), "").unwrap(), b"");
}
