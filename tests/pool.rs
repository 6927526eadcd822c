//! Channel pools over loopback TCP (rule H62). Nothing sleeps: a test waits for what it expects, with a deadline.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::future::{OnCaller, TaskFuture, TaskPromise};
use tidegate::pool::{
    AcquireTimeout, ChannelPool, ChannelPoolMap, FixedChannelPool, Pool, PoolBuilder, PoolHandler,
    PooledChannel,
};
use tidegate::{Bootstrap, Channel, Error, ErrorKind, EventLoopGroup, Failure, LocalEventLoop};

#[path = "common/refusing.rs"]
mod refusing;

use refusing::refusing;

const DEADLINE: Duration = Duration::from_secs(20);

/// A server that accepts by its backlog alone, and a bootstrap for it.
struct Site {
    group: EventLoopGroup,
    listener: TcpListener,
    address: SocketAddr,
}

impl Site {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            group: EventLoopGroup::new(2).unwrap(),
            address: listener.local_addr().unwrap(),
            listener,
        }
    }

    fn bootstrap(&self) -> Bootstrap {
        Bootstrap::new(&self.group).handler(|_| Ok::<(), Error>(()))
    }

    fn pool(&self) -> PoolBuilder {
        ChannelPool::builder(&self.bootstrap(), self.address)
    }

    /// The server's side of the connection that was made first of those not accepted.
    fn accept(&self) -> TcpStream {
        self.listener.accept().unwrap().0
    }
}

/// The bare channel, to be given back by hand.
fn get(future: &TaskFuture<PooledChannel>) -> Channel {
    future.sync_timeout(DEADLINE).unwrap().into_channel()
}

fn acquire(pool: &impl Pool) -> Channel {
    get(&pool.acquire())
}

fn release(pool: &impl Pool, channel: Channel) {
    pool.release(channel).sync_timeout(DEADLINE).unwrap();
}

fn kind(future: &TaskFuture<PooledChannel>) -> ErrorKind {
    future.sync_timeout(DEADLINE).unwrap_err().kind()
}

fn expect_closed(channel: &Channel) {
    channel.close_future().sync_timeout(DEADLINE).unwrap();
}

/// Waits for something that another thread does.
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "never: {what}");
        thread::yield_now();
    }
}

// ---- the simple pool

/// Rules: H62
#[test]
fn the_channel_that_was_used_last_is_lent_first() {
    let site = Site::new();
    let pool = site.pool().build();
    let channels = [(); 3].map(|()| acquire(&pool));
    let ids: Vec<_> = channels.iter().map(Channel::id).collect();
    for channel in channels {
        release(&pool, channel);
    }
    assert_eq!(pool.idle(), 3);
    assert_eq!(acquire(&pool).id(), ids[2]);
    assert_eq!(acquire(&pool).id(), ids[1]);
}

/// Rules: H62
#[test]
fn a_fifo_pool_lends_the_channel_that_was_idle_the_longest() {
    let site = Site::new();
    let pool = site.pool().fifo().build();
    let channels = [(); 3].map(|()| acquire(&pool));
    let ids: Vec<_> = channels.iter().map(Channel::id).collect();
    for channel in channels {
        release(&pool, channel);
    }
    assert_eq!(acquire(&pool).id(), ids[0]);
    assert_eq!(acquire(&pool).id(), ids[1]);
}

/// Rules: H62
#[test]
fn a_channel_that_dies_in_the_pool_is_dropped() {
    let site = Site::new();
    let pool = site.pool().build();
    let channel = acquire(&pool);
    let dead = channel.id();
    release(&pool, channel.clone());
    drop(site.accept());
    expect_closed(&channel);
    eventually("the pool forgets the channel", || pool.idle() == 0);
    assert_ne!(acquire(&pool).id(), dead);
}

/// Rules: H62
#[test]
fn a_channel_that_came_back_dead_is_not_kept() {
    let site = Site::new();
    let pool = site.pool().build();
    let channel = acquire(&pool);
    drop(site.accept());
    expect_closed(&channel);
    release(&pool, channel);
    assert_eq!(pool.idle(), 0);
}

/// Rules: H62
#[test]
fn a_foreign_channel_is_refused_and_closed() {
    let site = Site::new();
    let (pool, other) = (site.pool().build(), site.pool().build());
    let own = site.bootstrap().connect(site.address).sync().unwrap();
    let lent = acquire(&other);
    for foreign in [own, lent] {
        let error = pool
            .release(foreign.clone())
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("not acquired from this pool"));
        expect_closed(&foreign);
    }
    assert_eq!((pool.idle(), other.idle()), (0, 0));
}

/// Rules: H62
#[test]
fn a_channel_is_given_back_once() {
    let site = Site::new();
    let pool = site.pool().build();
    let channel = acquire(&pool);
    release(&pool, channel.clone());
    let error = pool
        .release(channel.clone())
        .sync_timeout(DEADLINE)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    // Somebody may use it by now, and somebody else does as well: closing is the only safe thing.
    expect_closed(&channel);
    eventually("the pool forgets the channel", || pool.idle() == 0);
}

/// Rules: H62
#[test]
fn channels_are_checked_when_they_go_and_when_they_come_back() {
    let site = Site::new();
    let checks = Arc::new(AtomicUsize::new(0));
    let is_healthy = Arc::new(AtomicBool::new(true));
    let (counter, answer) = (checks.clone(), is_healthy.clone());
    let builder = || {
        let (counter, answer) = (counter.clone(), answer.clone());
        site.pool().healthy_if(move |channel| {
            assert!(channel.event_loop().in_event_loop());
            counter.fetch_add(1, Ordering::Relaxed);
            answer.load(Ordering::Relaxed)
        })
    };
    let pool = builder().build();
    let channel = acquire(&pool);
    assert_eq!(
        checks.load(Ordering::Relaxed),
        0,
        "a new channel is healthy"
    );
    let first = channel.id();
    release(&pool, channel);
    assert_eq!(checks.load(Ordering::Relaxed), 1);
    let channel = acquire(&pool);
    assert_eq!((checks.load(Ordering::Relaxed), channel.id()), (2, first));
    is_healthy.store(false, Ordering::Relaxed);
    release(&pool, channel.clone());
    expect_closed(&channel);
    assert_eq!(pool.idle(), 0);

    // Not asked on release: found out at the next acquire, which connects.
    let pool = builder().check_on_release(false).build();
    let channel = acquire(&pool);
    release(&pool, channel.clone());
    assert_eq!(pool.idle(), 1);
    assert_ne!(acquire(&pool).id(), channel.id());
    expect_closed(&channel);
}

/// Rules: H62
#[test]
fn a_check_may_take_its_time() {
    let site = Site::new();
    let (asked, questions) = mpsc::channel::<TaskPromise<bool>>();
    let asked = Mutex::new(asked);
    let pool = site
        .pool()
        .health_check(move |channel| {
            let (promise, answer) = TaskPromise::pair(OnCaller::host());
            asked.lock().unwrap().send(promise).unwrap();
            let _ = channel;
            answer
        })
        .build();
    let channel = acquire(&pool);
    let id = channel.id();
    let released = pool.release(channel);
    let question = questions.recv_timeout(DEADLINE).unwrap();
    assert!(!released.is_done());
    question.try_success(true).unwrap();
    released.sync_timeout(DEADLINE).unwrap();
    let acquired = pool.acquire();
    let question = questions.recv_timeout(DEADLINE).unwrap();
    question.try_success(true).unwrap();
    assert_eq!(get(&acquired).id(), id);
    // An error is a no.
    let channel = get(&acquired_again(&pool, acquired, &questions));
    let released = pool.release(channel.clone());
    drop(questions.recv_timeout(DEADLINE).unwrap());
    released.sync_timeout(DEADLINE).unwrap();
    expect_closed(&channel);
}

/// A check that never answers, as of a peer that is gone without a word.
#[test]
fn a_check_that_takes_too_long_is_a_no() {
    let site = Site::new();
    let (asked, questions) = mpsc::channel::<TaskPromise<bool>>();
    let checked = |timeout| {
        let asked = Mutex::new(asked.clone());
        let pool = site.pool().health_check(move |channel| {
            let (promise, answer) = channel.event_loop().new_promise();
            asked.lock().unwrap().send(promise).unwrap();
            answer
        });
        let pool = pool.check_on_release(false).health_check_timeout(timeout);
        pool.fixed(1).build()
    };
    let fixed = checked(Duration::from_millis(20));
    let channel = acquire(&fixed);
    release(&fixed, channel.clone());
    let begun = Instant::now();
    let next = acquire(&fixed);
    assert!(begun.elapsed() >= Duration::from_millis(20), "too early");
    expect_closed(&channel);
    let question = questions.recv_timeout(DEADLINE).unwrap();
    assert_ne!(next.id(), channel.id());
    eventually("the check is cancelled", || question.is_cancelled());

    // One that answers in time is not hurried.
    let fixed = checked(DEADLINE);
    let channel = acquire(&fixed);
    release(&fixed, channel.clone());
    let again = fixed.acquire();
    let question = questions.recv_timeout(DEADLINE).unwrap();
    question.try_success(true).unwrap();
    assert_eq!(get(&again).id(), channel.id());
}

/// Nobody answers, and nobody will: the loop of the channel ends.
#[test]
fn a_check_ends_with_its_loop_if_it_has_a_limit() {
    let site = Site::new();
    let (asked, questions) = mpsc::channel::<TaskPromise<bool>>();
    let asked = Mutex::new(asked);
    let pool = site
        .pool()
        .health_check(move |_| {
            let (promise, answer) = TaskPromise::pair(OnCaller::host());
            asked.lock().unwrap().send(promise).unwrap();
            answer
        })
        .health_check_timeout(Duration::from_secs(3600))
        .build();
    let released = pool.release(acquire(&pool));
    let question = questions.recv_timeout(DEADLINE).unwrap();
    site.group.stop().sync_timeout(DEADLINE).unwrap();
    released.sync_timeout(DEADLINE).unwrap();
    assert!(question.is_cancelled());
}

/// A further channel: a new one, since the other is lent.
fn acquired_again(
    pool: &ChannelPool,
    _lent: TaskFuture<PooledChannel>,
    questions: &mpsc::Receiver<TaskPromise<bool>>,
) -> TaskFuture<PooledChannel> {
    let future = pool.acquire();
    assert!(questions.try_recv().is_err());
    future
}

/// Writes down what it hears.
#[derive(Clone, Default)]
struct Diary {
    lines: Arc<Mutex<Vec<String>>>,
    fails_at: Option<&'static str>,
    panics: bool,
}

impl Diary {
    fn note(&self, what: &'static str, channel: &Channel) -> Result<(), Failure> {
        assert!(channel.event_loop().in_event_loop());
        self.lines.lock().unwrap().push(what.into());
        if self.fails_at == Some(what) {
            assert!(!self.panics, "as the test wants it");
            return Err(Failure::msg("no, thanks"));
        }
        Ok(())
    }
}

impl PoolHandler for Diary {
    fn created(&self, channel: &Channel) -> Result<(), Failure> {
        self.note("created", channel)
    }

    fn acquired(&self, channel: &Channel) -> Result<(), Failure> {
        self.note("acquired", channel)
    }

    fn released(&self, channel: &Channel) -> Result<(), Failure> {
        self.note("released", channel)
    }
}

/// Rules: H62
#[test]
fn the_handler_hears_of_every_step_on_the_channels_loop() {
    let site = Site::new();
    let diary = Diary::default();
    let pool = site.pool().handler(diary.clone()).build();
    let channel = acquire(&pool);
    release(&pool, channel);
    release(&pool, acquire(&pool));
    let lines = diary.lines.lock().unwrap();
    assert_eq!(
        *lines,
        ["created", "acquired", "released", "acquired", "released"]
    );
}

#[test]
fn a_hook_that_fails_or_panics_closes_the_channel_and_frees_the_place() {
    let site = Site::new();
    for panics in [false, true] {
        let expected = if panics {
            ErrorKind::TaskPanicked
        } else {
            ErrorKind::User
        };
        for fails_at in ["created", "acquired", "released"] {
            let diary = Diary {
                fails_at: Some(fails_at),
                panics,
                ..Diary::default()
            };
            let pool = site.pool().handler(diary).fixed(1).build();
            let acquired = pool.acquire();
            let error = if fails_at == "released" {
                let channel = get(&acquired);
                let released = pool.release(channel.clone()).sync_timeout(DEADLINE);
                expect_closed(&channel);
                released.unwrap_err()
            } else {
                acquired.sync_timeout(DEADLINE).unwrap_err()
            };
            assert_eq!(error.kind(), expected, "{fails_at}: {error}");
            assert_eq!((pool.in_use(), pool.idle()), (0, 0));
        }
    }
}

/// Rules: H62
#[test]
fn a_full_pool_closes_what_comes_back() {
    let site = Site::new();
    let pool = site.pool().max_idle(1).build();
    let (first, second) = (acquire(&pool), acquire(&pool));
    release(&pool, first);
    let error = pool
        .release(second.clone())
        .sync_timeout(DEADLINE)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(error.to_string().contains("full"), "{error}");
    expect_closed(&second);
    assert_eq!(pool.idle(), 1);
}

/// Rules: H62
#[test]
fn a_closed_pool_closes_the_idle_ones_and_refuses() {
    let site = Site::new();
    let pool = site.pool().build();
    let (idle, lent) = (acquire(&pool), acquire(&pool));
    release(&pool, idle.clone());
    pool.close();
    assert!(pool.is_closed());
    expect_closed(&idle);
    assert_eq!(kind(&pool.acquire()), ErrorKind::ChannelClosed);
    assert!(lent.is_open(), "it is the borrower's");
    let error = pool
        .release(lent.clone())
        .sync_timeout(DEADLINE)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ChannelClosed);
    expect_closed(&lent);
}

#[test]
fn the_idle_channels_go_with_the_last_handle() {
    let site = Site::new();
    let pool = site.pool().build();
    let channel = acquire(&pool);
    release(&pool, channel.clone());
    let other = pool.clone();
    drop(pool);
    assert_eq!(other.idle(), 1);
    drop(other);
    expect_closed(&channel);
}

/// Rules: H62
#[test]
fn a_connect_that_fails_fails_the_acquire() {
    let site = Site::new();
    let (_held, address) = refusing();
    let pool = ChannelPool::builder(&site.bootstrap(), address)
        .fixed(1)
        .build();
    for _ in 0..3 {
        assert_eq!(kind(&pool.acquire()), ErrorKind::ConnectRefused);
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_loop_that_has_ended_fails_the_acquire() {
    let site = Site::new();
    let pool = site.pool().fixed(2).build();
    let (channel, lent) = (acquire(&pool), acquire(&pool));
    release(&pool, channel.clone());
    let ended = site
        .group
        .shutdown_gracefully(Duration::ZERO, Duration::from_secs(5));
    ended.sync_timeout(DEADLINE).unwrap();
    expect_closed(&channel);
    assert_eq!(kind(&pool.acquire()), ErrorKind::Terminated);
    let error = pool.release(lent).sync_timeout(DEADLINE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Terminated);
    assert_eq!(pool.in_use(), 0);
}

/// A connector that makes channels of any kind, and may panic.
#[test]
fn channels_may_come_from_anywhere() {
    let site = Site::new();
    let bootstrap = site.bootstrap();
    let address = site.address;
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let pool = ChannelPool::connecting(&site.group.next(), move || {
        assert_eq!(counter.fetch_add(1, Ordering::Relaxed), 0, "once only");
        bootstrap.connect(address)
    })
    .build();
    acquire(&pool);
    assert_eq!(kind(&pool.acquire()), ErrorKind::TaskPanicked);
}

// ---- the fixed pool

/// Rules: H62
#[test]
fn no_more_than_so_many_channels_are_lent_and_the_others_wait_in_order() {
    let site = Site::new();
    let pool = site.pool().fixed(2).build();
    let (first, second) = (acquire(&pool), acquire(&pool));
    let waiting = [pool.acquire(), pool.acquire()];
    assert_eq!((pool.in_use(), pool.pending()), (2, 2));
    let (first_id, second_id) = (first.id(), second.id());
    release(&pool, first);
    assert_eq!(get(&waiting[0]).id(), first_id);
    assert!(!waiting[1].is_done());
    release(&pool, second);
    assert_eq!(get(&waiting[1]).id(), second_id);
    assert_eq!((pool.in_use(), pool.pending()), (2, 0));
}

/// Rules: H62
#[test]
fn too_many_who_wait_are_refused() {
    let site = Site::new();
    let pool = site.pool().fixed(1).max_pending(1).build();
    let lent = acquire(&pool);
    let waiting = pool.acquire();
    let refused = pool.acquire();
    let error = refused.sync_timeout(DEADLINE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(error.to_string().contains("too many outstanding acquires"));
    // Who gives up makes room for somebody else.
    assert!(waiting.cancel());
    let next = pool.acquire();
    release(&pool, lent);
    get(&next);
}

/// A channel that died while it was lent, and one that could not be kept: their places are free.
///
/// Rules: H62
#[test]
fn a_place_is_free_whatever_became_of_its_channel() {
    let site = Site::new();
    let pool = site.pool().fixed(1).build();
    let dead = acquire(&pool);
    drop(site.accept());
    expect_closed(&dead);
    let waiting = pool.acquire();
    assert!(
        !waiting.is_done(),
        "its place is the borrower's until it is given back"
    );
    release(&pool, dead);
    let channel = get(&waiting);
    assert!(channel.is_active());
}

/// Rules: H62
#[test]
fn a_foreign_channel_frees_no_place() {
    let site = Site::new();
    let pool = site.pool().fixed(1).build();
    let lent = acquire(&pool);
    let waiting = pool.acquire();
    let foreign = site.bootstrap().connect(site.address).sync().unwrap();
    let error = pool.release(foreign).sync_timeout(DEADLINE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!((pool.in_use(), pool.pending()), (1, 1));
    release(&pool, lent);
    get(&waiting);
}

/// Rules: H62
#[test]
fn who_waits_too_long_fails() {
    let site = Site::new();
    let pool = site
        .pool()
        .fixed(1)
        .acquire_timeout(Duration::from_millis(20), AcquireTimeout::Fail)
        .build();
    let lent = acquire(&pool);
    let begun = Instant::now();
    let error = pool.acquire().sync_timeout(DEADLINE).unwrap_err();
    assert!(begun.elapsed() >= Duration::from_millis(20));
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(
        error.to_string().contains("no channel within 20ms"),
        "{error}"
    );
    assert_eq!((pool.in_use(), pool.pending()), (1, 0));
    release(&pool, lent);
    acquire(&pool);
}

/// Rules: H62
#[test]
fn who_waits_too_long_may_get_a_channel_beyond_the_limit() {
    let site = Site::new();
    let pool = site
        .pool()
        .fixed(1)
        .acquire_timeout(Duration::from_millis(1), AcquireTimeout::New)
        .build();
    let (lent, extra) = (acquire(&pool), acquire(&pool));
    assert_ne!(lent.id(), extra.id());
    assert_eq!(pool.in_use(), 2);
    release(&pool, lent);
    assert_eq!(pool.in_use(), 1);
    release(&pool, extra);
    assert_eq!((pool.in_use(), pool.idle()), (0, 2));
}

/// Rules: H62
#[test]
fn a_closed_fixed_pool_fails_who_waits() {
    let site = Site::new();
    let pool = site
        .pool()
        .fixed(1)
        .acquire_timeout(Duration::from_secs(60), AcquireTimeout::Fail)
        .build();
    let lent = acquire(&pool);
    let waiting = pool.acquire();
    pool.close();
    assert!(pool.is_closed());
    assert_eq!(kind(&waiting), ErrorKind::ChannelClosed);
    assert_eq!(kind(&pool.acquire()), ErrorKind::ChannelClosed);
    let released = pool.release(lent.clone()).sync_timeout(DEADLINE);
    assert_eq!(released.unwrap_err().kind(), ErrorKind::ChannelClosed);
    expect_closed(&lent);
    assert_eq!(pool.in_use(), 0);
}

/// Rules: H62
#[test]
fn who_waits_has_the_channel_before_the_release_is_done() {
    let site = Site::new();
    let pool = site.pool().fixed(1).build();
    let lent = acquire(&pool);
    let waiting = pool.acquire();
    let (tell, told) = mpsc::channel();
    let observed = pool.clone();
    pool.release(lent).add_listener(move |_| {
        // Its turn has come: nobody waits in the queue any more.
        tell.send((observed.pending(), observed.in_use())).unwrap();
    });
    assert_eq!(told.recv_timeout(DEADLINE).unwrap(), (0, 1));
    get(&waiting);
}

/// Rules: H62
#[test]
fn a_channel_that_is_dropped_goes_back() {
    let site = Site::new();
    let pool = site.pool().fixed(1).build();
    let channel = pool.acquire().sync_timeout(DEADLINE).unwrap();
    let id = channel.id();
    assert!(format!("{channel:?}").starts_with("PooledChannel([#"));
    let waiting = pool.acquire();
    drop(channel);
    let channel = waiting.sync_timeout(DEADLINE).unwrap();
    assert_eq!(channel.id(), id);
    channel.release().sync_timeout(DEADLINE).unwrap();
    assert_eq!((pool.in_use(), pool.idle()), (0, 1));
    // The last handle of the pool may go while a channel is lent.
    let channel = pool.acquire().sync_timeout(DEADLINE).unwrap();
    drop(pool);
    assert!(channel.is_active());
    let bare: Channel = (*channel).clone();
    drop(channel);
    expect_closed(&bare);
}

/// The future has its channel, and nobody looks.
///
/// Rules: H62
#[test]
fn a_channel_that_nobody_took_out_of_its_future_goes_back() {
    let site = Site::new();
    let pool = site.pool().fixed(1).build();
    let future = pool.acquire();
    assert!(future.wait_timeout(DEADLINE).unwrap());
    assert_eq!(pool.in_use(), 1);
    drop(future);
    eventually("it is back", || pool.idle() == 1 && pool.in_use() == 0);
}

/// An acquire that is cancelled while the connect is under way, or that nobody wants any more: nothing leaks.
#[test]
fn a_channel_that_nobody_wants_any_more_goes_to_the_pool() {
    let site = Site::new();
    let pool = site.pool().fixed(1).build();
    for _ in 0..50 {
        pool.acquire().cancel();
        // It waits until the place of the other is free.
        let channel = acquire(&pool);
        release(&pool, channel);
        assert_eq!(pool.in_use(), 0);
    }
    assert_eq!(pool.idle(), 1);
}

/// On a loop of the caller's own, driven turn by turn.
///
/// Rules: H62
#[test]
fn a_pool_lives_on_a_local_loop_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = LocalEventLoop::new().unwrap();
    let bootstrap = Bootstrap::new(&local).handler(|_| Ok::<(), Error>(()));
    let pool = ChannelPool::builder(&bootstrap, listener.local_addr().unwrap())
        .fixed(1)
        .acquire_timeout(Duration::from_millis(5), AcquireTimeout::Fail)
        .build();
    let channel = local.block_on(pool.acquire()).unwrap().unwrap();
    let refused = local.block_on(pool.acquire()).unwrap();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::TimedOut);
    local.block_on(pool.release(channel)).unwrap().unwrap();
    let _lent = local.block_on(pool.acquire()).unwrap().unwrap();
    assert_eq!(
        pool.acquire().sync().unwrap_err().kind(),
        ErrorKind::Blocking
    );
}

/// Many threads, few channels: never more than the limit at once, every channel with one borrower, all served.
///
/// Rules: H62
#[test]
fn a_fixed_pool_keeps_its_word_among_threads() {
    const LIMIT: usize = 3;
    let site = Site::new();
    let pool: FixedChannelPool = site.pool().fixed(LIMIT).build();
    let lent = Mutex::new(HashSet::new());
    let most = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let channel = acquire(&pool);
                    let mut ids = lent.lock().unwrap();
                    assert!(ids.insert(channel.id()), "lent twice");
                    most.fetch_max(ids.len(), Ordering::Relaxed);
                    drop(ids);
                    thread::yield_now();
                    lent.lock().unwrap().remove(&channel.id());
                    release(&pool, channel);
                }
            });
        }
    });
    assert!(most.load(Ordering::Relaxed) <= LIMIT);
    assert_eq!((pool.in_use(), pool.pending()), (0, 0));
    assert!((1..=LIMIT).contains(&pool.idle()));
}

#[test]
fn handles_are_for_every_thread() {
    fn shared<T: Send + Sync>() {}
    shared::<ChannelPool>();
    shared::<FixedChannelPool>();
    shared::<PooledChannel>();
    shared::<ChannelPoolMap<SocketAddr, ChannelPool>>();
}

// ---- the map

#[test]
fn a_map_has_a_pool_for_each_key() {
    let sites = [Site::new(), Site::new()];
    let bootstrap = sites[0].bootstrap();
    let made = Arc::new(AtomicUsize::new(0));
    let counter = made.clone();
    let map = ChannelPoolMap::new(move |address: &SocketAddr| {
        counter.fetch_add(1, Ordering::Relaxed);
        ChannelPool::builder(&bootstrap, *address).build()
    });
    assert!(map.is_empty());
    let mut channels = Vec::new();
    for site in &sites {
        for _ in 0..2 {
            let pool = map.pool(&site.address);
            let channel = acquire(&pool);
            release(&pool, channel.clone());
            channels.push(channel);
        }
    }
    assert_eq!((map.len(), made.load(Ordering::Relaxed)), (2, 2));
    assert_eq!(channels[0].id(), channels[1].id());
    assert!(map.remove(&sites[0].address) && !map.remove(&sites[0].address));
    expect_closed(&channels[0]);
    assert!(map.find(&sites[0].address).is_none());
    assert!(channels[2].is_open());
    map.close();
    expect_closed(&channels[2]);
    assert!(map.is_empty());
}
