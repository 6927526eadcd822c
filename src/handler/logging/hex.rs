//! Bytes as people read them: offset, sixteen bytes in hexadecimal, the same as ASCII. Called by the logging handler only.

use std::fmt::Write;

/// Bytes per line.
const WIDTH: usize = 16;

/// Appends `bytes` to `out`, a line for each 16, each behind a line break. Of more than `max` bytes it shows the first and
/// says how many are left out.
pub(super) fn dump(out: &mut String, bytes: &[u8], max: usize) {
    let shown = &bytes[..bytes.len().min(max)];
    for (line, row) in shown.chunks(WIDTH).enumerate() {
        // A String never refuses.
        let _ = write!(out, "\n{:08x} ", line * WIDTH);
        for column in 0..WIDTH {
            if column == WIDTH / 2 {
                out.push(' ');
            }
            let _ = match row.get(column) {
                Some(byte) => write!(out, " {byte:02x}"),
                None => write!(out, "   "),
            };
        }
        out.push_str("  |");
        out.extend(row.iter().map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        }));
        out.push('|');
    }
    if bytes.len() > shown.len() && max > 0 {
        let _ = write!(out, "\n… {} more", bytes.len() - shown.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dumped(bytes: &[u8], max: usize) -> String {
        let mut out = String::new();
        dump(&mut out, bytes, max);
        out
    }

    #[test]
    fn lines_have_offset_hex_and_ascii() {
        let expected = "\n\
            00000000  74 68 65 20 74 69 64 65  20 74 75 72 6e 73 0d 0a  |the tide turns..|\n\
            00000010  ff 7e                                             |.~|";
        assert_eq!(dumped(b"the tide turns\r\n\xff~", 100), expected);
        assert_eq!(dumped(b"", 100), "");
    }

    #[test]
    fn what_is_too_long_is_cut_and_counted() {
        let text = dumped(&[0; 40], 16);
        assert!(text.ends_with("|................|\n… 24 more"), "{text}");
        assert_eq!(text.lines().count(), 3);
        assert_eq!(dumped(&[0; 40], 0), "");
    }
}
