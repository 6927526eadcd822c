//! The inputs that can be read at once: readers and files.

use std::io::{self, Read, Write};

use tidegate::ErrorKind;
use tidegate::handler::stream::{ChunkedFile, ChunkedInput, ChunkedReader};

use crate::stream::{channel, chunked, flush, kind, resume, write};
use crate::support::outbound;

/// Gives what the list says, one entry a read.
struct Moody(Vec<Result<&'static [u8], io::ErrorKind>>);

impl Read for Moody {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Ok(0);
        }
        let bytes = self.0.remove(0)?;
        room[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

#[test]
fn a_reader_is_read_to_its_end_through_interruptions_and_pauses() {
    let mut channel = channel();
    let reader = Moody(vec![
        Ok(b"one"),
        Err(io::ErrorKind::Interrupted),
        Ok(b"two"),
        Err(io::ErrorKind::WouldBlock),
        Ok(b"three"),
    ]);
    let sent = write(&mut channel, chunked(ChunkedReader::new(reader)));
    flush(&mut channel);
    assert_eq!(outbound(&mut channel), ["one", "two"]);
    resume(&mut channel);
    assert_eq!(outbound(&mut channel), ["three"]);
    assert!(sent.is_success());
}

#[test]
fn a_reader_that_fails_says_what_it_was_doing() {
    let mut channel = channel();
    let reader = Moody(vec![Err(io::ErrorKind::PermissionDenied)]);
    let sent = write(&mut channel, chunked(ChunkedReader::new(reader)));
    flush(&mut channel);
    assert_eq!(kind(&sent), ErrorKind::PermissionDenied);
    assert!(
        sent.cause()
            .unwrap()
            .to_string()
            .starts_with("read the next chunk")
    );
}

#[test]
fn a_reader_gives_no_more_and_no_less_than_its_length() {
    let mut channel = channel();
    let long = ChunkedReader::new(&b"0123456789"[..])
        .chunk_size(4)
        .length(6);
    assert!(write(&mut channel, chunked(long)).cause().is_none());
    let short = write(
        &mut channel,
        chunked(ChunkedReader::new(&b"012"[..]).length(6)),
    );
    flush(&mut channel);
    assert_eq!(outbound(&mut channel), ["0123", "45", "012"]);
    assert_eq!(kind(&short), ErrorKind::FileTooShort);
}

#[test]
fn a_file_is_sent_whole_or_in_part_and_one_that_shrank_fails() {
    let path = std::env::temp_dir().join(format!("tidegate-chunked-{}", std::process::id()));
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&[b'x'; 20_000]).unwrap();
    let mut channel = channel();
    let whole = ChunkedFile::open(&path).unwrap();
    assert_eq!(whole.length(), Some(20_000));
    write(&mut channel, chunked(whole));
    let part = std::fs::File::open(&path).unwrap();
    let part = ChunkedFile::region(part, 19_990, 10).unwrap();
    write(&mut channel, chunked(part));
    flush(&mut channel);
    let sizes: Vec<usize> = outbound(&mut channel).iter().map(String::len).collect();
    assert_eq!(sizes, [8192, 8192, 3616, 10]);
    let shrunk = write(&mut channel, chunked(ChunkedFile::open(&path).unwrap()));
    file.set_len(5).unwrap();
    flush(&mut channel);
    assert_eq!(kind(&shrunk), ErrorKind::FileTooShort);
    std::fs::remove_file(&path).unwrap();
    let missing = ChunkedFile::open(&path).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}
