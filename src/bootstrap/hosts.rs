//! The names that this machine knows by itself: /etc/hosts (hosts(5)) and `localhost`. For names that would have to wait for the
//! system's resolver; asked by `look_ups`. It asks nobody.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const FILE: &str = "/etc/hosts";

/// The addresses of a host that can be told without a name server; none if there are none.
pub(super) fn find(host: &str) -> Vec<SocketAddr> {
    let text = fs::read(FILE).unwrap_or_default();
    let found = addresses(&String::from_utf8_lossy(&text), host);
    found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect()
}

/// The same with the file's text.
fn addresses(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        // What is no address (one with a scope, say) is the system's to understand.
        let Some(Ok(ip)) = words.next().map(str::parse) else {
            continue;
        };
        if words.any(|name| name.eq_ignore_ascii_case(host)) && !found.contains(&ip) {
            found.push(ip);
        }
    }
    if found.is_empty() && is_localhost(host) {
        found = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    found
}

/// RFC 6761, 6.3: these are loopback addresses, whoever is asked.
fn is_localhost(host: &str) -> bool {
    let last = host.rsplit('.').next();
    last.is_some_and(|label| label.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, host: &str) -> Vec<String> {
        let all = addresses(text, host);
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_are_found_as_hosts_5_has_them() {
        const TEXT: &str = "127.0.0.1\tlocalhost\n\
            # 10.9.9.9 commented\n\
            10.0.0.1   one.example  one # and: two\n\
            fe80::1%lo0 scoped\n\
            ::1 localhost ip6-localhost\n\
            10.0.0.2 ONE\n\
            10.0.0.1 one\n\
            nonsense name\n";
        assert_eq!(found(TEXT, "one"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(found(TEXT, "One.Example."), ["10.0.0.1"]);
        assert_eq!(found(TEXT, "localhost"), ["127.0.0.1", "::1"]);
        for unknown in ["two", "commented", "scoped", "name", "example", ""] {
            assert!(found(TEXT, unknown).is_empty(), "{unknown}");
        }
    }

    #[test]
    fn localhost_is_known_without_a_file() {
        assert_eq!(found("", "localhost"), ["127.0.0.1", "::1"]);
        assert_eq!(found("", "a.LocalHost."), ["127.0.0.1", "::1"]);
        assert!(found("", "notlocalhost").is_empty());
        assert!(found("", "localhost.example").is_empty());
    }
}
