//! Says a quote to whoever asks over UDP, and can be found by multicast: it answers questions to its own address and to the
//! group.
//!
//! ```text
//! cargo run --release --example udp_quote_server -- --port 7070
//! cargo run --release --example udp_quote_client                      # in another shell: who is there?
//! cargo run --release --example udp_quote_client -- --ask 127.0.0.1:7070
//! ```
//!
//! A question is a datagram with the text `quote?`, an answer one with `quote: ` and the quote. Anything else is ignored,
//! and whatever comes, the server goes on. `--interface lo` keeps it to this machine; `--group` chooses another group.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use tidegate::channel::options::SO_REUSEADDR;
use tidegate::codec::{StringDecoder, StringEncoder, WholeDecoder};
use tidegate::handler::codec::{Addressed, decode_datagrams, encode_datagrams};
use tidegate::transport::udp::{IP_ADD_MEMBERSHIP, Membership, Udp, interface_index};
use tidegate::{
    Bootstrap, Context, Error, EventLoopGroup, Failure, Handler, HandlerResult, Message,
};

#[path = "common/args.rs"]
mod args;
#[path = "common/stop.rs"]
mod stop;
#[path = "common/tell.rs"]
mod tell;

const QUOTES: [&str; 4] = [
    "There is a tide in the affairs of men.",
    "The sea, once it casts its spell, holds one in its net of wonder forever.",
    "Time and tide wait for no man.",
    "We are tied to the ocean.",
];

fn main() -> ExitCode {
    tell::run("udp_quote_server", serve)
}

fn serve() -> Result<(), Error> {
    let mut args = args::Args::from_env(
        "udp_quote_server [--port N] [--group 239.7.70.70] [--interface NAME]",
    );
    let port: u16 = args.get("port", 0);
    let group: Ipv4Addr = args.get("group", Ipv4Addr::new(239, 7, 70, 70));
    let interface: Option<String> = args.optional("interface");
    args.finish();
    let mut membership = Membership::new(group);
    if let Some(name) = interface {
        membership = membership.interface(interface_index(&name)?);
    }
    let stop = stop::Stop::on_signals()?;
    let loops = EventLoopGroup::new(1)?;
    let server = Bootstrap::new(&loops)
        .transport::<Udp>()
        // Several servers of one machine may be found on one port.
        .option(SO_REUSEADDR, true)
        .option(IP_ADD_MEMBERSHIP, membership)
        .handler(|pipeline| {
            pipeline.add_last(decode_datagrams(|| {
                StringDecoder::new(WholeDecoder::new(64))
            }))?;
            pipeline.add_last(encode_datagrams::<_, String>(StringEncoder))?;
            pipeline.add_last(Quotes { next: 0 })
        })
        .bind(("0.0.0.0", port))
        .sync()?;
    if let Some(address) = server.local_address() {
        tell::say(&format!("listening on {address}"));
    }
    let stopped = stop.wait(Some(&server));
    server.close().sync()?;
    loops
        .shutdown_gracefully(Duration::ZERO, Duration::from_secs(5))
        .sync()?;
    stopped
}

/// Answers each question with the next quote.
struct Quotes {
    next: usize,
}

impl Handler for Quotes {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        if let Ok(question) = msg.downcast::<Addressed<String>>()
            && question.value.trim_end() == "quote?"
        {
            let quote = QUOTES[self.next % QUOTES.len()];
            self.next += 1;
            ctx.write(Message::new(question.reply(format!("quote: {quote}"))));
        }
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }

    /// What was wrong with a datagram is its sender's; anybody can send one.
    fn exception_caught(&mut self, _: &mut Context<'_>, cause: Failure) -> HandlerResult {
        tell::say(&format!("ignored: {cause}"));
        Ok(())
    }
}
