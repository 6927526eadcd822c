//! Listeners of a loop that has ended: they run on whoever completes their promise, and neither the stack nor anybody's patience
//! is used up by those that lead to others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate::{Bootstrap, Error, ErrorKind, EventLoopGroup};

/// Long enough for a machine that does other things; nothing waits for it when all is well.
const DEADLINE: Duration = Duration::from_secs(60);

/// Connects again when a connect has failed, as long as it may.
fn connect_again(bootstrap: &Arc<Bootstrap>, tries: &Arc<AtomicU64>, tries_max: u64) {
    if tries.fetch_add(1, Ordering::Relaxed) == tries_max {
        return;
    }
    let (bootstrap, tries) = (bootstrap.clone(), tries.clone());
    let again = bootstrap.clone();
    bootstrap
        .connect("127.0.0.1:1")
        .add_listener(move |_, result| {
            if result.is_err() {
                connect_again(&again, &tries, tries_max);
            }
        });
}

fn client(group: &EventLoopGroup) -> Arc<Bootstrap> {
    Arc::new(Bootstrap::new(group).handler(|_pipeline| Ok::<_, Error>(())))
}

/// Rules: F5, B11
#[test]
fn a_row_of_listeners_behind_the_end_needs_little_stack() {
    const TRIES: u64 = 50_000;
    let group = EventLoopGroup::new(1).unwrap();
    let bootstrap = client(&group);
    group.stop().sync_timeout(DEADLINE).unwrap();
    let tries = Arc::default();
    connect_again(&bootstrap, &tries, TRIES);
    assert_eq!(tries.load(Ordering::Relaxed), TRIES + 1, "none is lost");
}

/// Rules: F5, B11
#[test]
fn who_tries_again_for_ever_does_not_keep_a_loop_from_its_end() {
    let group = EventLoopGroup::new(1).unwrap();
    let bootstrap = client(&group);
    let tries = Arc::<AtomicU64>::default();
    connect_again(&bootstrap, &tries, u64::MAX);
    group.stop().sync_timeout(DEADLINE).unwrap();
    let error = bootstrap.connect("127.0.0.1:1").sync_timeout(DEADLINE);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Terminated);
}
