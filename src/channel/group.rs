//! [`ChannelGroup`]: one operation on many channels, of any loops. Built on channels' handles alone; it knows nothing of
//! their loops.
//!
//! Nothing here runs user code under its lock: matchers, writes and closes work on a snapshot of the members.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tidegate_sys::mem::Task;

use super::{Channel, ChannelFuture, ChannelId};
use crate::buffer::Message;
use crate::error::Error;
use crate::event_loop::{EventLoop, boundary};
use crate::future::{Completion, ListenerHost, Promise};

/// A set of open channels, each in it once. A channel that closes leaves by itself.
///
/// Clones are handles of the same group. Any thread may use it; operations go to each channel's own loop.
///
/// ```
/// use tidegate::{ChannelGroup, EmbeddedChannel, Failure};
///
/// let mut channel = EmbeddedChannel::new(|_| Ok::<(), Failure>(()))?;
/// let clients = ChannelGroup::new("clients");
/// clients.add(channel.channel());
/// let sent = clients.write_and_flush("the tide turns");
/// channel.run_pending();
/// assert!(sent.is_success());
/// # Ok::<(), Failure>(())
/// ```
#[derive(Clone)]
pub struct ChannelGroup {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    /// Once the group was closed, whatever is added is closed.
    stays_closed: bool,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    /// In the order in which the channels were made.
    channels: BTreeMap<ChannelId, Channel>,
    /// Channels whose close future has a listener of this group; more than the members, when some were removed.
    watched: BTreeSet<ChannelId>,
    closed: bool,
}

impl ChannelGroup {
    /// An empty group. The name is for people.
    pub fn new(name: impl Into<String>) -> Self {
        Self::make(name.into(), false)
    }

    /// An empty group that stays closed: once [`close`](Self::close) was called, a channel that is added is closed. So
    /// nothing slips in while a server goes down.
    pub fn staying_closed(name: impl Into<String>) -> Self {
        Self::make(name.into(), true)
    }

    fn make(name: String, stays_closed: bool) -> Self {
        let inner = Inner {
            name,
            stays_closed,
            members: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    // ---- members

    /// Adds a channel; false if it is in the group already.
    pub fn add(&self, channel: &Channel) -> bool {
        let id = channel.id();
        let (is_new, is_watched, closes) = {
            let mut members = self.inner.lock();
            let is_new = members.channels.insert(id, channel.clone()).is_none();
            (
                is_new,
                !members.watched.insert(id),
                self.inner.stays_closed && members.closed,
            )
        };
        if !is_watched {
            // The channel must not keep the group.
            let group: Weak<Inner> = Arc::downgrade(&self.inner);
            channel.close_future().add_listener(move |channel, _| {
                if let Some(group) = group.upgrade() {
                    group.forget(channel.id());
                }
            });
        }
        if closes {
            channel.close();
        }
        is_new
    }

    /// Takes a channel out; false if it is not in the group.
    pub fn remove(&self, channel: &Channel) -> bool {
        let removed = self.inner.lock().channels.remove(&channel.id());
        removed.is_some()
    }

    /// Whether a channel is in the group.
    pub fn contains(&self, channel: &Channel) -> bool {
        self.inner.lock().channels.contains_key(&channel.id())
    }

    /// The member of that number.
    pub fn find(&self, id: ChannelId) -> Option<Channel> {
        self.inner.lock().channels.get(&id).cloned()
    }

    /// How many channels are in the group.
    pub fn len(&self) -> usize {
        self.inner.lock().channels.len()
    }

    /// True if the group has no channels.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The channels that are in the group now, in the order in which they were made.
    pub fn channels(&self) -> Vec<Channel> {
        self.inner.lock().channels.values().cloned().collect()
    }

    /// The members that `matcher` wants, as of now, for an operation on some of them.
    pub fn select(&self, matcher: impl FnMut(&Channel) -> bool) -> Selection {
        let mut channels = self.channels();
        let mut matcher = matcher;
        channels.retain(|channel| matcher(channel));
        Selection { channels }
    }

    // ---- operations

    /// Writes a copy of a message to each channel that is no server.
    pub fn write<M: Clone + Into<Message> + Send>(&self, msg: M) -> GroupFuture {
        self.select(|_| true).write(msg)
    }

    /// Sends what was written.
    pub fn flush(&self) {
        self.select(|_| true).flush();
    }

    /// Writes a copy of a message to each channel that is no server, and flushes.
    pub fn write_and_flush<M: Clone + Into<Message> + Send>(&self, msg: M) -> GroupFuture {
        self.select(|_| true).write_and_flush(msg)
    }

    /// Closes all channels, servers first, so that nobody comes in while the others go.
    pub fn close(&self) -> GroupFuture {
        let channels = {
            let mut members = self.inner.lock();
            // Before the snapshot: an add that misses it finds this.
            members.closed = true;
            members.channels.values().cloned().collect()
        };
        Selection { channels }.close()
    }

    /// Disconnects all channels, servers first; those that can't are closed.
    pub fn disconnect(&self) -> GroupFuture {
        self.select(|_| true).disconnect()
    }

    /// Done when all channels that are in the group now have closed, for whatever reason.
    pub fn close_future(&self) -> GroupFuture {
        self.select(|_| true).close_future()
    }
}

impl Inner {
    fn forget(&self, id: ChannelId) {
        let removed = {
            let mut members = self.lock();
            members.watched.remove(&id);
            members.channels.remove(&id)
        };
        // Behind the lock: it may be the last handle of the channel.
        drop(removed);
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        // Nothing panics under the lock.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ChannelGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelGroup")
            .field("name", &self.name())
            .field("len", &self.len())
            .finish()
    }
}

/// Some channels of a group, chosen by [`ChannelGroup::select`]. Those that have closed meanwhile fail what is asked.
#[derive(Clone, Debug)]
pub struct Selection {
    channels: Vec<Channel>,
}

impl Selection {
    /// The channels.
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// Writes a copy of a message to each channel that is no server.
    pub fn write<M: Clone + Into<Message> + Send>(&self, msg: M) -> GroupFuture {
        self.write_each(msg, Channel::write_future)
    }

    /// Sends what was written.
    pub fn flush(&self) {
        self.writable().for_each(Channel::flush);
    }

    /// Writes a copy of a message to each channel that is no server, and flushes.
    pub fn write_and_flush<M: Clone + Into<Message> + Send>(&self, msg: M) -> GroupFuture {
        self.write_each(msg, Channel::write_and_flush)
    }

    /// Closes them, servers first.
    pub fn close(&self) -> GroupFuture {
        GroupFuture::new(self.servers_first().map(Channel::close).collect())
    }

    /// Disconnects them, servers first; those that can't are closed.
    pub fn disconnect(&self) -> GroupFuture {
        GroupFuture::new(self.servers_first().map(Channel::disconnect).collect())
    }

    /// Done when all of them have closed.
    pub fn close_future(&self) -> GroupFuture {
        GroupFuture::new(self.channels.iter().map(Channel::close_future).collect())
    }

    fn write_each<M: Clone + Into<Message>>(
        &self,
        msg: M,
        write: impl Fn(&Channel, Message) -> ChannelFuture,
    ) -> GroupFuture {
        GroupFuture::new(
            self.writable()
                .map(|channel| write(channel, msg.clone().into()))
                .collect(),
        )
    }

    fn writable(&self) -> impl Iterator<Item = &Channel> {
        self.channels.iter().filter(|channel| !channel.is_server())
    }

    fn servers_first(&self) -> impl Iterator<Item = &Channel> {
        self.channels
            .iter()
            .filter(|channel| channel.is_server())
            .chain(self.writable())
    }
}

/// The outcome of an operation on several channels: done when all of them are, failed when one of them is.
///
/// Block on it with [`sync`](Self::sync), `.await` it, or add a listener; then look at the single outcomes. With no
/// channels it has succeeded.
#[derive(Clone)]
pub struct GroupFuture {
    parts: Arc<Parts>,
    /// Completed by a listener of the part that was last, so a little later than that.
    all: Completion,
}

/// The single futures, and what comes of them together.
struct Parts {
    futures: Vec<ChannelFuture>,
    /// Filled in by whoever asks first when all are done.
    outcome: OnceLock<Result<(), Error>>,
}

impl GroupFuture {
    fn new(futures: Vec<ChannelFuture>) -> Self {
        let loops = futures
            .iter()
            .map(|part| part.channel().event_loop().clone())
            .collect();
        let promise = Promise::new(Arc::new(Loops(loops)));
        // What runs on many channels is not cancelled as one.
        promise.set_uncancellable();
        let all = promise.completion();
        let parts = Arc::new(Parts {
            futures,
            outcome: OnceLock::new(),
        });
        if parts.futures.is_empty() {
            promise.try_success();
            return Self { parts, all };
        }
        let ending = Arc::new(Ending {
            left: AtomicUsize::new(parts.futures.len()),
            promise,
        });
        for part in &parts.futures {
            let (ending, parts) = (ending.clone(), parts.clone());
            part.completion()
                .add_listener(move |_| ending.one_done(&parts));
        }
        Self { parts, all }
    }

    /// The futures of the single channels.
    pub fn futures(&self) -> &[ChannelFuture] {
        &self.parts.futures
    }

    /// The future of one channel.
    pub fn find(&self, channel: &Channel) -> Option<&ChannelFuture> {
        self.futures().iter().find(|part| part.channel() == channel)
    }

    /// What has failed so far, by channel.
    pub fn failures(&self) -> Vec<(Channel, Error)> {
        failures_of(&self.parts.futures)
    }

    /// True once all are done.
    pub fn is_done(&self) -> bool {
        self.parts.outcome().is_some()
    }

    /// True once all have succeeded.
    pub fn is_success(&self) -> bool {
        matches!(self.parts.outcome(), Some(Ok(())))
    }

    /// True once all are done, some of them well and some not.
    pub fn is_partial(&self) -> bool {
        matches!(self.parts.outcome(), Some(Err(_)))
            && self.futures().iter().any(ChannelFuture::is_success)
    }

    /// The error, once all are done and some have failed: its kind is that of the first failure in the order of the
    /// channels, its source is a [`GroupFailures`].
    pub fn cause(&self) -> Option<Error> {
        self.parts.outcome()?.err()
    }

    /// Waits until all are done.
    ///
    /// # Errors
    /// As [`cause`](Self::cause); [`ErrorKind::Blocking`](crate::error::ErrorKind::Blocking) on the thread of a loop that one of the channels is on, as
    /// long as not all are done.
    pub fn sync(&self) -> Result<(), Error> {
        self.parts.outcome().unwrap_or_else(|| self.all.sync())
    }

    /// Waits until all are done, but not longer than `timeout`.
    ///
    /// # Errors
    /// As [`sync`](Self::sync), and [`ErrorKind::TimedOut`](crate::error::ErrorKind::TimedOut).
    pub fn sync_timeout(&self, timeout: Duration) -> Result<(), Error> {
        self.parts
            .outcome()
            .unwrap_or_else(|| self.all.sync_timeout(timeout))
    }

    /// Runs `listener` when all are done: on the loop of the channel that was last, or at once if they are done
    /// already.
    pub fn add_listener(&self, listener: impl FnOnce(&GroupFuture) + Send + 'static) -> &Self {
        let this = self.clone();
        self.all
            .add_listener(move |_: &Result<(), Error>| listener(&this));
        self
    }

    /// The outcome without the channels. It is there when listeners are told, which is a little later than
    /// [`is_done`](Self::is_done).
    pub fn completion(&self) -> &Completion {
        &self.all
    }
}

impl Parts {
    /// What came of it, once all are done.
    fn outcome(&self) -> Option<Result<(), Error>> {
        if let Some(outcome) = self.outcome.get() {
            return Some(outcome.clone());
        }
        if !self.futures.iter().all(ChannelFuture::is_done) {
            return None;
        }
        let make = || match failures_of(&self.futures) {
            failures if failures.is_empty() => Ok(()),
            failures => {
                let text = format!("{} of {} channels", failures.len(), self.futures.len());
                let kind = failures[0].1.kind();
                Err(Error::with_source(kind, text, GroupFailures { failures }))
            }
        };
        Some(self.outcome.get_or_init(make).clone())
    }
}

impl Future for GroupFuture {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.parts.outcome() {
            Some(outcome) => Poll::Ready(outcome),
            None => Pin::new(&mut self.all).poll(cx),
        }
    }
}

impl fmt::Debug for GroupFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupFuture")
            .field("channels", &self.futures().len())
            .field("result", &self.parts.outcome())
            .finish()
    }
}

fn failures_of(parts: &[ChannelFuture]) -> Vec<(Channel, Error)> {
    parts
        .iter()
        .filter_map(|part| Some((part.channel().clone(), part.cause()?)))
        .collect()
}

/// Counts the channels down.
struct Ending {
    /// Channels that are not done.
    left: AtomicUsize,
    promise: Promise,
}

impl Ending {
    fn one_done(&self, parts: &Parts) {
        // Whoever comes last sees what the others did.
        if self.left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        if let Some(outcome) = parts.outcome() {
            self.promise.complete(&outcome);
        }
    }
}

/// Which channels of a group have failed, and why: the source of the error of a [`GroupFuture`].
#[derive(Clone, Debug)]
pub struct GroupFailures {
    failures: Vec<(Channel, Error)>,
}

impl GroupFailures {
    /// The failures, in the order of the channels.
    pub fn iter(&self) -> impl Iterator<Item = &(Channel, Error)> {
        self.failures.iter()
    }

    /// How many they are; at least one.
    #[allow(
        clippy::len_without_is_empty,
        reason = "without failures there is no error"
    )]
    pub fn len(&self) -> usize {
        self.failures.len()
    }

    /// What an operation's error lists, if it is one of a group.
    pub fn of(error: &Error) -> Option<&Self> {
        error.source()?.downcast_ref()
    }
}

impl fmt::Display for GroupFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (channel, error)) in self.failures.iter().enumerate() {
            write!(f, "{}{channel} {error}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl StdError for GroupFailures {}

/// Where the listeners of a group's future run: on whatever thread completes it, which is in a loop's quiet moment.
pub(super) struct Loops(pub(super) Vec<EventLoop>);

impl ListenerHost for Loops {
    fn run_listener(&self, job: Task) {
        if let Err(panic) = boundary::catch(|| job.run()) {
            tracing::error!(panic, "a listener of a group's future panicked");
        }
    }

    fn would_deadlock(&self) -> bool {
        self.0
            .iter()
            .any(|event_loop| event_loop.host().would_deadlock())
    }
}
