//! What is reported: data, room, ends and errors, connects and accepts; edges and levels (rules 2, 3, 8).

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use tidegate_sys::os::net::{self, Connect};
use tidegate_sys::os::{Backend, Interest, Ready};

use crate::kit::{DEADLINE, Kit, drain, fill, swallow, tcp_pair, token};

/// Rules: 4.3
pub fn data_makes_readable(kit: &mut Kit) {
    let (near, mut far) = tcp_pair();
    kit.register(&near, token(1), Interest::READ);
    far.write_all(b"x").unwrap();
    let ready = kit.expect(token(1), Ready::READABLE);
    assert!(!ready.intersects(Ready::ERROR | Ready::HANGUP | Ready::READ_CLOSED));
}

/// Rules: 4.3
pub fn room_makes_writable(kit: &mut Kit) {
    let (near, _far) = tcp_pair();
    kit.register(&near, token(1), Interest::WRITE);
    let ready = kit.expect(token(1), Ready::WRITABLE);
    assert!(!ready.intersects(Ready::READABLE | Ready::ERROR | Ready::HANGUP));
}

pub fn both_directions_are_one_event(kit: &mut Kit) {
    let (near, mut far) = tcp_pair();
    far.write_all(b"x").unwrap();
    near.peek(&mut [0])
        .or_else(|_| wait_for_data(&near))
        .unwrap();
    kit.register(&near, token(1), Interest::BOTH);
    let batch = kit.wait(Some(DEADLINE));
    assert_eq!(batch.len(), 1, "{}", kit.name);
    assert_eq!(
        batch[0].ready,
        Ready::READABLE | Ready::WRITABLE,
        "{}",
        kit.name
    );
}

/// Blocks until there is something to read, by the system's own means.
fn wait_for_data(stream: &TcpStream) -> std::io::Result<usize> {
    stream.set_nonblocking(false)?;
    let count = stream.peek(&mut [0]);
    stream.set_nonblocking(true)?;
    count
}

/// Rules: 4.3, 4.6
pub fn an_edge_comes_again_after_would_block(kit: &mut Kit) {
    let (near, mut far) = tcp_pair();
    kit.register(&near, token(1), Interest::READ);
    for round in 0..3_u8 {
        far.write_all(&[round; 10]).unwrap();
        kit.expect(token(1), Ready::READABLE);
        assert_eq!(drain(&near), (vec![round; 10], false), "{}", kit.name);
    }
    // What is left is the writability that edge-triggered epoll tells along with the rest.
    let left = kit.reported();
    assert!(
        left.iter().all(|event| !event.ready.wants_read()),
        "{}: {left:?}",
        kit.name
    );
}

/// Rules: 4.6
pub fn an_edge_is_told_once(kit: &mut Kit) {
    if !kit.is_edge() {
        return;
    }
    let (near, mut far) = tcp_pair();
    kit.register(&near, token(1), Interest::READ);
    far.write_all(b"x").unwrap();
    kit.expect(token(1), Ready::READABLE);
    kit.expect_silence("the edge was told");
    far.write_all(b"y").unwrap();
    kit.expect(token(1), Ready::READABLE);
}

pub fn a_level_is_told_until_it_is_gone(kit: &mut Kit) {
    if kit.is_edge() {
        return;
    }
    let (near, mut far) = tcp_pair();
    kit.register(&near, token(1), Interest::READ);
    far.write_all(b"x").unwrap();
    for _ in 0..3 {
        kit.expect(token(1), Ready::READABLE);
    }
    drain(&near);
    kit.expect_silence("nothing is left to read");
}

pub fn room_after_would_block_makes_writable(kit: &mut Kit) {
    let (near, far) = tcp_pair();
    kit.register(&near, token(1), Interest::READ);
    let total = fill(&near);
    kit.set_interest(&near, token(1), Interest::BOTH);
    let before = kit.reported();
    // On its way to the peer the buffer may have got room by itself.
    if before
        .iter()
        .all(|event| !event.ready.contains(Ready::WRITABLE))
        || fill(&near) == 0
    {
        swallow(&far, total);
        kit.expect(token(1), Ready::WRITABLE);
    }
    kit.set_interest(&near, token(1), Interest::READ);
    kit.reported();
    kit.expect_silence("no interest in writing is left");
}

pub fn a_half_close_is_told_with_the_data_before_it(kit: &mut Kit) {
    let (near, mut far) = tcp_pair();
    kit.register(&near, token(1), Interest::READ);
    far.write_all(b"last words").unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    let ready = if reports_half_close(kit) {
        kit.expect(token(1), Ready::READ_CLOSED | Ready::READABLE)
    } else {
        kit.expect(token(1), Ready::READABLE)
    };
    assert!(
        !ready.intersects(Ready::HANGUP | Ready::ERROR),
        "{}: {ready:?}",
        kit.name
    );
    let mut bytes = Vec::new();
    loop {
        let (more, is_end) = drain(&near);
        bytes.extend_from_slice(&more);
        if is_end {
            break;
        }
        kit.expect(token(1), Ready::READABLE);
    }
    assert_eq!(bytes, b"last words", "{}", kit.name);
    (&near).write_all(b"the other half works").unwrap();
}

/// poll(2) tells half closes from data on Linux and FreeBSD only; elsewhere reading tells.
fn reports_half_close(kit: &Kit) -> bool {
    kit.selector.backend() != Backend::Poll || cfg!(any(target_os = "linux", target_os = "freebsd"))
}

pub fn a_full_close_is_worth_reading(kit: &mut Kit) {
    let (near, far) = tcp_pair();
    kit.register(&near, token(1), Interest::READ);
    near.shutdown(Shutdown::Write).unwrap();
    drop(far);
    kit.expect_that(token(1), "something to read", Ready::wants_read);
    while !drain(&near).1 {
        kit.expect_that(token(1), "something to read", Ready::wants_read);
    }
}

/// A kqueue that is emulated above another kernel asks for SO_ERROR itself, which takes it away.
fn takes_errors(kit: &Kit) -> bool {
    cfg!(tidegate_kqueue_shim) && kit.selector.backend() == Backend::Kqueue
}

pub fn a_reset_is_worth_reading(kit: &mut Kit) {
    let (near, far) = tcp_pair();
    kit.register(&near, token(1), Interest::READ);
    net::set_linger(far.as_fd(), Some(Duration::ZERO)).unwrap();
    drop(far);
    kit.expect_that(token(1), "something to read", Ready::wants_read);
    match (&near).read(&mut [0]) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{}", kit.name),
        Ok(count) => assert!(takes_errors(kit) && count == 0, "{}: {count}", kit.name),
    }
}

pub fn a_refused_connect_is_told_and_keeps_its_error(kit: &mut Kit) {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = unused.local_addr().unwrap();
    drop(unused);
    let socket = net::tcp_socket(&address).unwrap();
    match net::connect(socket.as_fd(), &address) {
        Ok(Connect::InProgress) => {
            kit.register(&socket, token(1), Interest::BOTH);
            kit.expect_that(token(1), "something to write", Ready::wants_write);
            match net::take_error(socket.as_fd()).unwrap() {
                Some(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
                None => assert!(takes_errors(kit), "{}: no error", kit.name),
            }
        }
        Ok(Connect::Done) => panic!("{}: nobody listens there", kit.name),
        // Some systems know at once.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
    }
}

pub fn an_accepted_connect_makes_writable(kit: &mut Kit) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket = net::tcp_socket(&address).unwrap();
    net::connect(socket.as_fd(), &address).unwrap();
    kit.register(&socket, token(1), Interest::BOTH);
    kit.expect(token(1), Ready::WRITABLE);
    assert!(net::take_error(socket.as_fd()).unwrap().is_none());
    assert_eq!(
        net::peer_addr::<SocketAddr>(socket.as_fd()).unwrap(),
        address
    );
}

pub fn a_connection_to_accept_makes_readable(kit: &mut Kit) {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listener = net::tcp_socket(&any).unwrap();
    net::bind(listener.as_fd(), &any).unwrap();
    net::listen(listener.as_fd(), 16).unwrap();
    kit.register(&listener, token(1), Interest::READ);
    kit.expect_silence("nobody has connected yet");
    let address: SocketAddr = net::local_addr::<SocketAddr>(listener.as_fd()).unwrap();
    let clients: Vec<_> = (0..3)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let mut peers = Vec::new();
    while peers.len() < clients.len() {
        kit.expect(token(1), Ready::READABLE);
        while let Ok((_, peer)) = net::accept::<SocketAddr>(listener.as_fd()) {
            peers.push(peer);
        }
    }
    let expected: Vec<_> = clients
        .iter()
        .map(|client| client.local_addr().unwrap())
        .collect();
    assert_eq!(peers, expected, "{}", kit.name);
}
