//! [`ServerBootstrap`]: channels that listen, and the children that they accept.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::acceptor::{Acceptor, Children, Nursery};
use super::loops::Loops;
use super::opening;
use super::recipe::Recipe;
use super::resolver::{self, Resolver, SystemResolver, Wish};
use crate::channel::options::{CLOSE_ON_UNHANDLED_ERROR, SO_REUSEPORT};
use crate::channel::{
    Address, AttributeKey, Channel, ChannelFuture, ChannelOption, IntoAddress, OptionType,
    Pipeline, Transport,
};
use crate::error::{Error, ErrorKind, Failure};
use crate::event_loop::EventLoop;
use crate::future::{Combiner, Promise};
use crate::transport::tcp::Tcp;
use crate::transport::{Adoptable, ChildTransport};

/// On the channel of a server with several [`shards`](ServerBootstrap::shards): the channels of its other listeners.
pub static SHARDS: AttributeKey<Vec<Channel>> = AttributeKey::new("tidegate.shards");

/// Listens, and makes a channel of each connection, all by one recipe.
///
/// The channel that listens lives on a loop of the first argument of [`new`](Self::new), its children on those of
/// the second, in turn.
///
/// ```
/// use tidegate::bootstrap::ServerBootstrap;
/// use tidegate::buffer::Message;
/// use tidegate::channel::{Context, Handler, HandlerResult, options::SO_BACKLOG};
/// use tidegate::event_loop::EventLoopGroup;
///
/// struct Echo;
/// impl Handler for Echo {
///     fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
///         ctx.write(msg);
///         Ok(())
///     }
///     fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
///         ctx.flush();
///         Ok(())
///     }
/// }
///
/// let boss = EventLoopGroup::new(1)?;
/// let workers = EventLoopGroup::new(2)?;
/// let server = ServerBootstrap::new(&boss, &workers)
///     .option(SO_BACKLOG, 1024)
///     .child_handler(|pipeline| pipeline.add_last(Echo))
///     .bind("127.0.0.1:0")
///     .sync()?;
/// println!("listening on {}", server.local_address().unwrap());
/// server.close().sync()?;
/// # Ok::<(), tidegate::error::Error>(())
/// ```
#[must_use = "a bootstrap does nothing until bind() is called"]
pub struct ServerBootstrap<T: ChildTransport = Tcp> {
    boss: Loops,
    nursery: Nursery,
    server: Recipe,
    child: Recipe,
    shards: usize,
    resolver: Option<Arc<dyn Resolver>>,
    transport: PhantomData<fn() -> T>,
}

impl ServerBootstrap<Tcp> {
    /// A recipe for TCP servers that listen on loops of `boss`, with children on `workers`. They may be the same.
    pub fn new(boss: impl Into<Loops>, workers: impl Into<Loops>) -> Self {
        Self {
            boss: boss.into(),
            nursery: Nursery::Spread(workers.into()),
            server: Recipe::default(),
            child: Recipe::default(),
            shards: 1,
            resolver: Some(Arc::new(SystemResolver)),
            transport: PhantomData,
        }
    }
}

impl<T: ChildTransport> ServerBootstrap<T> {
    /// The same recipe for another transport.
    pub fn transport<U: ChildTransport>(self) -> ServerBootstrap<U> {
        ServerBootstrap {
            boss: self.boss,
            nursery: self.nursery,
            server: self.server,
            child: self.child,
            shards: self.shards,
            resolver: self.resolver,
            transport: PhantomData,
        }
    }

    /// Sets an option of the channel that listens. Options are applied in the order in which they were first set,
    /// before there are handlers. One that is out of range, or that the transport does not know, fails the bind.
    ///
    /// Unlike other channels it only logs errors that no handler took (`CLOSE_ON_UNHANDLED_ERROR` is off unless it
    /// is set here): a server is not to end because of one client.
    pub fn option<O: OptionType>(mut self, option: ChannelOption<O>, value: O) -> Self {
        self.server.option(option, value);
        self
    }

    /// Sets an option of each child, as [`option`](Self::option). One that the child's socket refuses closes that
    /// child, which is counted.
    pub fn child_option<O: OptionType>(mut self, option: ChannelOption<O>, value: O) -> Self {
        self.child.option(option, value);
        self
    }

    /// Attaches a value to the channel that listens.
    pub fn attr<A: Any + Send + Sync>(mut self, key: &AttributeKey<A>, value: A) -> Self {
        self.server.attribute(key, value);
        self
    }

    /// Attaches a value to the children, which share it.
    pub fn child_attr<A: Any + Send + Sync>(mut self, key: &AttributeKey<A>, value: A) -> Self {
        self.child.attribute(key, value);
        self
    }

    /// Fills the pipeline of the channel that listens. Its handlers see each accepted connection (for TCP an
    /// [`Accepted`](crate::transport::tcp::Accepted)) before a child is made of it, and refuse it by dropping it.
    pub fn handler<F, E>(mut self, fill: F) -> Self
    where
        F: Fn(&mut Pipeline<'_>) -> Result<(), E> + Send + Sync + 'static,
        E: Into<Failure>,
    {
        self.server.initializer(fill);
        self
    }

    /// Fills the pipeline of each child, on the child's loop, before it is registered. An error closes that child.
    pub fn child_handler<F, E>(mut self, fill: F) -> Self
    where
        F: Fn(&mut Pipeline<'_>) -> Result<(), E> + Send + Sync + 'static,
        E: Into<Failure>,
    {
        self.child.initializer(fill);
        self
    }

    /// Listens with so many sockets on one address (`SO_REUSEPORT`), each on a loop of its own, so that accepting is
    /// spread over several threads. Default 1; at most as many as `boss` has loops.
    ///
    /// Linux spreads connections by a hash of their addresses, FreeBSD too; macOS gives all to one socket.
    /// [`bind`](Self::bind) succeeds when all listen. Its channel stands for all of them: closing it closes the
    /// others, which are in its attribute [`SHARDS`]. A connection that waits in the queue of a socket when that is
    /// closed is lost, even though others go on.
    pub fn shards(mut self, count: usize) -> Self {
        self.shards = count;
        self
    }

    /// Keeps each child on the loop that accepted it, whatever the workers are. With [`shards`](Self::shards) for
    /// every loop nothing is handed between threads.
    pub fn children_stay(mut self) -> Self {
        self.nursery = Nursery::Here;
        self
    }

    /// Looks up names to bind to with `resolver`; [`SystemResolver`] otherwise.
    pub fn resolver(mut self, resolver: impl Resolver + 'static) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self
    }

    /// Opens a channel and lets it listen. Never blocks and never panics.
    ///
    /// A name may have several addresses: the first that can be had is bound, in the order in which the resolver gave them,
    /// and no other; the first 16 of them are tried at most (Netty tries the first alone). Handlers see one bind, to the
    /// first address; which one it is, [`local_address`](crate::channel::Channel::local_address) tells. The error, if none
    /// can be had, is the last one's, and its text names them all.
    ///
    /// The future fails, and the channel closes, if the recipe is incomplete, an option or the handler fails, or the
    /// address can't be had.
    pub fn bind(&self, local: impl IntoAddress<T::Family>) -> ChannelFuture {
        let local = local.into_address();
        if let Err(error) = self.check() {
            return opening::refused(self.boss.next(), error);
        }
        if self.shards == 1 {
            self.listen(self.boss.next(), local, 0)
        } else {
            self.listen_sharded(local)
        }
    }

    /// Opens a channel of a socket that listens already, in the place of [`bind`](Self::bind): one that the process before
    /// this one passed on (no client notices the restart), or that a supervisor has opened (systemd's socket activation).
    /// Never blocks and never panics.
    ///
    /// The channel is active when it is registered, so `channel_active` comes before the future's success, and its
    /// handlers see no bind. Clients that waited in the socket's queue are accepted. See
    /// [`Listener::adopt`](crate::transport::Listener::adopt) for what becomes of the socket. A server with several sockets
    /// adopts each by itself.
    ///
    /// ```
    /// use tidegate::{ServerBootstrap, EventLoopGroup};
    ///
    /// // As it came from elsewhere.
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let group = EventLoopGroup::new(1)?;
    /// let server = ServerBootstrap::new(&group, &group)
    ///     .child_handler(|_pipeline| Ok::<(), tidegate::Error>(()))
    ///     .adopt(listener)
    ///     .sync()?;
    /// assert_eq!(server.local_address(), Some(address.into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The future fails, and socket and channel close, if the recipe is incomplete or for several
    /// [`shards`](Self::shards), an option or the handler fails, or with
    /// [`ErrorKind::InvalidArgument`] if this is no socket that listens, or not one of this transport's kind.
    pub fn adopt(&self, socket: impl Into<OwnedFd>) -> ChannelFuture
    where
        T::Server: Adoptable,
    {
        let socket = socket.into();
        let event_loop = self.boss.next();
        let checked = match self.shards {
            1 => self.check(),
            shards => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("adopting one socket for {shards} shards: adopt one for each"),
            )),
        };
        if let Err(error) = checked {
            return opening::refused(event_loop, error);
        }
        let (make, begin) = opening::adopted(socket, T::server);
        self.open(event_loop, 0, make, begin)
    }

    fn check(&self) -> Result<(), Error> {
        if let Some(error) = self.server.refused.as_ref().or(self.child.refused.as_ref()) {
            return Err(error.clone());
        }
        if self.child.initializer.is_none() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "the server bootstrap has no child handler; give it one with child_handler()",
            ));
        }
        let loops = self.boss.all().len();
        if !(1..=loops).contains(&self.shards) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "{} shards on {loops} loops: 1..={loops} are possible",
                    self.shards
                ),
            ));
        }
        if self.shards > 1 && self.server.options.get(SO_REUSEPORT) == Some(false) {
            let text = "several shards need SO_REUSEPORT, which was set to false";
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        Ok(())
    }

    /// One listening channel, bound.
    fn listen(&self, event_loop: &EventLoop, local: Address, shard: usize) -> ChannelFuture {
        let resolver = self.resolver.clone();
        self.open(
            event_loop,
            shard,
            || Box::new(T::server()),
            move |channel, promise| {
                let (resolver, bind) = (resolver.as_ref(), Channel::bind_to_one_of);
                resolver::resolved(resolver, local, Wish::Bind, channel, promise, bind);
            },
        )
    }

    /// One listening channel; `begin` is for what is left to do once it is registered.
    fn open(
        &self,
        event_loop: &EventLoop,
        shard: usize,
        make: impl FnOnce() -> Box<dyn Transport> + Send + 'static,
        begin: impl FnOnce(&Channel, Promise) + Send + 'static,
    ) -> ChannelFuture {
        let mut recipe = self.server.clone();
        if recipe.options.get(CLOSE_ON_UNHANDLED_ERROR).is_none() {
            recipe.option(CLOSE_ON_UNHANDLED_ERROR, false);
        }
        if self.shards > 1 {
            recipe.option(SO_REUSEPORT, true);
        }
        let nursery = match &self.nursery {
            // Listeners do not share the turn: they would pass its cache line back and forth.
            Nursery::Spread(loops) => Nursery::Spread(loops.fork(shard)),
            Nursery::Here => Nursery::Here,
        };
        let children = Arc::new(Children::new(self.child.clone()));
        let fill = move |recipe: &Recipe, pipeline: &mut Pipeline<'_>| {
            recipe.fill(pipeline)?;
            pipeline.add_last(Acceptor::<T>::new(nursery, children))?;
            Ok(())
        };
        opening::open(event_loop, recipe, None, make, fill, begin)
    }

    /// The first one finds the address (the port may be the system's choice), then the others join it.
    fn listen_sharded(&self, local: Address) -> ChannelFuture {
        let first = self.listen(&self.boss.all()[0], local, 0);
        let channel = first.channel().clone();
        let (promise, future) = channel.new_future();
        future.close_on_failure();
        let rest = self.clone();
        first.add_listener(
            move |channel, bound| match (bound, channel.local_address()) {
                (Ok(()), Some(local)) => rest.join(channel, &local).finish(promise),
                (Ok(()), None) => drop(promise.try_failure(Error::new(
                    ErrorKind::Unsupported,
                    "the server has no address",
                ))),
                (Err(error), _) => drop(promise.try_failure(error.clone())),
            },
        );
        future
    }

    /// The other listeners of `first`, which close with it.
    fn join(&self, first: &Channel, local: &Address) -> Combiner {
        let all = Combiner::new();
        let others: Vec<Channel> = (1..self.shards)
            .map(|shard| {
                let bound = self.listen(&self.boss.all()[shard], local.clone(), shard);
                all.add(bound.completion());
                bound.channel().clone()
            })
            .collect();
        first.attributes().set(&SHARDS, others.clone());
        first.close_future().add_listener(move |_, _| {
            for other in others {
                other.close();
            }
        });
        all
    }
}

impl<T: ChildTransport> Clone for ServerBootstrap<T> {
    fn clone(&self) -> Self {
        Self {
            boss: self.boss.clone(),
            nursery: self.nursery.clone(),
            server: self.server.clone(),
            child: self.child.clone(),
            shards: self.shards,
            resolver: self.resolver.clone(),
            transport: PhantomData,
        }
    }
}

impl<T: ChildTransport> fmt::Debug for ServerBootstrap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBootstrap")
            .field("boss", &self.boss)
            .field("children", &self.nursery)
            .field("server", &self.server)
            .field("child", &self.child)
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}
