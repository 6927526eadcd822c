//! Editing a pipeline, from outside and while events are in it.

use std::cell::RefCell;

use tidegate::{Context, EmbeddedChannel, Error, ErrorKind, Handler, Pipeline};

use crate::common::{Log, Script, channel, text};

pub(crate) struct Alpha;
impl Handler for Alpha {}
pub(crate) struct Beta(u32);
impl Handler for Beta {}
pub(crate) struct Gamma;
impl Handler for Gamma {}
pub(crate) struct Generic<T>(T);
impl<T: 'static> Handler for Generic<T> {}

pub(crate) fn names(channel: &mut EmbeddedChannel) -> Vec<String> {
    channel.pipeline(|pipeline| pipeline.names())
}

pub(crate) fn empty() -> EmbeddedChannel {
    EmbeddedChannel::new(|_| Ok::<(), Error>(())).unwrap()
}

/// A handler to be moved into a pipeline by a closure that may run more than once.
pub(crate) fn once(handler: Script) -> impl Fn() -> Option<Script> {
    let handler = RefCell::new(Some(handler));
    move || handler.borrow_mut().take()
}

// ---- places and names

/// Every way to add puts the handler where it says.
///
/// Rules: 6.8, B20, B22
#[test]
fn handlers_are_added_by_name_type_and_position() {
    let mut channel = empty();
    channel
        .pipeline(|pipeline| -> Result<(), Error> {
            pipeline.add_last_named("m", Beta(0))?;
            pipeline.add_first_named("first", Alpha)?;
            pipeline.add_last(Gamma)?;
            pipeline.add_first(Gamma)?;
            pipeline.add_before("m", Some("before m"), Alpha)?;
            pipeline.add_after("m", Some("after m"), Alpha)?;
            pipeline.add_before_type::<Beta, _>(Generic(1u8))?;
            pipeline.add_after_type::<Beta, _>(Generic("text"))?;
            pipeline.add_before("Gamma#0", None, Alpha)?;
            Ok(())
        })
        .unwrap();
    assert_eq!(
        names(&mut channel),
        [
            "Gamma#1",
            "first",
            "before m",
            "Generic#0",
            "m",
            "Generic#1",
            "after m",
            "Alpha#0",
            "Gamma#0",
        ]
    );
}

/// A handler without a name is called by its type and the first free number.
///
/// Rules: B20
#[test]
fn generated_names_use_the_first_free_number() {
    let mut channel = empty();
    channel
        .pipeline(|pipeline| -> Result<(), Error> {
            for _ in 0..3 {
                pipeline.add_last(Alpha)?;
            }
            pipeline.remove("Alpha#1")?;
            pipeline.add_first(Alpha)?;
            pipeline.add_last_named("Alpha#3", Beta(0))?;
            pipeline.add_last(Alpha)
        })
        .unwrap();
    assert_eq!(
        names(&mut channel),
        ["Alpha#1", "Alpha#0", "Alpha#2", "Alpha#3", "Alpha#4"]
    );
}

/// More than a byte counts.
///
/// Rules: B20
#[test]
fn hundreds_of_a_type_have_names_as_well() {
    let mut channel = empty();
    channel.pipeline(|pipeline| {
        for number in 0..300 {
            pipeline.add_last(Beta(number)).unwrap();
        }
        let names = pipeline.names();
        assert_eq!((&*names[0], &*names[299]), ("Beta#0", "Beta#299"));
        pipeline.remove("Beta#255").unwrap();
        pipeline.remove("Beta#299").unwrap();
        pipeline.add_first(Beta(0)).unwrap();
        assert_eq!(pipeline.names()[0], "Beta#255");
        assert!(pipeline.contains("Beta#298") && !pipeline.contains("Beta#299"));
    });
}

/// Whatever comes between them.
///
/// Rules: B20
#[test]
fn the_first_free_number_is_found_among_many() {
    let mut channel = empty();
    channel.pipeline(|pipeline| {
        let add = |pipeline: &mut Pipeline<'_>| {
            pipeline.add_last(Beta(0)).unwrap();
            pipeline.last().unwrap()
        };
        for _ in 0..18 {
            add(pipeline);
        }
        assert_eq!(add(pipeline), "Beta#18");
        pipeline.add_last_named("Beta#20", Alpha).unwrap();
        pipeline.add_first_named("first", Beta(0)).unwrap();
        assert_eq!(
            [(); 3].map(|()| add(pipeline)),
            ["Beta#19", "Beta#21", "Beta#22"]
        );
        pipeline.remove("Beta#17").unwrap();
        pipeline.replace("Beta#21", None, Alpha).unwrap();
        assert_eq!(
            [(); 3].map(|()| add(pipeline)),
            ["Beta#17", "Beta#21", "Beta#23"]
        );
        pipeline.remove("Beta#20").unwrap();
        pipeline.add_last(Alpha).unwrap();
        assert_eq!([(); 2].map(|()| add(pipeline)), ["Beta#20", "Beta#24"]);
    });
}

/// Each addition looked at every name for every handler: their number cubed.
#[test]
fn thousands_of_a_type_are_added_as_fast_as_a_few() {
    let mut channel = empty();
    channel.pipeline(|pipeline| {
        for number in 0..3_000 {
            pipeline.add_last(Beta(number)).unwrap();
        }
        let names = pipeline.names();
        let numbered = |(number, name): (usize, &String)| *name == format!("Beta#{number}");
        assert!(names.iter().enumerate().all(numbered));
        assert!(pipeline.contains("Beta#2999") && !pipeline.contains("Beta#3000"));
    });
}

/// A name is taken once; the error shows the pipeline as it is, and nothing has changed.
///
/// Rules: 6.8, B20
#[test]
fn a_duplicate_name_is_refused_and_the_pipeline_shown() {
    let mut channel = empty();
    channel.pipeline(|pipeline| {
        pipeline.add_last_named("a", Alpha).unwrap();
        pipeline.add_last(Beta(1)).unwrap();
        for name in ["a", "Beta#0", "head", "tail"] {
            let error = pipeline.add_last_named(name, Gamma).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DuplicateName);
            let shown = error.to_string();
            assert!(shown.contains(&format!("{name:?}")), "{shown}");
            assert!(shown.contains("head -> a -> Beta#0 -> tail"), "{shown}");
        }
        let error = pipeline.replace("Beta#0", Some("a"), Gamma).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DuplicateName);
        assert_eq!(pipeline.names(), ["a", "Beta#0"]);
        assert_eq!(format!("{pipeline:?}"), "head -> a -> Beta#0 -> tail");
    });
}

/// What is not there is an error that shows the pipeline.
///
/// Rules: 6.8, B20
#[test]
fn an_unknown_handler_is_an_error_that_shows_the_pipeline() {
    let mut channel = empty();
    channel.pipeline(|pipeline| {
        for error in [
            pipeline.remove_first().unwrap_err(),
            pipeline.remove_last().unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::NoSuchHandler);
        }
        assert!(pipeline.is_empty());
        pipeline.add_last_named("a", Alpha).unwrap();
        let errors = [
            pipeline.remove("x").unwrap_err(),
            pipeline.replace("x", None, Gamma).unwrap_err(),
            pipeline.add_before("x", None, Gamma).unwrap_err(),
            pipeline.add_after("tail", None, Gamma).unwrap_err(),
            pipeline.remove_type::<Beta>().map(drop).unwrap_err(),
            pipeline.replace_type::<Beta, _>(Gamma).unwrap_err(),
            pipeline.add_before_type::<Beta, _>(Gamma).unwrap_err(),
            pipeline.add_after_type::<Beta, _>(Gamma).unwrap_err(),
            pipeline.with(|_: &mut Beta| ()).unwrap_err(),
            pipeline.handle::<Beta>().map(drop).unwrap_err(),
            pipeline.local_handle::<Beta>().map(drop).unwrap_err(),
            pipeline.with_named("x", |_: &mut Alpha| ()).unwrap_err(),
            pipeline.handle_named::<Alpha>("x").map(drop).unwrap_err(),
            pipeline
                .local_handle_named::<Alpha>("x")
                .map(drop)
                .unwrap_err(),
            // There, but something else.
            pipeline.with_named("a", |_: &mut Beta| ()).unwrap_err(),
            pipeline.handle_named::<Beta>("a").map(drop).unwrap_err(),
            pipeline
                .local_handle_named::<Beta>("a")
                .map(drop)
                .unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::NoSuchHandler);
            assert!(error.to_string().contains("head -> a -> tail"), "{error}");
        }
        assert_eq!(pipeline.names(), ["a"]);
    });
}

/// Rules: 6.8, B20
#[test]
fn handlers_are_removed_by_name_type_and_position() {
    let mut channel = empty();
    channel.pipeline(|pipeline| {
        pipeline.add_last_named("a", Alpha).unwrap();
        pipeline.add_last_named("b", Beta(7)).unwrap();
        pipeline.add_last_named("c", Gamma).unwrap();
        pipeline.add_last_named("d", Beta(8)).unwrap();
        pipeline.add_last_named("e", Alpha).unwrap();
        assert!(pipeline.contains("b") && pipeline.contains_type::<Beta>());
        let beta = pipeline.remove_type::<Beta>().unwrap().unwrap();
        assert_eq!(beta.0, 7, "the first one from the head, given back");
        pipeline.remove_first().unwrap();
        pipeline.remove_last().unwrap();
        assert_eq!(pipeline.names(), ["c", "d"]);
        pipeline.remove("d").unwrap();
        assert!(!pipeline.contains("d") && !pipeline.contains_type::<Beta>());
        pipeline.remove("c").unwrap();
        assert!(pipeline.is_empty());
    });
}

/// Of several handlers of one type each is found by its name; first and last are names, too.
///
/// Rules: B20
#[test]
fn handlers_of_one_type_are_told_apart_by_their_names() {
    let mut channel = empty();
    let (second, third) = channel.pipeline(|pipeline| {
        assert_eq!((pipeline.first(), pipeline.last()), (None, None));
        for number in 0..3 {
            pipeline.add_last(Beta(number)).unwrap();
        }
        pipeline.add_last_named("end", Alpha).unwrap();
        assert_eq!(pipeline.first().as_deref(), Some("Beta#0"));
        assert_eq!(pipeline.last().as_deref(), Some("end"));
        assert_eq!(pipeline.with(|beta: &mut Beta| beta.0).unwrap(), 0);
        let second = pipeline.with_named("Beta#1", |beta: &mut Beta| beta.0);
        assert_eq!(second.unwrap(), 1);
        assert!(pipeline.is_named::<Beta>("Beta#1") && pipeline.is_named::<Alpha>("end"));
        assert!(!pipeline.is_named::<Alpha>("Beta#1") && !pipeline.is_named::<Beta>("Beta#3"));
        (
            pipeline.local_handle_named::<Beta>("Beta#1").unwrap(),
            pipeline.handle_named::<Beta>("Beta#2").unwrap(),
        )
    });
    let add = |by: u32| {
        move |beta: &mut Beta, _: &mut Context<'_>| {
            beta.0 += by;
            Ok(())
        }
    };
    second.run(add(10)).unwrap();
    third.run(add(100)).unwrap();
    channel.run_pending();
    let numbers: Vec<u32> = channel.pipeline(|pipeline| {
        ["Beta#0", "Beta#1", "Beta#2"]
            .map(|name| pipeline.with_named(name, |beta: &mut Beta| beta.0).unwrap())
            .to_vec()
    });
    assert_eq!(numbers, [0, 11, 102]);
}

/// The new handler stands where the old one stood, under a name of its own or the old one.
///
/// Rules: 6.8, B10
#[test]
fn a_replacement_takes_the_place_and_may_take_the_name() {
    let mut channel = empty();
    channel.pipeline(|pipeline| {
        pipeline.add_last_named("a", Alpha).unwrap();
        pipeline.add_last_named("b", Beta(1)).unwrap();
        pipeline.add_last_named("c", Gamma).unwrap();
        pipeline.replace("b", Some("b"), Beta(2)).unwrap();
        assert_eq!(pipeline.names(), ["a", "b", "c"]);
        assert_eq!(pipeline.with(|beta: &mut Beta| beta.0).unwrap(), 2);
        pipeline.replace_type::<Alpha, _>(Beta(3)).unwrap();
        assert_eq!(pipeline.names(), ["Beta#0", "b", "c"]);
        pipeline.replace("c", Some("d"), Alpha).unwrap();
        assert_eq!(pipeline.names(), ["Beta#0", "b", "d"]);
    });
}

/// Attributes and edits reach a channel from any thread, as tasks of its loop.
///
/// Rules: 6.11, B29
#[test]
fn another_thread_edits_through_the_channel() {
    let mut channel = empty();
    let handle = channel.channel().clone();
    let edited = std::thread::spawn(move || {
        handle.edit(|pipeline: &mut Pipeline<'_>| {
            pipeline.add_last_named("from outside", Alpha)?;
            Ok::<_, Error>(pipeline.names())
        })
    })
    .join()
    .unwrap();
    assert!(!edited.is_done());
    channel.run_pending();
    assert_eq!(edited.sync().unwrap().unwrap(), ["from outside"]);
    // Inside the loop's turn it is done at once.
    let at_once = channel.run(|channel| channel.edit(|pipeline| pipeline.remove("from outside")));
    assert!(at_once.is_done());
    assert_eq!(names(&mut channel), [""; 0]);
}

// ---- handler_added and handler_removed

/// Outside of all callbacks both run inside the edit, and removal gives what it gave before.
///
/// Rules: 6.8, B3, B6, B9
#[test]
fn from_outside_both_callbacks_run_inside_the_edit() {
    let log = Log::new();
    let told = log.clone();
    let mut channel = empty();
    let a = Script::new("a", &log).loud();
    let b = Script::new("b", &log).loud();
    channel.pipeline(|pipeline| {
        pipeline.add_last_named("a", a).unwrap();
        told.add("a is in");
        pipeline.replace("a", Some("b"), b).unwrap();
        told.add("b is in");
        pipeline.remove("b").unwrap();
        told.add("all out");
    });
    assert_eq!(
        log.take(),
        [
            "a added",
            "a is in",
            "b added",
            "a removed",
            "b is in",
            "b removed",
            "all out"
        ]
    );
}

/// A handler that is added nearer to the head than all on the stack hears of it inside the edit; one farther from
/// it as an emission of the current handler, in its place among the others.
///
/// Rules: 6.8, B3, B11
#[test]
fn handler_added_runs_inside_the_edit_before_the_stack_and_as_an_emission_behind_it() {
    let log = Log::new();
    let told = log.clone();
    let before = once(Script::new("before", &log).loud());
    let behind = once(Script::new("behind", &log).loud());
    let b = Script::new("b", &log).on_read(move |ctx, msg| {
        ctx.fire_user_event_triggered("1".into());
        if let (Some(before), Some(behind)) = (before(), behind()) {
            ctx.pipeline().add_before("b", None, before)?;
            told.add("before is in");
            ctx.pipeline().add_last(behind)?;
            told.add("behind is in");
        }
        ctx.fire_user_event_triggered("2".into());
        ctx.write(msg);
        Ok(())
    });
    let c = Script::new("c", &log).loud();
    let mut channel = channel([b, c]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(
        log.take(),
        [
            "b read m",
            "before added",
            "before is in",
            "behind is in",
            "before write m",
            // The first event goes by all who are linked, so the new one hears first that it was added.
            "c event 1",
            "behind added",
            "behind event 1",
            "c event 2",
            "behind event 2",
        ]
    );
}

/// From an outbound handler under an inbound one: what stands between the two must not be entered, what stands
/// nearer to the head may.
///
/// Rules: 6.8, 6.3
#[test]
fn handler_added_from_an_outbound_handler_knows_the_whole_stack() {
    let log = Log::new();
    let told = log.clone();
    let spares: [_; 3] =
        ["near", "between", "far"].map(|name| once(Script::new(name, &log).loud()));
    let codec = Script::new("codec", &log).on_write(move |ctx, msg, promise| {
        let [Some(near), Some(between), Some(far)] = [spares[0](), spares[1](), spares[2]()] else {
            unreachable!("written to once")
        };
        ctx.pipeline().add_first(near)?;
        ctx.pipeline().add_after("codec", None, between)?;
        ctx.pipeline().add_last(far)?;
        told.add("all in");
        ctx.write_with(msg, promise);
        Ok(())
    });
    let app = Script::new("app", &log).loud().on_read(|ctx, msg| {
        ctx.write(msg);
        Ok(())
    });
    let mut channel = channel([codec, app]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(
        log.take(),
        [
            "app read m",
            "codec write m",
            "near added",
            "all in",
            "near write m",
            "between added",
            "far added",
        ]
    );
}

/// Whatever comes first to a new handler, its handler_added comes before; it is never bypassed.
///
/// Rules: 6.8, B5
#[test]
fn a_linked_handler_is_told_before_any_other_callback_and_never_bypassed() {
    let log = Log::new();
    let new = once(Script::new("new", &log).loud());
    // The operation from the handle meets the new handler before its own announcement is due.
    let a = Script::new("a", &log).on_read(move |ctx, msg| {
        if let Some(new) = new() {
            ctx.pipeline().add_last_named("new", new)?;
            ctx.channel().write("w");
            ctx.fire_channel_read(msg);
        }
        Ok(())
    });
    let mut channel = channel([a]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(
        log.take(),
        ["a read m", "new added", "new write w", "new read m"]
    );
}

/// What handler_added emits goes to the handlers behind; what it writes goes to those before.
///
/// Rules: 6.8, B3
#[test]
fn handler_added_may_emit_and_write() {
    let log = Log::new();
    let mut channel = channel([Script::new("a", &log).loud(), Script::new("z", &log).loud()]);
    log.take();
    let new = Script::new("new", &log).on_added(|ctx| {
        ctx.fire_user_event_triggered("hello".into());
        ctx.write("out");
        ctx.pipeline()
            .fire_user_event_triggered("from the head".into());
        Ok(())
    });
    channel
        .pipeline(|pipeline| pipeline.add_after("a", None, new))
        .unwrap();
    assert_eq!(
        log.take(),
        [
            "new added",
            "a write out",
            "z event hello",
            "a event from the head",
            "z event from the head",
        ]
    );
}

/// Added before the current handler, a new one misses the event; added behind, it sees it.
///
/// Rules: 6.8, B11
#[test]
fn a_handler_added_behind_sees_the_event_one_added_before_does_not() {
    let log = Log::new();
    let before = once(Script::new("before", &log).loud());
    let behind = once(Script::new("behind", &log).loud());
    let b = Script::new("b", &log).on_read(move |ctx, msg| {
        // The link counts at the hop, not at the call: firing first makes no difference.
        ctx.fire_channel_read(msg);
        if let (Some(before), Some(behind)) = (before(), behind()) {
            ctx.pipeline().add_before("b", None, before)?;
            ctx.pipeline().add_after("b", None, behind)?;
        }
        Ok(())
    });
    let mut channel = channel([b]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(
        log.take(),
        ["b read m", "before added", "behind added", "behind read m"]
    );
    channel.pipeline(|pipeline| pipeline.fire_channel_read("n"));
    assert_eq!(log.take(), ["before read n", "b read n", "behind read n"]);
}

/// handler_removed of a handler on the stack runs right after it has returned, before what it emitted is delivered.
///
/// Rules: 6.8, B9
#[test]
fn a_handler_that_removes_itself_is_told_when_it_has_returned() {
    let log = Log::new();
    let told = log.clone();
    let a = Script::new("a", &log).loud().on_read(move |ctx, msg| {
        ctx.fire_channel_read(msg);
        assert!(!ctx.is_removed());
        ctx.pipeline().remove("a")?;
        assert!(ctx.is_removed());
        assert!(!ctx.pipeline().contains("a"));
        told.add("a goes on");
        // From its old place, in both directions.
        ctx.write("out");
        ctx.fire_channel_read("late");
        Ok(())
    });
    let mut channel = channel([
        Script::new("front", &log).loud(),
        a,
        Script::new("b", &log).loud(),
    ]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(
        log.take(),
        [
            "front read m",
            "a read m",
            "a goes on",
            "front write out",
            "a removed",
            "b read m",
            "b read late",
        ]
    );
    channel.pipeline(|pipeline| pipeline.fire_channel_read("n"));
    assert_eq!(log.take(), ["front read n", "b read n"]);
}

/// What handler_removed emits goes to the old successor, in either way of being removed.
///
/// Rules: 6.8, B9
#[test]
fn what_a_removed_handler_emits_goes_to_its_old_successor() {
    let log = Log::new();
    let keeper = || {
        Script::new("keeper", &log)
            .on_read(|ctx, msg| {
                if text(&msg) == "self" {
                    ctx.pipeline().remove("keeper")?;
                }
                Ok(())
            })
            .on_removed(|ctx| {
                ctx.fire_channel_read("kept 1");
                ctx.fire_channel_read("kept 2");
                ctx.write("written");
                Ok(())
            })
    };
    let remover = || {
        Script::new("remover", &log).on_event(|ctx, _| {
            ctx.pipeline().remove("keeper")?;
            ctx.fire_channel_read("own");
            Ok(())
        })
    };
    let z = || Script::new("z", &log).loud();
    // By itself.
    let mut one = channel([keeper(), z()]);
    log.take();
    one.pipeline(|pipeline| pipeline.fire_channel_read("self"));
    assert_eq!(
        log.take(),
        [
            "keeper read self",
            "keeper removed",
            "z read kept 1",
            "z read kept 2"
        ]
    );
    // By one before it, by one behind it, and from outside.
    for order in [[remover(), keeper(), z()], [keeper(), z(), remover()]] {
        let mut two = channel(order);
        log.take();
        two.pipeline(|pipeline| pipeline.fire_user_event_triggered("go".into()));
        let lines = log.take();
        let kept = lines
            .iter()
            .position(|line| line == "z read kept 1")
            .unwrap();
        assert_eq!(lines[kept + 1], "z read kept 2");
        assert!(lines.iter().any(|line| line == "keeper removed"));
    }
    let mut three = channel([keeper(), z()]);
    log.take();
    three
        .pipeline(|pipeline| pipeline.remove("keeper"))
        .unwrap();
    assert_eq!(
        log.take(),
        ["keeper removed", "z read kept 1", "z read kept 2"]
    );
}
