//! What the tests share: an authority, a listener, a proxy that can go silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use linckia_net::{
    DevelopmentCa, Identity, LinkOptions, PeerCounters, PeerLink, PeerListener, PeerTls, Shutdown,
    SubjectNames, Trigger, dial,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

/// Nothing here takes this long unless it hangs.
pub const LONGEST: Duration = Duration::from_secs(20);

pub fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub async fn soon<R>(future: impl Future<Output = R>) -> R {
    tokio::time::timeout(LONGEST, future).await.expect("this hangs")
}

pub struct Authority {
    pub directory: TempDir,
    pub ca: DevelopmentCa,
}

impl Authority {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ca = DevelopmentCa::open_or_create(directory.path(), SystemTime::now()).unwrap();
        Self { directory, ca }
    }

    pub fn identity(&self, region: &str) -> Identity {
        let now = SystemTime::now();
        let files = self.ca.issue(region, &SubjectNames::default(), now).unwrap();
        files.load(now).unwrap()
    }

    pub fn tls(&self, region: &str) -> PeerTls {
        self.identity(region).peer_tls().unwrap()
    }
}

pub struct Listening {
    pub address: SocketAddr,
    pub links: mpsc::Receiver<PeerLink>,
    pub counters: Arc<PeerCounters>,
    pub trigger: Trigger,
}

impl Listening {
    pub fn start(tls: &PeerTls, options: LinkOptions) -> Self {
        let listener = PeerListener::bind(loopback(), tls, options).unwrap();
        let address = listener.local_address();
        let counters = listener.counters();
        let (sender, links) = mpsc::channel(4);
        let (trigger, shutdown) = Shutdown::new();
        tokio::spawn(listener.serve(sender, shutdown));
        Self { address, links, counters, trigger }
    }

    pub async fn dialled(&mut self, from: &PeerTls, region: &str) -> (PeerLink, PeerLink) {
        let address = self.address.to_string();
        let dialled = soon(dial(&address, region, from, &LinkOptions::default())).await.unwrap();
        let accepted = soon(self.links.recv()).await.unwrap();
        (dialled, accepted)
    }

    /// Says that a peer still gets in.
    pub async fn still_accepts(&mut self, from: &PeerTls, region: &str) {
        let (dialled, mut accepted) = self.dialled(from, region).await;
        dialled.sender.send("still there?").await.unwrap();
        let frame = soon(accepted.receiver.recv()).await.unwrap().unwrap();
        assert_eq!(frame, "still there?");
    }

    pub async fn until_refused(&self, count: u64) {
        soon(async {
            while self.counters.refused() < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// Forwards bytes until told to swallow them; resets nothing.
pub struct Proxy {
    pub address: SocketAddr,
    swallows: watch::Sender<bool>,
}

impl Proxy {
    pub async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (swallows, swallowing) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(to).await.unwrap();
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                tokio::spawn(forward(near_read, far_write, swallowing.clone()));
                tokio::spawn(forward(far_read, near_write, swallowing.clone()));
            }
        });
        Self { address, swallows }
    }

    pub fn swallow(&self) {
        self.swallows.send_replace(true);
    }
}

async fn forward(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    swallowing: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) if *swallowing.borrow() => std::future::pending().await,
            Ok(0) | Err(_) => return,
            Ok(_) if *swallowing.borrow() => {}
            Ok(read) => {
                if to.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The text of an error and of all its causes.
pub fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
