//! Bytes there and back.

use std::io::{Read, Write};
use std::net::TcpStream;

use tidegate::bootstrap::{Bootstrap, ServerBootstrap};

use crate::support::{DEADLINE, Echo, Probe, Seen, next, with_each_group};

#[test]
fn a_server_echoes_to_a_client() {
    with_each_group(|group| {
        let server = ServerBootstrap::new(group, group)
            .child_handler(|pipeline| pipeline.add_last(Echo))
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        let address = server.local_address().unwrap().clone();
        let (tell, seen) = Probe::channel();
        let client = Bootstrap::new(group)
            .handler(move |pipeline| pipeline.add_last(Probe(tell.clone())))
            .connect(address)
            .sync_timeout(DEADLINE)
            .unwrap();
        assert_eq!(next(&seen), Seen::Registered);
        assert_eq!(next(&seen), Seen::Active);
        client
            .write_and_flush("hello")
            .sync_timeout(DEADLINE)
            .unwrap();
        let mut got = Vec::new();
        while got.len() < 5 {
            match next(&seen) {
                Seen::Read(bytes) => got.extend(bytes),
                Seen::Complete => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(got, b"hello");
        client.close().sync_timeout(DEADLINE).unwrap();
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn a_plain_client_gets_everything_back_and_then_the_end() {
    with_each_group(|group| {
        let server = ServerBootstrap::new(group, group)
            .child_handler(|pipeline| pipeline.add_last(Echo))
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        let address = server.local_address().unwrap().as_inet().unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let mut reader = client.try_clone().unwrap();
        let expected = sent.len();
        let reading = std::thread::spawn(move || {
            let mut got = vec![0; expected];
            reader.read_exact(&mut got).unwrap();
            got
        });
        client.write_all(&sent).unwrap();
        assert!(reading.join().unwrap() == sent);
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    });
}
