//! What must not compile, and why a user would try it. Each example is one mistake in an otherwise complete program, with
//! the compiler's code for it; `cargo test --doc` checks them.
//!
//! A context can't be kept beyond its callback; a handle can.
//! ```compile_fail
//! use tidegate::{Context, Handler, HandlerResult};
//! struct Keeper { kept: Option<&'static mut Context<'static>> }
//! impl Handler for Keeper {
//!     fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
//!         self.kept = Some(ctx);
//!         Ok(())
//!     }
//! }
//! ```
//!
//! A context's handle for this loop does not go to another thread; `ctx.handle()` does.
//! ```compile_fail,E0277
//! use tidegate::{Context, Handler, HandlerResult};
//! struct Careless;
//! impl Handler for Careless {
//!     fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
//!         let handle = ctx.local_handle::<Self>();
//!         std::thread::spawn(move || handle.run(|_, ctx| { ctx.flush(); Ok(()) }));
//!         Ok(())
//!     }
//! }
//! ```
//!
//! Messages travel between threads, so a value that can't is no message.
//! ```compile_fail,E0277
//! use std::rc::Rc;
//! let message = tidegate::Message::new(Rc::new(1));
//! ```
//!
//! The initializer runs on the workers' threads, for every child: it shares nothing that is bound to one thread.
//! ```compile_fail,E0277
//! use std::rc::Rc;
//! use tidegate::{Error, EventLoopGroup, Handler, ServerBootstrap};
//! struct Counting(Rc<u8>);
//! impl Handler for Counting {}
//! let group = EventLoopGroup::new(1)?;
//! let shared = Rc::new(1);
//! ServerBootstrap::new(&group, &group).child_handler(move |pipeline| pipeline.add_last(Counting(shared.clone())));
//! # Ok::<(), Error>(())
//! ```
//!
//! An option takes a value of its own type.
//! ```compile_fail,E0308
//! use tidegate::channel::options::TCP_NODELAY;
//! tidegate::OptionSet::new().set(TCP_NODELAY, 5);
//! ```
//!
//! An embedded channel and a local loop stay on their thread.
//! ```compile_fail,E0277
//! let channel = tidegate::EmbeddedChannel::new(|_| Ok::<(), tidegate::Error>(())).unwrap();
//! std::thread::spawn(move || channel.reads());
//! ```
//! ```compile_fail,E0277
//! let mut event_loop = tidegate::LocalEventLoop::new().unwrap();
//! std::thread::spawn(move || event_loop.run());
//! ```
//!
//! A handler is owned by its pipeline: it is not used again after it was added.
//! ```compile_fail,E0382
//! use tidegate::{EmbeddedChannel, Handler};
//! struct Once(String);
//! impl Handler for Once {}
//! let handler = Once(String::new());
//! let channel = EmbeddedChannel::new(|pipeline| {
//!     pipeline.add_last(handler)?;
//!     pipeline.add_last(handler)
//! });
//! ```
