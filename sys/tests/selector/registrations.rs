//! Registering, changing interest, deregistering, and descriptor numbers that are used again (rules 1, 4, 5
//! and 6).

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use tidegate_sys::os::{Backend, Interest, Ready, Token};

use crate::kit::{Kit, tcp_pair, token};

pub fn deregistering_silences(kit: &mut Kit) {
    let (near, mut far) = tcp_pair();
    kit.register(&near, token(1), Interest::BOTH);
    far.write_all(b"x").unwrap();
    kit.expect(token(1), Ready::READABLE);
    kit.deregister(&near);
    far.write_all(b"y").unwrap();
    drop(far);
    kit.expect_silence("deregistered, not closed");
}

pub fn deregistering_what_is_not_registered_is_no_error(kit: &mut Kit) {
    let (near, _far) = tcp_pair();
    kit.deregister(&near);
    kit.register(&near, token(1), Interest::BOTH);
    kit.deregister(&near);
    kit.deregister(&near);
    // SAFETY: not open, which is the point: the kernel says so.
    let closed = unsafe { BorrowedFd::borrow_raw(1 << 20) };
    kit.deregister(closed);
}

pub fn registering_again_replaces_the_token(kit: &mut Kit) {
    let (near, mut far) = tcp_pair();
    kit.register(&near, token(1), Interest::READ);
    kit.register(&near, token(2), Interest::READ);
    far.write_all(b"x").unwrap();
    kit.expect(token(2), Ready::READABLE);
}

pub fn a_number_can_be_adopted(kit: &mut Kit) {
    let (near, mut far) = tcp_pair();
    kit.selector
        .adopt(near.as_raw_fd(), token(1), Interest::READ)
        .unwrap();
    far.write_all(b"x").unwrap();
    kit.expect(token(1), Ready::READABLE);

    for closed in [-1, 1 << 20] {
        match kit.selector.adopt(closed, token(2), Interest::READ) {
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EBADF), "{}", kit.name),
            Ok(()) => assert_eq!(kit.selector.backend(), Backend::Poll),
        }
    }
    kit.deregister(&near);
    kit.expect_silence("what is closed is never told");
}

pub fn what_was_ready_before_registering_is_told(kit: &mut Kit) {
    let (near, mut far) = tcp_pair();
    far.write_all(b"early").unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    kit.register(&near, token(1), Interest::READ);
    kit.expect(token(1), Ready::READABLE);
}

pub fn interest_silences_levels(kit: &mut Kit) {
    let (near, mut far) = tcp_pair();
    far.write_all(b"x").unwrap();
    kit.register(&near, token(1), Interest::READ);
    kit.expect(token(1), Ready::READABLE);
    kit.set_interest(&near, token(1), Interest::NONE);
    if kit.is_edge() {
        // Whoever wants no data remembers the edge; it costs nothing to say so.
        kit.set_interest(&near, token(1), Interest::READ);
        return;
    }
    kit.expect_silence("nothing is asked for");
    far.write_all(b"y").unwrap();
    kit.expect_silence("nothing is asked for");
    kit.set_interest(&near, token(1), Interest::READ);
    kit.expect(token(1), Ready::READABLE);
}

pub fn gaining_write_interest_tells_of_room(kit: &mut Kit) {
    let (near, _far) = tcp_pair();
    kit.register(&near, token(1), Interest::READ);
    if kit.selector.backend() == Backend::Epoll {
        // Told at registration, once.
        kit.expect(token(1), Ready::WRITABLE);
        kit.set_interest(&near, token(1), Interest::BOTH);
        kit.expect_silence("the edge was told");
        return;
    }
    kit.expect_silence("only reading is asked for");
    kit.set_interest(&near, token(1), Interest::BOTH);
    kit.expect(token(1), Ready::WRITABLE);
}

pub fn remasking_silences_and_evaluates_anew(kit: &mut Kit) {
    let (near, mut far) = tcp_pair();
    kit.register(&near, token(1), Interest::READ);
    kit.remask(&near, token(1), Interest::NONE);
    far.write_all(b"x").unwrap();
    kit.expect_silence("nothing is watched");
    kit.remask(&near, token(1), Interest::READ);
    kit.expect(token(1), Ready::READABLE);
    if kit.is_edge() {
        kit.expect_silence("the edge was told");
    }
    kit.remask(&near, token(1), Interest::BOTH);
    kit.expect(token(1), Ready::READABLE | Ready::WRITABLE);
    kit.remask(&near, token(1), Interest::NONE);
    kit.expect_silence("nothing is watched");
}

pub fn every_bit_of_a_token_comes_back(kit: &mut Kit) {
    for generation in [0, 1, 0x8000_0000, u32::MAX] {
        for slot in [0, 1, 0x8000_0000, u32::MAX - 1] {
            let (near, mut far) = tcp_pair();
            let token = Token::new(slot, generation);
            kit.register(&near, token, Interest::READ);
            far.write_all(b"x").unwrap();
            kit.expect(token, Ready::READABLE);
            kit.deregister(&near);
        }
    }
}

pub fn a_descriptor_number_used_again_is_somebody_else(kit: &mut Kit) {
    let (near, far) = tcp_pair();
    kit.register(&near, Token::new(4, 1), Interest::BOTH);
    kit.expect(Token::new(4, 1), Ready::WRITABLE);
    kit.deregister(&near);
    let (next, mut next_far) = take_number(near);
    drop(far);
    kit.register(&next, Token::new(4, 2), Interest::READ);
    next_far.write_all(b"x").unwrap();
    kit.expect(Token::new(4, 2), Ready::READABLE);
}

pub fn a_number_closed_without_deregistering_can_be_registered_again(kit: &mut Kit) {
    let (near, _far) = tcp_pair();
    kit.register(&near, Token::new(4, 1), Interest::BOTH);
    let (next, mut next_far) = take_number(near);
    kit.register(&next, Token::new(4, 2), Interest::READ);
    next_far.write_all(b"x").unwrap();
    kit.expect(Token::new(4, 2), Ready::READABLE);
}

/// Closes a stream and opens another pair, whose first end gets its number in the same moment: other
/// tests open descriptors too, and would take it between a close and an open.
fn take_number(stream: TcpStream) -> (TcpStream, TcpStream) {
    let (near, far) = tcp_pair();
    let number = OwnedFd::from(stream);
    // SAFETY: both are open; `number` keeps owning the descriptor of its number, now another one.
    let got = unsafe { libc::dup2(near.as_raw_fd(), number.as_raw_fd()) };
    assert_eq!(got, number.as_raw_fd());
    (TcpStream::from(number), far)
}
