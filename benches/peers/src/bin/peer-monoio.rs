//! The same echo server on monoio with its epoll driver: buffers are lent to the runtime and come back.
//!
//!     peer-monoio [--port N] [--cpu N]

use std::io;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use monoio::{LegacyDriver, RuntimeBuilder};
use tidegate_peers::serve::Server;

/// Bytes of the buffer of one connection.
const BUFFER: usize = 16 * 1024;

fn main() -> io::Result<()> {
    let server = Server::from_args("peer-monoio [--port N] [--cpu N]")?;
    let mut runtime = RuntimeBuilder::<LegacyDriver>::new().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(server.listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // A connection that fails has ended; there is nobody to tell.
            monoio::spawn(async move { echo(stream).await.ok() });
        }
    })
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        let (read, filled) = stream.read(buffer).await;
        if read? == 0 {
            return Ok(());
        }
        let (written, emptied) = stream.write_all(filled).await;
        written?;
        buffer = emptied;
        buffer.clear();
    }
}
