//! What the figures were measured on: processor, kernel, date, versions, command.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Our own lock file says which versions were compiled.
const LOCK: &str = include_str!("../Cargo.lock");
/// The packages whose versions matter.
const PEERS: [&str; 4] = ["tidegate", "mio", "tokio", "monoio"];

/// Everything that belongs beside a figure, as (what, value).
pub fn describe() -> Vec<(&'static str, String)> {
    vec![
        ("machine", processor()),
        ("system", kernel()),
        ("date", date()),
        ("versions", versions()),
        ("command", command()),
    ]
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let count = info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let virtual_machine = match value("flags") {
        Some(flags) if flags.contains(" hypervisor") => ", virtual machine",
        _ => "",
    };
    let model = value("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("{model}, {count} processors{virtual_machine}")
}

fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let minute = load.split(' ').next().unwrap_or_default();
    // What else runs on the machine is the first question about a strange figure.
    format!("Linux {}, load at the end {minute}", release.trim())
}

fn versions() -> String {
    let of = |name: &str| {
        let at = LOCK.rfind(&format!("name = \"{name}\"\n"))?;
        LOCK[at..].lines().nth(1)?.split('"').nth(1)
    };
    let named = PEERS.map(|name| format!("{name} {}", of(name).unwrap_or("?")));
    named.join(", ")
}

/// Only the last part of the program's path: the rest is a matter of one machine.
fn command() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default().to_owned();
    std::iter::once(name)
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

fn date() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let (year, month, day) = civil(now.as_secs() / 86_400);
    format!("{year}-{month:02}-{day:02}")
}

/// The date of a day counted from 1970-01-01, by walking whole years and months.
fn civil(mut day: u64) -> (u64, usize, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    (year, month + 1, day + 1)
}

#[cfg(test)]
mod tests {
    use super::{civil, versions};

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_778), (2026, 11, 21));
    }

    #[test]
    fn the_version_of_each_peer_is_found() {
        assert!(!versions().contains('?'), "{}", versions());
    }
}
