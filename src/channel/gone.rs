//! A connection that is found gone by the end of its output, before the selector has told of it: what was received before is
//! still to be read, and behind that is the errno, or an end. `life` begins it; the reads are `reading`'s, this only has the
//! last word. It refuses to keep a channel whose output can't be ended and that has nothing left to read.

use std::any::Any;
use std::rc::{Rc, Weak};

use tidegate_sys::os::Ready;

use super::core::{Core, flag};
use super::lifetime::Life;
use crate::error::Error;
use crate::future::Promise;
use crate::reactor::{IoEvent, IoHandle};

/// Comes round with the ready list, behind the channel, while that reads.
struct LastWord {
    core: Weak<Core>,
    error: Error,
}

impl IoHandle for LastWord {
    fn on_event(self: Rc<Self>, _: IoEvent) {
        let Some(core) = self.core.upgrade() else {
            return;
        };
        // Most often the errno has closed it.
        if core.life.get() != Life::Active {
            return;
        }
        const READS: u32 = flag::READABLE | flag::READ_ERROR;
        if core.flags.get() & (READS | flag::INPUT_SHUT) == READS {
            return core.lp.push_ready(self);
        }
        let error = self.error.clone();
        core.enter(|core| core.close_because(error, Promise::void()));
    }

    fn into_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }
}

impl Core {
    /// Reads all that there is, whatever auto-read says, and closes with what comes then: the errno, or the peer's end, or
    /// this error.
    #[cold]
    pub(crate) fn read_out_and_close(&self, error: Error) {
        // A short read is not the last, and no half is left to be kept.
        self.seen.set(self.seen.get() | Ready::ERROR);
        self.clear(flag::ALLOW_HALF_CLOSURE);
        self.set(flag::READABLE | flag::READ_ERROR);
        self.push_ready();
        self.lp.push_ready(Rc::new(LastWord {
            core: self.me.clone(),
            error,
        }));
    }
}
