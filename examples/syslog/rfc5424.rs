//! A syslog message as RFC 5424 writes it (section 6), read without copying.

use std::borrow::Cow;
use std::fmt;

/// One message. What was NILVALUE ("-") is `None`.
#[derive(Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// 0 (kernel) through 23 (local7).
    pub facility: u8,
    /// 0 (emergency) through 7 (debug).
    pub severity: u8,
    /// As it was sent; its form was looked at.
    pub timestamp: Option<&'a str>,
    /// Who sent it.
    pub hostname: Option<&'a str>,
    /// Which program.
    pub app_name: Option<&'a str>,
    /// Which process of it.
    pub proc_id: Option<&'a str>,
    /// What kind of message.
    pub msg_id: Option<&'a str>,
    /// The elements, in order.
    pub data: Vec<Element<'a>>,
    /// The text. Bytes that are no UTF-8 are replaced.
    pub text: Cow<'a, str>,
}

/// `[id name="value" ...]`
#[derive(Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// What the names mean.
    pub id: &'a str,
    /// Names with their values, in order; a name may come twice.
    pub params: Vec<(&'a str, Cow<'a, str>)>,
}

/// Where a message breaks which rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    /// In bytes from the beginning.
    at: usize,
    rule: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.at, self.rule)
    }
}

/// The names of the severities, 6.2.1, table 2.
const SEVERITIES: [&str; 8] = [
    "emergency",
    "alert",
    "critical",
    "error",
    "warning",
    "notice",
    "info",
    "debug",
];

impl<'a> Record<'a> {
    /// Reads a whole message.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader { bytes, at: 0 };
        let priority = reader.priority()?;
        let mut record = Self {
            facility: priority / 8,
            severity: priority % 8,
            timestamp: reader.timestamp()?,
            hostname: reader.field(255, "a host name has 1 to 255 visible characters")?,
            app_name: reader.field(48, "the name of a program has 1 to 48 visible characters")?,
            proc_id: reader.field(128, "a process id has 1 to 128 visible characters")?,
            msg_id: reader.field(32, "a message id has 1 to 32 visible characters")?,
            data: reader.data()?,
            text: Cow::Borrowed(""),
        };
        if reader.at < bytes.len() {
            reader.expect(b' ', "a space stands in front of the text")?;
            let text = &bytes[reader.at..];
            // The mark says that it is UTF-8 (6.4); people send it without.
            let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
            record.text = String::from_utf8_lossy(text);
        }
        Ok(record)
    }

    /// The severity in words.
    pub fn severity_name(&self) -> &'static str {
        SEVERITIES[usize::from(self.severity % 8)]
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn malformed<T>(&self, rule: &'static str) -> Result<T, Malformed> {
        Err(Malformed { at: self.at, rule })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn expect(&mut self, wanted: u8, rule: &'static str) -> Result<(), Malformed> {
        if self.peek() != Some(wanted) {
            return self.malformed(rule);
        }
        self.at += 1;
        Ok(())
    }

    /// The bytes up to the first that is not `wanted`, as text.
    fn run(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let rest = &self.bytes[self.at..];
        let count = rest.iter().take_while(|byte| wanted(**byte)).count();
        self.at += count;
        // Only ever asked for ASCII.
        std::str::from_utf8(&rest[..count]).unwrap_or_default()
    }

    /// `<PRI>VERSION `
    fn priority(&mut self) -> Result<u8, Malformed> {
        const RULE: &str = "a message begins with <0> through <191>";
        self.expect(b'<', RULE)?;
        let digits = self.run(|byte| byte.is_ascii_digit());
        let priority = match digits.parse::<u8>() {
            // No zeroes in front.
            Ok(priority) if priority <= 191 && priority.to_string() == digits => priority,
            _ => return self.malformed(RULE),
        };
        self.expect(b'>', RULE)?;
        self.expect(b'1', "the version of RFC 5424 is 1")?;
        self.expect(b' ', "a space stands behind the version")?;
        Ok(priority)
    }

    /// A header field and the space behind it.
    fn field(&mut self, most: usize, rule: &'static str) -> Result<Option<&'a str>, Malformed> {
        let found = self.run(|byte| byte.is_ascii_graphic());
        if !(1..=most).contains(&found.len()) {
            return self.malformed(rule);
        }
        self.expect(b' ', "a space stands behind each field of the header")?;
        Ok((found != "-").then_some(found))
    }

    /// 6.2.3: RFC 3339 with a capital T and Z, and at most six digits of a second.
    fn timestamp(&mut self) -> Result<Option<&'a str>, Malformed> {
        const RULE: &str = "a time is written as 2003-10-11T22:14:15.003Z or with +01:00";
        let start = self.at;
        let Some(time) = self.field(32, RULE)? else {
            return Ok(None);
        };
        if is_timestamp(time) {
            return Ok(Some(time));
        }
        self.at = start;
        self.malformed(RULE)
    }

    fn data(&mut self) -> Result<Vec<Element<'a>>, Malformed> {
        let mut elements = Vec::new();
        if self.peek() == Some(b'-') {
            self.at += 1;
            return Ok(elements);
        }
        while self.peek() == Some(b'[') {
            self.at += 1;
            let id = self.name()?;
            let mut params = Vec::new();
            while self.peek() == Some(b' ') {
                self.at += 1;
                let name = self.name()?;
                self.expect(b'=', "a value follows its name and =")?;
                params.push((name, self.value()?));
            }
            self.expect(b']', "an element ends with ]")?;
            elements.push(Element { id, params });
        }
        if elements.is_empty() {
            return self.malformed("structured data is - or [...]");
        }
        Ok(elements)
    }

    fn name(&mut self) -> Result<&'a str, Malformed> {
        let found = self.run(|byte| byte.is_ascii_graphic() && !b"=]\"".contains(&byte));
        if !(1..=32).contains(&found.len()) {
            return self.malformed("a name in structured data has 1 to 32 characters");
        }
        Ok(found)
    }

    /// 6.3.3: in quotes, with a backslash in front of `"`, `\` and `]`; one in front of anything else is itself.
    fn value(&mut self) -> Result<Cow<'a, str>, Malformed> {
        self.expect(b'"', "a value stands in quotes")?;
        let start = self.at;
        let mut unescaped: Option<Vec<u8>> = None;
        loop {
            let rest = &self.bytes[self.at..];
            let (byte, length) = match rest {
                [b'\\', byte @ (b'"' | b'\\' | b']'), ..] => (*byte, 2),
                [b'"', ..] => break,
                [b']', ..] => return self.malformed("] in a value has a backslash in front"),
                [byte, ..] => (*byte, 1),
                [] => return self.malformed("a value ends with a quote"),
            };
            if length == 2 && unescaped.is_none() {
                unescaped = Some(self.bytes[start..self.at].to_vec());
            }
            if let Some(unescaped) = &mut unescaped {
                unescaped.push(byte);
            }
            self.at += length;
        }
        let end = self.at;
        self.at += 1;
        Ok(match unescaped {
            Some(value) => String::from_utf8_lossy(&value).into_owned().into(),
            None => String::from_utf8_lossy(&self.bytes[start..end]),
        })
    }
}

fn is_timestamp(time: &str) -> bool {
    // 0 stands for any digit.
    let fits = |text: &[u8], pattern: &[u8]| {
        text.len() == pattern.len()
            && text
                .iter()
                .zip(pattern)
                .all(|(byte, pattern)| match pattern {
                    b'0' => byte.is_ascii_digit(),
                    other => byte == other,
                })
    };
    let Some((seconds, rest)) = time.as_bytes().split_at_checked(19) else {
        return false;
    };
    let digits = match rest {
        [b'.', fraction @ ..] => fraction
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count(),
        _ => 0,
    };
    let zone = match rest {
        [b'.', fraction @ ..] if (1..=6).contains(&digits) => &fraction[digits..],
        other => other,
    };
    fits(seconds, b"0000-00-00T00:00:00")
        && (zone == b"Z" || fits(zone, b"+00:00") || fits(zone, b"-00:00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> String {
        Record::parse(text.as_bytes()).unwrap_err().to_string()
    }

    /// The examples of section 6.5.
    #[test]
    fn what_the_document_shows_is_read() {
        let bytes = "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed";
        let record = Record::parse(bytes.as_bytes()).unwrap();
        assert_eq!((record.facility, record.severity_name()), (4, "critical"));
        assert_eq!(record.timestamp, Some("2003-10-11T22:14:15.003Z"));
        assert_eq!(record.hostname, Some("mymachine.example.com"));
        assert_eq!(
            (record.app_name, record.proc_id, record.msg_id),
            (Some("su"), None, Some("ID47"))
        );
        assert_eq!((record.data.len(), &*record.text), (0, "'su root' failed"));

        let bytes =
            b"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time.";
        let record = Record::parse(bytes).unwrap();
        assert_eq!(
            (record.proc_id, &*record.text),
            (Some("8710"), "%% It's time.")
        );

        let bytes = br#"<165>1 2003-10-11T22:14:15.003Z host app - ID47 [exampleSDID@32473 iut="3" eventSource="Application"][examplePriority@32473 class="high"]"#;
        let record = Record::parse(bytes).unwrap();
        assert_eq!(record.data.len(), 2);
        assert_eq!(
            record.data[0].params[1],
            ("eventSource", "Application".into())
        );
        assert_eq!(record.data[1].id, "examplePriority@32473");
        assert_eq!(record.text, "");
    }

    #[test]
    fn values_are_unescaped_and_text_is_taken_as_it_is() {
        let bytes = b"<0>1 - - - - - [a b=\"x\\\"y\\\\z\\]\\n\" b=\"\"] caf\xe9 [b]";
        let record = Record::parse(bytes).unwrap();
        assert_eq!(record.data[0].params[0].1, "x\"y\\z]\\n");
        assert_eq!(record.data[0].params[1].1, "");
        assert_eq!(record.text, "caf\u{fffd} [b]");
        assert_eq!(Record::parse(b"<191>1 - - - - - -").unwrap().severity, 7);
    }

    #[test]
    fn what_breaks_a_rule_is_told_with_the_rule() {
        for (text, told) in [
            ("", "at byte 0: a message begins"),
            ("hello", "at byte 0"),
            ("<192>1 - - - - - -", "<191>"),
            ("<007>1 - - - - - -", "<191>"),
            ("<34>Oct 11 22:14:15 mymachine su: 'su root'", "version"),
            ("<34>1 2003-10-11t22:14:15Z - - - - -", "at byte 6: a time"),
            ("<34>1 2003-10-11T22:14:15 - - - - -", "a time"),
            ("<34>1 2003-10-11T22:14:15.1234567Z - - - - -", "a time"),
            ("<34>1 -  - - - -", "host name"),
            ("<34>1 - - - - - ", "structured data"),
            ("<34>1 - - - - - [", "a name"),
            ("<34>1 - - - - - [a", "ends with ]"),
            ("<34>1 - - - - - [a b]", "name and ="),
            ("<34>1 - - - - - [a b=\"c", "ends with a quote"),
            ("<34>1 - - - - - [a b=\"c]\"]", "backslash"),
            ("<34>1 - - - - - -text", "in front of the text"),
        ] {
            let rule = rule(text);
            assert!(rule.contains(told), "{text:?}: {rule}");
        }
    }

    /// Every beginning of a message is read or refused, and nothing else.
    #[test]
    fn no_input_is_too_strange() {
        let whole = br#"<165>1 2003-10-11T22:14:15.003Z host app 7 ID [a b="c\]" d="e"][f] text"#;
        for end in 0..=whole.len() {
            let _ = Record::parse(&whole[..end]);
            for byte in [0, b'"', b'\\', b']', 0xff] {
                let mut changed = whole.to_vec();
                if let Some(place) = changed.get_mut(end) {
                    *place = byte;
                }
                let _ = Record::parse(&changed);
            }
        }
    }
}
