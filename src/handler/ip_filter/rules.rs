//! [`IpRules`]: networks that are accepted or rejected. Pure, and shared by the filters of many channels.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::IpNet;

use crate::error::{Error, ErrorKind};

/// What happens to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It may connect.
    Accept,
    /// Its connection is closed.
    Reject,
}

/// A network, and what happens to peers from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpRule {
    /// The peers it is about.
    pub network: IpNet,
    /// What happens to them.
    pub verdict: Verdict,
}

/// Rules in order, the first that matches counts, and how often they accepted and rejected. Clones are the same rules and
/// the same counters; any thread may ask.
///
/// IPv4 addresses in their IPv6 form (`::ffff:10.0.0.1`) are IPv4 addresses. A decision walks the list.
///
/// ```
/// use tidegate::handler::ip_filter::{IpRules, Verdict};
///
/// let rules = IpRules::new().accept("10.1.0.0/16")?.reject("10.0.0.0/8")?.reject("2001:db8::/32")?;
/// assert_eq!(rules.verdict("10.1.2.3".parse()?), Verdict::Accept);
/// assert_eq!(rules.verdict("10.2.2.3".parse()?), Verdict::Reject);
/// assert_eq!(rules.verdict("192.0.2.1".parse()?), Verdict::Accept);
/// # Ok::<(), tidegate::Failure>(())
/// ```
#[derive(Clone)]
pub struct IpRules {
    inner: Arc<Inner>,
}

struct Inner {
    rules: Vec<IpRule>,
    otherwise: Verdict,
    accepted: AtomicU64,
    rejected: AtomicU64,
}

impl IpRules {
    /// No rules: everybody is accepted.
    pub fn new() -> Self {
        Self::from_rules([], Verdict::Accept)
    }

    /// These rules, and what happens where none matches.
    pub fn from_rules(rules: impl IntoIterator<Item = IpRule>, otherwise: Verdict) -> Self {
        Self {
            inner: Arc::new(Inner {
                rules: rules.into_iter().collect(),
                otherwise,
                accepted: AtomicU64::new(0),
                rejected: AtomicU64::new(0),
            }),
        }
    }

    /// The same rules, and behind them: accept `network`, an address or `address/bits`. Counters begin at zero.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the text is no network.
    pub fn accept(self, network: &str) -> Result<Self, Error> {
        self.and(network, Verdict::Accept)
    }

    /// The same rules, and behind them: reject `network`, an address or `address/bits`. Counters begin at zero.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the text is no network.
    pub fn reject(self, network: &str) -> Result<Self, Error> {
        self.and(network, Verdict::Reject)
    }

    /// The same rules, with another verdict where none matches. Counters begin at zero.
    #[must_use]
    pub fn otherwise(self, verdict: Verdict) -> Self {
        Self::from_rules(self.inner.rules.iter().copied(), verdict)
    }

    fn and(mut self, network: &str, verdict: Verdict) -> Result<Self, Error> {
        let network = parse(network)?;
        let rule = IpRule { network, verdict };
        match Arc::get_mut(&mut self.inner) {
            Some(alone) => {
                alone.rules.push(rule);
                (alone.accepted, alone.rejected) = Default::default();
                Ok(self)
            }
            None => {
                let rules = self.inner.rules.iter().copied();
                Ok(Self::from_rules(rules.chain([rule]), self.inner.otherwise))
            }
        }
    }

    /// What happens to a peer. Counts nothing.
    pub fn verdict(&self, ip: IpAddr) -> Verdict {
        let ip = ip.to_canonical();
        let mut rules = self.inner.rules.iter();
        rules
            .find(|rule| rule.network.contains(&ip))
            .map_or(self.inner.otherwise, |rule| rule.verdict)
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.inner.accepted.load(Ordering::Relaxed)
    }

    /// Connections rejected so far.
    pub fn rejected(&self) -> u64 {
        self.inner.rejected.load(Ordering::Relaxed)
    }

    /// Decides about a connection, and counts it. A peer without an IP address gets what peers get that no rule matches.
    pub(super) fn admit(&self, ip: Option<IpAddr>) -> bool {
        let verdict = ip.map_or(self.inner.otherwise, |ip| self.verdict(ip));
        let (counter, is_accepted) = match verdict {
            Verdict::Accept => (&self.inner.accepted, true),
            Verdict::Reject => (&self.inner.rejected, false),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        is_accepted
    }
}

/// `10.0.0.0/8` or a single address; `::ffff:10.0.0.0/104` is the first, as its peers are.
fn parse(text: &str) -> Result<IpNet, Error> {
    let bad = || {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("{text:?} is no network: write an address or address/bits, as 10.0.0.0/8"),
        )
    };
    let network = match text.parse::<IpAddr>() {
        Ok(ip) => IpNet::from(ip),
        Err(_) => text.parse().map_err(|_| bad())?,
    };
    match (network.addr().to_canonical(), network.prefix_len()) {
        (IpAddr::V4(v4), bits @ 96..) if network.addr().is_ipv6() => {
            IpNet::new(v4.into(), bits - 96).map_err(|_| bad())
        }
        _ => Ok(network),
    }
}

impl Default for IpRules {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for IpRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IpRules")
            .field("rules", &self.inner.rules)
            .field("otherwise", &self.inner.otherwise)
            .field("accepted", &self.accepted())
            .field("rejected", &self.rejected())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(rules: &IpRules, ip: &str) -> Verdict {
        rules.verdict(ip.parse().expect("the test writes addresses"))
    }

    /// Rules: H55
    #[test]
    fn the_first_rule_that_matches_counts() {
        let rules = IpRules::new()
            .accept("10.1.0.0/16")
            .and_then(|rules| rules.reject("10.0.0.0/8"))
            .and_then(|rules| rules.reject("2001:db8::1"))
            .expect("these are networks");
        assert_eq!(verdict(&rules, "10.1.255.255"), Verdict::Accept);
        assert_eq!(verdict(&rules, "10.2.0.0"), Verdict::Reject);
        assert_eq!(verdict(&rules, "11.0.0.0"), Verdict::Accept);
        assert_eq!(verdict(&rules, "2001:db8::1"), Verdict::Reject);
        assert_eq!(verdict(&rules, "2001:db8::2"), Verdict::Accept);
        let strict = rules.otherwise(Verdict::Reject);
        assert_eq!(verdict(&strict, "11.0.0.0"), Verdict::Reject);
        assert_eq!(verdict(&strict, "10.1.0.0"), Verdict::Accept);
    }

    /// A peer can't slip by because its address came in the other family's clothes, nor a rule.
    ///
    /// Rules: H55
    #[test]
    fn mapped_addresses_are_what_they_map() {
        let plain = IpRules::new().reject("10.0.0.0/8").expect("a network");
        assert_eq!(verdict(&plain, "::ffff:10.0.0.1"), Verdict::Reject);
        let mapped = IpRules::new()
            .reject("::ffff:10.0.0.0/104")
            .expect("a network");
        assert_eq!(verdict(&mapped, "10.0.0.1"), Verdict::Reject);
        assert_eq!(verdict(&mapped, "::ffff:10.0.0.1"), Verdict::Reject);
        assert_eq!(verdict(&mapped, "11.0.0.1"), Verdict::Accept);
    }

    /// Rules that others use stay as they are, and so do their counters.
    #[test]
    fn more_rules_are_other_rules() {
        let first = IpRules::new().reject("10.0.0.0/8").expect("a network");
        assert!(!first.admit("10.0.0.1".parse().ok()));
        let second = first.clone().reject("11.0.0.0/8").expect("a network");
        assert_eq!(verdict(&first, "11.0.0.1"), Verdict::Accept);
        assert_eq!(verdict(&second, "11.0.0.1"), Verdict::Reject);
        assert_eq!(verdict(&second, "10.0.0.1"), Verdict::Reject);
        assert_eq!((first.rejected(), second.rejected()), (1, 0));
    }

    #[test]
    fn what_is_no_network_is_an_error_that_says_so() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "host",
            "::1/129",
            "10.0.0.0/-1",
        ] {
            let error = IpRules::new().reject(text).expect_err("no network");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }
}
