//! Both sides ours: protocols in pipelines, many threads, many connections, and ends from either side at any moment.

use std::io::Read;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use tidegate::bootstrap::{Bootstrap, ServerBootstrap};
use tidegate::buffer::{Bytes, BytesMut, Message};
use tidegate::channel::options::ALLOW_HALF_CLOSURE;
use tidegate::channel::{Channel, Context, Handler, HandlerResult};
use tidegate::codec::{LengthFieldDecoder, LengthFieldPrepender};

use crate::place::{Place, everywhere};
use crate::probe::{DEADLINE, Echo, Probe, Seen, next, until, wait_for};

fn serving(place: &Place<'_>) -> ServerBootstrap {
    ServerBootstrap::new(place.group, place.group)
}

/// Channels that the loops have.
fn open_channels(place: &Place<'_>) -> usize {
    let loops = place.group.iter();
    loops.map(|each| each.metrics().channels as usize).sum()
}

/// Bytes that differ from frame to frame.
fn frame(number: usize) -> Vec<u8> {
    let length = number * 37 % 3000;
    (0..length).map(|at| (number + at) as u8).collect()
}

/// Gives the frames to the test.
struct Frames(Sender<Bytes>);

impl Handler for Frames {
    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        let _ = self
            .0
            .send(msg.downcast::<BytesMut>().expect("a frame").freeze());
        Ok(())
    }
}

#[test]
fn frames_come_back_whole_and_in_order() {
    everywhere(|place| {
        let recipe = serving(place).child_handler(|pipeline| {
            pipeline.add_last(LengthFieldDecoder::new(1 << 20, 0, 4).strip(4))?;
            pipeline.add_last(LengthFieldPrepender::new(4))?;
            pipeline.add_last(Echo)
        });
        let server = place.bind(recipe);
        let (tell, told) = mpsc::channel();
        let recipe = Bootstrap::new(place.group).handler(move |pipeline| {
            pipeline.add_last(LengthFieldDecoder::new(1 << 20, 0, 4).strip(4))?;
            pipeline.add_last(LengthFieldPrepender::new(4))?;
            pipeline.add_last(Frames(tell.clone()))
        });
        let client = place.connect(recipe, server.local_address().unwrap());
        let client = client.sync_timeout(DEADLINE).unwrap();
        for number in 0..500 {
            client.write(frame(number));
            if number % 7 == 0 {
                client.flush();
            }
        }
        client.flush();
        for number in 0..500 {
            let got = told.recv_timeout(DEADLINE).unwrap();
            assert!(got == frame(number), "frame {number}");
        }
        client.close().sync_timeout(DEADLINE).unwrap();
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: C16
#[test]
fn many_threads_write_and_each_ones_order_holds() {
    everywhere(|place| {
        let (client, mut peer, _seen) = place.client_and_peer(|recipe| recipe);
        let threads: Vec<_> = (0..4_u8)
            .map(|thread| {
                let client = client.clone();
                std::thread::spawn(move || {
                    for number in 0..300_u16 {
                        let [high, low] = number.to_be_bytes();
                        client.write_and_flush(vec![thread, high, low]);
                    }
                })
            })
            .collect();
        let mut next = [0_u16; 4];
        let mut got = [0; 3];
        for _ in 0..1200 {
            peer.read_exact(&mut got).unwrap();
            let [thread, high, low] = got;
            let expected = &mut next[usize::from(thread)];
            assert_eq!(u16::from_be_bytes([high, low]), *expected);
            *expected += 1;
        }
        for thread in threads {
            thread.join().unwrap();
        }
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Answers when all of the question is there.
#[derive(Default)]
struct AnswersAtTheEnd {
    count: usize,
}

impl Handler for AnswersAtTheEnd {
    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.count += msg.readable_bytes().unwrap_or(0);
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        if event.is::<tidegate::channel::events::ChannelInputShutdown>() {
            let channel = ctx.channel();
            let answer = channel.write_and_flush(format!("{} bytes", self.count));
            answer.add_listener(|channel, _| {
                channel.close();
            });
        }
        Ok(())
    }
}

/// Rules: A36, A41
#[test]
fn a_question_that_ends_with_the_end_of_output_is_answered() {
    everywhere(|place| {
        let recipe = serving(place)
            .child_option(ALLOW_HALF_CLOSURE, true)
            .child_handler(|pipeline| pipeline.add_last(AnswersAtTheEnd::default()));
        let server = place.bind(recipe);
        let (recipe, seen) = place.probed();
        let address = server.local_address().unwrap();
        let client = place.connect(recipe.option(ALLOW_HALF_CLOSURE, true), address);
        let client = client.sync_timeout(DEADLINE).unwrap();
        for _ in 0..100 {
            client.write(vec![5_u8; 1000]);
        }
        let last = client.write_and_flush("!");
        last.add_listener(|channel, result| {
            assert!(result.is_ok());
            channel.shutdown_output();
        });
        let mut answer = Vec::new();
        loop {
            match next(&seen) {
                Seen::Read(bytes) => answer.extend(bytes),
                Seen::Event("ChannelInputShutdown") => break,
                _ => {}
            }
        }
        assert_eq!(answer, b"100001 bytes");
        client.close().sync_timeout(DEADLINE).unwrap();
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: A26, A30, C16
#[test]
fn a_close_in_the_middle_of_a_flush_fails_what_waits_in_order() {
    everywhere(|place| {
        let (client, mut peer, seen) = place.client_and_peer(|recipe| recipe);
        let (tell, told) = mpsc::channel();
        let count = 64;
        for number in 0..count {
            let tell = tell.clone();
            let write = client.write_future(vec![number; 1 << 20]);
            write.add_listener(move |_, result| {
                let _ = tell.send((number, result.is_ok()));
            });
        }
        client.flush();
        // It is under way.
        peer.read_exact(&mut [0; 1000]).unwrap();
        client.close().sync_timeout(DEADLINE).unwrap();
        let results: Vec<_> = (0..count)
            .map(|_| told.recv_timeout(DEADLINE).unwrap())
            .collect();
        assert!(results.iter().map(|(number, _)| *number).eq(0..count));
        assert!(results.is_sorted_by_key(|(_, is_ok)| !is_ok));
        assert!(!results[usize::from(count) - 1].1, "not all of it was sent");
        // What the peer gets is a beginning.
        let mut got = vec![0; 1 << 20];
        let mut at = 1000;
        while let Ok(more @ 1..) = peer.read(&mut got) {
            for byte in &got[..more] {
                assert_eq!(usize::from(*byte), at >> 20);
                at += 1;
            }
        }
        wait_for(&seen, &Seen::Inactive);
    });
}

/// Tells of its channel, and of its end.
struct Ends(Sender<Channel>, Sender<()>);

impl Handler for Ends {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let _ = self.0.send(ctx.channel());
        Ok(())
    }

    fn channel_inactive(&mut self, _: &mut Context<'_>) -> HandlerResult {
        let _ = self.1.send(());
        Ok(())
    }
}

fn ends() -> (Sender<Channel>, Sender<()>, Receiver<Channel>, Receiver<()>) {
    let ((begin, begun), (end, ended)) = (mpsc::channel(), mpsc::channel());
    (begin, end, begun, ended)
}

/// Rules: A14, A25
#[test]
fn connections_that_end_as_soon_as_they_begin_leave_nothing_behind() {
    everywhere(|place| {
        let (begin, end, begun, ended) = ends();
        let recipe = serving(place)
            .child_handler(move |pipeline| pipeline.add_last(Ends(begin.clone(), end.clone())));
        let server = place.bind(recipe);
        let address = server.local_address().unwrap();
        let (recipe, seen) = place.probed();
        let count = 40;
        for number in 0..count {
            let client = place.connect(recipe.clone(), address.clone());
            if number % 2 == 0 {
                // By the client, as soon as it is connected.
                client.add_listener(|channel, _| {
                    channel.close();
                });
            }
            let client = client.sync_timeout(DEADLINE).unwrap();
            let child = begun.recv_timeout(DEADLINE).unwrap();
            if number % 2 == 1 {
                // By the server.
                child.close();
            }
            client.close_future().sync_timeout(DEADLINE).unwrap();
            ended.recv_timeout(DEADLINE).unwrap();
        }
        let mut of_each = [0, 0];
        while of_each != [count, count] {
            match next(&seen) {
                Seen::Active => of_each[0] += 1,
                Seen::Inactive => of_each[1] += 1,
                _ => {}
            }
        }
        server.close().sync_timeout(DEADLINE).unwrap();
        until("no channel is left", || open_channels(place) == 0);
    });
}

/// Rules: A45
#[test]
fn loops_that_end_close_their_connections_on_both_sides() {
    everywhere(|place| {
        let recipe = serving(place).child_handler(|pipeline| pipeline.add_last(Echo));
        let server = place.bind(recipe);
        let address = server.local_address().unwrap();
        let (tell, seen) = Probe::channel();
        let recipe = Bootstrap::new(place.group)
            .handler(move |pipeline| pipeline.add_last(Probe(tell.clone())));
        let clients: Vec<_> = (0..6)
            .map(|_| {
                let client = place.connect(recipe.clone(), address.clone());
                client.sync_timeout(DEADLINE).unwrap()
            })
            .collect();
        let writes: Vec<_> = (0..60)
            .map(|n| clients[n % 6].write_and_flush(vec![7_u8; 50_000]))
            .collect();
        place.group.shutdown_gracefully(Duration::ZERO, DEADLINE);
        for client in &clients {
            client.close_future().sync_timeout(DEADLINE).unwrap();
        }
        server.close_future().sync_timeout(DEADLINE).unwrap();
        for write in writes {
            let _ = write.sync_timeout(DEADLINE);
            assert!(write.is_done(), "sent or failed, but settled");
        }
        for _ in &clients {
            wait_for(&seen, &Seen::Inactive);
        }
    });
}
