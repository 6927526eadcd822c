//! The structure and the numbers that libkqueue, FreeBSD and macOS agree on (macOS has another number for EVFILT_USER
//! only), for the implementations that libc does not know.

/// The form of macOS and OpenBSD: 32 bytes.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(in crate::os) struct kevent {
    pub(in crate::os) ident: usize,
    pub(in crate::os) filter: i16,
    pub(in crate::os) flags: u16,
    pub(in crate::os) fflags: u32,
    pub(in crate::os) data: isize,
    pub(in crate::os) udata: *mut libc::c_void,
}

pub(in crate::os) const EVFILT_READ: i16 = -1;
pub(in crate::os) const EVFILT_WRITE: i16 = -2;
pub(in crate::os) const EVFILT_TIMER: i16 = -7;
pub(in crate::os) const EVFILT_USER: i16 = -11;
pub(in crate::os) const EV_ADD: u16 = 0x1;
pub(in crate::os) const EV_DELETE: u16 = 0x2;
pub(in crate::os) const EV_ONESHOT: u16 = 0x10;
pub(in crate::os) const EV_CLEAR: u16 = 0x20;
pub(in crate::os) const EV_RECEIPT: u16 = 0x40;
pub(in crate::os) const EV_ERROR: u16 = 0x4000;
pub(in crate::os) const EV_EOF: u16 = 0x8000;
pub(in crate::os) const NOTE_NSECONDS: u32 = 0x8;
pub(in crate::os) const NOTE_TRIGGER: u32 = 0x0100_0000;
