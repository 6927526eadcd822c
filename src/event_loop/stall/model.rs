//! What a loop posts, under loom: every interleaving of the loop that posts and a thread that looks, and every value that a
//! load may find (`make loom`).
//!
//! Each posting's words say its number, so parts of two do not fit together. A look that finds nothing certain is allowed as
//! long as the loop is at work; afterwards it has to find the last posting.

use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

use super::post::{Holder, Look, Post, Role};
use super::sentry::Sentry;

/// Explores the executions of a model with at most so many preemptions: what some seconds allow.
fn explore(preemptions: usize, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

fn holder(n: u32) -> Holder {
    Holder::new(Role::Task, n, n, u64::from(n))
}

/// The number of the posting that was found; 0 before the first.
fn number_of(look: Look) -> u32 {
    let n = u32::try_from(look.entry).expect("a small number");
    let expected = if n == 0 { Holder::NOBODY } else { holder(n) };
    assert_eq!(look.holder, expected, "words of two postings");
    assert_eq!(look.change, 2 * look.entry);
    n
}

/// Rules 2 and 3.
fn looks_while_posting(preemptions: usize, postings: u32, looks: u32) {
    explore(preemptions, move || {
        let post = Arc::new(Post::default());
        let posted = Arc::clone(&post);
        let posting = thread::spawn(move || {
            for n in 1..=postings {
                posted.put(u64::from(n), holder(n));
            }
        });
        let mut last = 0;
        for _ in 0..looks {
            if let Some(look) = post.look() {
                let n = number_of(look);
                assert!(n >= last, "{n} after {last}");
                last = n;
            }
        }
        posting.join().unwrap();
        let look = post.look().expect("nobody is at work");
        assert_eq!(number_of(look), postings);
    });
}

#[test]
fn loom_a_look_is_never_of_two_postings() {
    looks_while_posting(4, 2, 1);
}

#[test]
fn loom_one_look_after_the_other_does_not_go_back() {
    looks_while_posting(3, 2, 2);
}

/// Foreign code within foreign code, and the loop's own work afterwards: what is found was so at one time.
#[test]
fn loom_a_look_finds_who_holds_the_loop() {
    explore(3, || {
        // The sentry has std's.
        let post = std::sync::Arc::new(Post::default());
        let posted = std::sync::Arc::clone(&post);
        let holding = thread::spawn(move || {
            let sentry = Sentry::new(posted);
            let _outer = sentry.hold_for_channel(7);
            drop(sentry.hold_for_channel(8));
        });
        if let Some(look) = post.look() {
            let found = (look.change, look.entry, look.holder);
            let [outer, inner] = [7, 8].map(Holder::channel);
            let states = [
                (0, 0, Holder::NOBODY),
                (2, 1, outer),
                (4, 1, inner),
                (6, 1, outer),
                (8, 0, Holder::NOBODY),
            ];
            assert!(states.contains(&found), "{found:?}");
        }
        holding.join().unwrap();
        let look = post.look().expect("nobody is at work");
        assert_eq!((look.change, look.entry), (8, 0));
    });
}
