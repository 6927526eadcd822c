//! Servers of TCP: the shards, and SO_LINGER.

use std::io::Read;
use std::sync::mpsc;

use tidegate::bootstrap::{SHARDS, ServerBootstrap};
use tidegate::channel::options::SO_LINGER;
use tidegate::channel::{Channel, Context, Handler, HandlerResult};
use tidegate::error::ErrorKind;
use tidegate::event_loop::EventLoopGroup;

use crate::plain::{plain_client, plain_listener};
use crate::probe::{DEADLINE, Echo};
use crate::support::with_each_group;

fn echo(group: &EventLoopGroup) -> ServerBootstrap {
    ServerBootstrap::new(group, group).child_handler(|pipeline| pipeline.add_last(Echo))
}

/// Tells the test of its channel.
struct Introduce(mpsc::Sender<Channel>);

impl Handler for Introduce {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let _ = self.0.send(ctx.channel());
        ctx.fire_channel_active();
        Ok(())
    }
}

#[test]
fn shards_listen_on_one_address_and_close_together() {
    with_each_group(|group| {
        let (tell, told) = mpsc::channel();
        let server = ServerBootstrap::new(group, group)
            .shards(2)
            .children_stay()
            .child_handler(move |pipeline| pipeline.add_last(Introduce(tell.clone())))
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        let others = server.attr(&SHARDS).unwrap();
        assert_eq!(others.len(), 1);
        assert_eq!(others[0].local_address(), server.local_address());
        assert_ne!(others[0].event_loop(), server.event_loop());
        let address = server.local_address().unwrap().as_inet().unwrap();
        let clients: Vec<_> = (0..40).map(|_| plain_client(address)).collect();
        let mut on_first = 0;
        for _ in 0..40 {
            let child = told.recv_timeout(DEADLINE).unwrap();
            on_first += usize::from(child.event_loop() == server.event_loop());
        }
        if cfg!(target_os = "linux") {
            assert!((1..40).contains(&on_first), "{on_first} of 40 on the first");
        }
        drop(clients);
        server.close().sync_timeout(DEADLINE).unwrap();
        others[0].close_future().sync_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn too_many_shards_are_refused_and_a_taken_port_fails_all() {
    with_each_group(|group| {
        let error = echo(group)
            .shards(3)
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let (_listener, address) = plain_listener();
        let future = echo(group).shards(2).bind(address);
        assert_eq!(
            future.sync_timeout(DEADLINE).unwrap_err().kind(),
            ErrorKind::AddrInUse
        );
        future
            .channel()
            .close_future()
            .sync_timeout(DEADLINE)
            .unwrap();
    });
}

#[test]
fn a_linger_of_the_server_is_its_childrens_and_closes_off_the_loop() {
    with_each_group(|group| {
        let (tell, told) = mpsc::channel();
        let server = ServerBootstrap::new(group, group)
            .option(SO_LINGER, Some(std::time::Duration::from_secs(5)))
            .child_handler(move |pipeline| pipeline.add_last(Introduce(tell.clone())))
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        let mut client = plain_client(server.local_address().unwrap().as_inet().unwrap());
        let child = told.recv_timeout(DEADLINE).unwrap();
        let close = child.close();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        drop(client);
        close.sync_timeout(DEADLINE).unwrap();
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}
