//! The decoders under test. A word chooses the settings of each; many settings are at the edge of what makes sense, or
//! beyond.

use bytes::BytesMut;
use tidegate::codec::proxy_protocol::ProxyDecoder;
use tidegate::codec::{
    Base64Decoder, Decoder, DelimiterDecoder, FixedLengthDecoder, Halt, Input, JsonDecoder,
    LengthFieldDecoder, LineDecoder, Replaying, StringDecoder, Varint32FrameDecoder,
};
use tidegate::error::Error;

use super::whole;

/// A decoder whose values are bytes.
pub trait Subject {
    /// `decode`, or `decode_eof` once the input has ended.
    fn step(&mut self, src: &mut BytesMut, ended: bool) -> Result<Option<Vec<u8>>, Error>;
    /// The most bytes that it may leave in the input between two reads.
    fn keeps(&self) -> usize;
}

/// A codec, for all trials.
pub struct Codec {
    pub name: &'static str,
    /// A new decoder with the settings that the word chooses.
    pub make: fn(u32) -> Box<dyn Subject>,
    /// Inputs that are good, or nearly.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const CODECS: &[Codec] = &[
    Codec {
        name: "length_field",
        make: length_field,
        seeds: length_field_seeds,
    },
    Codec {
        name: "line",
        make: line,
        seeds: line_seeds,
    },
    Codec {
        name: "delimiter",
        make: delimiter,
        seeds: line_seeds,
    },
    Codec {
        name: "fixed",
        make: fixed,
        seeds: line_seeds,
    },
    Codec {
        name: "varint32",
        make: varint32,
        seeds: varint32_seeds,
    },
    Codec {
        name: "json",
        make: json,
        seeds: json_seeds,
    },
    Codec {
        name: "string",
        make: string,
        seeds: line_seeds,
    },
    Codec {
        name: "base64",
        make: base64,
        seeds: base64_seeds,
    },
    Codec {
        name: "replaying",
        make: replaying,
        seeds: replaying_seeds,
    },
    Codec {
        name: "proxy_protocol",
        make: proxy_protocol,
        seeds: proxy_protocol_seeds,
    },
    Codec {
        name: "sctp_notification",
        make: whole::sctp_notification,
        seeds: whole::sctp_notification_seeds,
    },
    Codec {
        name: "datagrams",
        make: whole::datagrams,
        seeds: whole::datagrams_seeds,
    },
    Codec {
        name: "control_messages",
        make: whole::control_messages,
        seeds: whole::control_messages_seeds,
    },
    Codec {
        name: "ip_rules",
        make: whole::ip_rules,
        seeds: whole::ip_rules_seeds,
    },
];

/// The codec of that name.
///
/// # Panics
/// If there is none.
pub fn codec(name: &str) -> &'static Codec {
    CODECS
        .iter()
        .find(|codec| codec.name == name)
        .unwrap_or_else(|| panic!("no codec is called {name}"))
}

/// Any decoder, with the way its values become bytes.
pub struct Of<D: Decoder> {
    pub decoder: D,
    pub keeps: usize,
    pub bytes: fn(D::Item) -> Vec<u8>,
}

impl<D> Subject for Of<D>
where
    D: Decoder<Error = Error>,
{
    fn step(&mut self, src: &mut BytesMut, ended: bool) -> Result<Option<Vec<u8>>, Error> {
        let decoded = if ended {
            self.decoder.decode_eof(src)
        } else {
            self.decoder.decode(src)
        };
        Ok(decoded?.map(self.bytes))
    }

    fn keeps(&self) -> usize {
        self.keeps
    }
}

/// A decoder of frames.
pub fn frames<D>(decoder: D, keeps: usize) -> Box<dyn Subject>
where
    D: Decoder<Item = BytesMut, Error = Error> + 'static,
{
    Box::new(Of {
        decoder,
        keeps,
        bytes: |frame| frame.to_vec(),
    })
}

/// Takes one of `choices` by the low bits of the word, and those bits away.
fn pick<T: Copy>(config: &mut u32, choices: &[T]) -> T {
    let choice = choices[*config as usize % choices.len()];
    *config /= choices.len() as u32;
    choice
}

fn length_field(mut config: u32) -> Box<dyn Subject> {
    // Good settings come several times, so that most trials get past them.
    let max = pick(&mut config, &[64, 300, 64, 5, 300, 64, 300, 0]);
    let length = pick(&mut config, &[2, 4, 1, 3, 8, 2, 4, 5]);
    let offset = pick(&mut config, &[0, 0, 1, 0, 3, 0, 0, usize::MAX]);
    let header = offset.saturating_add(length);
    let whole = -(header as i64);
    let adjust = pick(
        &mut config,
        &[0, 0, whole, 0, 2, 0, -1, 4, 0, -40, i64::MAX, i64::MIN],
    );
    let strip = pick(&mut config, &[header, 0, 1, 30]);
    let mut decoder = LengthFieldDecoder::new(max, offset, length)
        .adjust(adjust)
        .strip(strip)
        .fail_fast(pick(&mut config, &[true, false]));
    if pick(&mut config, &[false, true]) {
        decoder = decoder.little_endian();
    }
    frames(decoder, max)
}

fn length_field_seeds() -> Vec<Vec<u8>> {
    [
        &b"\x00\x05hello\x00\x00\x00\x03abc"[..],
        b"\x00\x00\x00\x05hello\x00\x00\x00\x00\x00\x00\x00\x01x",
        b"\x05hello\x00\x03abc\x01x",
        b"\xca\xfe\x00\x00\x07hello..\xca\xfe\x00\x00\x02..",
        b"\x00\x00\x00\x00\x00\x00\x00\x04abcd\x00\x00\x00\x00\x00\x00\x00\x02xy",
        b"\x01\x90long: four hundred bytes that never come",
        b"\x05\x00\x00\x00hello\x01\x00\x00\x00x",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x00\x50too long for sixty-four, and short enough to end within this very input, so that more may come\x00\x01.",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

fn line_decoder(config: &mut u32) -> (LineDecoder, usize) {
    let max = pick(config, &[20, 3, 100, 40, 20, 0]);
    let decoder = LineDecoder::new(max)
        .strip(pick(config, &[true, false]))
        .fail_fast(pick(config, &[false, true]))
        .last_line(pick(config, &[false, true]));
    // A CR may be the first half of a CRLF.
    (decoder, max + 1)
}

fn line(mut config: u32) -> Box<dyn Subject> {
    let (decoder, keeps) = line_decoder(&mut config);
    frames(decoder, keeps)
}

fn line_seeds() -> Vec<Vec<u8>> {
    [
        &b"one\ntwo\r\nthree\n"[..],
        b"\n\r\n\r\r\n\n",
        b"a lone \r is data\r\n",
        b"abc\r\nabcd\r\nab\r\n",
        b"this line is longer than twenty bytes\r\nthis is not\n",
        b"gr\xc3\xbcn\nna\xc3\xafve\n\xf0\x9f\xa6\x80\n\xff\n",
        b"ab--cd\0--ef----\0",
        b"xabcyabzb\0\0",
        b"no end",
        b"",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

fn delimiter(mut config: u32) -> Box<dyn Subject> {
    let sets: [&[&[u8]]; 8] = [
        &[b"\n", b"\r\n"],
        &[b"\0"],
        &[b"--", b"\0"],
        &[b"abc", b"b"],
        &[b"ab", b"abc", b"bcd"],
        &[b"\r\n\r\n", b"\n"],
        &[b"aa", b"aaa"],
        &[],
    ];
    let set = pick(&mut config, &sets);
    let max = pick(&mut config, &[20, 1, 100, 40, 20, 0]);
    let longest = set.iter().map(|delimiter| delimiter.len()).max();
    let decoder = DelimiterDecoder::new(max, set)
        .strip(pick(&mut config, &[true, false]))
        .fail_fast(pick(&mut config, &[true, false]));
    frames(decoder, max + longest.unwrap_or(1) - 1)
}

fn fixed(mut config: u32) -> Box<dyn Subject> {
    let length = pick(&mut config, &[4, 1, 7, 100, 0, usize::MAX]);
    frames(FixedLengthDecoder::new(length), length)
}

fn varint32(mut config: u32) -> Box<dyn Subject> {
    let max = pick(&mut config, &[20, 300, 40, 0, 100, 1]);
    frames(Varint32FrameDecoder::new(max), max.max(5))
}

fn varint32_seeds() -> Vec<Vec<u8>> {
    [
        &b"\x05hello\x00\x01x\x03abc"[..],
        b"\x80\x00\x83\x80\x00abc",
        b"\x15a body of 21 bytes is.\x01.",
        b"\xff\xff\xff\xff\x07\xff\xff\xff\xff\x0f\xff\xff\xff\xff\xff\x01.",
        b"\x80\x80\x80\x80\x80\x80",
        b"\x80\x80\x80\x80\x10",
        b"\xac\x02three hundred bytes that do not come",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

fn json(mut config: u32) -> Box<dyn Subject> {
    let max = pick(&mut config, &[40, 100, 2, 300, 80, 1, 40, 0]);
    let mut decoder = JsonDecoder::new(max);
    if pick(&mut config, &[false, true]) {
        decoder = decoder.stream_elements();
    }
    frames(decoder, max)
}

fn json_seeds() -> Vec<Vec<u8>> {
    [
        &br#"{"a":1}{"b":{"c":[1,2,{}]}}"#[..],
        br#"[1, "two", {"three":3} ,[4] ] {"next":true}"#,
        br#"{"text":"\"}]\\"} [ ]"#,
        br#"{"a":"\\\\\\\"{{{[["}"#,
        b"[[[[[[]]]]]]{{}}",
        b" \r\n\t{}\n\n[\n]\n",
        b"[1,,2][,][1,]",
        b"nonsense {}",
        br#"[ {"much":"too long for forty bytes, and so thrown away"} , 7 ]"#,
        b"[1              ,    2          ]",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

fn string(mut config: u32) -> Box<dyn Subject> {
    let (decoder, keeps) = line_decoder(&mut config);
    Box::new(Of {
        decoder: StringDecoder::new(decoder),
        keeps,
        bytes: String::into_bytes,
    })
}

fn base64(mut config: u32) -> Box<dyn Subject> {
    let url_safe = pick(&mut config, &[false, true]);
    let (decoder, keeps) = line_decoder(&mut config);
    let mut decoder = Base64Decoder::new(decoder);
    if url_safe {
        decoder = decoder.url_safe();
    }
    frames(decoder, keeps)
}

fn base64_seeds() -> Vec<Vec<u8>> {
    [
        &b"aGVsbG8=\naGVsbG8\n\nAAAA\r\n"[..],
        b"-_-_\n+/+/\n",
        b"Zg==\nZm8=\nZm9v\nZm9vYg==\n",
        b"====\nZ\nZg=\nZh==\n",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

/// Messages of three shapes, chosen by their first byte: a counted list, a word and a number, a body.
fn replaying(mut config: u32) -> Box<dyn Subject> {
    let max = pick(&mut config, &[30, 1, 300]);
    let mut body: Option<usize> = None;
    let decoder = move |input: &mut Input<'_>| -> Result<Option<Vec<u8>>, Halt> {
        if let Some(len) = body {
            let bytes = input.split(len)?;
            body = None;
            return Ok(Some(bytes.to_vec()));
        }
        match input.take_u8()? {
            0 => {
                let count = input.take_u8()?;
                let mut list = vec![0];
                for _ in 0..count {
                    list.extend(input.take_u16_le()?.to_be_bytes());
                }
                Ok(Some(list))
            }
            b'w' => {
                let word = input.take_until(b' ')?.to_vec();
                let number = input.take_until(b'\n')?.to_vec();
                Ok(Some([word, number].concat()))
            }
            b'b' => {
                body = Some(input.take_u32()? as usize + 1);
                input.checkpoint();
                Ok(None)
            }
            b' ' => Ok(None),
            other => {
                input.skip(1)?;
                Err(Error::new(
                    tidegate::error::ErrorKind::Malformed,
                    format!("{other} is no message"),
                )
                .into())
            }
        }
    };
    Box::new(Of {
        decoder: Replaying::new(max, decoder),
        keeps: max,
        bytes: |bytes| bytes,
    })
}

fn replaying_seeds() -> Vec<Vec<u8>> {
    [
        &b"\0\x03aabbcc\0\0  whello 12\nb\0\0\0\x04hello"[..],
        b"w 1\nwlong words need many bytes 7\n\0\x01..",
        b"b\0\0\0\x40 and here follow the sixty-four bytes that were announced, and more...",
        b"\0\xff.............................",
        b"xyzzy",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

/// What follows a header is somebody else's, and is thrown away here.
struct Proxy {
    decoder: ProxyDecoder,
    done: bool,
}

impl Subject for Proxy {
    fn step(&mut self, src: &mut BytesMut, ended: bool) -> Result<Option<Vec<u8>>, Error> {
        let decoded = if ended {
            self.decoder.decode_eof(src)
        } else {
            self.decoder.decode(src)
        };
        if self.done {
            src.clear();
        }
        let Some(header) = decoded? else {
            return Ok(None);
        };
        self.done = true;
        // Extensions within the extensions are read when they are asked for.
        Ok(Some(format!("{header:?} {:?}", header.ssl()).into_bytes()))
    }

    fn keeps(&self) -> usize {
        16 + usize::from(u16::MAX)
    }
}

fn proxy_protocol(_: u32) -> Box<dyn Subject> {
    Box::new(Proxy {
        decoder: ProxyDecoder::new(),
        done: false,
    })
}

fn proxy_protocol_seeds() -> Vec<Vec<u8>> {
    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    let v2 = |rest: &[u8]| [V2, rest].concat();
    vec![
        b"PROXY TCP4 192.0.2.1 192.0.2.2 50000 443\r\nGET /".to_vec(),
        b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n".to_vec(),
        b"PROXY UNKNOWN ffff:f...f:ffff ffff 1 2\r\nrest".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        v2(b"\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\xc3\x50\x01\xbbrest"),
        v2(b"\x20\x00\x00\x00rest"),
        v2(b"\x21\x11\x00\x1a\xc0\x00\x02\x01\xc0\x00\x02\x02\xc3\x50\x01\xbb\x01\x00\x02h2\x04\x00\x00\x20\x00\x05\x01\0\0\0\0"),
        v2(b"\x21\x21\x00\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x00\x50\x01\xbb"),
        v2(&[&b"\x21\x31\x00\xd8"[..], &[b'/'; 60], &[0; 48], &[b'x'; 108]].concat()),
        b"GET / HTTP/1.1\r\n".to_vec(),
    ]
}
