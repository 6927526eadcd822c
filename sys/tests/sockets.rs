//! Sockets, reads, writes and options against the kernel of this machine.

use std::fs::File;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use bytes::BytesMut;
use tidegate_sys::os::net::{self, Connect, IntOption};
use tidegate_sys::os::{
    Backend, Events, Interest, Selector, Token, Waited, fd, io, send_file, thread,
};

const DEADLINE: Duration = Duration::from_secs(30);

/// A pair: ours does not block, the peer's does.
fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    near.set_nodelay(true).unwrap();
    (near, far)
}

/// Waits until this is ready, by poll(2).
fn wait_for(fd: impl AsFd, interest: Interest) {
    let mut selector = Selector::open(Backend::Poll).unwrap();
    let mut events = Events::new();
    selector
        .register(fd.as_fd(), Token::new(0, 0), interest)
        .unwrap();
    loop {
        match selector.wait(&mut events, Some(DEADLINE)).unwrap() {
            Waited::Events(_) => return,
            Waited::Interrupted => {}
            Waited::TimedOut => panic!("not ready for {interest:?} in time"),
        }
    }
}

fn listener(address: &str) -> (OwnedFd, SocketAddr) {
    let address: SocketAddr = address.parse().unwrap();
    let socket = net::tcp_socket(&address).unwrap();
    net::set_int(socket.as_fd(), net::SO_REUSEADDR, 1).unwrap();
    net::bind(socket.as_fd(), &address).unwrap();
    net::listen(socket.as_fd(), net::max_backlog()).unwrap();
    let address: SocketAddr = net::local_addr::<SocketAddr>(socket.as_fd()).unwrap();
    (socket, address)
}

#[test]
fn a_connection_from_connect_to_close() {
    for any in ["127.0.0.1:0", "[::1]:0"] {
        let (listener, address) = listener(any);
        assert_ne!(address.port(), 0);
        let none = net::accept::<SocketAddr>(listener.as_fd()).unwrap_err();
        assert_eq!(none.kind(), ErrorKind::WouldBlock);

        let client = net::tcp_socket(&address).unwrap();
        let unconnected = net::peer_addr::<SocketAddr>(client.as_fd()).unwrap_err();
        assert_eq!(unconnected.kind(), ErrorKind::NotConnected);
        if net::connect(client.as_fd(), &address).unwrap() == Connect::InProgress {
            wait_for(&client, Interest::WRITE);
        }
        assert!(net::take_error(client.as_fd()).unwrap().is_none());

        wait_for(&listener, Interest::READ);
        let (server, peer) = net::accept::<SocketAddr>(listener.as_fd()).unwrap();
        assert_eq!(peer, net::local_addr::<SocketAddr>(client.as_fd()).unwrap());
        assert_eq!(
            net::local_addr::<SocketAddr>(server.as_fd()).unwrap(),
            address
        );
        assert_eq!(
            net::peer_addr::<SocketAddr>(client.as_fd()).unwrap(),
            address
        );

        // Neither blocks, both ways.
        let mut buffer = BytesMut::new();
        for end in [&client, &server] {
            let empty = io::recv_into(end.as_fd(), &mut buffer, 16).unwrap_err();
            assert_eq!(empty.kind(), ErrorKind::WouldBlock);
        }
        assert_eq!(io::send(client.as_fd(), b"hello").unwrap(), 5);
        wait_for(&server, Interest::READ);
        assert_eq!(io::recv_into(server.as_fd(), &mut buffer, 16).unwrap(), 5);
        assert_eq!(&buffer[..], b"hello");

        net::shutdown(client.as_fd(), Shutdown::Write).unwrap();
        wait_for(&server, Interest::READ);
        assert_eq!(io::recv_into(server.as_fd(), &mut buffer, 16).unwrap(), 0);
        assert_eq!(&buffer[..], b"hello", "the end adds nothing");
    }
}

#[test]
fn an_address_in_use_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let socket = net::tcp_socket(&address).unwrap();
    let error = net::bind(socket.as_fd(), &address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

#[test]
fn a_read_takes_no_more_than_asked_and_keeps_what_was_there() {
    for read in [io::recv_into, io::read_into] {
        let (near, mut far) = tcp_pair();
        far.write_all(b"abcdefgh").unwrap();
        wait_for(&near, Interest::READ);
        let mut buffer = BytesMut::from(&b"--"[..]);
        assert_eq!(read(near.as_fd(), &mut buffer, 3).unwrap(), 3);
        assert_eq!(read(near.as_fd(), &mut buffer, 5).unwrap(), 5);
        assert_eq!(&buffer[..], b"--abcdefgh");
        let nothing = read(near.as_fd(), &mut buffer, 0).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_read_into_room_does_not_move_the_buffer() {
    let (near, mut far) = tcp_pair();
    far.write_all(b"abc").unwrap();
    wait_for(&near, Interest::READ);
    let mut buffer = BytesMut::with_capacity(64);
    let place = buffer.as_ptr();
    assert_eq!(io::recv_into(near.as_fd(), &mut buffer, 64).unwrap(), 3);
    assert_eq!(buffer.as_ptr(), place);
    assert_eq!(buffer.capacity(), 64);
}

#[test]
fn vectored_writes_and_reads_keep_the_order() {
    let (near, mut far) = tcp_pair();
    let slices = [
        IoSlice::new(b"one "),
        IoSlice::new(b""),
        IoSlice::new(b"two"),
    ];
    assert_eq!(io::send_vectored(near.as_fd(), &slices).unwrap(), 7);
    let mut seven = [0; 7];
    far.read_exact(&mut seven).unwrap();
    assert_eq!(&seven, b"one two");

    far.write_all(b"12345").unwrap();
    wait_for(&near, Interest::READ);
    let (mut first, mut second) = ([0; 2], [0; 8]);
    let mut slices = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
    assert_eq!(io::read_vectored(near.as_fd(), &mut slices).unwrap(), 5);
    assert_eq!((&first, &second[..3]), (b"12", &b"345"[..]));
}

#[test]
fn more_slices_than_one_call_takes_are_left_for_the_next() {
    let (near, _far) = tcp_pair();
    let slices = vec![IoSlice::new(b"x"); io::IOV_MAX + 10];
    assert_eq!(
        io::send_vectored(near.as_fd(), &slices).unwrap(),
        io::IOV_MAX
    );
    let sink = File::options().write(true).open("/dev/null").unwrap();
    assert_eq!(
        io::write_vectored(sink.as_fd(), &slices).unwrap(),
        io::IOV_MAX
    );
}

#[test]
fn urgent_data_is_taken_once() {
    let (near, far) = tcp_pair();
    assert_eq!(io::recv_urgent(near.as_fd()).unwrap(), None);
    // SAFETY: one byte is read from a slice of one byte.
    let sent = unsafe {
        libc::send(
            std::os::fd::AsRawFd::as_raw_fd(&far),
            b"!".as_ptr().cast(),
            1,
            libc::MSG_OOB,
        )
    };
    assert_eq!(sent, 1);
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        if let Some(byte) = io::recv_urgent(near.as_fd()).unwrap() {
            assert_eq!(byte, b'!');
            break;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "the urgent byte is lost"
        );
        std::thread::yield_now();
    }
    assert_eq!(io::recv_urgent(near.as_fd()).unwrap(), None);
}

/// A file of our own without a name; `length` bytes that differ by place.
fn file_of(length: usize) -> (File, Vec<u8>) {
    let name = format!("tidegate-{}-{length}-{:p}", std::process::id(), &length);
    let path = std::env::temp_dir().join(name);
    let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();
    let file = File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    (file, bytes)
}

#[test]
fn a_file_goes_out_piece_by_piece_and_ends_with_zero() {
    let (file, bytes) = file_of(3 << 20);
    let (near, mut far) = tcp_pair();
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        far.read_to_end(&mut received).unwrap();
        received
    });
    let mut offset = 5;
    loop {
        let before = offset;
        match send_file(near.as_fd(), file.as_fd(), &mut offset, 1 << 20) {
            Ok(0) => break,
            Ok(sent) => assert_eq!(offset, before + sent as u64),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert_eq!(offset, before);
                wait_for(&near, Interest::WRITE);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(offset, bytes.len() as u64);
    near.shutdown(Shutdown::Write).unwrap();
    assert_eq!(reader.join().unwrap(), &bytes[5..]);
}

#[test]
fn sending_a_file_takes_no_more_than_asked() {
    let (file, bytes) = file_of(100);
    let (near, mut far) = tcp_pair();
    let mut offset = 90;
    assert_eq!(
        send_file(near.as_fd(), file.as_fd(), &mut offset, 4).unwrap(),
        4
    );
    assert_eq!(
        send_file(near.as_fd(), file.as_fd(), &mut offset, 0).unwrap(),
        0
    );
    assert_eq!(
        send_file(near.as_fd(), file.as_fd(), &mut offset, 100).unwrap(),
        6
    );
    assert_eq!(
        send_file(near.as_fd(), file.as_fd(), &mut offset, 100).unwrap(),
        0
    );
    let mut got = [0; 10];
    far.read_exact(&mut got).unwrap();
    assert_eq!(got, bytes[90..]);
    let mut too_far = u64::MAX;
    let error = send_file(near.as_fd(), file.as_fd(), &mut too_far, 1).unwrap_err();
    assert_eq!((error.kind(), too_far), (ErrorKind::InvalidInput, u64::MAX));
}

/// Set in the environment of a copy of this test program whose SIGPIPE is deadly, as in a C program.
const CHILD: &str = "TIDEGATE_TEST_SIGPIPE";

#[test]
fn a_peer_that_is_gone_is_an_error_and_no_signal() {
    if std::env::var_os(CHILD).is_some() {
        return write_to_the_gone();
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_peer_that_is_gone_is_an_error_and_no_signal"])
        .env(CHILD, "1")
        .status()
        .unwrap();
    assert!(status.success(), "the signal arrived: {status}");
}

fn write_to_the_gone() {
    // Rust programs ignore the signal from the start.
    // SAFETY: sets the disposition of a signal to its default.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let (file, _) = file_of(100);
    let slices = [IoSlice::new(b"a"), IoSlice::new(b"b")];
    let send_file = |near: &TcpStream| send_file(near.as_fd(), file.as_fd(), &mut 0, 100);
    let until_broken = |write: &dyn Fn(&TcpStream) -> std::io::Result<usize>| {
        let (near, far) = tcp_pair();
        drop(far);
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(write(&near).unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(write(&near).unwrap_err().kind(), ErrorKind::BrokenPipe);
    };
    until_broken(&|near| io::send(near.as_fd(), b"x"));
    until_broken(&|near| io::send_vectored(near.as_fd(), &slices));
    until_broken(&send_file);
    thread::block_sigpipe().unwrap();
    until_broken(&send_file);
}

#[test]
fn every_option_of_this_system_can_be_read_and_the_others_say_so() {
    let (near, _far) = tcp_pair();
    let socket = near.as_fd();
    let on_tcp = [
        net::SO_REUSEADDR,
        net::SO_REUSEPORT,
        net::SO_REUSEPORT_LB,
        net::SO_KEEPALIVE,
        net::SO_RCVBUF,
        net::SO_SNDBUF,
        net::SO_RCVLOWAT,
        net::SO_BROADCAST,
        net::SO_OOBINLINE,
        net::SO_BUSY_POLL,
        net::SO_INCOMING_CPU,
        net::SO_PRIORITY,
        net::SO_NOSIGPIPE,
        net::TCP_NODELAY,
        net::TCP_MAXSEG,
        net::TCP_KEEPIDLE,
        net::TCP_KEEPINTVL,
        net::TCP_KEEPCNT,
        net::TCP_USER_TIMEOUT,
        net::TCP_QUICKACK,
        net::TCP_CORK,
        net::TCP_NOTSENT_LOWAT,
        net::TCP_DEFER_ACCEPT,
        net::TCP_FASTOPEN,
        net::TCP_FASTOPEN_CONNECT,
        net::IP_TOS,
        net::IP_TTL,
    ];
    for option in on_tcp {
        let answer = net::get_int(socket, option);
        if option.is_supported() {
            answer.unwrap_or_else(|error| panic!("{}: {error}", option.name()));
        } else {
            let error = answer.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(option.name()));
            let error = net::set_int(socket, option, 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
    }
}

#[test]
fn options_keep_what_was_set() {
    let (near, _far) = tcp_pair();
    let keeps = |option: IntOption, value: i32| {
        if option.is_supported() {
            net::set_int(near.as_fd(), option, value).unwrap();
            assert_eq!(
                net::get_int(near.as_fd(), option).unwrap(),
                value,
                "{}",
                option.name()
            );
        }
    };
    keeps(net::TCP_KEEPIDLE, 77);
    keeps(net::TCP_KEEPINTVL, 7);
    keeps(net::TCP_KEEPCNT, 3);
    keeps(net::TCP_USER_TIMEOUT, 1234);
    keeps(net::TCP_NOTSENT_LOWAT, 16_384);
    keeps(net::IP_TOS, 0x10);
    keeps(net::IP_TTL, 33);
    net::set_int(near.as_fd(), net::SO_RCVBUF, 65_536).unwrap();
    assert!(net::get_int(near.as_fd(), net::SO_RCVBUF).unwrap() >= 65_536);
    let error = net::set_int(near.as_fd(), net::IP_TTL, 70_000).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);

    for linger in [None, Some(Duration::ZERO), Some(Duration::from_secs(3))] {
        net::set_linger(near.as_fd(), linger).unwrap();
        assert_eq!(net::get_linger(near.as_fd()).unwrap(), linger);
    }
    net::set_linger(near.as_fd(), Some(Duration::from_millis(1))).unwrap();
    assert_eq!(
        net::get_linger(near.as_fd()).unwrap(),
        Some(Duration::from_secs(1)),
        "rounded up: a short wait must not become a reset"
    );
}

#[test]
fn a_thread_can_be_named_and_pinned() {
    let thread = std::thread::spawn(|| {
        thread::set_name("a name that is longer than the system keeps").unwrap();
        thread::set_name("tide\0gate").unwrap();
        thread::set_name("sixteen bytes: ä").unwrap();
        match thread::set_affinity(usize::MAX) {
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::InvalidInput | ErrorKind::Unsupported
                ),
                "{error}"
            ),
            Ok(()) => panic!("there is no such CPU"),
        }
        let all = thread::cpu_count();
        assert!(all >= 1);
        // The lowest CPU that this process may use is not known; one of the first 1,024 is.
        let pinned = (0..1024).any(|cpu| thread::set_affinity(cpu).is_ok());
        if pinned {
            assert_eq!(thread::cpu_count(), 1);
        }
    });
    thread.join().unwrap();
}

#[test]
fn the_reserve_and_the_backlog_are_there() {
    fd::set_nonblocking(fd::open_reserve().unwrap().as_fd()).unwrap();
    assert!(net::max_backlog() >= 5);
}

#[test]
fn a_thread_may_wait_for_one_descriptor() {
    let (near, mut far) = tcp_pair();
    let short = Some(Duration::from_millis(1));
    assert!(!io::wait(near.as_fd(), Interest::READ, short).unwrap());
    assert!(io::wait(near.as_fd(), Interest::WRITE, short).unwrap());
    far.write_all(b"x").unwrap();
    assert!(io::wait(near.as_fd(), Interest::READ, Some(DEADLINE)).unwrap());
    // A file is ready, and so is what has ended.
    let file = File::open("/dev/null").unwrap();
    assert!(io::wait(file.as_fd(), Interest::READ, None).unwrap());
    let (near, far) = tcp_pair();
    drop(far);
    assert!(io::wait(near.as_fd(), Interest::READ, None).unwrap());
}

/// The end of the input, by shutdown(2), wakes whoever waits for it.
#[test]
fn a_wait_ends_when_the_input_does() {
    let (near, _far) = tcp_pair();
    let waiting = near.try_clone().unwrap();
    let thread = std::thread::spawn(move || io::wait(waiting.as_fd(), Interest::READ, None));
    net::shutdown(near.as_fd(), Shutdown::Read).unwrap();
    assert!(thread.join().unwrap().unwrap());
}
