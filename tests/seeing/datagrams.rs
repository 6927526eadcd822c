//! What is told of datagrams that find too little room: the option of the channel is too small, mostly.

use std::net::UdpSocket;
use std::time::Duration;

use tidegate::channel::options::MAX_DATAGRAM_PAYLOAD_SIZE;
use tidegate::transport::udp::Udp;
use tidegate::{Bootstrap, Handler, LocalEventLoop};

use crate::telling::told;

struct Nothing;

impl Handler for Nothing {}

/// A feed of longer datagrams was dead without a word that anybody saw.
///
/// Rules: C21
#[test]
fn a_datagram_that_is_longer_than_the_option_is_warned_of_once_and_counted() {
    const SENT: u64 = 3;
    let mut advice = Vec::new();
    let lines = told(|| {
        let local = LocalEventLoop::new().expect("built");
        let binding = Bootstrap::new(local.handle())
            .transport::<Udp>()
            .option(MAX_DATAGRAM_PAYLOAD_SIZE, 100)
            .handler(|pipeline| pipeline.add_last(Nothing))
            .bind("127.0.0.1:0");
        let channel = local.block_on(binding).expect("open").expect("bound");
        let address = channel.local_address().expect("bound");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("bound");
        for _ in 0..SENT {
            let to = address.as_inet().expect("an internet address");
            sender.send_to(&[7; 101], to).expect("sent");
        }
        while local.handle().metrics().unhandled_errors < SENT {
            local.turn(Some(Duration::from_secs(1)));
        }
        let metrics = local.handle().metrics();
        assert_eq!(metrics.oversized_datagrams, SENT);
        assert!(channel.is_active());
        assert!(
            metrics.to_string().contains("3 datagrams dropped"),
            "{metrics}"
        );
        advice = metrics.advice();
    });
    let warnings: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("WARN"))
        .collect();
    assert_eq!(warnings.len(), 1, "{lines:#?}");
    assert!(warnings[0].contains("more than 100 bytes (MAX_DATAGRAM_PAYLOAD_SIZE)"));
    let advice: Vec<String> = advice.iter().map(ToString::to_string).collect();
    assert!(
        advice
            .iter()
            .any(|one| one.contains("raise MAX_DATAGRAM_PAYLOAD_SIZE")),
        "{advice:#?}"
    );
    assert!(
        !advice.iter().any(|one| one.contains("closes its channel")),
        "{advice:#?}"
    );
}
