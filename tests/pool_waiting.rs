//! Those who wait for a channel of a fixed pool (rule H62). What an acquire looks at is in src/pool/line.rs.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use tidegate::pool::{AcquireTimeout, ChannelPool};
use tidegate::{Bootstrap, Error, ErrorKind, EventLoopGroup};

const DEADLINE: Duration = Duration::from_secs(20);

/// Far back in a long line, where the next one does not look.
///
/// Rules: H62
#[test]
fn who_gives_up_in_a_long_line_makes_room() {
    const MOST: usize = 200;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let group = EventLoopGroup::new(2).unwrap();
    let bootstrap = Bootstrap::new(&group).handler(|_| Ok::<(), Error>(()));
    let pool = ChannelPool::builder(&bootstrap, listener.local_addr().unwrap())
        .fixed(1)
        .max_pending(MOST)
        .acquire_timeout(Duration::from_secs(60), AcquireTimeout::Fail)
        .build();
    let _lent = pool.acquire().sync_timeout(DEADLINE).unwrap();
    let waiting: Vec<_> = (0..MOST).map(|_| pool.acquire()).collect();
    let refused = pool.acquire().sync_timeout(DEADLINE).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Rejected);
    assert!(waiting[MOST - 1].cancel());
    let begun = Instant::now();
    while pool.pending() == MOST {
        assert!(begun.elapsed() < DEADLINE, "it does not leave");
        thread::yield_now();
    }
    assert!(!pool.acquire().is_done());
    assert_eq!(pool.pending(), MOST);
}
