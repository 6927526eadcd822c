//! The answer of the servers that are written by hand on readiness (`peer-raw`, `peer-mio`): read until a short read, write
//! back. Nothing is allocated unless the peer does not take its echo.

use std::io::{self, ErrorKind, Read, Write};

/// Bytes of the one buffer of a server: enough that every message of the plans is a short read.
pub const BUFFER: usize = 64 * 1024;

/// One connection.
pub struct Connection<S> {
    /// Its socket.
    pub socket: S,
    /// What was read and could not be written yet. While it is not empty, nothing is read.
    rest: Vec<u8>,
}

impl<S: Read + Write> Connection<S> {
    /// A new one.
    pub fn new(socket: S) -> Self {
        Self {
            socket,
            rest: Vec::new(),
        }
    }

    /// Answers what has arrived. `ending` says that the selector has told of the peer's end, which a short read would hide.
    /// Returns whether the connection still lives.
    #[inline]
    pub fn answer(&mut self, buffer: &mut [u8], ending: bool) -> bool {
        if !self.rest.is_empty() && !self.write_rest() {
            return true;
        }
        loop {
            let count = match self.socket.read(buffer) {
                Ok(0) => return false,
                Ok(count) => count,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            };
            match write_some(&mut self.socket, &buffer[..count]) {
                Ok(written) if written == count => {}
                Ok(written) => {
                    self.rest.extend_from_slice(&buffer[written..count]);
                    return true;
                }
                Err(_) => return false,
            }
            if count < buffer.len() && !ending {
                return true;
            }
        }
    }

    /// Whether all of it went. (A broken connection shows itself at the next read.)
    #[cold]
    fn write_rest(&mut self) -> bool {
        let written = write_some(&mut self.socket, &self.rest).unwrap_or(self.rest.len());
        self.rest.drain(..written);
        self.rest.is_empty()
    }
}

/// Writes until all is written or the socket takes no more, and returns how much it took.
#[inline]
fn write_some(socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
