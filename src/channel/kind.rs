//! [`Kind`]: what a node knows of its handler's type while the handler itself is away on the stack.
//!
//! Twelve bits: the number of the type in a table of the thread, which no node ever leaves. A pointer in each node took
//! eight, and every idle channel has several nodes. Asked by edits, look-ups and logs, never by a hop.

use std::any::{Any, TypeId, type_name};
use std::cell::RefCell;

thread_local! {
    /// The types of handlers that this thread has seen. Programs have dozens.
    static KINDS: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

struct Known {
    handler: TypeId,
    /// The type that people mean by it: its own, or that of the value that it makes a handler of.
    meant: TypeId,
    /// Of the type that is meant.
    short_name: &'static str,
}

/// The type of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind(u16);

impl Kind {
    /// No handler's, and that of what does not fit into the table any more: it is no type that anybody looks for.
    pub(super) const NONE: Self = Self(0xFFF);

    /// The kind of this number, which another one has given.
    pub(super) const fn numbered(number: u16) -> Self {
        Self(number)
    }

    /// 12 bits.
    pub(super) const fn number(self) -> u16 {
        self.0
    }

    /// The kind of an `H`. `wrapped`: the type, with its name, that an `H` only makes a handler of.
    pub(crate) fn of<H: Any>(wrapped: Option<(TypeId, &'static str)>) -> Self {
        let handler = TypeId::of::<H>();
        let known = KINDS.try_with(|kinds| {
            let mut kinds = kinds.borrow_mut();
            if let Some(at) = kinds.iter().position(|known| known.handler == handler) {
                return at;
            }
            if kinds.len() >= usize::from(Self::NONE.0) {
                return kinds.len();
            }
            let (meant, name) = wrapped.unwrap_or((handler, type_name::<H>()));
            kinds.push(Known {
                handler,
                meant,
                short_name: shortened(name),
            });
            kinds.len() - 1
        });
        // A thread that ends adds no handlers.
        known
            .ok()
            .and_then(|at| u16::try_from(at).ok())
            .filter(|number| *number < Self::NONE.0)
            .map_or(Self::NONE, Self)
    }

    pub(super) fn is<H: Any>(self) -> bool {
        let id = TypeId::of::<H>();
        self.look(|known| known.handler == id || known.meant == id)
            .unwrap_or(false)
    }

    pub(crate) fn name(self) -> &'static str {
        self.look(|known| known.short_name).unwrap_or("Handler")
    }

    fn look<R>(self, look: impl FnOnce(&Known) -> R) -> Option<R> {
        KINDS
            .try_with(|kinds| kinds.borrow().get(usize::from(self.0)).map(look))
            .ok()
            .flatten()
    }
}

/// The last segment of a type's path, with its generic parameters left out.
pub(crate) fn short_type_name<T: ?Sized>() -> &'static str {
    shortened(type_name::<T>())
}

fn shortened(full: &'static str) -> &'static str {
    let bare = full.split('<').next().unwrap_or(full);
    bare.rsplit("::").next().unwrap_or(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One;

    #[test]
    fn a_kind_knows_its_type_and_no_other() {
        let (one, other) = (Kind::of::<One>(None), Kind::of::<Option<u8>>(None));
        assert_eq!(one, Kind::of::<One>(None));
        assert!(one.is::<One>() && !one.is::<Option<u8>>() && !other.is::<Option<u16>>());
        assert_eq!((one.name(), other.name()), ("One", "Option"));
        assert_eq!(size_of::<Kind>(), 2);
    }

    #[test]
    fn what_makes_a_handler_of_a_value_is_called_by_the_value() {
        let meant = Some((TypeId::of::<One>(), "some::path::One<Of, These>"));
        let kind = Kind::of::<Box<One>>(meant);
        assert_eq!(kind.name(), "One");
        assert!(kind.is::<One>() && kind.is::<Box<One>>() && !kind.is::<u8>());
    }

    #[test]
    fn kinds_that_find_no_place_are_nobodys() {
        let _ = Kind::of::<One>(None);
        KINDS.with(|kinds| {
            let mut kinds = kinds.borrow_mut();
            let last = usize::from(Kind::NONE.0);
            kinds.resize_with(last, || Known {
                handler: TypeId::of::<u8>(),
                meant: TypeId::of::<u8>(),
                short_name: "u8",
            });
        });
        let late = Kind::of::<Option<One>>(None);
        assert_eq!(late, Kind::NONE);
        assert!(!late.is::<u8>() && !late.is::<Option<One>>() && Kind::of::<One>(None).is::<One>());
        assert_eq!(late.name(), "Handler");
    }

    #[test]
    fn what_is_in_no_table_is_nothing() {
        assert!(!Kind::NONE.is::<One>());
        assert_eq!(Kind::NONE.name(), "Handler");
    }
}
