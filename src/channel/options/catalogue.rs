//! Every option of this crate, with its unit, default and source.
//!
//! Where the kernel takes seconds or microseconds we take a `Duration`; a time between two units is
//! rounded up, so that a time above zero never becomes "off". The ranges are in `id`.

use std::time::Duration;

use super::id::OptionId;
use super::option::ChannelOption;
#[cfg(test)]
use super::value::OptionValue;
use super::value::{AcceptOverload, WaterMark};
use crate::buffer::RecvAllocator;

macro_rules! options {
    ($($(#[$doc:meta])* $name:ident: $type:ty => $id:ident;)*) => {
        $($(#[$doc])* pub const $name: ChannelOption<$type> = ChannelOption::builtin(OptionId::$id);)*

        /// Name and id of every constant, and whether it takes a value, for the tests.
        #[cfg(test)]
        pub(super) fn all() -> Vec<(&'static str, OptionId, fn(&OptionValue) -> bool)> {
            vec![$((
                stringify!($name),
                $name.id(),
                |value| $name.restore(value).is_some(),
            ),)*]
        }
    };
}

options! {
    /// Read on without being asked. Off, each batch of reads needs a `read()`: that is back-pressure, the
    /// data stays in the kernel.
    ///
    /// Default true. Source: this crate.
    AUTO_READ: bool => AutoRead;

    /// Close the channel when a write fails.
    ///
    /// Default true. Source: this crate.
    AUTO_CLOSE: bool => AutoClose;

    /// Keep the channel open for writing when the peer has ended its direction. Off, the end of input
    /// closes the channel.
    ///
    /// On, whoever switched it on closes: a channel of which both directions have ended stays open, with its descriptor, as in
    /// Netty. [`ChannelInputShutdown`](crate::channel::events::ChannelInputShutdown) tells of the end of one,
    /// [`ChannelOutputShutdown`](crate::channel::events::ChannelOutputShutdown) of that of the other.
    ///
    /// Default false. Source: this crate.
    ALLOW_HALF_CLOSURE: bool => AllowHalfClosure;

    /// How long a connection attempt may take; zero for no limit but the kernel's. A bootstrap's look-up of the peer's name
    /// may take as long before it, and each address of that name has this time for itself, 16 of them at most:
    /// [`Bootstrap::connect`](crate::bootstrap::Bootstrap::connect) shows how to bound the sum.
    ///
    /// Default 30 s. Source: this crate.
    CONNECT_TIMEOUT: Duration => ConnectTimeout;

    /// The most write calls of one flush. What is left goes on in the next turn, so that one fast peer
    /// does not hold up the others.
    ///
    /// Channels that make no such calls in their loop's turn refuse it: local ones, and those whose own thread writes
    /// ([`oio`](crate::transport::oio)).
    ///
    /// 1 through 65,535: a channel keeps it in two bytes, and a flush of more calls would be no limit. Default 16. Source:
    /// this crate.
    WRITE_SPIN_COUNT: i32 => WriteSpinCount;

    /// The most read calls, or accepts, of one readiness. In a turn that serves more channels than this, a server accepts as many
    /// as are served: they have waited longest.
    ///
    /// 1 through 65,535: a channel keeps it in two bytes, and a batch of more reads would be no limit. Default 16; on
    /// datagram channels 32, which is what one call brings. Source: this crate.
    MAX_MESSAGES_PER_READ: i32 => MaxMessagesPerRead;

    /// The most messages of one flush on a datagram channel, those that fail among them. What is left goes on in the next
    /// turn, so that one channel with much to send does not hold up the others. Channels whose own thread sends
    /// ([`oio`](crate::transport::oio)) hold up nobody and do not have it.
    ///
    /// Default 2,147,483,647 (no limit), at least 1. Source: this crate; the name and the default are Netty's.
    MAX_MESSAGES_PER_WRITE: i32 => MaxMessagesPerWrite;

    /// When the channel counts as writable, in bytes. A mark above 4,294,967,295 is kept as that, which is what reading it
    /// tells.
    ///
    /// Default 32 KiB and 64 KiB. Source: this crate.
    WRITE_BUFFER_WATER_MARK: WaterMark => WriteBufferWaterMark;

    /// How the size of the next read is chosen, in bytes. Read back, `initial` of an adaptive one is what the next read asks
    /// for.
    ///
    /// On datagram channels it is another name of [`MAX_DATAGRAM_PAYLOAD_SIZE`], as in Netty: how much room a datagram finds.
    /// They take [`RecvAllocator::Fixed`] alone, because one that learns would cut what is longer than it expects. Local
    /// channels refuse it: their messages cross as they are.
    ///
    /// Default adaptive: 64, at first 2,048, through 65,408. Source: this crate.
    RECV_ALLOCATOR: RecvAllocator => RecvAllocator;

    /// Close the channel when an error reaches the end of the pipeline and no handler took it. Off, it
    /// is only logged.
    ///
    /// Default true; on datagram channels and on those of a [`ServerBootstrap`](crate::bootstrap::ServerBootstrap) that listen
    /// false, because one peer is not to end what serves all. Source: this crate.
    CLOSE_ON_UNHANDLED_ERROR: bool => CloseOnUnhandledError;

    /// Handlers of one channel that are added on one group share one loop of that group.
    ///
    /// Default true. Source: this crate.
    SINGLE_EXECUTOR_PER_GROUP: bool => SingleExecutorPerGroup;

    /// What a server does with clients for whom there is no descriptor.
    ///
    /// Default [`AcceptOverload::Pause`]. Source: this crate.
    ACCEPT_OVERLOAD: AcceptOverload => AcceptOverload;

    /// Connections that wait to be accepted; the kernel cuts it to its own limit.
    ///
    /// Default that limit (`net.core.somaxconn`). Source: listen(2).
    SO_BACKLOG: i32 => SoBacklog;

    /// Bind to an address of which closed connections are still remembered (TIME_WAIT).
    ///
    /// Default true for servers, false otherwise. Source: socket(7).
    SO_REUSEADDR: bool => SoReuseaddr;

    /// Let several sockets bind to one address; the kernel spreads connections over them.
    ///
    /// Default false. Source: socket(7), Linux 3.9.
    SO_REUSEPORT: bool => SoReuseport;

    /// Probe idle connections; see [`TCP_KEEPIDLE`] for when.
    ///
    /// Default false. Source: socket(7).
    SO_KEEPALIVE: bool => SoKeepalive;

    /// The kernel's receive buffer in bytes; Linux doubles it for its own bookkeeping. Setting it turns
    /// off the kernel's automatic sizing. On a server it has to be set before listening to count for
    /// window scaling, which is how bootstraps apply it.
    ///
    /// Default the kernel's (`net.ipv4.tcp_rmem`), at least 1. Source: socket(7).
    SO_RCVBUF: i32 => SoRcvbuf;

    /// The kernel's send buffer in bytes; Linux doubles it for its own bookkeeping. Setting it turns off
    /// the kernel's automatic sizing.
    ///
    /// Default the kernel's (`net.ipv4.tcp_wmem`), at least 1. Source: socket(7).
    SO_SNDBUF: i32 => SoSndbuf;

    /// What close does with data not yet sent: `None`, the kernel sends it in the background; zero, it is
    /// thrown away and the peer sees a reset; longer, the close is not done before the peer has acknowledged it,
    /// or that time is over. The system call that waits for this is made on a thread beside the loops (there are up
    /// to 16, later closes wait for one), so no loop waits; the close's future and `channel_inactive` come when it
    /// has returned.
    ///
    /// In whole seconds, through 32,767 (the BSDs keep 16 bits). Default `None`. Source: socket(7).
    SO_LINGER: Option<Duration> => SoLinger;

    /// Poll the device driver for this long when a read finds nothing.
    ///
    /// In microseconds. Default `net.core.busy_read` (0: off); raising it needs CAP_NET_ADMIN. Source:
    /// socket(7), Linux 3.11.
    SO_BUSY_POLL: Duration => SoBusyPoll;

    /// The CPU whose packets this listening socket should take, among sockets of one address
    /// ([`SO_REUSEPORT`]).
    ///
    /// A CPU number. Default none. Source: socket(7), Linux 4.4.
    SO_INCOMING_CPU: i32 => SoIncomingCpu;

    /// The priority of outgoing packets in the queues of the device. Values above 6 need CAP_NET_ADMIN.
    ///
    /// Default 0. Source: socket(7), Linux.
    SO_PRIORITY: i32 => SoPriority;

    /// Send small segments at once instead of waiting for the acknowledgement of earlier ones (Nagle).
    ///
    /// Default true for the TCP channels of this crate, since they gather writes themselves; the
    /// kernel's is false. Source: tcp(7).
    TCP_NODELAY: bool => TcpNodelay;

    /// Idle time before the first keep-alive probe; needs [`SO_KEEPALIVE`].
    ///
    /// In whole seconds, 1 through 32,767. Default the kernel's (7,200 s). Source: tcp(7).
    TCP_KEEPIDLE: Duration => TcpKeepidle;

    /// Time between keep-alive probes.
    ///
    /// In whole seconds, 1 through 32,767. Default the kernel's (75 s). Source: tcp(7).
    TCP_KEEPINTVL: Duration => TcpKeepintvl;

    /// Unanswered keep-alive probes after which the connection is dead.
    ///
    /// A count, 1 through 127. Default the kernel's (9). Source: tcp(7).
    TCP_KEEPCNT: i32 => TcpKeepcnt;

    /// How long sent data may stay unacknowledged before the connection is dead; zero for the kernel's
    /// own limit.
    ///
    /// In milliseconds. Default zero. Source: tcp(7), RFC 5482, Linux 2.6.37.
    TCP_USER_TIMEOUT: Duration => TcpUserTimeout;

    /// Acknowledge at once instead of waiting for data to carry the acknowledgement. Not lasting: the
    /// kernel goes back to its own judgement.
    ///
    /// Default the kernel's. Source: tcp(7), Linux.
    TCP_QUICKACK: bool => TcpQuickack;

    /// Hold back segments that are not full, for up to 200 ms.
    ///
    /// Default false. Source: tcp(7), Linux.
    TCP_CORK: bool => TcpCork;

    /// The socket is writable only while fewer bytes than this wait unsent in the kernel: less queueing
    /// in front of late, urgent data.
    ///
    /// In bytes. Default the kernel's (no limit). Source: tcp(7), Linux 3.12.
    TCP_NOTSENT_LOWAT: i32 => TcpNotsentLowat;

    /// Wake the listener only when data has come, or this time is over; zero for at once.
    ///
    /// In whole seconds; the kernel rounds it to its retransmissions. Default zero. Source: tcp(7), Linux.
    TCP_DEFER_ACCEPT: Duration => TcpDeferAccept;

    /// Accept data in the SYN: how many such connections may wait; 0 is off. The system must allow it
    /// (`net.ipv4.tcp_fastopen`).
    ///
    /// A count. Default 0. Source: tcp(7), RFC 7413, Linux 3.7.
    TCP_FASTOPEN: i32 => TcpFastopen;

    /// Send the first data in the SYN, if the server is known to take it. Connecting then succeeds at
    /// once, and its errors come with the first write or read.
    ///
    /// Default false. Source: tcp(7), RFC 7413, Linux 4.11.
    TCP_FASTOPEN_CONNECT: bool => TcpFastopenConnect;

    /// The largest segment to send, in bytes; set before connecting or listening.
    ///
    /// 88 through 32,767. Default the path's. Source: tcp(7).
    TCP_MAXSEG: i32 => TcpMaxseg;

    /// The traffic class of outgoing packets: DSCP in the upper six bits, ECN in the lower two. On IPv6
    /// sockets the field has another name and the same meaning.
    ///
    /// 0 through 255. Default 0. Source: ip(7), RFC 2474.
    IP_TOS: i32 => IpTos;

    /// How many routers an outgoing packet may pass: the time to live, or hop limit.
    ///
    /// 1 through 255. Default the kernel's (64). Source: ip(7), ipv6(7).
    IP_TTL: i32 => IpTtl;

    /// The same for packets to multicast groups; 1 stays in the local network, 0 on this machine.
    ///
    /// 0 through 255. Default 1. Source: ip(7), ipv6(7).
    IP_MULTICAST_TTL: i32 => IpMulticastTtl;

    /// What is sent to a group comes back to members of it on this machine.
    ///
    /// Default true. Source: ip(7), ipv6(7).
    IP_MULTICAST_LOOP: bool => IpMulticastLoop;

    /// The interface through which groups are sent to, by its number; 0: the kernel chooses. Can't be read.
    ///
    /// Default 0. Source: ip(7), ipv6(7).
    IP_MULTICAST_IF: i32 => IpMulticastIf;

    /// Tell with each datagram to which of our addresses it was sent, so that a server with many can answer from the same.
    ///
    /// Default false. Source: ip(7), RFC 3542.
    IP_PKTINFO: bool => IpPktinfo;

    /// Tell with each datagram its traffic class.
    ///
    /// Default false. Source: ip(7), RFC 3542.
    IP_RECVTOS: bool => IpRecvtos;

    /// A socket of IPv6 leaves IPv4 alone: bound to `[::]` it takes only IPv6, and another one can have the same port of
    /// `0.0.0.0`. Off, it takes both, and peers of IPv4 have addresses like `::ffff:192.0.2.7`. For servers and datagram
    /// channels; set before they are bound. A socket of IPv4 refuses it.
    ///
    /// Default the system's: false on Linux (`net.ipv6.bindv6only`) and macOS, true on FreeBSD; OpenBSD has nothing else.
    /// Source: ipv6(7), RFC 3493.
    IPV6_V6ONLY: bool => Ipv6V6only;

    /// Datagrams may be sent to broadcast addresses.
    ///
    /// Default false. Source: socket(7).
    SO_BROADCAST: bool => SoBroadcast;

    /// The kernel may hand over several datagrams of one length from one peer with one copy; each is still a message of its
    /// own. For streams of datagrams (QUIC, media); the places for them are 64 KiB each.
    ///
    /// Default false. Source: udp(7), Linux 5.0.
    UDP_GRO: bool => UdpGro;

    /// The most bytes of a datagram that is received. A longer one is dropped, told of in `exception_caught`, and counted as
    /// [`oversized_datagrams`](crate::event_loop::MetricsSnapshot::oversized_datagrams); of the first a warning is logged.
    ///
    /// 1 through 65,535. Default 2,048. Source: this crate.
    MAX_DATAGRAM_PAYLOAD_SIZE: i32 => MaxDatagramPayloadSize;

    /// How long one blocking call of a channel's own thread waits ([`oio`](crate::transport::oio)) before the thread
    /// looks whether it is still needed, and waits again; zero for no limit. That nothing came in that time is no
    /// error and no event.
    ///
    /// In milliseconds. Default 1 s. Source: this crate; the name and the default are Netty's.
    SO_TIMEOUT: Duration => SoTimeout;
}
