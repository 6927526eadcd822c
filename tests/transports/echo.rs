//! Bytes there and back.

use std::io::{Read, Write};

use tidegate::bootstrap::{Bootstrap, ServerBootstrap};

use crate::place::everywhere;
use crate::probe::{DEADLINE, Echo, Probe, Seen, next, read_exactly};

#[test]
fn a_server_echoes_to_a_client() {
    everywhere(|place| {
        let recipe = ServerBootstrap::new(place.group, place.group);
        let server = place.bind(recipe.child_handler(|pipeline| pipeline.add_last(Echo)));
        let address = server.local_address().unwrap();
        let (tell, seen) = Probe::channel();
        let recipe = Bootstrap::new(place.group)
            .handler(move |pipeline| pipeline.add_last(Probe(tell.clone())));
        let client = place.connect(recipe, address);
        let client = client.sync_timeout(DEADLINE).unwrap();
        assert_eq!(next(&seen), Seen::Registered);
        assert_eq!(next(&seen), Seen::Active);
        client
            .write_and_flush("hello")
            .sync_timeout(DEADLINE)
            .unwrap();
        assert_eq!(read_exactly(&seen, 5), b"hello");
        client.close().sync_timeout(DEADLINE).unwrap();
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn a_foreign_client_gets_everything_back_and_then_the_end() {
    everywhere(|place| {
        let recipe = ServerBootstrap::new(place.group, place.group);
        let server = place.bind(recipe.child_handler(|pipeline| pipeline.add_last(Echo)));
        let mut client = place.visit(&server);
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let mut reader = client.again();
        let expected = sent.len();
        let reading = std::thread::spawn(move || {
            let mut got = vec![0; expected];
            reader.read_exact(&mut got).unwrap();
            got
        });
        for part in sent.chunks(100_000) {
            client.write_all(part).unwrap();
        }
        assert!(reading.join().unwrap() == sent);
        client.end_output();
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}
