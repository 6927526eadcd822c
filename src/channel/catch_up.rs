//! Catching up: what a channel hears before somebody takes its silence for a fault.
//!
//! A loop that was held asks its selector late, and may run a timer before: the one who held it was called after the selector
//! was asked, or more is ready than one wait reports. Then a timer that says "nothing came" is wrong: it came, and lies in the
//! kernel. So whoever is about to say that asks for news of this one channel first, and if there is some, says it only after
//! that was dealt with. It costs a system call when a time is over, and nothing before.
//!
//! Invariant: whoever was told to wait is called, unless the channel has ended, and not before a turn's I/O has come between.

use std::time::Duration;

use tidegate_sys::mem::{LocalTask, Task};
use tidegate_sys::os::{Interest, io};

use super::core::{Core, flag};
use super::lifetime::Life;
use super::node::Index;
use super::nodes::NodeId;

impl Core {
    /// [`Context::catch_up`](super::core::Context::catch_up).
    pub(crate) fn catch_up(&self, index: Index, key: u64) -> bool {
        let node = self.nodes.id(index);
        if self.shared.serves_another() {
            return self.catch_up_elsewhere(node, key);
        }
        self.behind_news(move |core| core.caught_up(node, key))
    }

    fn caught_up(&self, node: NodeId, key: u64) {
        self.call_node(node, move |handler, ctx| handler.timer(ctx, key));
    }

    /// For a handler on another group's loop, which may turn while the channel's is held.
    #[cold]
    fn catch_up_elsewhere(&self, node: NodeId, key: u64) -> bool {
        let side = self.shared.clone();
        let tell = move || _ = side.on_loop(move |core| core.caught_up(node, key));
        self.face().submit_beyond(move |core| {
            let told = tell.clone();
            if !core.behind_news(move |_| told()) {
                tell();
            }
        })
    }

    /// Calls `then` when the news that there is for this channel now has been dealt with. False if there is none; then `then` is
    /// dropped.
    pub(super) fn behind_news(&self, then: impl FnOnce(&Self) + Send + 'static) -> bool {
        if self.transport.borrow().as_fd().is_some() {
            let has_news = self.fetch_news();
            if has_news {
                self.in_the_next_turn(then);
            }
            return has_news;
        }
        if self.has_news_at_hand() {
            self.in_the_next_turn(then);
            return true;
        }
        // News of what has no descriptor comes as tasks, one behind the other.
        let has_tasks = self.lp.has_remote();
        if has_tasks {
            self.behind_tasks(then);
        }
        has_tasks
    }

    /// What has come and waits in the ready list.
    fn has_news_at_hand(&self) -> bool {
        const READ: u32 = flag::READABLE | flag::READ_PENDING;
        self.has(flag::FLUSH_YIELDED) || self.flags.get() & (READ | flag::INPUT_SHUT) == READ
    }

    /// Asks the kernel whether what this channel waits for is there. If it is, the ready list comes round with it.
    fn fetch_news(&self) -> bool {
        if self.life.get() != Life::Active {
            return false;
        }
        if self.has_news_at_hand() {
            self.push_ready();
            return true;
        }
        let transport = self.transport.borrow();
        let Some(fd) = transport.as_fd() else {
            return false;
        };
        // Who cannot be asked has no news.
        let has = |interest| io::wait(fd, interest, Some(Duration::ZERO)).unwrap_or(false);
        let reads = self.has(flag::READ_PENDING) && !self.has(flag::INPUT_SHUT | flag::PAUSED);
        let is_readable = reads && has(Interest::READ);
        let is_writable = self.has(flag::WRITE_BLOCKED) && has(Interest::WRITE);
        drop(transport);
        if is_readable {
            self.set(flag::READABLE);
        }
        if is_writable {
            self.clear(flag::WRITE_BLOCKED);
            self.set(flag::FLUSH_YIELDED);
        }
        if is_readable || is_writable {
            self.push_ready();
        }
        is_readable || is_writable
    }

    /// As a timer that is due: I/O comes before those of the next turn, and those of this one are counted.
    fn in_the_next_turn(&self, then: impl FnOnce(&Self) + 'static) {
        let me = self.me.clone();
        let task = LocalTask::new(move || {
            if let Some(core) = me.upgrade() {
                then(&core);
            }
        });
        self.lp.add_timer(self.lp.now(), task);
    }

    #[cold]
    fn behind_tasks(&self, then: impl FnOnce(&Self) + Send + 'static) {
        let shared = self.shared.clone();
        let task = Task::new(move || {
            // What the tasks before have told may wait for the ready list now.
            _ = shared.meet(move |core| core.in_the_next_turn(then));
        });
        self.lp.handle().execute_behind_others(task);
    }
}
