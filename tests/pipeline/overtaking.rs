//! Operations that wait for a handler on the stack, and others that come by a context: nothing overtakes.

use tidegate::{Context, EmbeddedChannel, Handler, HandlerResult, Message};

use crate::common::{Log, Script, outbound};

/// A handler passes a write on, which has to wait, and flushes by its own context.
///
/// Rules: 6.5, 6.9
#[test]
fn a_flush_through_a_context_does_not_overtake_a_waiting_write() {
    /// Flushes by its own context behind each write; knows no flush that others ask for.
    struct Eager(Log);
    impl Handler for Eager {
        fn write(
            &mut self,
            ctx: &mut Context<'_>,
            msg: Message,
            promise: tidegate::Promise,
        ) -> HandlerResult {
            self.0.add("eager write");
            ctx.write_with(msg, promise);
            ctx.flush();
            Ok(())
        }
    }
    /// Is on the stack when the write comes to it, and does not care for flushes.
    struct Writes(Log);
    impl Handler for Writes {
        fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
            ctx.channel().write(msg);
            self.0.add("busy returns");
            Ok(())
        }

        fn write(
            &mut self,
            ctx: &mut Context<'_>,
            msg: Message,
            promise: tidegate::Promise,
        ) -> HandlerResult {
            self.0.add("busy write");
            ctx.write_with(msg, promise);
            Ok(())
        }
    }
    let log = Log::new();
    let a = Script::new("a", &log).loud();
    let (busy, eager) = (Writes(log.clone()), Eager(log.clone()));
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(a)?;
        pipeline.add_last(busy)?;
        pipeline.add_last(eager)
    })
    .unwrap();
    // What is left to the default bodies is learned here.
    channel.run(|channel| channel.flush());
    log.take();
    for _ in 0..2 {
        channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
        assert_eq!(
            log.take(),
            [
                "a read m",
                "eager write",
                "busy returns",
                "busy write",
                "a write m",
                "a flush",
            ]
        );
        assert_eq!(outbound(&mut channel), ["m"]);
    }
}

/// Writes through the channel's handle, by another route than its context, and then goes on by its context.
struct Detours {
    /// Takes out the other one at this flush.
    removes_at: u32,
    flushes: u32,
}

impl Handler for Detours {
    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let channel = ctx.channel();
        channel.write("first");
        self.flushes += 1;
        if self.flushes == self.removes_at {
            assert!(ctx.pipeline().remove("busy").is_ok());
            ctx.write("second");
        }
        ctx.flush();
        Ok(())
    }
}

/// Is on the stack when something comes to it, and does not care for flushes.
struct Busy;

impl Handler for Busy {
    fn channel_read(&mut self, ctx: &mut Context<'_>, _: Message) -> HandlerResult {
        ctx.channel().flush();
        Ok(())
    }

    fn write(
        &mut self,
        ctx: &mut Context<'_>,
        msg: Message,
        promise: tidegate::Promise,
    ) -> HandlerResult {
        ctx.write_with(msg, promise);
        Ok(())
    }
}

/// Both, with what they leave to the default bodies learned.
fn busy_and_detours(removes_at: u32) -> EmbeddedChannel {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last_named("busy", Busy)?;
        pipeline.add_last(Detours {
            removes_at,
            flushes: 0,
        })
    })
    .unwrap();
    channel.run(|channel| channel.flush());
    outbound(&mut channel);
    channel
}

/// A handler asks for a flush behind a write that waits, and that came there by another route.
///
/// Rules: 6.5, 6.9
#[test]
fn what_waits_by_another_route_is_not_overtaken() {
    let mut channel = busy_and_detours(0);
    for _ in 0..2 {
        channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
        assert_eq!(outbound(&mut channel), ["first"], "flushed behind it");
    }
}

/// The handler that something waits for is taken out by one that goes on past it.
///
/// Rules: 6.5, 6.9
#[test]
fn what_waits_at_a_handler_that_was_taken_out_is_not_overtaken_through_a_context() {
    // The first flush is the one by which the pipeline is learned.
    let mut channel = busy_and_detours(2);
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(outbound(&mut channel), ["first", "second"]);
}
