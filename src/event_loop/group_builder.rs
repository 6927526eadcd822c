//! [`EventLoopGroupBuilder`]: the choices of a group, checked when it is built.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_sys::os;
use tidegate_sys::os::Backend;

use super::budget::IoRatio;
use super::config::{LoopConfig, Rejection};
use super::group::{EventLoopGroup, launch};
use super::shared::{EventLoop, invalid_io_ratio};
use super::spin::Spin;
use crate::error::{Error, ErrorKind};
use crate::reactor::Parts;

/// Loops per processor when their number is not given. Netty's figure.
const LOOPS_PER_CPU: usize = 2;

/// The choices of an [`EventLoopGroup`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until build() is called"]
pub struct EventLoopGroupBuilder {
    threads: usize,
    name: Option<String>,
    io_ratio: u8,
    cpus: Vec<usize>,
    config: LoopConfig,
}
