//! [`Bootstrap`]: channels that connect.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::loops::Loops;
use super::opening;
use super::recipe::Recipe;
use super::resolver::{self, Resolver, SystemResolver, Wish};
use crate::channel::tries::Renew;
use crate::channel::{
    Address, AttributeKey, Channel, ChannelFuture, ChannelOption, IntoAddress, OptionType,
    Pipeline, Transport,
};
use crate::error::{Error, ErrorKind, Failure};
use crate::event_loop::EventLoop;
use crate::transport::tcp::Tcp;
use crate::transport::{Adoptable, ClientTransport, DatagramTransport};

/// Connects channels, all by one recipe.
///
/// ```
/// use tidegate::bootstrap::Bootstrap;
/// use tidegate::channel::{Context, Handler, HandlerResult, options::CONNECT_TIMEOUT};
/// use tidegate::event_loop::EventLoopGroup;
/// use std::time::Duration;
///
/// struct Greeter;
/// impl Handler for Greeter {
///     fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
///         ctx.write_and_flush("hello");
///         Ok(())
///     }
/// }
///
/// let group = EventLoopGroup::new(1)?;
/// let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// let channel = Bootstrap::new(&group)
///     .option(CONNECT_TIMEOUT, Duration::from_secs(3))
///     .handler(|pipeline| pipeline.add_last(Greeter))
///     .connect(listener.local_addr().unwrap())
///     .sync()?;
/// channel.close().sync()?;
/// # Ok::<(), tidegate::error::Error>(())
/// ```
///
/// A channel that is to be on its loop before it connects (Netty's `register()`) needs no bootstrap:
/// [`Channel::builder`](crate::channel::Channel::builder) opens any transport as it is, and
/// [`connect`](crate::channel::Channel::connect) or [`bind`](crate::channel::Channel::bind) may come whenever its owner
/// likes.
///
/// ```
/// use tidegate::transport::ClientTransport;
/// use tidegate::transport::tcp::Tcp;
/// use tidegate::{Channel, EventLoopGroup};
///
/// let group = EventLoopGroup::new(1)?;
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let channel = Channel::builder()
///     .open_on(&group.next(), Tcp::unconnected, |_pipeline| Ok::<_, tidegate::Error>(()))
///     .sync()?;
/// assert!(channel.is_registered() && !channel.is_active());
/// channel.connect(listener.local_addr()?, None).sync()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a bootstrap does nothing until connect() is called"]
pub struct Bootstrap<T: ClientTransport = Tcp> {
    loops: Loops,
    recipe: Recipe,
    local: Option<Address>,
    remote: Option<Address>,
    /// `None`: names go through the pipeline as they are.
    resolver: Option<Arc<dyn Resolver>>,
    transport: PhantomData<fn() -> T>,
}

impl Bootstrap<Tcp> {
    /// A recipe for TCP channels on these loops.
    pub fn new(loops: impl Into<Loops>) -> Self {
        Self {
            loops: loops.into(),
            recipe: Recipe::default(),
            local: None,
            remote: None,
            resolver: Some(Arc::new(SystemResolver)),
            transport: PhantomData,
        }
    }
}

impl<T: ClientTransport> Bootstrap<T> {
    /// The same recipe for another transport.
    pub fn transport<U: ClientTransport>(self) -> Bootstrap<U> {
        Bootstrap {
            loops: self.loops,
            recipe: self.recipe,
            local: self.local,
            remote: self.remote,
            resolver: self.resolver,
            transport: PhantomData,
        }
    }

    /// The same recipe on other loops.
    pub fn loops(mut self, loops: impl Into<Loops>) -> Self {
        self.loops = loops.into();
        self
    }

    /// Sets an option of the channels. Options are applied in the order in which they were first set, before there
    /// are handlers. One that is out of range, or that the transport does not know, fails the connect.
    pub fn option<O: OptionType>(mut self, option: ChannelOption<O>, value: O) -> Self {
        self.recipe.option(option, value);
        self
    }

    /// Attaches a value to the channels, which share it.
    pub fn attr<A: Any + Send + Sync>(mut self, key: &AttributeKey<A>, value: A) -> Self {
        self.recipe.attribute(key, value);
        self
    }

    /// Fills the pipeline of each channel, on the channel's loop, before it is registered. An error closes the
    /// channel and fails the connect.
    pub fn handler<F, E>(mut self, fill: F) -> Self
    where
        F: Fn(&mut Pipeline<'_>) -> Result<(), E> + Send + Sync + 'static,
        E: Into<Failure>,
    {
        self.recipe.initializer(fill);
        self
    }

    /// The local address to connect from; chosen by the system otherwise.
    pub fn local_address(mut self, local: impl IntoAddress<T::Family>) -> Self {
        self.local = Some(local.into_address());
        self
    }

    /// The address that [`connect_preset`](Self::connect_preset) connects to: for a recipe that is made in one place and used
    /// in another. [`connect`](Self::connect) does not look at it.
    pub fn remote_address(mut self, remote: impl IntoAddress<T::Family>) -> Self {
        self.remote = Some(remote.into_address());
        self
    }

    /// Looks up names with `resolver`; [`SystemResolver`] otherwise.
    pub fn resolver(mut self, resolver: impl Resolver + 'static) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self
    }

    /// Lets names go through the pipeline as they are: for handlers that connect through a proxy.
    pub fn disable_resolver(mut self) -> Self {
        self.resolver = None;
        self
    }

    /// Opens a channel and connects it. Never blocks and never panics.
    ///
    /// A name is looked up first, for at most `CONNECT_TIMEOUT`. It may have several addresses: they are tried one after the
    /// other, in the order in which the resolver gave them, each for at most `CONNECT_TIMEOUT`, and the first 16 of them at
    /// most. It is one channel all the time, and its handlers see one connect, to the first address; where it has led to,
    /// [`remote_address`](crate::channel::Channel::remote_address) tells. The error, if all fail, is the last one's, and its
    /// text names them all. A channel that a handler has bound, or connects to something else, has one try.
    ///
    /// So a name whose 16 addresses all say nothing is given up after 17 times `CONNECT_TIMEOUT`, eight and a half minutes if that
    /// is not set. There is no option for the sum: an address that answers late would lose its time to those before it that do
    /// not answer at all. Who wants to give up earlier cancels the future, or closes the channel:
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use tidegate::channel::options::CONNECT_TIMEOUT;
    /// # use tidegate::{Bootstrap, EventLoopGroup, Failure};
    /// # let group = EventLoopGroup::new(1)?;
    /// let connecting = Bootstrap::new(&group)
    ///     .option(CONNECT_TIMEOUT, Duration::from_secs(3)) // for each address
    ///     .handler(|_pipeline| Ok::<_, Failure>(()))
    ///     .connect("shop.example:443");
    /// let all_of_it = connecting.clone();
    /// let event_loop = connecting.channel().event_loop();
    /// event_loop.schedule(Duration::from_secs(10), move || all_of_it.cancel());
    /// # Ok::<(), tidegate::Error>(())
    /// ```
    ///
    /// The future fails, and the channel closes, if the recipe is incomplete, an option or the handler fails, the
    /// name is not found, or the connect fails; cancelling the future closes the channel as well.
    pub fn connect(&self, remote: impl IntoAddress<T::Family>) -> ChannelFuture {
        self.connect_to(remote.into_address())
    }

    /// As [`connect`](Self::connect), to the address that was given to [`remote_address`](Self::remote_address). Without one
    /// the future fails with [`ErrorKind::InvalidArgument`].
    pub fn connect_preset(&self) -> ChannelFuture {
        match &self.remote {
            Some(remote) => self.connect_to(remote.clone()),
            None => {
                let text = "the bootstrap has no remote address; give it one with remote_address(), or connect(address)";
                let error = Error::new(ErrorKind::InvalidArgument, text);
                opening::refused(self.loops.next(), error)
            }
        }
    }

    fn connect_to(&self, remote: Address) -> ChannelFuture {
        let event_loop = self.loops.next();
        if let Err(error) = self.check() {
            return opening::refused(event_loop, error);
        }
        let local = self.local.clone();
        let resolver = self.resolver.clone();
        let is_name = resolver.is_some() && matches!(remote, Address::Unresolved(..));
        let renew = is_name.then(|| Box::new(fresh::<T>) as Renew);
        opening::open(
            event_loop,
            self.recipe.clone(),
            renew,
            fresh::<T>,
            Recipe::fill,
            move |channel, promise| {
                let connect = move |channel: &Channel, addresses, promise| {
                    channel.connect_to_one_of(addresses, local, promise);
                };
                let resolver = resolver.as_ref();
                resolver::resolved(resolver, remote, Wish::Connect, channel, promise, connect);
            },
        )
    }

    /// The loop that is next in turn.
    pub(crate) fn next_loop(&self) -> EventLoop {
        self.loops.next().clone()
    }

    /// Opens a channel and binds it to `local`, without a peer. Never blocks and never panics.
    ///
    /// Of a name the first address that can be had is bound, as by
    /// [`ServerBootstrap::bind`](crate::bootstrap::ServerBootstrap::bind).
    ///
    /// The future fails, and the channel closes, if the recipe is incomplete, an option or the handler fails, the name is not
    /// found, or the address can't be had.
    pub fn bind(&self, local: impl IntoAddress<T::Family>) -> ChannelFuture
    where
        T: DatagramTransport,
    {
        let local = local.into_address();
        let resolver = self.resolver.clone();
        let event_loop = self.loops.next();
        if let Err(error) = self.check() {
            return opening::refused(event_loop, error);
        }
        opening::open(
            event_loop,
            self.recipe.clone(),
            None,
            fresh::<T>,
            Recipe::fill,
            move |channel, promise| {
                let (resolver, bind) = (resolver.as_ref(), Channel::bind_to_one_of);
                resolver::resolved(resolver, local, Wish::Bind, channel, promise, bind);
            },
        )
    }

    /// Opens a channel of a datagram socket that has its address already, in the place of [`bind`](Self::bind): one that the
    /// process before this one passed on, or that a supervisor has opened (systemd's socket activation). Never blocks and never
    /// panics.
    ///
    /// The channel is active when it is registered, so `channel_active` comes before the future's success, and its handlers see
    /// neither a bind nor a connect. Datagrams that waited in the socket are read. See
    /// [`DatagramSocket::adopt`](crate::transport::DatagramSocket::adopt) for what becomes of the socket.
    ///
    /// ```
    /// use tidegate::transport::udp::Udp;
    /// use tidegate::{Bootstrap, EventLoopGroup};
    ///
    /// // As it came from elsewhere.
    /// let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    /// let address = socket.local_addr()?;
    /// let group = EventLoopGroup::new(1)?;
    /// let channel = Bootstrap::new(&group)
    ///     .transport::<Udp>()
    ///     .handler(|_pipeline| Ok::<(), tidegate::Error>(()))
    ///     .adopt(socket)
    ///     .sync()?;
    /// assert_eq!(channel.local_address(), Some(address.into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The future fails, and socket and channel close, if the recipe is incomplete, an option or the handler fails, or with
    /// [`ErrorKind::InvalidArgument`] if this is no datagram socket with an address, or not one of this transport's kind.
    pub fn adopt(&self, socket: impl Into<OwnedFd>) -> ChannelFuture
    where
        T: DatagramTransport + Adoptable,
    {
        let socket = socket.into();
        let event_loop = self.loops.next();
        if let Err(error) = self.check() {
            return opening::refused(event_loop, error);
        }
        let (make, begin) = opening::adopted(socket, T::unconnected);
        opening::open(
            event_loop,
            self.recipe.clone(),
            None,
            make,
            Recipe::fill,
            begin,
        )
    }

    fn check(&self) -> Result<(), Error> {
        if let Some(error) = &self.recipe.refused {
            return Err(error.clone());
        }
        if self.recipe.initializer.is_none() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "the bootstrap has no handler; give it one with handler(), even if it adds nothing",
            ));
        }
        Ok(())
    }
}

fn fresh<T: ClientTransport>() -> Box<dyn Transport> {
    Box::new(T::unconnected())
}

impl<T: ClientTransport> Clone for Bootstrap<T> {
    fn clone(&self) -> Self {
        Self {
            loops: self.loops.clone(),
            recipe: self.recipe.clone(),
            local: self.local.clone(),
            remote: self.remote.clone(),
            resolver: self.resolver.clone(),
            transport: PhantomData,
        }
    }
}

impl<T: ClientTransport> fmt::Debug for Bootstrap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bootstrap")
            .field("loops", &self.loops)
            .field("recipe", &self.recipe)
            .field("local", &self.local)
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}
