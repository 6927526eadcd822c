//! A backlog that one turn of the loop is not long enough for: its messages, the end of their batch and the end of the input
//! come in this order, however many turns they take.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use tidegate::codec::LineDecoder;
use tidegate::event_loop::EventLoopGroup;
use tidegate::{Context, Error, Handler, HandlerResult, Message, Pipeline, ServerBootstrap};

use crate::plain::plain_client;
use crate::probe::DEADLINE;
use crate::support::with_each_group;

/// More short lines than there are resumes in a turn, a few times over.
const LINES: usize = 5000;

/// Answers each line, and flushes at the end of each batch.
struct Answers;

impl Handler for Answers {
    fn channel_read(&mut self, ctx: &mut Context<'_>, line: Message) -> HandlerResult {
        ctx.write(line);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }
}

/// The same, and switches auto-read off and on again at some of them.
#[derive(Default)]
struct Hesitates(usize);

impl Handler for Hesitates {
    fn channel_read(&mut self, ctx: &mut Context<'_>, line: Message) -> HandlerResult {
        ctx.write(line);
        self.0 += 1;
        if self.0 % 700 == 1 {
            ctx.set_auto_read(false);
            ctx.set_auto_read(true);
        }
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }
}

/// What is sent.
fn lines() -> String {
    (0..LINES).map(|line| format!("{line}\n")).collect()
}

/// What a server with these handlers answers to it; `ends` if the end of the input is right behind.
fn answers_of(
    group: &EventLoopGroup,
    ends: bool,
    handlers: impl Fn(&mut Pipeline<'_>) -> Result<(), Error> + Send + Sync + 'static,
) -> String {
    let server = ServerBootstrap::new(group, group)
        .child_handler(move |pipeline| {
            pipeline.add_last(LineDecoder::new(80).strip(false))?;
            handlers(pipeline)
        })
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .unwrap();
    let address = server.local_address().unwrap().as_inet().unwrap();
    let mut client = plain_client(address);
    let mut sender = client.try_clone().unwrap();
    let sent = thread::spawn(move || {
        sender.write_all(lines().as_bytes()).unwrap();
        if ends {
            sender.shutdown(Shutdown::Write).unwrap();
        }
    });
    let mut answers = vec![0; lines().len()];
    client.read_exact(&mut answers).unwrap();
    sent.join().unwrap();
    server.close().sync_timeout(DEADLINE).unwrap();
    String::from_utf8(answers).unwrap()
}

/// With the end of the input, which closes the channel, in the same batch as the lines. What was answered is sent before.
///
/// Rules: 6.7, A25
#[test]
fn every_line_of_one_packet_is_answered_before_its_end_closes_the_channel() {
    with_each_group(|group| {
        let answers = answers_of(group, true, |pipeline| pipeline.add_last(Answers));
        assert_eq!(answers, lines());
    });
}

/// The read() of switching it on again is not used up by what is left over.
///
/// Rules: 6.7, D2
#[test]
fn auto_read_that_goes_off_and_on_while_lines_are_left_over_goes_on() {
    with_each_group(|group| {
        let answers = answers_of(group, false, |pipeline| {
            pipeline.add_last(Hesitates::default())
        });
        assert_eq!(answers, lines());
    });
}

/// Rules: 6.7, B12
#[test]
fn lines_that_are_left_over_go_to_another_loop_with_the_end_of_their_batch_behind_them() {
    with_each_group(|group| {
        let others = EventLoopGroup::new(1).unwrap();
        let answers = answers_of(group, false, move |pipeline| {
            pipeline.add_last_on(&others, Hesitates::default)
        });
        assert_eq!(answers, lines());
    });
}
