//! When a flush is done: once the callback that asked for it has returned, or at once where that could be told apart.

use super::*;
use crate::channel::options::{TCP_NODELAY, WRITE_BUFFER_WATER_MARK, WaterMark};

type Work = Box<dyn FnMut(&mut Context<'_>, Message) -> HandlerResult>;

/// Does what the test says with each message, and notes in the transport's log which callbacks it had.
struct Worker {
    steps: Log,
    work: Work,
}

impl Handler for Worker {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        (self.work)(ctx, msg)?;
        self.steps.add("returned");
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        self.steps.add("read complete");
        Ok(())
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, _: Failure) -> HandlerResult {
        self.steps.add("error");
        Ok(())
    }
}

/// What is asked of the transport, and when the handler has returned, for one message.
fn steps(work: impl FnMut(&mut Context<'_>, Message) -> HandlerResult + 'static) -> Vec<String> {
    let rig = rig(work);
    rig.reads([last("ping")]);
    rig.script.steps.take()
}

fn rig(work: impl FnMut(&mut Context<'_>, Message) -> HandlerResult + 'static) -> Rig {
    rig_of(Script::new(), work)
}

fn rig_of(
    script: Script,
    work: impl FnMut(&mut Context<'_>, Message) -> HandlerResult + 'static,
) -> Rig {
    let rig = Rig::new(script);
    let worker = Worker {
        steps: rig.script.steps.clone(),
        work: Box::new(work),
    };
    let added = {
        let _turn = rig.lp.enter();
        Pipeline::new(&rig.core).add_last(worker)
    };
    added.expect("the pipeline is not full");
    rig.script.steps.take();
    rig
}

fn last(text: &'static str) -> Result<Read, Error> {
    Ok(Read::Last(Message::from(text)))
}

#[test]
fn a_flush_is_done_when_the_callback_has_returned_and_before_the_next_one() {
    let answered = steps(|ctx, msg| {
        ctx.write_and_flush(msg);
        Ok(())
    });
    assert_eq!(answered, ["returned", "flush", "read complete"]);
}

#[test]
fn it_comes_before_what_the_callback_has_fired() {
    let rig = rig(|ctx, msg| {
        ctx.fire_user_event_triggered(Message::new(7));
        ctx.write_and_flush(msg);
        ctx.fire_channel_read(Message::from("on"));
        Ok(())
    });
    struct Next(Log);
    impl Handler for Next {
        fn channel_read(&mut self, _: &mut Context<'_>, _: Message) -> HandlerResult {
            self.0.add("next");
            Ok(())
        }
        fn user_event_triggered(&mut self, _: &mut Context<'_>, _: Message) -> HandlerResult {
            self.0.add("event");
            Ok(())
        }
    }
    {
        let _turn = rig.lp.enter();
        let next = Next(rig.script.steps.clone());
        Pipeline::new(&rig.core)
            .add_last(next)
            .expect("there is room");
    }
    rig.reads([last("ping")]);
    assert_eq!(
        rig.script.steps.take(),
        ["returned", "flush", "event", "next", "read complete"]
    );
}

#[test]
fn several_flushes_of_one_callback_are_one() {
    let answered = steps(|ctx, _| {
        for _ in 0..10 {
            ctx.write_and_flush(Message::from("part"));
        }
        Ok(())
    });
    assert_eq!(answered, ["returned", "flush", "read complete"]);
}

#[test]
fn what_is_written_after_a_flush_is_not_sent_by_it() {
    let rig = rig(|ctx, _| {
        ctx.write_and_flush(Message::from("sent"));
        ctx.write(Message::from("kept"));
        Ok(())
    });
    rig.reads([last("ping")]);
    let flush_and_complete = ["returned", "flush", "read complete", "flush"];
    assert_eq!(rig.script.steps.take(), flush_and_complete);
    assert_eq!(rig.script.flushed.borrow()[..], [1, 1]);
}

/// Rules: A30
#[test]
fn a_close_does_not_overtake_it() {
    let closed = steps(|ctx, msg| {
        ctx.write_and_flush(msg);
        ctx.close();
        Ok(())
    });
    assert_eq!(closed, ["flush", "close", "returned"]);
}

/// Rules: A41
#[test]
fn neither_does_the_end_of_the_output_nor_an_option_of_the_transport() {
    let shut = steps(|ctx, msg| {
        ctx.write_and_flush(msg);
        drop(ctx.channel().shutdown_output());
        Ok(())
    });
    assert_eq!(shut[..2], ["flush", "shutdown Output"]);
    let set = steps(|ctx, msg| {
        ctx.write_and_flush(msg);
        // This transport has no options; it was asked all the same.
        assert!(ctx.set_option(TCP_NODELAY, true).is_err());
        Ok(())
    });
    assert_eq!(set, ["flush", "returned", "read complete"]);
}

/// Where to is a matter of when: what was flushed before goes to the peer that there was.
#[test]
fn neither_does_another_peer_nor_the_loss_of_the_one_that_there_is() {
    let steps = |work: fn(&mut Context<'_>)| {
        let mut script = Script::new();
        script.metadata.has_disconnect = true;
        let rig = rig_of(script, move |ctx, msg| {
            ctx.write_and_flush(msg);
            work(ctx);
            Ok(())
        });
        rig.reads([last("ping")]);
        rig.script.steps.take()
    };
    let changed = steps(|ctx| {
        let promise = ctx.new_promise();
        ctx.connect(Address::from("another"), None, promise);
    });
    assert_eq!(changed[..2], ["flush", "connect another"]);
    let lost = steps(|ctx| {
        let promise = ctx.new_promise();
        ctx.disconnect(promise);
    });
    assert_eq!(lost[..2], ["flush", "disconnect"]);
}

#[test]
fn one_that_somebody_waits_for_is_done_at_once() {
    let answered = steps(|ctx, msg| {
        let written = ctx.write_future(msg);
        ctx.flush();
        assert!(written.is_success());
        Ok(())
    });
    assert_eq!(answered, ["flush", "returned", "read complete"]);
}

#[test]
fn one_that_makes_the_channel_writable_again_is_done_at_once() {
    let rig = rig(|ctx, msg| {
        ctx.write(msg);
        assert!(!ctx.is_writable());
        ctx.flush();
        assert!(ctx.is_writable());
        Ok(())
    });
    let mark = WaterMark::new(1, 2).expect("low is not above high");
    rig.run(|channel| channel.set_option(WRITE_BUFFER_WATER_MARK, mark));
    rig.reads([last("ping")]);
    let steps = rig.script.steps.take();
    assert_eq!(steps[..2], ["flush", "returned"]);
}

#[test]
fn a_callback_that_fails_or_panics_has_flushed() {
    let failed = steps(|ctx, msg| {
        ctx.write_and_flush(msg);
        Err(reset().into())
    });
    assert_eq!(failed, ["flush", "error", "read complete"]);
    let panicked = steps(|ctx, msg| {
        ctx.write_and_flush(msg);
        panic!("as the test wants it");
    });
    assert_eq!(panicked, ["flush", "close"]);
}

#[test]
fn a_flush_from_the_channels_handle_is_done_when_the_call_returns() {
    let rig = rig(|_, _| Ok(()));
    rig.run(|channel| {
        channel.write(Message::from("ping"));
        channel.flush();
        assert_eq!(rig.script.steps.take(), ["flush"]);
    });
}

#[test]
fn a_channel_whose_transport_panics_in_a_flush_closes() {
    let early = rig(|ctx, msg| {
        ctx.write_and_flush(msg);
        Ok(())
    });
    let late = rig(|ctx, msg| {
        ctx.write(msg);
        Ok(())
    });
    for (rig, before) in [(early, "returned"), (late, "read complete")] {
        rig.script.panics.set(true);
        rig.reads([last("ping")]);
        assert!(!rig.channel.is_open());
        let steps = rig.script.steps.take();
        assert_eq!(steps[steps.len() - 3..], [before, "flush", "close"]);
    }
}

#[test]
fn what_follows_from_the_last_flush_of_a_dispatch_comes_at_once() {
    let rig = rig(|ctx, msg| {
        let steps = Log::default();
        steps.add(ctx.write_future(msg).is_done());
        assert_eq!(steps.take(), ["false"]);
        Ok(())
    });
    let mark = WaterMark::new(1, 2).expect("low is not above high");
    rig.run(|channel| channel.set_option(WRITE_BUFFER_WATER_MARK, mark));
    rig.log.take();
    rig.reads([last("ping")]);
    assert_eq!(rig.log.take(), ["read ping", "unwritable", "writable"]);
}
