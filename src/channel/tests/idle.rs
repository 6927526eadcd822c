//! What an idle channel does without, and that nothing is lost with it.

use bytes::Bytes;

use super::super::options::OptionSet;
use super::super::places::Places;
use super::super::register::open_here;
use super::*;

/// Sends everything at once, and notes the limit of gathering writes that it finds before it sets one.
#[derive(Clone, Default)]
struct Sink {
    limits: Rc<RefCell<Vec<usize>>>,
}

impl Transport for Sink {
    fn metadata(&self) -> Metadata {
        Script::new().metadata
    }

    fn is_active(&self) -> bool {
        true
    }

    fn accepts(&self, _: &Message) -> bool {
        true
    }

    fn read(&mut self, _: &mut Io<'_>) -> Result<Read, Error> {
        Ok(Read::WouldBlock)
    }

    fn flush(&mut self, _: &mut Io<'_>, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        self.limits.borrow_mut().push(out.gather_max());
        out.set_gather_max(5000);
        while out.flushed_len() > 0 {
            let _ = out.complete_front();
        }
        Ok(Flush::Drained)
    }

    fn close(&mut self, _: &mut Io<'_>) -> Result<Progress, Error> {
        Ok(Progress::Done)
    }
}

/// A channel on a [`Sink`], on a loop of its own.
fn sinking(sink: &Sink) -> (Rig, Rc<Core>, Channel) {
    let rig = Rig::new(Script::new());
    let (core, channel) = open_on(&rig.lp, Box::new(sink.clone()), &Log::default());
    rig.turn();
    (rig, core, channel)
}

/// Asks to come back twice, so that the second waits in the lists of the trampoline.
struct Twice;

impl Handler for Twice {
    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, _: Message) -> HandlerResult {
        ctx.after(1);
        ctx.after(2);
        Ok(())
    }
}

#[test]
fn an_idle_channel_keeps_no_buffer_no_queue_and_no_lists() {
    let rig = Rig::new(Script::new());
    let holds_nothing = || {
        let core = &rig.core;
        core.outbound.is_none()
            && core.roots.is_none()
            && core.slow.is_none()
            && core.look_at_rare(|_| Some(())).is_none()
    };
    assert!(holds_nothing(), "after the first events");

    rig.run(|channel| drop(channel.edit(|pipeline| pipeline.add_last(Twice))));
    rig.run(|channel| channel.fire_user_event_triggered("now".into()));
    rig.script.blocked.set(true);
    let written = rig.run(|channel| channel.write_and_flush("some"));
    rig.log.watch("written", &written);
    assert!(!rig.core.outbound.is_none(), "bytes wait");

    rig.script.blocked.set(false);
    rig.log.take();
    rig.run(|channel| channel.signal().writable());
    assert_eq!(rig.log.take(), ["written"]);
    assert!(holds_nothing(), "after a write, a listener and an after()");
}

#[test]
fn what_a_channel_has_learned_of_its_peer_outlives_the_buffer() {
    let sink = Sink::default();
    let (rig, core, channel) = sinking(&sink);
    for text in ["one", "two"] {
        let _turn = rig.lp.enter();
        let before = core.outbound_mark();
        channel.write_and_flush(text);
        assert!(core.outbound.is_none());
        assert!(core.outbound_mark().has_progressed_since(before));
    }
    assert_eq!(*sink.limits.borrow(), [usize::MAX, 5000]);

    let (other, _core, channel) = sinking(&sink);
    let _turn = other.lp.enter();
    channel.write_and_flush("three");
    assert_eq!(sink.limits.borrow()[2], usize::MAX, "another channel's own");
}

/// Writes when it is dropped.
struct LastWord(Channel);

impl AsRef<[u8]> for LastWord {
    fn as_ref(&self) -> &[u8] {
        b"word"
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.write("last");
    }
}

#[test]
fn a_message_that_writes_when_it_is_dropped_keeps_the_account_right() {
    let (rig, core, channel) = sinking(&Sink::default());
    let _turn = rig.lp.enter();
    channel.write_and_flush(Bytes::from_owner(LastWord(channel.clone())));
    let waiting = "last".len() + crate::channel::ENTRY_OVERHEAD;
    assert_eq!(core.pending_bytes(), waiting);
    assert_eq!(core.shared.pending(), waiting, "what other threads see");
    channel.flush();
    assert_eq!(core.shared.pending(), 0);
}

#[test]
fn a_pipeline_begins_with_the_places_that_the_last_one_of_its_bootstrap_took() {
    let rig = Rig::new(Script::new());
    let _turn = rig.lp.enter();
    let places = Places::default();
    // How many places there are before the pipeline is filled, and then.
    let open = |handlers: usize, removed: usize| {
        let shared = Shared::new(rig.lp.handle().clone(), None, Attributes::default());
        let places_now = || shared.core().expect("attached").nodes.slab().len();
        let mut at_first = 0;
        let fill = |pipeline: &mut Pipeline<'_>| {
            at_first = places_now();
            for _ in 0..handlers {
                pipeline.add_last(Twice)?;
            }
            for _ in 0..removed {
                pipeline.remove_last()?;
            }
            Ok(())
        };
        let sink = Box::new(Sink::default());
        open_here(&shared, &OptionSet::default(), &places, sink, fill).expect("opens");
        (at_first, places_now())
    };
    open(3, 0);
    assert_eq!(open(3, 0), (4, 4), "three handlers, and the ends");
    assert!(open(12, 2).1 > 12, "a longer one grows");
    assert_eq!(open(12, 2), (13, 13), "with those that did not stay");
    assert_eq!(open(0, 0), (13, 13));
    assert_eq!(open(0, 0), (1, 1), "the ends alone");
}
