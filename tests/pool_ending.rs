//! Channel pools whose event loops end (rule H62).

use std::net::TcpListener;
use std::time::Duration;

use tidegate::future::TaskFuture;
use tidegate::pool::{AcquireTimeout, ChannelPool, PooledChannel};
use tidegate::{Bootstrap, Error, ErrorKind, EventLoopGroup};

const DEADLINE: Duration = Duration::from_secs(20);

fn kind(future: &TaskFuture<PooledChannel>) -> ErrorKind {
    future.sync_timeout(DEADLINE).unwrap_err().kind()
}

/// Rules: H62
///
/// A lent channel may come back long after that, or never.
#[test]
fn who_waits_does_not_outlive_the_pools_loop() {
    for (stops, timeout) in [(false, None), (true, None), (true, Some(DEADLINE))] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let group = EventLoopGroup::new(2).unwrap();
        let bootstrap = Bootstrap::new(&group).handler(|_| Ok::<(), Error>(()));
        let mut builder = ChannelPool::builder(&bootstrap, listener.local_addr().unwrap()).fixed(1);
        if let Some(timeout) = timeout {
            builder = builder.acquire_timeout(timeout, AcquireTimeout::New);
        }
        let pool = builder.build();
        let lent = pool.acquire().sync_timeout(DEADLINE).unwrap();
        let waiting = [(); 2].map(|()| pool.acquire());
        assert_eq!(pool.pending(), 2);
        let ended = if stops {
            group.stop()
        } else {
            group.shutdown_gracefully(Duration::ZERO, DEADLINE)
        };
        ended.sync_timeout(DEADLINE).unwrap();
        for waiting in waiting {
            assert_eq!(kind(&waiting), ErrorKind::Terminated);
        }
        let late = pool.acquire();
        assert_eq!(kind(&late), ErrorKind::Terminated);
        assert_eq!(pool.pending(), 0);
        // It frees its place all the same; a connect then fails by itself.
        drop(lent);
        assert_eq!(kind(&pool.acquire()), ErrorKind::Terminated);
    }
}
