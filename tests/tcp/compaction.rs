//! What waits for a slow peer must not hold the memory that others receive into.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBuf;
use tidegate::bootstrap::Bootstrap;
use tidegate::buffer::{Bytes, BytesMut, Message};
use tidegate::channel::options::SO_SNDBUF;
use tidegate::channel::{Context, Handler, HandlerResult};

use crate::plain::{accept_plain, plain_listener};
use crate::probe::{DEADLINE, until};
use crate::support::with_each_group;

/// What was received, as somebody's own memory.
struct Owner(BytesMut, Arc<Counts>);

#[derive(Default)]
struct Counts {
    came: AtomicUsize,
    kept: AtomicUsize,
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.1.kept.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Echo(Arc<Counts>);

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let bytes = msg.downcast::<BytesMut>().expect("bytes of a socket");
        self.0.kept.fetch_add(1, Ordering::SeqCst);
        ctx.write_and_flush(Bytes::from_owner(Owner(bytes, self.0.clone())));
        self.0.came.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// A small message is copied when its flush blocks, and what it was copied from is let go at once, not with the next write.
///
/// Rules: C9
#[test]
fn a_blocked_flush_keeps_nothing_of_what_was_received() {
    const SIZE: usize = 2_000;
    with_each_group(|group| {
        let (listener, address) = plain_listener();
        setsockopt(&listener, RcvBuf, &1024).expect("a small window");
        let counts = Arc::new(Counts::default());
        let echo = counts.clone();
        let channel = Bootstrap::new(group)
            .option(SO_SNDBUF, 32 << 10)
            .handler(move |pipeline| pipeline.add_last(Echo(echo.clone())))
            .connect(address);
        let mut peer = accept_plain(&listener);
        let channel = channel.sync_timeout(DEADLINE).expect("connected");
        let whole = channel.bytes_before_unwritable();
        let mut sent = 0;
        while channel.bytes_before_unwritable() == whole {
            let came = counts.came.load(Ordering::SeqCst);
            peer.write_all(&[7; SIZE]).expect("the channel reads");
            sent += SIZE;
            until("it is read", || counts.came.load(Ordering::SeqCst) > came);
            // Behind the flush, which is done when the callback has returned.
            let behind = channel.event_loop().submit(|| ());
            behind.sync_timeout(DEADLINE).expect("the loop lives");
        }
        until("nothing is kept while the peer does not read", || {
            counts.kept.load(Ordering::SeqCst) == 0
        });
        peer.read_exact(&mut vec![0; sent]).expect("all comes");
        assert_eq!(counts.kept.load(Ordering::SeqCst), 0);
    });
}
