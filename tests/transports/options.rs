//! Options that the channel keeps for its transport: where they would do nothing they are refused, and where they are taken
//! they can be read.

use std::fmt::Debug;

use tidegate::bootstrap::ServerBootstrap;
use tidegate::buffer::RecvAllocator;
use tidegate::channel::options::{ChannelOption, OptionType, RECV_ALLOCATOR, WRITE_SPIN_COUNT};
use tidegate::channel::{Channel, ChannelFuture};
use tidegate::error::{Error, ErrorKind};

use crate::place::{Place, everywhere};
use crate::probe::DEADLINE;
use crate::row::Feature;

/// Sets an option and reads it, or is refused both.
fn exchange<T>(channel: &Channel, option: ChannelOption<T>, value: T, is_there: bool)
where
    T: OptionType + Debug + PartialEq,
{
    let set = channel.set_option(option, value.clone());
    let set = set.sync_timeout(DEADLINE);
    let read = channel.option(option).sync_timeout(DEADLINE);
    if is_there {
        assert!(set.is_ok(), "{}: {set:?}", option.name());
        assert_eq!(read.ok(), Some(value), "{}", option.name());
        return;
    }
    for error in [set.unwrap_err(), read.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(option.name()), "{error}");
    }
}

#[test]
fn what_an_option_cannot_do_here_is_refused_and_what_it_does_can_be_read() {
    everywhere(|place| {
        let (client, _peer, _seen) = place.client_and_peer(|recipe| recipe);
        let reads = place.has(Feature::ReadsBytes);
        let budget = RecvAllocator::MaxBytes {
            per_loop: 4096,
            per_read: 512,
        };
        let adaptive = RecvAllocator::Adaptive {
            min: 128,
            initial: 1024,
            max: 4096,
        };
        for allocator in [RecvAllocator::Fixed(1000), budget, adaptive] {
            exchange(&client, RECV_ALLOCATOR, allocator, reads);
        }
        let writes = place.has(Feature::LoopWrites);
        exchange(&client, WRITE_SPIN_COUNT, 3, writes);
        client.close().sync_timeout(DEADLINE).expect("a close");
    });
}

#[test]
fn a_server_refuses_what_is_for_its_children() {
    fn refused(place: &Place<'_>, recipe: ServerBootstrap) -> Error {
        let recipe = recipe.child_handler(|_| Ok::<(), Error>(()));
        let bound: ChannelFuture = place.row.bind(recipe, place.row.free());
        bound
            .sync_timeout(DEADLINE)
            .expect_err("it would do nothing")
    }
    everywhere(|place| {
        let recipe = || ServerBootstrap::new(place.group, place.group);
        let sizes = RecvAllocator::Fixed(1000);
        for error in [
            refused(place, recipe().option(RECV_ALLOCATOR, sizes)),
            refused(place, recipe().option(WRITE_SPIN_COUNT, 3)),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("child_option"), "{error}");
        }
    });
}
