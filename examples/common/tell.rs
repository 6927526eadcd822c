//! Speaking to people: lines on standard output, and errors with who is at fault and what to do.

use std::io::{self, Write};
use std::process::ExitCode;

use tidegate::{Error, ErrorKind, Fault};

/// The `main` of an example: runs it, and tells its error.
pub fn run(name: &str, example: impl FnOnce() -> Result<(), Error>) -> ExitCode {
    match example() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Prints a line at once. That nobody reads it is no reason to stop serving, unlike for `println!`.
pub fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// The error in three lines.
pub fn explain(error: &Error) -> String {
    let who = match error.fault() {
        Fault::Peer => "the other end, or the network between",
        Fault::Caller => "who calls this program",
        Fault::Machine => "this machine",
        Fault::Us => "this program, or the library under it",
    };
    let advice = advice(error);
    format!("{error}\n    at fault:   {who}\n    what to do: {advice}")
}

fn advice(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::InvalidArgument => "correct the option; --help lists them all",
        ErrorKind::PermissionDenied => "take a port above 1023, or run as someone who may have it",
        ErrorKind::AddrInUse => {
            "another program has this port: end it, or take another (0: a free one)"
        }
        ErrorKind::AddrNotAvailable => {
            "take an address of this machine; too many connections use up its ports"
        }
        ErrorKind::ConnectRefused => {
            "nobody listens there: start the server, or correct the address"
        }
        ErrorKind::ConnectTimeout | ErrorKind::Unreachable => {
            "look at the address, the route to it and the firewalls between"
        }
        ErrorKind::Unresolved => "look at the spelling of the host name, and at the name server",
        ErrorKind::Exhausted => "raise the limit on descriptors (ulimit -n), or connect less often",
        ErrorKind::Unsupported => "choose what this system has",
        ErrorKind::ConnectionReset | ErrorKind::ChannelClosed => {
            "ask the other end why it ended the connection"
        }
        _ => match error.fault() {
            Fault::Peer => "look at the other end, then try again",
            Fault::Caller => "change what the text names",
            Fault::Machine => "look at the system's log and limits, then try again",
            Fault::Us => "please report it, with this output",
        },
    }
}
