//! The proxy of the examples: how one side ends is how the other one does, so that a part is never taken for the whole.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use tidegate::{Channel, EventLoopGroup};
use tidegate_sys::os::net;

#[path = "../examples/tcp_proxy/side.rs"]
mod side;
#[allow(dead_code, reason = "the example says more than its handlers")]
#[path = "../examples/common/tell.rs"]
mod tell;

const DEADLINE: Duration = Duration::from_secs(60);
static ANSWER: [u8; 100_000] = [7; 100_000];

/// A proxy, and what it proxies for.
struct Proxy {
    group: EventLoopGroup,
    server: Channel,
    behind: TcpListener,
}

impl Proxy {
    fn new() -> Self {
        Self::with_patience(DEADLINE * 10)
    }

    fn with_patience(patience: Duration) -> Self {
        let behind = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = behind.local_addr().unwrap().to_string();
        let group = EventLoopGroup::new(1).unwrap();
        let server = side::server(&group, &group, to, patience)
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        Self {
            group,
            server,
            behind,
        }
    }

    fn client(&self) -> TcpStream {
        let address: SocketAddr = self.server.local_address().unwrap().as_inet().unwrap();
        patient(TcpStream::connect(address).unwrap())
    }

    /// A connection through the proxy: the client, and what answers it.
    fn pair(&self) -> (TcpStream, TcpStream) {
        let mut client = self.client();
        let mut answering = patient(self.behind.accept().unwrap().0);
        client.write_all(b"?").unwrap();
        answering.read_exact(&mut [0]).unwrap();
        (client, answering)
    }

    fn stop(self) {
        self.group.stop();
        assert!(self.group.await_termination(DEADLINE).unwrap());
    }
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Closing it resets the connection.
fn reset(stream: TcpStream) {
    net::set_linger(stream.as_fd(), Some(Duration::ZERO)).unwrap();
}

fn read_all(mut stream: &TcpStream) -> io::Result<usize> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all)
}

#[test]
fn an_end_passes_as_an_end_and_the_other_direction_lives_on() {
    let proxy = Proxy::new();
    let (mut client, mut answering) = proxy.pair();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&answering).unwrap(), 0);
    let answer = thread::spawn(move || answering.write_all(&ANSWER).unwrap());
    assert_eq!(read_all(&client).unwrap(), ANSWER.len());
    answer.join().unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    proxy.stop();
}

#[test]
fn a_reset_passes_as_a_reset_in_both_directions() {
    let proxy = Proxy::new();
    let (client, mut answering) = proxy.pair();
    answering.write_all(&[7; 100]).unwrap();
    reset(answering);
    let end = read_all(&client).expect_err("a part of an answer is no answer");
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);

    let (mut client, answering) = proxy.pair();
    client.write_all(&[7; 100]).unwrap();
    reset(client);
    let end = read_all(&answering).expect_err("a part of a request is no request");
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    proxy.stop();
}

/// The end of one direction has passed, and then the connection breaks.
#[test]
fn a_reset_behind_an_end_passes_as_well() {
    let proxy = Proxy::new();
    let (client, mut answering) = proxy.pair();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&answering).unwrap(), 0);
    answering.write_all(&[7; 100]).unwrap();
    reset(answering);
    let end = read_all(&client).expect_err("a part of an answer is no answer");
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    proxy.stop();
}

#[test]
fn nobody_behind_the_proxy_is_no_empty_answer() {
    let mut proxy = Proxy::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    drop(std::mem::replace(&mut proxy.behind, free));
    let end = read_all(&proxy.client()).expect_err("no answer");
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    proxy.stop();
}

/// Neither would come to an end by itself: the one does not read, the other is not read.
#[test]
fn whoever_does_not_read_does_not_hold_the_other_for_ever() {
    let proxy = Proxy::with_patience(Duration::from_millis(200));
    for reads_not_is_client in [true, false] {
        let (client, answering) = proxy.pair();
        let (reads_not, mut writes) = if reads_not_is_client {
            (client, answering)
        } else {
            (answering, client)
        };
        let end = loop {
            if let Err(error) = writes.write_all(&ANSWER) {
                break error;
            }
        };
        assert!(
            matches!(
                end.kind(),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
            ),
            "{end}"
        );
        let end = read_all(&reads_not).expect_err("a part is not the whole");
        assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    }
    proxy.stop();
}
