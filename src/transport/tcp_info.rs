//! [`TCP_INFO`]: what the kernel knows of a connection. It decodes what an option of sockets says, and asks for nothing itself.

use std::time::Duration;

use bytes::Bytes;
use tidegate_sys::os::net;

use crate::channel::{ChannelOption, OptionType, OptionValue};

/// What the kernel knows of a TCP connection at this moment: its round trips, window and losses. On Linux; it can't be set.
///
/// ```no_run
/// use tidegate::transport::tcp::TCP_INFO;
///
/// # fn look(channel: &tidegate::Channel) -> Result<(), tidegate::Error> {
/// let info = channel.option(TCP_INFO).sync()?;
/// println!("{:?} for a round trip, {} segments sent again", info.rtt, info.total_retrans);
/// # Ok(())
/// # }
/// ```
///
/// Source: tcp(7).
pub const TCP_INFO: ChannelOption<TcpInfo> = match net::TCP_INFO {
    Some((level, number)) => ChannelOption::raw_unix("TCP_INFO", level, number),
    None => ChannelOption::named("TCP_INFO"),
};

/// See [`TCP_INFO`]. The fields bear the names of `struct tcp_info`, without their prefix. What a kernel is too old to tell
/// is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpInfo {
    /// The state of the connection: 1 is ESTABLISHED, 7 CLOSE, 8 CLOSE_WAIT, 10 LISTEN (the kernel's net/tcp_states.h).
    pub state: u8,
    /// How often in a row the same segment was sent again.
    pub retransmits: u8,
    /// After how long what is not acknowledged is sent again.
    pub rto: Duration,
    /// The largest segment that is sent, in bytes.
    pub snd_mss: u32,
    /// The largest segment that was received, in bytes.
    pub rcv_mss: u32,
    /// Segments that were sent and are not acknowledged.
    pub unacked: u32,
    /// Segments that are taken for lost.
    pub lost: u32,
    /// Segments that were sent again and are not acknowledged.
    pub retrans: u32,
    /// How long ago data was sent last.
    pub last_data_sent: Duration,
    /// How long ago data was received last.
    pub last_data_recv: Duration,
    /// The largest packet that the way to the peer takes, in bytes.
    pub pmtu: u32,
    /// The time of a round trip, smoothed.
    pub rtt: Duration,
    /// How much that varies.
    pub rttvar: Duration,
    /// Below this window the connection is in slow start, in segments.
    pub snd_ssthresh: u32,
    /// The congestion window, in segments.
    pub snd_cwnd: u32,
    /// Segments that were ever sent again.
    pub total_retrans: u32,
    /// At how many bytes a second the kernel sends at most; all ones for no limit. Linux 3.15.
    pub pacing_rate: u64,
    /// Bytes that the peer has acknowledged. Linux 4.1.
    pub bytes_acked: u64,
    /// Bytes that were received in order. Linux 4.1.
    pub bytes_received: u64,
    /// Bytes that wait in the kernel and were never sent. Linux 4.6.
    pub notsent_bytes: u32,
    /// The shortest round trip of late. Linux 4.6.
    pub min_rtt: Duration,
    /// At how many bytes a second data reached the peer of late. Linux 4.9.
    pub delivery_rate: u64,
}

/// What every kernel tells: through tcpi_total_retrans.
const LEN_MIN: usize = 104;

impl TcpInfo {
    /// The offsets are those of `struct tcp_info` in Linux' uapi/linux/tcp.h, to which fields are only ever appended.
    fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < LEN_MIN {
            return None;
        }
        let u32_at = |at: usize| {
            let four = bytes.get(at..)?.first_chunk();
            Some(u32::from_ne_bytes(*four?))
        };
        let u64_at = |at: usize| {
            let eight = bytes.get(at..)?.first_chunk();
            Some(u64::from_ne_bytes(*eight?))
        };
        let count = |at| u32_at(at).unwrap_or(0);
        let long = |at| u64_at(at).unwrap_or(0);
        let micros = |at| Duration::from_micros(count(at).into());
        let millis = |at| Duration::from_millis(count(at).into());
        Some(Self {
            state: bytes[0],
            retransmits: bytes[2],
            rto: micros(8),
            snd_mss: count(16),
            rcv_mss: count(20),
            unacked: count(24),
            lost: count(32),
            retrans: count(36),
            last_data_sent: millis(44),
            last_data_recv: millis(52),
            pmtu: count(60),
            rtt: micros(68),
            rttvar: micros(72),
            snd_ssthresh: count(76),
            snd_cwnd: count(80),
            total_retrans: count(100),
            pacing_rate: long(104),
            bytes_acked: long(120),
            bytes_received: long(128),
            notsent_bytes: count(144),
            min_rtt: micros(148),
            delivery_rate: long(160),
        })
    }
}

impl OptionType for TcpInfo {
    /// Nothing, which the kernel refuses.
    fn into_value(self) -> OptionValue {
        OptionValue::Bytes(Bytes::new())
    }

    fn from_value(value: &OptionValue) -> Option<Self> {
        match value {
            OptionValue::Bytes(bytes) => Self::decode(bytes),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel of another age tells less, or more.
    #[test]
    fn what_a_kernel_does_not_tell_is_zero() {
        let all: Vec<u8> = (0..=255).collect();
        let info = TcpInfo::decode(&all).expect("it is long enough");
        assert_eq!(
            info.rtt.as_micros(),
            u128::from(u32::from_ne_bytes([68, 69, 70, 71]))
        );
        assert_ne!(info.delivery_rate, 0);
        let old = TcpInfo::decode(&all[..LEN_MIN]).expect("it is long enough");
        assert_eq!(old.total_retrans, info.total_retrans);
        assert_eq!((old.pacing_rate, old.delivery_rate), (0, 0));
        // In the middle of a field.
        let torn = TcpInfo::decode(&all[..165]).expect("it is long enough");
        assert_eq!((torn.min_rtt, torn.delivery_rate), (info.min_rtt, 0));
        assert_eq!(TcpInfo::decode(&all[..LEN_MIN - 1]), None);
    }
}
