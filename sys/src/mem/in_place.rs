//! Arguments that are handed on where they lie.
//!
//! A value of more than two words is passed in memory of its caller's, of which the callee has the address. A function that
//! only passes its argument on could pass the address on. rustc (1.95) does not as soon as anything in front of the call
//! may panic: the value would be dropped then, so it counts as borrowed, and the callee gets a copy of its own. Of a value that
//! nobody drops the address is passed on. These functions call a function with an argument that is dropped as one whose argument
//! is not, and the other way round. The way of a write from handler to handler lost a copy of five words by it (7 instructions of
//! 49; `make hops`).
//!
//! Unsafe here promises: `T` and `ManuallyDrop<T>`, which is `repr(transparent)`, are passed in the same way
//! (<https://doc.rust-lang.org/std/primitive.fn.html#abi-compatibility>), and the value is owned by exactly one of caller and
//! callee.
//!
//! Unions and not `transmute` convert: a union's field is read without a call, and a call is something that may panic.

use std::any::{Any, TypeId};
use std::mem::ManuallyDrop;

/// A function that keeps its second argument: what it does not give to anyone is leaked.
pub type Keeper<A, T, B, R> = fn(A, ManuallyDrop<T>, B) -> R;

/// A function whose second argument is dropped by it, or by nobody.
#[repr(C)]
union Second<A, T, B, R> {
    plain: fn(A, T, B) -> R,
    keeps: Keeper<A, T, B, R>,
}

/// The same of a third argument.
#[repr(C)]
union Third<A, B, T, C, R> {
    plain: fn(A, B, T, C) -> R,
    keeps: fn(A, B, ManuallyDrop<T>, C) -> R,
}

/// A function for two types, which are the same.
#[repr(C)]
union Either<A, T, U, B, R> {
    one: Keeper<A, T, B, R>,
    other: Keeper<A, U, B, R>,
}

/// `f(first, ManuallyDrop::new(value), last)`. A panic in front of where the value is given away leaks it, too.
#[inline(always)]
pub fn keep<A, T, B, R>(f: Keeper<A, T, B, R>, first: A, value: T, last: B) -> R {
    // SAFETY: both are called in the same way. The value is moved into the call, and the function has it in the wrapper.
    let f = unsafe { Second { keeps: f }.plain };
    f(first, value, last)
}

/// `f(first, ManuallyDrop::into_inner(value), last)`.
#[inline(always)]
pub fn give<A, T, B, R>(f: fn(A, T, B) -> R, first: A, value: ManuallyDrop<T>, last: B) -> R {
    // SAFETY: both are called in the same way. The wrapper is moved into the call, where the function has the value; nobody
    // drops a wrapper.
    let f = unsafe { Second { plain: f }.keeps };
    f(first, value, last)
}

/// `f(first, second, ManuallyDrop::into_inner(value), last)`.
#[inline(always)]
pub fn give_third<A, B, T, C, R>(
    f: fn(A, B, T, C) -> R,
    first: A,
    second: B,
    value: ManuallyDrop<T>,
    last: C,
) -> R {
    // SAFETY: as in `give`.
    let f = unsafe { Third { plain: f }.keeps };
    f(first, second, value, last)
}

/// The same function, for whoever has a `U`, if that is a `T`. Known when the program is compiled.
#[inline(always)]
pub fn same<A, T: Any, U: Any, B, R>(f: Keeper<A, T, B, R>) -> Option<Keeper<A, U, B, R>> {
    if TypeId::of::<T>() != TypeId::of::<U>() {
        return None;
    }
    // SAFETY: the two types are one, with no lifetimes in which they could differ.
    Some(unsafe { Either { one: f }.other })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    /// Five words, one of them counted.
    struct Parcel([usize; 4], Rc<()>);

    trait Receiver {
        fn receive(&mut self, by: &mut Vec<usize>, parcel: Parcel, tip: usize) -> usize;
    }

    impl Receiver for usize {
        fn receive(&mut self, by: &mut Vec<usize>, parcel: Parcel, tip: usize) -> usize {
            by.push(parcel.0.iter().sum());
            *self += tip;
            Rc::strong_count(&parcel.1)
        }
    }

    fn carry(to: &mut dyn Receiver, parcel: ManuallyDrop<Parcel>, tip: usize) -> usize {
        let mut by = Vec::new();
        let count = give_third(<dyn Receiver>::receive, to, &mut by, parcel, tip);
        assert_eq!(by, [10]);
        count
    }

    #[test]
    fn what_is_kept_and_given_is_owned_by_one_at_a_time() {
        let counted = Rc::new(());
        let mut till = 5;
        let parcel = Parcel([1, 2, 3, 4], counted.clone());
        let to: &mut dyn Receiver = &mut till;
        assert_eq!(keep(carry, to, parcel, 7), 2);
        assert_eq!(till, 12);
        assert_eq!(Rc::strong_count(&counted), 1);
    }

    #[test]
    fn what_is_kept_is_not_dropped() {
        fn back((): (), parcel: ManuallyDrop<Parcel>, (): ()) -> ManuallyDrop<Parcel> {
            assert_eq!(parcel.0, [4, 3, 2, 1]);
            parcel
        }
        let counted = Rc::new(());
        let kept = keep(back, (), Parcel([4, 3, 2, 1], counted.clone()), ());
        assert_eq!(Rc::strong_count(&counted), 2);
        drop(ManuallyDrop::into_inner(kept));
        assert_eq!(Rc::strong_count(&counted), 1);
    }

    #[test]
    fn a_function_is_for_its_own_type_only() {
        fn length((): (), text: ManuallyDrop<String>, (): ()) -> usize {
            give(|(), text: String, ()| text.len(), (), text, ())
        }
        assert!(same::<_, _, Vec<u8>, _, _>(length).is_none());
        let length = same::<_, _, String, _, _>(length).expect("the same type");
        assert_eq!(keep(length, (), "four".to_owned(), ()), 4);
    }
}
