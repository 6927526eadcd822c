//! Receives syslog messages (RFC 5424) over UDP and over a Unix datagram socket, and prints each as a line.
//!
//! ```text
//! cargo run --release --example syslog -- --port 5514 --path /tmp/log.sock
//! logger --rfc5424 --server 127.0.0.1 --port 5514 --udp 'over the network'      # in another shell
//! logger --rfc5424=notime,notq,nohost --socket /tmp/log.sock 'over the machine'
//! ```
//!
//! Both sockets have the same handlers: a datagram is a datagram. What can't be read is told with the rule that it breaks,
//! and the next one is read all the same. `rfc5424` has tests of its own.

use std::process::ExitCode;
use std::time::Duration;

use tidegate::channel::options::{MAX_DATAGRAM_PAYLOAD_SIZE, SO_RCVBUF};
use tidegate::transport::udp::{Datagram, Udp};
use tidegate::transport::unix::{UNLINK_STALE, UnixDatagram};
use tidegate::{
    Bootstrap, Channel, Context, Error, EventLoopGroup, Failure, Handler, HandlerResult, Message,
};

use rfc5424::Record;

#[path = "../common/args.rs"]
mod args;
mod rfc5424;
#[path = "../common/stop.rs"]
mod stop;
#[path = "../common/tell.rs"]
mod tell;

/// The longest message, in bytes: what RFC 5424, 6.1, wants receivers to take is 2,048; most take more.
const SIZE_MAX: i32 = 8192;
/// Bursts wait in the kernel, in so many bytes.
const WAITING_MAX: i32 = 1 << 20;

fn main() -> ExitCode {
    tell::run("syslog", run)
}

fn run() -> Result<(), Error> {
    let mut args = args::Args::from_env("syslog [--port N] [--path PATH]");
    let port: u16 = args.get("port", 0);
    let path: Option<String> = args.optional("path");
    args.finish();
    let stop = stop::Stop::on_signals()?;
    let group = EventLoopGroup::new(1)?;
    let bootstrap = Bootstrap::new(&group)
        .option(MAX_DATAGRAM_PAYLOAD_SIZE, SIZE_MAX)
        .option(SO_RCVBUF, WAITING_MAX)
        .handler(|pipeline| pipeline.add_last(Print));
    let network = bootstrap
        .clone()
        .transport::<Udp>()
        .bind(("127.0.0.1", port))
        .sync()?;
    announce(&network);
    if let Some(path) = &path {
        let local = bootstrap
            .transport::<UnixDatagram>()
            .option(UNLINK_STALE, true)
            .bind(path.as_str())
            .sync()?;
        announce(&local);
    }
    let stopped = stop.wait(Some(&network));
    group
        .shutdown_gracefully(Duration::ZERO, Duration::from_secs(5))
        .sync()?;
    stopped
}

fn announce(channel: &Channel) {
    if let Some(address) = channel.local_address() {
        tell::say(&format!("listening on {address}"));
    }
}

/// Prints what comes.
struct Print;

impl Handler for Print {
    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        // Descriptors, which anybody may send to a Unix socket, are closed here.
        let Ok(datagram) = msg.downcast::<Datagram>() else {
            return Ok(());
        };
        match Record::parse(&datagram.content) {
            Ok(record) => tell::say(&line(&record)),
            Err(error) => tell::say(&format!("malformed, from {}: {error}", datagram.peer)),
        }
        Ok(())
    }

    /// One that was too long, for example: the channel goes on.
    fn exception_caught(&mut self, _: &mut Context<'_>, cause: Failure) -> HandlerResult {
        tell::say(&format!("lost: {cause}"));
        Ok(())
    }
}

fn line(record: &Record<'_>) -> String {
    let or_dash = |field: Option<&str>| field.unwrap_or("-").to_owned();
    let mut line = format!(
        "{} {} {}[{}] {}.{}",
        or_dash(record.timestamp),
        or_dash(record.hostname),
        or_dash(record.app_name),
        or_dash(record.proc_id),
        record.facility,
        record.severity_name(),
    );
    if let Some(id) = record.msg_id {
        line.push_str(&format!(" {id}"));
    }
    for element in &record.data {
        for (name, value) in &element.params {
            line.push_str(&format!(" {}.{name}={value:?}", element.id));
        }
    }
    // What a sender writes is no reason for this terminal to obey it.
    line.push_str(&format!(": {}", record.text.escape_debug()));
    line
}
