//! A closure that runs once, in exactly one cache line.
//!
//! [`Task`] may cross threads and is what [`super::queue`] carries; [`LocalTask`] stays on its
//! thread and is what a loop keeps for itself (local tasks, timers). Both are one word that
//! names the closure's code and seven words that hold its captures; a closure with more captures,
//! or one that wants more than eight-byte alignment, lives in a box whose pointer takes the
//! first word.
//!
//! Neither gives a result nor catches a panic: who runs a task decides about both. A closure
//! that panics is gone (its captures are dropped by the unwinding, once); so is the task. What is left is the name of its
//! type, which [`take_panicked`] gives to whoever caught the panic.
//!
//! Unsafe here promises: the words are only read as the type that the code word was made for,
//! and only once by value.

use std::any::type_name;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop, MaybeUninit, align_of, size_of};
use std::ptr;

/// The captures of a closure, or the pointer to its box. Eight-byte aligned on every machine.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Payload([MaybeUninit<u64>; Payload::WORDS]);

impl Payload {
    /// [`Parts::write`] counts them out.
    const WORDS: usize = 7;

    const UNINIT: Self = Self([MaybeUninit::uninit(); Self::WORDS]);

    /// Whether a value of type `T` fits without a box.
    const fn holds<T>() -> bool {
        size_of::<T>() <= size_of::<Self>() && align_of::<T>() <= align_of::<Self>()
    }
}

/// What is known about a closure after its type was forgotten.
pub(super) struct Vtable {
    /// Moves the closure out and calls it. Precondition: the payload holds the closure that this
    /// table was made for; it is logically uninitialised afterwards, also after a panic.
    run: unsafe fn(*mut Payload),
    /// Drops the closure in place. Same precondition and same effect.
    drop: unsafe fn(*mut Payload),
    /// The name of the closure's type.
    name: fn() -> &'static str,
    inline: bool,
}

impl Vtable {
    /// Runs a closure where it is; a panic comes through.
    ///
    /// # Safety
    /// `payload` holds a closure of the type that this table was made for; it is logically uninitialised afterwards, also
    /// after a panic.
    #[inline(always)]
    pub(super) unsafe fn run(&self, payload: *mut Payload) {
        // SAFETY: the caller's promise.
        unsafe { (self.run)(payload) }
    }
}

thread_local! {
    /// The type of the task that panicked last on this thread.
    static PANICKED: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// The type of the task that panicked last on this thread, once: to be asked by whoever has caught the panic of one. Tasks
/// may run inside of tasks; the outermost one that a panic has left is the last.
#[must_use]
pub fn take_panicked() -> Option<&'static str> {
    PANICKED.try_with(Cell::take).ok().flatten()
}

/// Lives while a closure of type `F` runs, and does something only if a panic leaves it: a run that ends well pays no
/// instruction for it.
struct Unwinding<F>(PhantomData<F>);

impl<F> Drop for Unwinding<F> {
    #[cold]
    fn drop(&mut self) {
        // A thread that is being torn down has nobody left to ask.
        let _nobody = PANICKED.try_with(|panicked| panicked.set(Some(type_name::<F>())));
    }
}

/// Calls a closure of type `F`, in its box or not.
#[inline(always)]
fn call<F>(f: impl FnOnce()) {
    let unwinding = Unwinding::<F>(PhantomData);
    f();
    mem::forget(unwinding);
}

/// A closure of forgotten type: the body of both tasks.
#[repr(C)]
struct Closure {
    /// `payload` holds a live closure of the type that `vtable` was made for.
    vtable: &'static Vtable,
    payload: Payload,
    /// Neither Send nor Sync unless the wrapper says so.
    _not_send: PhantomData<*mut ()>,
}

// The queue's slot is one cache line and holds exactly one task.
const _: () = assert!(size_of::<Task>() == 64 && size_of::<LocalTask>() == 64);
const _: () = assert!(size_of::<Option<Task>>() == 64);

/// A closure on its way into a task that is somewhere else: its code and its payload, of which only what a `T` takes up means
/// something.
///
/// Dropping it drops nothing: one of its methods uses it up.
pub(super) struct Parts<T> {
    /// Made for closures whose payload holds a `T`.
    vtable: &'static Vtable,
    payload: Payload,
    _held: PhantomData<T>,
}

impl<F: FnOnce() + 'static> Parts<F> {
    /// Of a closure that fits.
    #[inline(always)]
    pub(super) fn inline(f: F) -> Self {
        Self::of(InlineCode::<F>::VTABLE, f)
    }
}

impl<F: FnOnce() + 'static> Parts<Box<F>> {
    /// Of any closure.
    #[inline(always)]
    pub(super) fn boxed(f: F) -> Self {
        Self::of(BoxedCode::<F>::VTABLE, Box::new(f))
    }
}

impl<T> Parts<T> {
    #[inline(always)]
    fn of(vtable: &'static Vtable, held: T) -> Self {
        // Not a const block: where a closure may fit or not, both are instantiated, and one would not compile.
        assert!(
            Payload::holds::<T>(),
            "only values that fit are held inline"
        );
        let mut payload = Payload::UNINIT;
        // SAFETY: T fits size and alignment of the payload (asserted above).
        unsafe { (&raw mut payload).cast::<T>().write(held) };
        Self {
            vtable,
            payload,
            _held: PhantomData,
        }
    }

    /// Writes the payload where a task will be; gives the code of that task.
    ///
    /// Word by word and no more words than there are; not in a loop, which the compiler would take for a copy of a block. Then
    /// captures would be gathered on the stack first, and the copy, in steps of two words, would wait for them to get there: a
    /// third of a push.
    ///
    /// # Safety
    /// `to` is valid for writes.
    #[inline(always)]
    pub(super) unsafe fn write(self, to: *mut Payload) -> &'static Vtable {
        let word = |nth: usize| {
            if nth * size_of::<u64>() < size_of::<T>() {
                // SAFETY: a T fits, as `of` has asserted, so it has no more words than a payload.
                unsafe { (&raw mut (*to).0[nth]).write(self.payload.0[nth]) };
            }
        };
        word(0);
        word(1);
        word(2);
        word(3);
        word(4);
        word(5);
        word(6);
        self.vtable
    }

    #[inline(always)]
    fn into_closure(self) -> Closure {
        Closure {
            vtable: self.vtable,
            payload: self.payload,
            _not_send: PhantomData,
        }
    }
}

impl<T: Send> Parts<T> {
    /// The closure as a task.
    #[inline(always)]
    pub(super) fn into_task(self) -> Task {
        Task(self.into_closure())
    }
}

struct InlineCode<F>(PhantomData<F>);

impl<F: FnOnce()> InlineCode<F> {
    const VTABLE: &'static Vtable = &Vtable {
        run: Self::run,
        drop: Self::drop,
        name: type_name::<F>,
        inline: true,
    };

    /// Runs the closure. The caller promises that the payload holds an `F`, and forgets it.
    unsafe fn run(payload: *mut Payload) {
        // SAFETY: the caller says that the payload holds an F, and forgets it.
        let f = unsafe { payload.cast::<F>().read() };
        call::<F>(f);
    }

    /// Drops the closure. The caller promises that the payload holds an `F`, and forgets it.
    unsafe fn drop(payload: *mut Payload) {
        // SAFETY: the caller says that the payload holds an F, and forgets it.
        unsafe { ptr::drop_in_place(payload.cast::<F>()) }
    }
}

struct BoxedCode<F>(PhantomData<F>);

impl<F: FnOnce()> BoxedCode<F> {
    const VTABLE: &'static Vtable = &Vtable {
        run: Self::run,
        drop: Self::drop,
        name: type_name::<F>,
        inline: false,
    };

    /// Runs the closure. The caller promises that the payload holds a `Box<F>`, and forgets it.
    unsafe fn run(payload: *mut Payload) {
        // SAFETY: the caller says that the payload holds a Box<F>, and forgets it.
        let f = unsafe { payload.cast::<Box<F>>().read() };
        call::<F>(f);
    }

    /// Drops the closure. The caller promises that the payload holds a `Box<F>`, and forgets it.
    unsafe fn drop(payload: *mut Payload) {
        // SAFETY: the caller says that the payload holds a Box<F>, and forgets it.
        unsafe { ptr::drop_in_place(payload.cast::<Box<F>>()) }
    }
}

impl Closure {
    #[inline]
    fn new<F: FnOnce() + 'static>(f: F) -> Self {
        if const { Payload::holds::<F>() } {
            Parts::inline(f).into_closure()
        } else {
            Parts::boxed(f).into_closure()
        }
    }

    #[inline]
    fn run(self) {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: a live Closure holds what its vtable was made for; ManuallyDrop forgets it,
        // also when the call unwinds.
        unsafe { this.vtable.run(&raw mut this.payload) }
    }
}

impl Drop for Closure {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: a live Closure holds what its vtable was made for, and this is its end.
        unsafe { (self.vtable.drop)(&raw mut self.payload) }
    }
}

/// A closure of type `FnOnce() + Send + 'static`, 64 bytes, for any thread.
///
/// Up to seven words of captures are stored inline; larger or over-aligned closures are boxed.
/// Dropping a task that was not run drops its captures.
#[must_use = "a task does nothing until it is run"]
#[repr(transparent)]
pub struct Task(Closure);

// SAFETY: `Task::new` takes only closures that are Send; `from_parts` only what `into_parts` gave.
unsafe impl Send for Task {}

impl Task {
    /// Wraps `f`. Allocates only if `f` is larger than seven words or aligned to more than eight bytes.
    #[inline]
    pub fn new<F: FnOnce() + Send + 'static>(f: F) -> Self {
        Self(Closure::new(f))
    }

    /// Runs the closure. A panic in it comes through; nothing is left to drop then.
    #[inline]
    pub fn run(self) {
        self.0.run();
    }

    /// Whether the captures are stored in the task itself rather than in a box.
    #[must_use]
    pub fn is_inline(&self) -> bool {
        self.0.vtable.inline
    }

    /// Whether those of an `F` are.
    pub(super) const fn holds_inline<F>() -> bool {
        Payload::holds::<F>()
    }

    /// The name of the closure's type, as [`std::any::type_name`] has it: for logs.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        (self.0.vtable.name)()
    }

    /// Takes the task apart.
    #[inline]
    pub(super) fn into_parts(self) -> Parts<Payload> {
        let this = ManuallyDrop::new(self);
        Parts::of(this.0.vtable, this.0.payload)
    }

    /// Puts a task together again.
    ///
    /// # Safety
    /// `payload` holds what one call of [`Parts::write`] put there, `vtable` is what that call gave, and both are used
    /// up by this one. The parts were Send.
    #[inline]
    pub(super) unsafe fn from_parts(vtable: &'static Vtable, payload: Payload) -> Self {
        Self(Closure {
            vtable,
            payload,
            _not_send: PhantomData,
        })
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("inline", &self.is_inline())
            .finish_non_exhaustive()
    }
}

/// A closure of type `FnOnce() + 'static`, 64 bytes, that stays on its thread.
#[must_use = "a task does nothing until it is run"]
#[repr(transparent)]
pub struct LocalTask(Closure);

impl LocalTask {
    /// Wraps `f`. Allocates only if `f` is larger than seven words or aligned to more than eight bytes.
    #[inline]
    pub fn new<F: FnOnce() + 'static>(f: F) -> Self {
        Self(Closure::new(f))
    }

    /// Runs the closure. A panic in it comes through; nothing is left to drop then.
    #[inline]
    pub fn run(self) {
        self.0.run();
    }

    /// Whether the captures are stored in the task itself rather than in a box.
    #[must_use]
    pub fn is_inline(&self) -> bool {
        self.0.vtable.inline
    }

    /// The name of the closure's type, as [`std::any::type_name`] has it: for logs.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        (self.0.vtable.name)()
    }
}

impl From<Task> for LocalTask {
    #[inline]
    fn from(task: Task) -> Self {
        Self(task.0)
    }
}

impl fmt::Debug for LocalTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalTask")
            .field("inline", &self.is_inline())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;
    use std::sync::Arc;

    use super::*;

    #[repr(align(32))]
    struct Aligned(u8);

    #[test]
    fn up_to_seven_words_are_stored_inline() {
        let seven = [1_u64; 7];
        assert!(Task::new(move || assert_eq!(seven[6], 1)).is_inline());
        let eight = [1_u64; 8];
        assert!(!Task::new(move || assert_eq!(eight[7], 1)).is_inline());
        let (held, a, b) = (Arc::new(()), 1_usize, 2_usize);
        assert!(Task::new(move || drop((held, a, b))).is_inline());
        assert!(LocalTask::new(|| ()).is_inline());
    }

    #[test]
    fn an_over_aligned_closure_is_boxed_and_keeps_its_alignment() {
        let captured = Aligned(7);
        let task = Task::new(move || {
            let captured = captured;
            assert_eq!(ptr::from_ref(&captured).addr() % 32, 0);
            assert_eq!(captured.0, 7);
        });
        assert!(!task.is_inline());
        task.run();
    }

    /// A task that counts itself in the reference count of `held`, inline or boxed.
    fn holding(held: &Arc<()>, boxed: bool, panics: bool) -> Task {
        let held = Arc::clone(held);
        let ballast = [0_u64; 8];
        if boxed {
            Task::new(move || {
                let _both = (held, ballast);
                assert!(!panics, "on purpose");
            })
        } else {
            Task::new(move || {
                let _held = held;
                assert!(!panics, "on purpose");
            })
        }
    }

    #[test]
    fn captures_are_dropped_once_whether_the_task_runs_panics_or_is_dropped() {
        let held = Arc::new(());
        for boxed in [false, true] {
            holding(&held, boxed, false).run();
            assert_eq!(Arc::strong_count(&held), 1);
            drop(holding(&held, boxed, false));
            assert_eq!(Arc::strong_count(&held), 1);
            let task = holding(&held, boxed, true);
            catch_unwind(AssertUnwindSafe(|| task.run())).expect_err("it panics");
            assert_eq!(Arc::strong_count(&held), 1);
            drop(LocalTask::from(holding(&held, boxed, false)));
            assert_eq!(Arc::strong_count(&held), 1);
        }
    }

    #[test]
    fn a_task_taken_apart_is_whole_again() {
        let held = Arc::new(());
        let parts = holding(&held, false, false).into_parts();
        assert_eq!(Arc::strong_count(&held), 2);
        parts.into_task().run();
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn a_local_task_may_capture_what_is_not_send() {
        let seen = Rc::new(std::cell::Cell::new(0));
        let inner = Rc::clone(&seen);
        LocalTask::new(move || inner.set(5)).run();
        assert_eq!(seen.get(), 5);
    }

    #[test]
    fn a_task_knows_its_type_and_one_that_panicked_leaves_its_name() {
        let ballast = [0_u64; 8];
        for task in [
            Task::new(|| panic!("on purpose")),
            Task::new(move || panic!("on purpose, {}", ballast[0])),
        ] {
            let name = task.type_name();
            assert!(name.contains("a_task_knows_its_type"), "{name}");
            catch_unwind(AssertUnwindSafe(|| task.run())).expect_err("it panics");
            assert_eq!(take_panicked(), Some(name));
        }
        LocalTask::new(|| ()).run();
        assert_eq!(take_panicked(), None);
    }

    #[test]
    fn of_tasks_inside_of_tasks_the_outermost_that_panicked_is_named() {
        fn outer(inner: Task) {
            inner.run();
        }
        let inner = Task::new(|| panic!("on purpose"));
        let task = LocalTask::new(move || outer(inner));
        let name = task.type_name();
        catch_unwind(AssertUnwindSafe(|| task.run())).expect_err("it panics");
        assert_eq!(take_panicked(), Some(name));
    }

    #[test]
    fn a_closure_without_captures_runs_too() {
        static RAN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        Task::new(|| RAN.store(true, std::sync::atomic::Ordering::Relaxed)).run();
        assert!(RAN.load(std::sync::atomic::Ordering::Relaxed));
    }
}
