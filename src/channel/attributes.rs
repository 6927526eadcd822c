//! Attributes: values of any type that users attach to a channel, under typed keys.
//!
//! A channel's handle and its context give out the same [`Attributes`]; any thread may use them. User
//! code (updates, drops of values) never runs under their lock.

use std::any::{Any, TypeId};
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tidegate_sys::mem::Task;

use crate::future::Promise;

/// The name of an attribute with values of type `T`; a constant.
///
/// Two keys mean the same attribute if their names and their types are equal, so keys of one name but
/// of different types do not disturb each other. Choose names with the crate or module in front.
///
/// ```
/// use tidegate::channel::{AttributeKey, Attributes};
///
/// static USER: AttributeKey<String> = AttributeKey::new("shop.user");
///
/// let attributes = Attributes::new();
/// attributes.set(&USER, "ada".to_string());
/// assert_eq!(*attributes.get(&USER).unwrap(), "ada");
/// ```
pub struct AttributeKey<T> {
    name: &'static str,
    value: PhantomData<fn() -> T>,
}

impl<T: Any + Send + Sync> AttributeKey<T> {
    /// The key of this name.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            value: PhantomData,
        }
    }

    /// The name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    fn id(&self) -> Id {
        (self.name, TypeId::of::<T>())
    }
}

impl<T> Clone for AttributeKey<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for AttributeKey<T> {}

impl<T> fmt::Debug for AttributeKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttributeKey({})", self.name)
    }
}

/// A map from [`AttributeKey`]s to values, shared between threads.
///
/// Values are handed out as `Arc<T>`, so one stays valid while another thread replaces it. An empty map
/// is two words, since most channels have no attributes: one would need a compare-and-swap of a raw
/// pointer, which is not worth unsafe code. Looking into a map that was never set takes no lock.
#[derive(Default)]
pub struct Attributes(OnceLock<Box<Mutex<Kept>>>);

/// What most channels have nothing of, in one box.
#[derive(Default)]
struct Kept {
    /// A channel has few attributes: a list is smaller than a hash table, and as fast.
    entries: Vec<Entry>,
    /// Of the close future, see `close_future`. Void until somebody asks for it, and in maps that are no channel's.
    closing: Promise,
    /// Calls that wait for the channel's registration, see `reach`.
    waiting: Option<Box<Waiting>>,
}

#[derive(Default)]
struct Waiting(Vec<Task>);

type Id = (&'static str, TypeId);
type Value = Arc<dyn Any + Send + Sync>;

struct Entry {
    id: Id,
    value: Value,
}

impl Attributes {
    /// A map without entries.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Sets the value, and gives back the one before.
    pub fn set<T: Any + Send + Sync>(&self, key: &AttributeKey<T>, value: T) -> Option<Arc<T>> {
        self.set_shared(key, Arc::new(value))
    }

    /// Sets a value that is shared already, and gives back the one before.
    pub fn set_shared<T: Any + Send + Sync>(
        &self,
        key: &AttributeKey<T>,
        value: Arc<T>,
    ) -> Option<Arc<T>> {
        typed(put(&mut self.kept().entries, key.id(), value))
    }

    /// Sets the value unless there is one; gives back the one that is there instead.
    pub fn set_if_absent<T: Any + Send + Sync>(
        &self,
        key: &AttributeKey<T>,
        value: T,
    ) -> Option<Arc<T>> {
        let value = Arc::new(value);
        let mut kept = self.kept();
        if let Some(present) = find(&kept.entries, key.id()) {
            let present = present.clone();
            // Its drop is foreign code.
            drop(kept);
            drop(value);
            return typed(Some(present));
        }
        put(&mut kept.entries, key.id(), value);
        None
    }

    /// Replaces the value by what `update` makes of it; `None` stands for "no value" on both sides.
    /// Gives back the new value.
    ///
    /// `update` runs without the lock, and again if another thread changed the value meanwhile.
    pub fn update<T, F>(&self, key: &AttributeKey<T>, mut update: F) -> Option<Arc<T>>
    where
        T: Any + Send + Sync,
        F: FnMut(Option<&T>) -> Option<T>,
    {
        loop {
            let before = self.get(key);
            let after = update(before.as_deref()).map(Arc::new);
            let mut kept = self.kept();
            let now = find(&kept.entries, key.id());
            let unchanged = match (&before, now) {
                (None, None) => true,
                (Some(before), Some(now)) => {
                    std::ptr::addr_eq(Arc::as_ptr(before), Arc::as_ptr(now))
                }
                _ => false,
            };
            if unchanged {
                let replaced = match &after {
                    Some(value) => put(&mut kept.entries, key.id(), value.clone()),
                    None => take(&mut kept.entries, key.id()),
                };
                drop(kept);
                drop(replaced);
                return after;
            }
        }
    }

    /// Removes the value and gives it out.
    pub fn remove<T: Any + Send + Sync>(&self, key: &AttributeKey<T>) -> Option<Arc<T>> {
        let kept = self.0.get()?;
        typed(take(&mut lock(kept).entries, key.id()))
    }

    /// Takes over all of `other`'s values, which stay shared; for the attributes that a bootstrap gives
    /// to each of its channels.
    pub fn extend_from(&self, other: &Attributes) {
        let Some(theirs) = other.0.get() else { return };
        let copies: Vec<(Id, Value)> = lock(theirs)
            .entries
            .iter()
            .map(|entry| (entry.id, entry.value.clone()))
            .collect();
        for (id, value) in copies {
            let replaced = put(&mut self.kept().entries, id, value);
            drop(replaced);
        }
    }

    /// The value, if there is one.
    pub fn get<T: Any + Send + Sync>(&self, key: &AttributeKey<T>) -> Option<Arc<T>> {
        let kept = lock(self.0.get()?);
        typed(find(&kept.entries, key.id()).cloned())
    }

    /// True if there is a value.
    pub fn contains<T: Any + Send + Sync>(&self, key: &AttributeKey<T>) -> bool {
        self.0
            .get()
            .is_some_and(|kept| find(&lock(kept).entries, key.id()).is_some())
    }

    /// How many attributes have a value.
    pub fn len(&self) -> usize {
        self.0.get().map_or(0, |kept| lock(kept).entries.len())
    }

    /// True if no attribute has a value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shows `look` the promise of the close future, under the lock.
    pub(super) fn with_closing<T>(&self, look: impl FnOnce(&mut Promise) -> T) -> T {
        look(&mut self.kept().closing)
    }

    /// Takes the promise of the close future out; a void one if there is none.
    pub(super) fn take_closing(&self) -> Promise {
        match self.0.get() {
            Some(kept) => std::mem::take(&mut lock(kept).closing),
            None => Promise::void(),
        }
    }

    /// Keeps a call for the channel's registration if it `may_wait`, which is asked under the lock; else gives it back.
    pub(super) fn put_waiting(
        &self,
        call: Task,
        may_wait: impl FnOnce() -> bool,
    ) -> Result<(), Task> {
        let mut kept = self.kept();
        if !may_wait() {
            return Err(call);
        }
        kept.waiting.get_or_insert_default().0.push(call);
        Ok(())
    }

    /// Takes the calls that wait, the oldest first.
    pub(super) fn take_waiting(&self) -> Vec<Task> {
        let waiting = self.0.get().and_then(|kept| lock(kept).waiting.take());
        waiting.map_or(Vec::new(), |waiting| waiting.0)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(self.0.get_or_init(Box::default))
    }
}

/// Shares the values.
impl Clone for Attributes {
    fn clone(&self) -> Self {
        let copy = Self::new();
        copy.extend_from(self);
        copy
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_set();
        if let Some(kept) = self.0.get() {
            out.entries(lock(kept).entries.iter().map(|entry| entry.id.0));
        }
        out.finish()
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find(entries: &[Entry], id: Id) -> Option<&Value> {
    entries
        .iter()
        .find(|entry| entry.id == id)
        .map(|entry| &entry.value)
}

fn put(entries: &mut Vec<Entry>, id: Id, value: Value) -> Option<Value> {
    match entries.iter_mut().find(|entry| entry.id == id) {
        Some(entry) => Some(std::mem::replace(&mut entry.value, value)),
        None => {
            entries.push(Entry { id, value });
            None
        }
    }
}

fn take(entries: &mut Vec<Entry>, id: Id) -> Option<Value> {
    let at = entries.iter().position(|entry| entry.id == id)?;
    Some(entries.swap_remove(at).value)
}

/// The id of an entry holds the type of its value, so this never comes out empty for a value.
fn typed<T: Any + Send + Sync>(value: Option<Value>) -> Option<Arc<T>> {
    value?.downcast().ok()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    static COUNT: AttributeKey<u32> = AttributeKey::new("count");
    static NAME: AttributeKey<String> = AttributeKey::new("name");

    #[test]
    fn values_come_back_under_their_key() {
        let attributes = Attributes::new();
        assert!(attributes.is_empty());
        assert_eq!(attributes.get(&COUNT), None);
        assert_eq!(attributes.set(&COUNT, 1), None);
        assert_eq!(attributes.set(&COUNT, 2).as_deref(), Some(&1));
        attributes.set(&NAME, "n".into());
        assert_eq!(attributes.get(&COUNT).as_deref(), Some(&2));
        assert_eq!(attributes.len(), 2);
        assert_eq!(format!("{attributes:?}"), r#"{"count", "name"}"#);
        assert_eq!(attributes.remove(&COUNT).as_deref(), Some(&2));
        assert_eq!(attributes.remove(&COUNT), None);
        assert!(!attributes.contains(&COUNT) && attributes.contains(&NAME));
    }

    #[test]
    fn keys_of_one_name_and_two_types_are_two_attributes() {
        let text: AttributeKey<String> = AttributeKey::new("count");
        let attributes = Attributes::new();
        attributes.set(&COUNT, 7);
        attributes.set(&text, "seven".into());
        assert_eq!(attributes.get(&COUNT).as_deref(), Some(&7));
        assert_eq!(attributes.get(&text).unwrap().as_str(), "seven");
    }

    #[test]
    fn set_if_absent_keeps_the_first() {
        let attributes = Attributes::new();
        assert_eq!(attributes.set_if_absent(&COUNT, 1), None);
        assert_eq!(attributes.set_if_absent(&COUNT, 2).as_deref(), Some(&1));
        assert_eq!(attributes.get(&COUNT).as_deref(), Some(&1));
    }

    #[test]
    fn update_may_set_change_and_remove() {
        let attributes = Attributes::new();
        let add = |old: Option<&u32>| Some(old.copied().unwrap_or(10) + 1);
        assert_eq!(attributes.update(&COUNT, add).as_deref(), Some(&11));
        assert_eq!(attributes.update(&COUNT, add).as_deref(), Some(&12));
        assert_eq!(attributes.update(&COUNT, |_| None), None);
        assert!(attributes.is_empty());
    }

    #[test]
    fn update_may_look_into_the_same_map() {
        let attributes = Attributes::new();
        attributes.set(&NAME, "four".into());
        attributes.update(&COUNT, |_| {
            attributes
                .get(&NAME)
                .and_then(|name| name.len().try_into().ok())
        });
        assert_eq!(attributes.get(&COUNT).as_deref(), Some(&4));
    }

    #[test]
    fn no_update_is_lost_between_threads() {
        let attributes = Attributes::new();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        attributes.update(&COUNT, |old| Some(old.copied().unwrap_or(0) + 1));
                    }
                });
            }
        });
        assert_eq!(attributes.get(&COUNT).as_deref(), Some(&2000));
    }

    #[test]
    fn a_clone_shares_the_values_but_not_the_map() {
        let attributes = Attributes::new();
        attributes.set(&NAME, "shared".into());
        let copy = attributes.clone();
        assert!(Arc::ptr_eq(
            &attributes.get(&NAME).unwrap(),
            &copy.get(&NAME).unwrap()
        ));
        copy.remove(&NAME);
        assert!(attributes.contains(&NAME));
    }

    #[test]
    fn a_map_is_two_words_and_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Attributes>();
        shared::<AttributeKey<std::cell::Cell<u8>>>();
        assert!(size_of::<Attributes>() <= 2 * size_of::<usize>());
    }
}
