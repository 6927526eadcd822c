//! How a drain ends: by its deadline, whatever closes meanwhile, and without asking again and again for what has not changed.

use super::*;
use crate::channel::Draining;
use crate::future::OnCaller;

/// Of the test's own clock; no real time passes.
const WITHIN: Duration = Duration::from_secs(3);

/// Passes over the loop's lists that are enough for everything here. What goes on longer goes on for ever.
const PASSES: usize = 100;

impl Rig {
    /// True if the loop has nothing to do any more.
    fn settles(&self) -> bool {
        let _turn = self.lp.enter();
        let lp = &self.lp;
        (0..PASSES).any(|_| lp.run_ready() + lp.run_roots() + lp.run_timers() + lp.run_tasks() == 0)
    }

    /// Begins a drain of the loop; true if nothing is left to do until something happens.
    fn drains(&self) -> (crate::future::TaskFuture<crate::channel::DrainReport>, bool) {
        let draining = self.channel.event_loop().drain(WITHIN);
        let settles = self.settles();
        (draining, settles)
    }
}

/// A channel on the rig's loop that does not connect before it is closed.
fn open_unconnected(rig: &Rig, parent: Option<Channel>) -> Channel {
    let script = Rc::new(Script::unconnected());
    open_unconnected_on(&rig.lp, script, parent)
}

fn open_unconnected_on(lp: &Rc<LoopCore>, script: Rc<Script>, parent: Option<Channel>) -> Channel {
    let shared = Shared::new(lp.handle().clone(), parent, Attributes::default());
    let core = crate::channel::register::attach(&shared, lp, Box::new(Scripted(script)));
    let channel = Channel::new(shared);
    core.register(|_| Ok(()), &channel.new_promise());
    channel
}

/// A stream that has not begun closes at once, and then it is its connection's turn: that may take its time.
#[test]
fn a_connection_whose_only_stream_closes_at_once_has_the_deadline() {
    let rig = Rig::new(Script::new());
    rig.script.blocked.set(true);
    rig.run(|channel| channel.write_and_flush("unread"));
    let stream = rig.run(|channel| open_unconnected(&rig, Some(channel.clone())));
    let (draining, settles) = rig.drains();
    assert!(settles && !stream.is_open());
    assert_eq!(rig.log.take().last().unwrap(), "event Draining");
    assert!(!draining.is_done());
    rig.clock.advance(WITHIN);
    assert!(rig.settles());
    let report = draining.get_now().expect("done");
    assert_eq!((report.channels, report.late), (2, 1), "{report}");
    assert_eq!(report.unsent.len(), 1);
}

/// Clients that connect again when a connect has failed; two of them, so that one is always there.
#[test]
fn channels_that_come_again_and_again_have_the_deadline() {
    fn open_again(lp: &Rc<LoopCore>, opened: &Log) {
        opened.add("opened");
        let script = Rc::new(Script::unconnected());
        let channel = open_unconnected_on(lp, script, None);
        let (id, opened) = (lp.id(), opened.clone());
        channel.close_future().add_listener(move |_, _| {
            if let Some(lp) = LoopCore::current().filter(|lp| lp.id() == id && !lp.ends_channels())
            {
                open_again(&lp, &opened);
            }
        });
    }

    let rig = Rig::new(Script::new());
    let opened = Log::default();
    rig.run(|_| {
        open_again(&rig.lp, &opened);
        open_again(&rig.lp, &opened);
    });
    let (draining, _) = rig.drains();
    rig.clock.advance(WITHIN);
    assert!(rig.settles());
    let report = draining.get_now().expect("done");
    assert!(report.is_complete(), "{report}");
    opened.take();
    assert!(rig.settles());
    assert_eq!(opened.take(), [""; 0], "nobody is closed after the report");
}

thread_local! {
    /// The clock that a task moves, which may come from any thread.
    static TASKS_CLOCK: RefCell<Option<ManualClock>> = const { RefCell::new(None) };
}

/// So long a task takes.
const TASK: Duration = Duration::from_millis(100);

/// Gives the loop more than it can do within the deadline, and turns it until `is_done`. How many tasks have run then.
fn behind_tasks<F>(rig: &Rig, ask: impl FnOnce() -> F, is_done: impl Fn(&F) -> bool) -> (F, u32) {
    const TASKS: u32 = 500;
    TASKS_CLOCK.set(Some(rig.clock.clone()));
    let run = Arc::new(std::sync::atomic::AtomicU32::new(0));
    for _ in 0..TASKS {
        let run = run.clone();
        let work = move || {
            run.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            TASKS_CLOCK.with_borrow(|clock| clock.as_ref().map(|clock| clock.advance(TASK)));
        };
        rig.lp.handle().execute(work).expect("open");
    }
    let asked = ask();
    for _ in 0..10 * TASKS {
        if is_done(&asked) {
            break;
        }
        rig.lp.now();
        let entered = rig.lp.enter();
        rig.lp.turn(Some(Duration::ZERO));
        drop(entered);
    }
    (asked, run.load(std::sync::atomic::Ordering::Relaxed))
}

/// What is asked of channels is done behind the tasks that wait, and so is a drain; its deadline is not.
#[test]
fn a_deadline_does_not_wait_behind_the_tasks_of_its_loop() {
    for is_of_one in [false, true] {
        let rig = Rig::new(Script::new());
        rig.script.blocked.set(true);
        rig.run(|channel| channel.write_and_flush("unread"));
        let other = rig.run(|_| open_unconnected(&rig, None));
        let drain = || match is_of_one {
            false => rig.channel.event_loop().drain(WITHIN),
            true => rig.channel.drain(WITHIN),
        };
        let (draining, run) = behind_tasks(&rig, drain, |draining| draining.is_done());
        // One more may have been under way, and what a turn does before it looks at its timers.
        let in_time = (WITHIN.as_millis() / TASK.as_millis()) as u32;
        assert!((in_time..=in_time + 20).contains(&run), "{run} tasks");
        let report = draining.get_now().expect("done");
        assert_eq!(report.late, report.channels, "{report}");
        assert_eq!(report.channels, if is_of_one { 1 } else { 2 });
        assert_eq!(report.unsent.len(), 1, "{report}");
        assert!(!rig.channel.is_open());
        assert_eq!(other.is_open(), is_of_one);
        // Its turn, in the end, is about nobody.
        let opened = rig.run(|_| open_unconnected(&rig, None));
        let (_, rest) = behind_tasks(&rig, || (), |()| false);
        assert!(rest > 0 && opened.is_open(), "it came behind the report");
    }
}

/// The kernel has it all the same, and takes it when it can.
#[test]
fn a_last_write_whose_promise_is_done_already_is_waited_for_once() {
    for host in [None, Some(OnCaller::host())] {
        let rig = Rig::new(Script::new());
        rig.script.blocked.set(true);
        let promise = rig.run(|channel| {
            let promise = host.map_or_else(|| channel.new_promise(), Promise::new);
            let ours = promise.second();
            channel.write_with("late", promise);
            channel.flush();
            ours
        });
        assert!(promise.try_success(), "the user's own answer");
        let (draining, settles) = rig.drains();
        assert!(settles, "it goes round");
        assert!(!draining.is_done());
        rig.script.blocked.set(false);
        rig.channel.signal().writable();
        assert!(rig.settles());
        assert_eq!(rig.script.taken.borrow().len(), 1);
        let report = draining.get_now().expect("done");
        assert!(report.is_complete(), "{report}");
    }
}

/// The same behind a close that a handler answers with a last word.
#[test]
fn a_goodbye_whose_promise_is_done_already_is_waited_for_once() {
    struct Goodbye;

    impl Handler for Goodbye {
        fn close(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
            let done = ctx.new_promise();
            let ours = done.second();
            ctx.write_with("goodbye", done);
            ctx.flush();
            ours.try_success();
            ctx.close_with(promise);
            Ok(())
        }
    }

    let rig = Rig::new(Script::new());
    rig.run(|_| Pipeline::new(&rig.core).add_last(Goodbye))
        .unwrap();
    rig.script.blocked.set(true);
    let (draining, settles) = rig.drains();
    assert!(settles && !draining.is_done());
    rig.script.blocked.set(false);
    rig.channel.signal().writable();
    assert!(rig.settles());
    assert_eq!(rig.script.taken.borrow().len(), 1);
    assert!(draining.get_now().expect("done").is_complete());
}

/// Lets no flush pass until it is told to, and keeps the event of a drain as long.
struct Gate {
    held: Option<Draining>,
    is_shut: bool,
}

impl Handler for Gate {
    fn user_event_triggered(&mut self, _: &mut Context<'_>, event: Message) -> HandlerResult {
        self.held = event.downcast_ref::<Draining>().cloned();
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if !self.is_shut {
            ctx.flush();
        }
        Ok(())
    }
}

/// Rules: C7
#[test]
fn what_was_cancelled_before_it_was_flushed_is_neither_sent_nor_waited_for() {
    let rig = Rig::new(Script::new());
    let gate = Gate {
        held: None,
        is_shut: true,
    };
    rig.run(|_| Pipeline::new(&rig.core).add_last(gate))
        .unwrap();
    let (first, last) = rig.run(|channel| (channel.write_future("a"), channel.write_future("b")));
    assert!(first.cancel() && last.cancel());
    let (draining, _) = rig.drains();
    assert!(!draining.is_done(), "the event is kept");
    rig.run(|channel| channel.fire_user_event_triggered(Message::new(7)));
    assert!(rig.settles());
    let report = draining.get_now().expect("done");
    assert!(report.is_complete(), "{report}");
    assert!(rig.script.taken.borrow().is_empty());
}

/// It is waited for as long as it can be sent.
#[test]
fn a_last_write_that_is_cancelled_in_a_drain_makes_room_for_the_one_before() {
    let rig = Rig::new(Script::new());
    let gate = Gate {
        held: None,
        is_shut: true,
    };
    rig.run(|_| Pipeline::new(&rig.core).add_last(gate))
        .unwrap();
    let (first, last) = rig.run(|channel| (channel.write_future("a"), channel.write_future("b")));
    let (draining, _) = rig.drains();
    rig.run(|channel| channel.fire_user_event_triggered(Message::new(7)));
    assert!(rig.settles() && !draining.is_done());
    assert!(last.cancel());
    assert!(rig.settles() && !draining.is_done());
    assert!(first.cancel());
    assert!(rig.settles());
    let report = draining.get_now().expect("done");
    assert!(report.is_complete(), "{report}");
    assert!(rig.script.taken.borrow().is_empty());
}
