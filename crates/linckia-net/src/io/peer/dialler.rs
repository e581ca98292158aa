//! Dials a region and asks for a link.
//!
//! Where in the flow: `ship` dials every region that it pulls from, and redials when a link ends.
//!
//! What always holds: the region at the other end proved, by a certificate of the fleet, to be the
//! one that was asked for, whatever the address; each step is bounded in time together with the
//! others; dropping the future leaves nothing behind.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::link::{PeerLink, Silence};
use super::queue::{OutgoingBody, queue};
use super::{
    DATA_FRAME_BYTES, DIALLER_WINDOW_BYTES, LINGER, LinkOptions, PATH, PING_ANSWER_LONGEST,
    SEND_BUFFER_BYTES,
};
use crate::error::{Error, Result};
use crate::identity::{PeerTls, internal_server_name};
use crate::io::stream::{Counted, Traffic};
use crate::region_identity::region_of_certificate;

/// Of a refusal's text: enough for a sentence.
const REFUSAL_BYTES_MAX: usize = 4 * 1024;

type Io = TokioIo<Counted<TlsStream<TcpStream>>>;

/// Dials `address` (host and port) and asks the region `expected` there for a link.
pub async fn dial(
    address: &str,
    expected: &str,
    tls: &PeerTls,
    options: &LinkOptions,
) -> Result<PeerLink> {
    let after = options.handshake_longest;
    let mut step = "connecting";
    let dialling = dial_steps(address, expected, tls, options, &mut step);
    match tokio::time::timeout(after, dialling).await {
        Ok(dialled) => dialled,
        Err(_) => Err(Error::Timeout { address: address.to_owned(), step, after }),
    }
}

async fn dial_steps(
    address: &str,
    expected: &str,
    tls: &PeerTls,
    options: &LinkOptions,
    step: &mut &'static str,
) -> Result<PeerLink> {
    let name = internal_server_name(expected)?;
    let connect = |source| Error::Connect { address: address.to_owned(), source };
    let tcp = TcpStream::connect(address).await.map_err(connect)?;
    tcp.set_nodelay(true).map_err(connect)?;
    let remote = tcp.peer_addr().map_err(connect)?;
    *step = "TLS handshake";
    let stream = TlsConnector::from(Arc::clone(&tls.client))
        .connect(name, tcp)
        .await
        .map_err(|source| Error::Handshake { address: address.to_owned(), source })?;
    check_region(address, expected, &stream)?;
    *step = "asking for a link";
    let traffic = Arc::new(Traffic::default());
    let io = TokioIo::new(Counted::new(stream, Bytes::new(), Arc::clone(&traffic)));
    let tasks = Tasks::default();
    let (requests, connection) = handshake(io, tasks.clone(), options)
        .await
        .map_err(|source| Error::Http { address: address.to_owned(), source })?;
    let (held, released) = oneshot::channel();
    let silence: Silence = Arc::new(OnceLock::new());
    let watch = Watch {
        tasks,
        traffic,
        options: options.clone(),
        silence: Arc::clone(&silence),
        released,
        requests: requests.clone(),
    };
    tokio::spawn(watch.run(connection));
    ask_for_link(address, expected, (remote, requests), silence, held).await
}

/// TLS verified the chain and the region's DNS name; the identity proper is the URI.
fn check_region(address: &str, expected: &str, stream: &TlsStream<TcpStream>) -> Result<()> {
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(<[_]>::first);
    let leaf = leaf.ok_or(Error::NoRegion { reason: "none was presented" })?;
    let found = region_of_certificate(leaf)?;
    if found == expected {
        return Ok(());
    }
    Err(Error::WrongRegion { address: address.to_owned(), expected: expected.to_owned(), found })
}

async fn handshake(
    io: Io,
    tasks: Tasks,
    options: &LinkOptions,
) -> hyper::Result<(SendRequest<OutgoingBody>, Connection<Io, OutgoingBody, Tasks>)> {
    Builder::new(tasks)
        .timer(TokioTimer::new())
        .initial_stream_window_size(DIALLER_WINDOW_BYTES)
        .initial_connection_window_size(DIALLER_WINDOW_BYTES)
        .max_frame_size(DATA_FRAME_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(options.ping_interval)
        .keep_alive_timeout(PING_ANSWER_LONGEST)
        .keep_alive_while_idle(true)
        .handshake(io)
        .await
}

async fn ask_for_link(
    address: &str,
    expected: &str,
    (remote, mut requests): (SocketAddr, SendRequest<OutgoingBody>),
    silence: Silence,
    held: oneshot::Sender<()>,
) -> Result<PeerLink> {
    let (entrance, body) = queue();
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("https://{expected}{PATH}"))
        .body(body)?;
    let response = requests
        .send_request(request)
        .await
        .map_err(|source| Error::Http { address: address.to_owned(), source })?;
    if response.status() != StatusCode::OK {
        return Err(refusal(address, response).await);
    }
    let peer = (expected.to_owned(), remote);
    Ok(PeerLink::new(peer, (entrance, response.into_body()), silence, held))
}

async fn refusal(address: &str, response: Response<Incoming>) -> Error {
    let status = response.status().as_u16();
    let text = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect().await;
    let reason = text.map_or_else(
        |_| "without a readable reason".to_owned(),
        |text| String::from_utf8_lossy(&text.to_bytes()).trim().to_owned(),
    );
    Error::Refused { address: address.to_owned(), status, reason }
}

/// Watches a dialled connection, and ends its tasks when it is over.
struct Watch {
    tasks: Tasks,
    traffic: Arc<Traffic>,
    options: LinkOptions,
    silence: Silence,
    released: oneshot::Receiver<()>,
    /// hyper takes the last of these being dropped for the wish to end the connection.
    requests: SendRequest<OutgoingBody>,
}

impl Watch {
    async fn run(self, connection: Connection<Io, OutgoingBody, Tasks>) {
        let mut connection = std::pin::pin!(connection);
        let longest = self.options.silence_longest;
        tokio::select! {
            // How it ended is said by the receiver, to whoever holds the link.
            _ = &mut connection => {}
            () = self.traffic.heard_nothing_for(longest) => {
                // Set once, here only.
                let _ = self.silence.set(longest);
            }
            _ = self.released => {
                drop(self.requests);
                // Whether it took leave of the peer in time is not asked of a dropped link.
                let _ = connection.await;
                self.tasks.finish_within(LINGER).await;
            }
        }
        self.tasks.abort();
    }
}

/// hyper spawns the connection and the request's body apart from what it returns; to end a
/// connection at once, they must be known.
#[derive(Clone, Default)]
struct Tasks {
    spawned: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Tasks {
    fn with<R>(&self, act: impl FnOnce(&mut Vec<JoinHandle<()>>) -> R) -> R {
        // A panic elsewhere leaves the list as good as it was.
        act(&mut self.spawned.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn abort(&self) {
        self.with(|spawned| spawned.drain(..).for_each(|task| task.abort()));
    }

    async fn finish_within(&self, longest: Duration) {
        let mut spawned = self.with(std::mem::take);
        // Both outcomes end the same way, and so does a task that failed.
        let _ = tokio::time::timeout(longest, join_all(&mut spawned)).await;
        spawned.iter().for_each(JoinHandle::abort);
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        let task = tokio::spawn(async move {
            future.await;
        });
        self.with(|spawned| {
            spawned.retain(|earlier| !earlier.is_finished());
            spawned.push(task);
        });
    }
}
