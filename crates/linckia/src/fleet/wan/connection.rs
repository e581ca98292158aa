//! One emulated connection: a dialling region on one side, a region's peer port on the other.
//!
//! Where it stands: started by `wan.rs` for every accepted connection; two pumps carry the bytes.
//! What always holds: opening takes a round trip, as it would over the distance; a region that is
//! not there refuses, and so the dialler's connection is closed; during a cut neither side is ever
//! closed by what the other does.

use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::pump::{End, Pump, Way};

/// What a swallowing connection reads at a time.
const SWALLOW_BYTES: usize = 16 << 10;

/// Carries a connection from the dialler to `target` until it ends. `out` is the way of the
/// dialler's bytes, `back` of the other's.
pub async fn carry(client: TcpStream, target: SocketAddr, out: Way, back: Way) {
    let (there, here) = (*out.forward.borrow(), *back.forward.borrow());
    if !(there.cut && here.cut) {
        sleep(there.delay + here.delay).await;
        let cut = out.forward.borrow().cut && back.forward.borrow().cut;
        if !cut && let Ok(server) = TcpStream::connect(target).await {
            return join(client, server, out, back).await;
        }
    }
    swallow(client, out).await;
}

/// Reads and forgets until nothing is cut, then closes: at once where no way is cut.
async fn swallow(mut client: TcpStream, mut out: Way) {
    let mut bytes = vec![0u8; SWALLOW_BYTES];
    loop {
        tokio::select! {
            () = out.healed() => return,
            read = client.read(&mut bytes) => match read {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            },
        }
    }
}

async fn join(client: TcpStream, server: TcpStream, out: Way, back: Way) {
    for stream in [&client, &server] {
        // Without it the kernel adds delays of its own; a failure costs only that.
        let _ = stream.set_nodelay(true);
    }
    let mut way = out.clone();
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let mut pumps = JoinSet::new();
    pumps.spawn(Pump::new(client_read, server_write, out).run());
    pumps.spawn(Pump::new(server_read, client_write, back).run());
    // Halves of a stream whose end was swallowed: dropping them would tell the other side.
    let mut kept = Vec::with_capacity(2);
    while !pumps.is_empty() {
        tokio::select! {
            ended = pumps.join_next() => match ended {
                Some(Ok(End::Closed)) => {}
                Some(Ok(End::Swallowed(halves))) => kept.push(halves),
                Some(Ok(End::Broken) | Err(_)) | None => return,
            },
            () = way.healed(), if !kept.is_empty() => return,
        }
    }
}
