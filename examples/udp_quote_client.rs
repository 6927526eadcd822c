//! Asks for a quote over UDP: one server, or whoever hears a question to a multicast group.
//!
//! ```text
//! cargo run --release --example udp_quote_server -- --port 7070       # in another shell
//! cargo run --release --example udp_quote_client -- --ask 127.0.0.1:7070
//! cargo run --release --example udp_quote_client -- --port 7070       # asks the group 239.7.70.70
//! ```
//!
//! It prints each answer with whom it came from, and ends after `--answers` of them (1), or fails after `--wait-ms` without
//! that many (2,000). Datagrams get lost, so it asks again every fifth of that time.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tidegate::channel::options::{IP_MULTICAST_IF, IP_MULTICAST_LOOP};
use tidegate::codec::{StringDecoder, StringEncoder, WholeDecoder};
use tidegate::handler::codec::{Addressed, decode_datagrams, encode_datagrams};
use tidegate::transport::udp::{Udp, interface_index};
use tidegate::{
    Bootstrap, Context, Error, ErrorKind, EventLoopGroup, Failure, Fault, Handler, HandlerResult,
    Message,
};

#[path = "common/args.rs"]
mod args;
#[path = "common/tell.rs"]
mod tell;

fn main() -> ExitCode {
    tell::run("udp_quote_client", ask)
}

fn ask() -> Result<(), Error> {
    let mut args = args::Args::from_env(
        "udp_quote_client [--ask ADDRESS:PORT] [--group 239.7.70.70] [--port 7070] [--interface NAME] \
         [--answers 1] [--wait-ms 2000]",
    );
    let group: Ipv4Addr = args.get("group", Ipv4Addr::new(239, 7, 70, 70));
    let port: u16 = args.get("port", 7070);
    let one: Option<SocketAddr> = args.optional("ask");
    let interface: Option<String> = args.optional("interface");
    let answers: usize = args.get("answers", 1);
    let wait = Duration::from_millis(args.get("wait-ms", 2000));
    args.finish();
    let whom = one.unwrap_or_else(|| (group, port).into());
    let loops = EventLoopGroup::new(1)?;
    let (tell, told) = mpsc::channel();
    let mut recipe = Bootstrap::new(&loops)
        .transport::<Udp>()
        .option(IP_MULTICAST_LOOP, true)
        .handler(move |pipeline| {
            pipeline.add_last(decode_datagrams(|| {
                StringDecoder::new(WholeDecoder::new(1000))
            }))?;
            pipeline.add_last(encode_datagrams::<_, String>(StringEncoder))?;
            pipeline.add_last(Answers(tell.clone()))
        });
    if let Some(name) = interface {
        let index = i32::try_from(interface_index(&name)?).unwrap_or(0);
        recipe = recipe.option(IP_MULTICAST_IF, index);
    }
    let client = recipe.bind(("0.0.0.0", 0)).sync()?;
    let end = Instant::now() + wait;
    let mut heard = Vec::new();
    while heard.len() < answers {
        client
            .write_and_flush(Message::new(Addressed::new(String::from("quote?"), whom)))
            .sync()?;
        // An answer to every question would count one server many times.
        let again = (Instant::now() + wait / 5).min(end);
        while let Ok(answer) = told.recv_timeout(again.saturating_duration_since(Instant::now())) {
            let answer: Addressed<String> = answer;
            if !heard.contains(&answer.peer) {
                tell::say(&format!("{}: {}", answer.peer, answer.value));
                heard.push(answer.peer);
            }
            if heard.len() == answers {
                break;
            }
        }
        if Instant::now() >= end && heard.len() < answers {
            let text = format!("{} of {answers} answers from {whom}", heard.len());
            return Err(Error::new(ErrorKind::TimedOut, text).with_fault(Fault::Peer));
        }
    }
    client.close().sync()?;
    Ok(())
}

/// Hands the quotes to the program.
struct Answers(mpsc::Sender<Addressed<String>>);

impl Handler for Answers {
    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        if let Ok(mut answer) = msg.downcast::<Addressed<String>>()
            && let Some(quote) = answer.value.strip_prefix("quote: ")
        {
            answer.value = quote.to_owned();
            // The program may have heard enough.
            let _ = self.0.send(answer);
        }
        Ok(())
    }

    /// Nobody listens there, or what came was no text: another answer may come still.
    fn exception_caught(&mut self, _: &mut Context<'_>, cause: Failure) -> HandlerResult {
        tell::say(&format!("not an answer: {cause}"));
        Ok(())
    }
}
