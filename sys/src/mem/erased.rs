//! A value of any `Any + Send` type in 32 bytes: what a message is when it is not bytes.
//!
//! One word names the type (and how to drop it), three words hold the value, or the pointer to
//! its box when it is larger or wants more than eight-byte alignment. Moving one is a copy of
//! four words, whatever is inside.
//!
//! Unsafe here promises: the words are only read as the type that the first word was made for.

use std::any::{Any, TypeId, type_name};
use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit, align_of, size_of};
use std::ptr;

/// The value, or the pointer to its box. Eight-byte aligned on every machine.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Payload([MaybeUninit<u64>; Payload::WORDS]);

impl Payload {
    const WORDS: usize = 3;

    const UNINIT: Self = Self([MaybeUninit::uninit(); Self::WORDS]);

    /// Whether a value of type `T` fits without a box.
    const fn holds<T>() -> bool {
        size_of::<T>() <= size_of::<Self>() && align_of::<T>() <= align_of::<Self>()
    }
}

/// What is known about a value after its type was forgotten.
///
/// The type's identity is a function because `TypeId::of` is not const in our oldest compiler.
struct Vtable {
    type_id: fn() -> TypeId,
    type_name: fn() -> &'static str,
    /// Drops the value, and its box if it has one. Precondition: the payload holds what this table
    /// was made for; it is logically uninitialised afterwards.
    drop: unsafe fn(*mut Payload),
    /// Bytes of the value itself, boxed or not.
    size: usize,
}

struct Table<T>(PhantomData<T>);

impl<T: Any + Send> Table<T> {
    const VTABLE: &'static Vtable = &Vtable {
        type_id: TypeId::of::<T>,
        type_name: type_name::<T>,
        drop: Self::drop,
        size: size_of::<T>(),
    };

    /// Drops the value. The caller promises that the payload holds a `T` or a `Box<T>`, as `holds` says, and forgets it.
    unsafe fn drop(payload: *mut Payload) {
        if const { Payload::holds::<T>() } {
            // SAFETY: the caller says that the payload holds a T, and forgets it.
            unsafe { ptr::drop_in_place(payload.cast::<T>()) }
        } else {
            // SAFETY: a T that does not fit is kept as a Box<T>; the caller forgets it.
            unsafe { ptr::drop_in_place(payload.cast::<Box<T>>()) }
        }
    }
}

/// A value of a type that only its receiver knows.
///
/// 32 bytes. Values of up to 24 bytes with an alignment of at most eight are stored inline, others
/// are boxed. `Send`, because every type that can be put in is; not `Sync`.
#[repr(C)]
pub struct Erased {
    /// `payload` holds a live `T` (or `Box<T>`) for the `T` that `vtable` was made for.
    vtable: &'static Vtable,
    payload: Payload,
    /// Not Sync; Send by the impl below.
    _not_sync: PhantomData<*mut ()>,
}

// Message is built around these sizes.
const _: () = assert!(size_of::<Erased>() == 32 && size_of::<Option<Erased>>() == 32);

// SAFETY: `Erased::new` takes only values that are Send.
unsafe impl Send for Erased {}

impl Erased {
    /// Forgets the type of `value`. Allocates only if it is larger than 24 bytes or aligned to
    /// more than eight.
    #[inline]
    pub fn new<T: Any + Send>(value: T) -> Self {
        if const { Payload::holds::<T>() } {
            Self::hold(Table::<T>::VTABLE, value)
        } else {
            Self::hold(Table::<T>::VTABLE, Box::new(value))
        }
    }

    #[inline]
    fn hold<V>(vtable: &'static Vtable, value: V) -> Self {
        // Not a const block: the arm that is never taken is instantiated too, and would not compile.
        assert!(
            Payload::holds::<V>(),
            "only values that fit are held inline"
        );
        let mut payload = Payload::UNINIT;
        // SAFETY: V fits size and alignment of the payload (asserted above).
        unsafe { (&raw mut payload).cast::<V>().write(value) };
        Self {
            vtable,
            payload,
            _not_sync: PhantomData,
        }
    }

    /// Gives the value back if it is a `T`, else everything as it was.
    ///
    /// # Errors
    /// The unchanged `Erased` when the value is of another type.
    #[inline]
    pub fn downcast<T: Any + Send>(self) -> Result<T, Self> {
        if !self.is::<T>() {
            return Err(self);
        }
        let this = ManuallyDrop::new(self);
        let payload = &raw const this.payload;
        Ok(if const { Payload::holds::<T>() } {
            // SAFETY: it is a T (checked above) that fits, so the payload holds it; ManuallyDrop
            // forgets it.
            unsafe { payload.cast::<T>().read() }
        } else {
            // SAFETY: it is a T (checked above) that does not fit, so the payload holds its box;
            // ManuallyDrop forgets it.
            *unsafe { payload.cast::<Box<T>>().read() }
        })
    }

    /// The value, if it is a `T`.
    #[inline]
    #[must_use]
    pub fn downcast_ref<T: Any + Send>(&self) -> Option<&T> {
        if !self.is::<T>() {
            return None;
        }
        let payload = &raw const self.payload;
        Some(if const { Payload::holds::<T>() } {
            // SAFETY: it is a T that fits, so the payload holds it for as long as self is borrowed.
            unsafe { &*payload.cast::<T>() }
        } else {
            // SAFETY: it is a T that does not fit, so the payload holds its box.
            unsafe { &**payload.cast::<Box<T>>() }
        })
    }

    /// The value, if it is a `T`, for changing it in place.
    #[inline]
    #[must_use]
    pub fn downcast_mut<T: Any + Send>(&mut self) -> Option<&mut T> {
        if !self.is::<T>() {
            return None;
        }
        let payload = &raw mut self.payload;
        Some(if const { Payload::holds::<T>() } {
            // SAFETY: it is a T that fits, so the payload holds it; self is borrowed exclusively.
            unsafe { &mut *payload.cast::<T>() }
        } else {
            // SAFETY: it is a T that does not fit, so the payload holds its box, likewise.
            unsafe { &mut **payload.cast::<Box<T>>() }
        })
    }

    /// Whether the value is a `T`.
    #[inline]
    #[must_use]
    pub fn is<T: Any + Send>(&self) -> bool {
        // The same table is the same type. The reverse is not certain (each codegen unit may have
        // its own copy of a table), so a different one asks for the type.
        ptr::eq(self.vtable, Table::<T>::VTABLE) || self.type_id() == TypeId::of::<T>()
    }

    /// The type of the value.
    #[inline]
    #[must_use]
    pub fn type_id(&self) -> TypeId {
        (self.vtable.type_id)()
    }

    /// The name of the value's type, for people.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        (self.vtable.type_name)()
    }

    /// The size of the value in bytes, without what it owns elsewhere.
    #[must_use]
    pub fn size(&self) -> usize {
        self.vtable.size
    }
}

impl Drop for Erased {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: a live Erased holds what its vtable was made for, and this is its end.
        unsafe { (self.vtable.drop)(&raw mut self.payload) }
    }
}

impl fmt::Debug for Erased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Erased")
            .field("type", &self.type_name())
            .field("size", &self.size())
            .finish()
    }
}
