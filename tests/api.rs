//! Promises of the public API that the compiler can check: what may cross threads, how large things are, what does not
//! compile (the latter as `compile_fail` examples in the documentation, listed in `uncompilable`).

use std::marker::PhantomData;

use tidegate::buffer::{Arena, RecvPredictor};
use tidegate::channel::{
    Attributes, ChannelId, Context, HandlerHandle, LocalHandle, OptionValue, OutboundBuffer,
    Pipeline, Signal,
};
use tidegate::event_loop::{EventLoopGroupBuilder, MetricsSnapshot, ScheduledFuture};
use tidegate::future::{Combiner, Completion, TaskFuture, TaskPromise};
use tidegate::{
    Address, Backend, Bootstrap, Channel, ChannelFuture, EmbeddedChannel, Error, EventLoop,
    EventLoopGroup, Failure, FileRegion, LocalEventLoop, Message, OptionSet, Promise,
    ServerBootstrap,
};

struct Probe<T: ?Sized>(PhantomData<T>);

trait NotSend {
    const SEND: bool = false;
}
impl<T: ?Sized> NotSend for Probe<T> {}
impl<T: ?Sized + Send> Probe<T> {
    const SEND: bool = true;
}

trait NotSync {
    const SYNC: bool = false;
}
impl<T: ?Sized> NotSync for Probe<T> {}
impl<T: ?Sized + Sync> Probe<T> {
    const SYNC: bool = true;
}

macro_rules! table {
    ($($type:ty: $send:literal $sync:literal,)*) => {
        [$((stringify!($type), ($send, $sync), (Probe::<$type>::SEND, Probe::<$type>::SYNC)),)*]
    };
}

/// What may go to another thread, and what may be used from several at once.
#[test]
fn send_and_sync_are_as_promised() {
    struct Any;
    impl tidegate::Handler for Any {}
    let rows = table! {
        // Handles: for every thread.
        Channel: true true,
        ChannelFuture: true true,
        ChannelId: true true,
        EventLoop: true true,
        EventLoopGroup: true true,
        EventLoopGroupBuilder: true true,
        Signal: true true,
        HandlerHandle<Any>: true true,
        Promise: true true,
        Completion: true true,
        TaskPromise<u8>: true true,
        TaskFuture<u8>: true true,
        ScheduledFuture<u8>: true true,
        Attributes: true true,
        OptionSet: true true,
        OptionValue: true true,
        Address: true true,
        Error: true true,
        Failure: true true,
        MetricsSnapshot: true true,
        Backend: true true,
        Bootstrap: true true,
        ServerBootstrap: true true,
        // Messages travel; they are not shared.
        Message: true false,
        FileRegion: true true,
        // The loop's own.
        Context<'static>: false false,
        Pipeline<'static>: false false,
        LocalHandle<Any>: false false,
        LocalEventLoop: false false,
        EmbeddedChannel: false false,
        OutboundBuffer: true false,
        Arena: true true,
        RecvPredictor: true true,
        Combiner: true true,
    };
    let wrong: Vec<String> = rows
        .iter()
        .filter(|(_, promised, found)| promised != found)
        .map(|(name, promised, found)| {
            format!("{name}: promised (Send, Sync) = {promised:?}, found {found:?}")
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One word each where the hot path carries them.
#[test]
fn sizes_are_as_promised() {
    let word = size_of::<usize>();
    assert_eq!(size_of::<Promise>(), word);
    assert_eq!(size_of::<Channel>(), word);
    assert_eq!(size_of::<Error>(), word);
    assert!(
        size_of::<Message>() <= 64,
        "a message is at most one cache line"
    );
    assert!(size_of::<OutboundBuffer>() <= 96);
    assert!(size_of::<RecvPredictor>() <= 16);
}
