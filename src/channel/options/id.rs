//! [`OptionId`]: an option without its type, with its name, its range and the kernel's unit. [`SocketOption`]: one that has
//! none of these but a level and a number.

use std::fmt;
use std::time::Duration;

use tidegate_sys::os::net::RAW_OPTION_MAX;

use super::value::OptionValue;
use crate::error::{Error, ErrorKind};

/// One table makes the enum, the names and the rules.
macro_rules! ids {
    ($($id:ident = $name:literal, $rule:expr;)*) => {
        /// An option without its type: for a transport to match on.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum OptionId {
            $(#[doc = concat!("`", $name, "`")] $id,)*
            /// An option of a user's own, by name.
            Custom(&'static str),
            /// An option of sockets that this crate does not list, whose value is an integer.
            IntegerUnix(SocketOption),
            /// The same with bytes for a value.
            RawUnix(SocketOption),
        }

        impl OptionId {
            /// The options of this crate, in the order of the documentation.
            pub const ALL: &'static [OptionId] = &[$(OptionId::$id,)*];

            /// The name, as in the manuals: `"TCP_NODELAY"`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(OptionId::$id => $name,)*
                    OptionId::Custom(name) => name,
                    OptionId::IntegerUnix(option) | OptionId::RawUnix(option) => option.name,
                }
            }

            const fn rule(self) -> Rule {
                match self {
                    $(OptionId::$id => $rule,)*
                    OptionId::Custom(_) => Rule::Custom,
                    OptionId::IntegerUnix(_) => Rule::Int(i32::MIN, i32::MAX),
                    OptionId::RawUnix(_) => Rule::Bytes,
                }
            }
        }
    };
}

ids! {
    AutoRead = "AUTO_READ", Rule::Bool;
    AutoClose = "AUTO_CLOSE", Rule::Bool;
    AllowHalfClosure = "ALLOW_HALF_CLOSURE", Rule::Bool;
    ConnectTimeout = "CONNECT_TIMEOUT", Rule::AnyTime;
    WriteSpinCount = "WRITE_SPIN_COUNT", Rule::Int(1, 65_535);
    MaxMessagesPerRead = "MAX_MESSAGES_PER_READ", Rule::Int(1, 65_535);
    MaxMessagesPerWrite = "MAX_MESSAGES_PER_WRITE", Rule::Int(1, i32::MAX);
    WriteBufferWaterMark = "WRITE_BUFFER_WATER_MARK", Rule::WaterMark;
    RecvAllocator = "RECV_ALLOCATOR", Rule::Recv;
    CloseOnUnhandledError = "CLOSE_ON_UNHANDLED_ERROR", Rule::Bool;
    SingleExecutorPerGroup = "SINGLE_EXECUTOR_PER_GROUP", Rule::Bool;
    AcceptOverload = "ACCEPT_OVERLOAD", Rule::Overload;
    SoBacklog = "SO_BACKLOG", Rule::Int(0, i32::MAX);
    SoReuseaddr = "SO_REUSEADDR", Rule::Bool;
    SoReuseport = "SO_REUSEPORT", Rule::Bool;
    SoKeepalive = "SO_KEEPALIVE", Rule::Bool;
    SoRcvbuf = "SO_RCVBUF", Rule::Int(1, i32::MAX);
    SoSndbuf = "SO_SNDBUF", Rule::Int(1, i32::MAX);
    SoLinger = "SO_LINGER", Rule::TimeOrOff(Unit::Seconds, 0, 32_767);
    SoBusyPoll = "SO_BUSY_POLL", Rule::Time(Unit::Micros, 0, i32::MAX);
    SoIncomingCpu = "SO_INCOMING_CPU", Rule::Int(0, i32::MAX);
    SoPriority = "SO_PRIORITY", Rule::Int(0, i32::MAX);
    TcpNodelay = "TCP_NODELAY", Rule::Bool;
    TcpKeepidle = "TCP_KEEPIDLE", Rule::Time(Unit::Seconds, 1, 32_767);
    TcpKeepintvl = "TCP_KEEPINTVL", Rule::Time(Unit::Seconds, 1, 32_767);
    TcpKeepcnt = "TCP_KEEPCNT", Rule::Int(1, 127);
    TcpUserTimeout = "TCP_USER_TIMEOUT", Rule::Time(Unit::Millis, 0, i32::MAX);
    TcpQuickack = "TCP_QUICKACK", Rule::Bool;
    TcpCork = "TCP_CORK", Rule::Bool;
    TcpNotsentLowat = "TCP_NOTSENT_LOWAT", Rule::Int(0, i32::MAX);
    TcpDeferAccept = "TCP_DEFER_ACCEPT", Rule::Time(Unit::Seconds, 0, i32::MAX);
    TcpFastopen = "TCP_FASTOPEN", Rule::Int(0, i32::MAX);
    TcpFastopenConnect = "TCP_FASTOPEN_CONNECT", Rule::Bool;
    TcpMaxseg = "TCP_MAXSEG", Rule::Int(88, 32_767);
    IpTos = "IP_TOS", Rule::Int(0, 255);
    IpTtl = "IP_TTL", Rule::Int(1, 255);
    IpMulticastTtl = "IP_MULTICAST_TTL", Rule::Int(0, 255);
    IpMulticastLoop = "IP_MULTICAST_LOOP", Rule::Bool;
    IpMulticastIf = "IP_MULTICAST_IF", Rule::Int(0, i32::MAX);
    IpPktinfo = "IP_PKTINFO", Rule::Bool;
    IpRecvtos = "IP_RECVTOS", Rule::Bool;
    Ipv6V6only = "IPV6_V6ONLY", Rule::Bool;
    SoBroadcast = "SO_BROADCAST", Rule::Bool;
    UdpGro = "UDP_GRO", Rule::Bool;
    MaxDatagramPayloadSize = "MAX_DATAGRAM_PAYLOAD_SIZE", Rule::Int(1, 65_535);
    SoTimeout = "SO_TIMEOUT", Rule::Time(Unit::Millis, 0, i32::MAX);
}

/// An option of sockets as setsockopt(2) has it, under the name that logs and errors are to call it by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SocketOption {
    name: &'static str,
    level: i32,
    number: i32,
}

impl SocketOption {
    pub(super) const fn new(name: &'static str, level: i32, number: i32) -> Self {
        Self {
            name,
            level,
            number,
        }
    }

    /// The name that it was given.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The protocol, as setsockopt(2) wants it: `SOL_SOCKET`, `IPPROTO_TCP`.
    pub const fn level(self) -> i32 {
        self.level
    }

    /// The option among those of its level.
    pub const fn number(self) -> i32 {
        self.number
    }
}

/// What the values of an option may be.
#[derive(Clone, Copy)]
enum Rule {
    Bool,
    /// From, through.
    Int(i32, i32),
    /// Counted in the kernel's unit: from, through.
    Time(Unit, i32, i32),
    /// The same, or off.
    TimeOrOff(Unit, i32, i32),
    /// Any time that is not off.
    AnyTime,
    WaterMark,
    Recv,
    Overload,
    Bytes,
    Custom,
}

/// The kernel's unit of a time.
#[derive(Clone, Copy)]
enum Unit {
    Seconds,
    Millis,
    Micros,
}

impl OptionId {
    /// Checks type and range of a value. Options of users' own take every value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`], naming option, value and what is allowed.
    pub fn check(self, value: &OptionValue) -> Result<(), Error> {
        let allowed = match (self.rule(), value) {
            (Rule::Custom, _)
            | (Rule::Bool, OptionValue::Bool(_))
            | (Rule::WaterMark, OptionValue::WaterMark(_))
            | (Rule::Overload, OptionValue::Overload(_))
            | (Rule::AnyTime, OptionValue::Duration(Some(_)))
            | (Rule::TimeOrOff(..), OptionValue::Duration(None)) => return Ok(()),
            (Rule::Bytes, OptionValue::Bytes(bytes)) => {
                if bytes.len() <= RAW_OPTION_MAX {
                    return Ok(());
                }
                format!("a length of 0..={RAW_OPTION_MAX} bytes")
            }
            (Rule::Recv, OptionValue::Recv(allocator)) => {
                return allocator.validate().map_err(|error| {
                    Error::with_source(ErrorKind::InvalidArgument, format!("option {self}"), error)
                });
            }
            (Rule::Int(from, through), OptionValue::Int(number)) => {
                if (from..=through).contains(number) {
                    return Ok(());
                }
                format!("{from}..={through}")
            }
            (
                Rule::Time(unit, from, through) | Rule::TimeOrOff(unit, from, through),
                OptionValue::Duration(Some(time)),
            ) => {
                if unit
                    .count(*time)
                    .is_some_and(|count| (from..=through).contains(&count))
                {
                    return Ok(());
                }
                format!("{:?}..={:?}", unit.time(from), unit.time(through))
            }
            (rule, _) => return Err(self.wrong_type(value, rule)),
        };
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("option {self}: {value:?} is outside {allowed}"),
        ))
    }

    /// The number that the kernel takes for `value`: 0 or 1, the integer, or the time in the option's unit,
    /// rounded up. `None` for values that are not for the kernel, for "off", and out of range.
    pub fn to_kernel(self, value: &OptionValue) -> Option<i32> {
        match (self.rule(), value) {
            (Rule::Bool, OptionValue::Bool(on)) => Some((*on).into()),
            (Rule::Int(..), OptionValue::Int(number)) => Some(*number),
            (
                Rule::Time(unit, ..) | Rule::TimeOrOff(unit, ..),
                OptionValue::Duration(Some(time)),
            ) => unit.count(*time),
            _ => None,
        }
    }

    /// The value for a number that the kernel gave; `None` if this option is not one for the kernel.
    pub fn from_kernel(self, number: i32) -> Option<OptionValue> {
        match self.rule() {
            Rule::Bool => Some(OptionValue::Bool(number != 0)),
            Rule::Int(..) => Some(OptionValue::Int(number)),
            Rule::Time(unit, ..) => Some(OptionValue::Duration(Some(unit.time(number)))),
            Rule::TimeOrOff(unit, ..) => Some(OptionValue::Duration(
                (number >= 0).then(|| unit.time(number)),
            )),
            Rule::AnyTime
            | Rule::WaterMark
            | Rule::Recv
            | Rule::Overload
            | Rule::Bytes
            | Rule::Custom => None,
        }
    }

    #[cold]
    fn wrong_type(self, value: &OptionValue, rule: Rule) -> Error {
        let wanted = match rule {
            Rule::Bool => "true or false",
            Rule::Int(..) => "an integer",
            Rule::Time(..) | Rule::TimeOrOff(..) | Rule::AnyTime => "a duration",
            Rule::WaterMark => "a WaterMark",
            Rule::Recv => "a RecvAllocator",
            Rule::Overload => "an AcceptOverload",
            Rule::Bytes => "bytes",
            Rule::Custom => "any value",
        };
        Error::new(
            ErrorKind::InvalidArgument,
            format!("option {self}: {value:?} is not {wanted}"),
        )
    }
}

impl Unit {
    /// How many units, rounded up; `None` if more than the kernel's `int` holds.
    fn count(self, time: Duration) -> Option<i32> {
        let unit = match self {
            Unit::Seconds => 1_000_000_000,
            Unit::Millis => 1_000_000,
            Unit::Micros => 1_000,
        };
        time.as_nanos().div_ceil(unit).try_into().ok()
    }

    fn time(self, count: i32) -> Duration {
        let count = count.unsigned_abs().into();
        match self {
            Unit::Seconds => Duration::from_secs(count),
            Unit::Millis => Duration::from_millis(count),
            Unit::Micros => Duration::from_micros(count),
        }
    }
}

impl fmt::Display for OptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
