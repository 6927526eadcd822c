//! [`Assembler`]: whole messages and notifications out of the parts that the kernel gives. A message that is longer than
//! the room of a read comes in several; a notification may come between two of them.

use bytes::{Bytes, BytesMut};
use tidegate_sys::os::net::sctp::{Notification, Received};

use super::message::SctpMessage;
use crate::error::{Error, ErrorKind};

/// See the module's page.
#[derive(Debug)]
pub(super) struct Assembler {
    /// The most bytes of a message.
    pub(super) size_max: usize,
    /// What has come of a message whose end has not; its length is at most `size_max`.
    message: BytesMut,
    notification: BytesMut,
}

/// What a part completes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Nothing yet.
    Open,
    Message(SctpMessage),
    Notification(Notification),
}

/// A notification of the kernel has at most a message that could not be sent, and its header.
const NOTIFICATION_MAX: usize = 1 << 20;

impl Assembler {
    pub(super) fn new(size_max: usize) -> Self {
        Self {
            size_max,
            message: BytesMut::new(),
            notification: BytesMut::new(),
        }
    }

    /// Adds what one receive brought.
    pub(super) fn add(&mut self, received: &Received, bytes: BytesMut) -> Result<Part, Error> {
        let (parts, max) = if received.is_notification {
            (&mut self.notification, NOTIFICATION_MAX)
        } else {
            (&mut self.message, self.size_max)
        };
        if parts.len() + bytes.len() > max {
            return Err(Error::new(
                ErrorKind::TooLong,
                format!("an SCTP message has more than {max} bytes (SCTP_MESSAGE_MAX)"),
            ));
        }
        if !received.is_end {
            parts.extend_from_slice(&bytes);
            return Ok(Part::Open);
        }
        let whole: Bytes = if parts.is_empty() {
            bytes.freeze()
        } else {
            parts.extend_from_slice(&bytes);
            parts.split().freeze()
        };
        if !received.is_notification {
            return Ok(Part::Message(SctpMessage::received(received.info, whole)));
        }
        let Some(notification) = Notification::parse(&whole) else {
            tracing::debug!(bytes = whole.len(), "a notification of SCTP that is cut");
            return Ok(Part::Open);
        };
        if let Notification::PartialDelivery { .. } = notification {
            // Its end does not come.
            self.message.clear();
        }
        Ok(Part::Notification(notification))
    }
}

#[cfg(test)]
mod tests {
    use tidegate_sys::os::net::sctp::Info;

    use super::*;

    const INFO: Info = Info {
        stream: 4,
        protocol: 46,
        is_unordered: false,
    };

    fn data(is_end: bool) -> Received {
        Received {
            is_end,
            info: INFO,
            ..Received::default()
        }
    }

    fn news(is_end: bool) -> Received {
        Received {
            is_end,
            is_notification: true,
            ..Received::default()
        }
    }

    /// SCTP_SHUTDOWN_EVENT of <linux/sctp.h>, and an association's number.
    fn shutdown() -> Vec<u8> {
        let mut bytes = 0x8005_u16.to_ne_bytes().to_vec();
        bytes.extend(0_u16.to_ne_bytes());
        bytes.extend(12_u32.to_ne_bytes());
        bytes.extend(7_i32.to_ne_bytes());
        bytes
    }

    /// SCTP_PARTIAL_DELIVERY_EVENT.
    fn aborted() -> Vec<u8> {
        let mut bytes = 0x8006_u16.to_ne_bytes().to_vec();
        bytes.extend(0_u16.to_ne_bytes());
        bytes.extend(24_u32.to_ne_bytes());
        bytes.extend([0; 16]);
        bytes
    }

    fn message(text: &'static str) -> Part {
        Part::Message(SctpMessage::new(4, text).protocol(46))
    }

    #[test]
    fn a_message_is_the_same_however_it_is_cut() {
        let text = b"a message of some length";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut assembler = Assembler::new(100);
                let mut parts = Vec::new();
                let cuts = [
                    (0, first, false),
                    (first, second, false),
                    (second, text.len(), true),
                ];
                for (from, to, is_end) in cuts {
                    let bytes = BytesMut::from(&text[from..to]);
                    parts.push(assembler.add(&data(is_end), bytes).unwrap());
                }
                let expected = [Part::Open, Part::Open, message("a message of some length")];
                assert_eq!(parts, expected);
            }
        }
    }

    #[test]
    fn a_notification_between_the_parts_of_a_message_stays_apart() {
        let mut assembler = Assembler::new(100);
        let notice = shutdown();
        let add = |assembler: &mut Assembler, received: &Received, bytes: &[u8]| {
            assembler.add(received, BytesMut::from(bytes)).unwrap()
        };
        assert_eq!(add(&mut assembler, &data(false), b"one "), Part::Open);
        assert_eq!(add(&mut assembler, &news(false), &notice[..5]), Part::Open);
        assert_eq!(add(&mut assembler, &data(false), b"and "), Part::Open);
        assert_eq!(
            add(&mut assembler, &news(true), &notice[5..]),
            Part::Notification(Notification::Shutdown)
        );
        assert_eq!(
            add(&mut assembler, &data(true), b"the same"),
            message("one and the same")
        );
        // One that the kernel gives up is forgotten.
        assert_eq!(add(&mut assembler, &data(false), b"lost "), Part::Open);
        assert_eq!(
            add(&mut assembler, &news(true), &aborted()),
            Part::Notification(Notification::PartialDelivery { stream: 0 })
        );
        assert_eq!(add(&mut assembler, &data(true), b"found"), message("found"));
        // And one that makes no sense is no reason to end.
        assert_eq!(add(&mut assembler, &news(true), b"?"), Part::Open);
    }

    #[test]
    fn a_message_above_the_limit_is_the_peers_fault() {
        let mut assembler = Assembler::new(8);
        assert!(assembler.add(&data(false), BytesMut::from("12345")).is_ok());
        let error = assembler
            .add(&data(false), BytesMut::from("6789"))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLong);
        assert_eq!(error.fault(), crate::error::Fault::Peer);
    }
}
