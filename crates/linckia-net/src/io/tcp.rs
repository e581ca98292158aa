//! TCP listeners and the loop that accepts.
//!
//! Where in the flow: under the peer listener and the door alike.
//!
//! What always holds: a connection is accepted only when there is room for it, the rest wait in
//! the kernel's queue; an error of one connection never ends the loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};
use crate::io::shutdown::Shutdown;

/// Connections that the kernel keeps while we are at the limit or restarting clients storm in.
const BACKLOG: u32 = 1024;

/// When the process has no file descriptors left, accepting fails at once, again and again: this
/// long until the next try.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A region that is restarted takes its port back at once.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|source| Error::Bind { address, source })
}

/// The next connection and its place among `room`; nothing once the end was announced.
pub(crate) async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    shutdown: &Shutdown,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let next = async {
        // The semaphore is never closed.
        let place = Arc::clone(room).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    // Small answers must not wait for the previous one's acknowledgement. It can
                    // fail only on a socket that is dead already, which reading will tell.
                    let _ = stream.set_nodelay(true);
                    return Some((stream, address, place));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.wait() => None,
        accepted = next => accepted,
    }
}
