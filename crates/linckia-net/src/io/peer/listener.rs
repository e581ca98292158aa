//! Accepts the links that peers dial.
//!
//! Where in the flow: one per region; the links go into the channel that `ship` reads.
//!
//! What always holds: only a certificate of the fleet that names a region gets past the handshake;
//! handshakes and links are bounded apart, so strangers who connect and stay silent cannot take
//! the room of peers that are linked; a connection that fails is counted, logged once, forgotten.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::link::{PeerLink, Silence};
use super::queue::{OutgoingBody, queue};
use super::{
    DATA_FRAME_BYTES, LINGER, LISTENER_WINDOW_BYTES, LinkOptions, PATH, PING_ANSWER_LONGEST,
    SEND_BUFFER_BYTES,
};
use crate::error::{Error, Result};
use crate::identity::PeerTls;
use crate::io::shutdown::Shutdown;
use crate::io::stream::{Counted, Traffic};
use crate::io::tcp;
use crate::region_identity::region_of_certificate;

/// Handshakes under way. A handshake is some milliseconds of work, or 10 s of a stranger's silence.
const HANDSHAKES_MAX: usize = 64;

/// Links that stand: some for each of some tens of regions, while old ones are not yet seen dead.
const LINKS_MAX: usize = 256;

/// Requests at once on a connection: the link, and room to refuse others readably.
const STREAMS_MAX: u32 = 4;

/// This long for the channel of links to take one.
const HANDOVER_LONGEST: Duration = Duration::from_secs(5);

type Answer = Response<Either<OutgoingBody, Full<Bytes>>>;

/// What a listener has seen.
#[derive(Debug, Default)]
pub struct PeerCounters {
    refused: AtomicU64,
    accepted: AtomicU64,
}

impl PeerCounters {
    /// Connections that were no peer's: a failed handshake, a foreign certificate, plaintext.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Links handed over.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }
}

/// Listens for peers.
pub struct PeerListener {
    listener: TcpListener,
    address: SocketAddr,
    room: Room,
}

struct Room {
    acceptor: TlsAcceptor,
    options: LinkOptions,
    counters: Arc<PeerCounters>,
    handshakes: Arc<Semaphore>,
    links: Arc<Semaphore>,
}

impl PeerListener {
    pub fn bind(address: SocketAddr, tls: &PeerTls, options: LinkOptions) -> Result<Self> {
        let listener = tcp::listen(address)?;
        let address = listener.local_addr().map_err(|source| Error::Bind { address, source })?;
        let room = Room {
            acceptor: TlsAcceptor::from(Arc::clone(&tls.server)),
            options,
            counters: Arc::default(),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            links: Arc::new(Semaphore::new(LINKS_MAX)),
        };
        Ok(Self { listener, address, room })
    }

    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    pub fn counters(&self) -> Arc<PeerCounters> {
        Arc::clone(&self.room.counters)
    }

    /// Accepts until the end is announced. Connections then standing hold a guard of `shutdown`
    /// until their links are dropped, and are cut two seconds later.
    pub async fn serve(self, links: mpsc::Sender<PeerLink>, shutdown: Shutdown) {
        let Self { listener, room, .. } = self;
        let room = Arc::new(room);
        while let Some((tcp, address, place)) =
            tcp::accept(&listener, &room.handshakes, &shutdown).await
        {
            let connection = serve_connection(
                Arc::clone(&room),
                (tcp, address, place),
                links.clone(),
                shutdown.clone(),
            );
            tokio::spawn(connection);
        }
    }
}

async fn serve_connection(
    room: Arc<Room>,
    (tcp, address, handshake_place): (TcpStream, SocketAddr, OwnedSemaphorePermit),
    links: mpsc::Sender<PeerLink>,
    shutdown: Shutdown,
) {
    let _guard = shutdown.guard();
    let shaken = tokio::select! {
        shaken = shake_hands(&room, tcp, address) => shaken,
        () = shutdown.wait() => return,
    };
    let (stream, peer) = match shaken {
        Ok(shaken) => shaken,
        Err(error) => {
            room.counters.refused.fetch_add(1, Relaxed);
            tracing::info!(
                %address,
                error = &error as &dyn std::error::Error,
                "connection refused: not a peer"
            );
            return;
        }
    };
    let Ok(_link_place) = Arc::clone(&room.links).try_acquire_owned() else {
        room.counters.refused.fetch_add(1, Relaxed);
        tracing::warn!(%address, peer, limit = LINKS_MAX, "connection refused: too many links");
        return;
    };
    drop(handshake_place);
    let (held, released) = oneshot::channel();
    let reception = Arc::new(Reception {
        peer,
        address,
        held: Mutex::new(Some(held)),
        silence: Arc::default(),
        links,
        counters: Arc::clone(&room.counters),
    });
    run_connection(stream, reception, released, &room.options, &shutdown).await;
}

async fn shake_hands(
    room: &Room,
    tcp: TcpStream,
    address: SocketAddr,
) -> Result<(TlsStream<TcpStream>, String)> {
    let after = room.options.handshake_longest;
    let stream = tokio::time::timeout(after, room.acceptor.accept(tcp))
        .await
        .map_err(|_| Error::Timeout { address: address.to_string(), step: "TLS handshake", after })?
        .map_err(|source| Error::Handshake { address: address.to_string(), source })?;
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(<[_]>::first);
    let leaf = leaf.ok_or(Error::NoRegion { reason: "none was presented" })?;
    let peer = region_of_certificate(leaf)?;
    Ok((stream, peer))
}

/// Drives one connection until its link is dropped, it fails, falls silent, or the end comes.
async fn run_connection(
    stream: TlsStream<TcpStream>,
    reception: Arc<Reception>,
    released: oneshot::Receiver<()>,
    options: &LinkOptions,
    shutdown: &Shutdown,
) {
    let traffic = Arc::new(Traffic::default());
    let io = TokioIo::new(Counted::new(stream, Bytes::new(), Arc::clone(&traffic)));
    let service = service_fn(|request| {
        let reception = Arc::clone(&reception);
        async move { Ok::<_, Infallible>(reception.answer(request).await) }
    });
    let connection = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(LISTENER_WINDOW_BYTES)
        .initial_connection_window_size(LISTENER_WINDOW_BYTES)
        .max_frame_size(DATA_FRAME_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(options.ping_interval)
        .keep_alive_timeout(PING_ANSWER_LONGEST)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let released = async {
        tokio::select! {
            _ = released => {}
            () = reception.unused_for(options.handshake_longest) => {}
            () = shutdown.wait() => {}
        }
    };
    tokio::select! {
        // How it ended is said by the receiver, to whoever holds the link.
        _ = &mut connection => return,
        () = traffic.heard_nothing_for(options.silence_longest) => {
            // Set once, here only.
            let _ = reception.silence.set(options.silence_longest);
            return;
        }
        () = released => {}
    }
    connection.as_mut().graceful_shutdown();
    // Whether it took leave of the peer in time is not asked of a dropped link.
    let _ = tokio::time::timeout(LINGER, connection).await;
}

/// Answers the requests of one connection: one link, and refusals.
struct Reception {
    peer: String,
    address: SocketAddr,
    /// Taken by the one link that a connection can have.
    held: Mutex<Option<oneshot::Sender<()>>>,
    silence: Silence,
    links: mpsc::Sender<PeerLink>,
    counters: Arc<PeerCounters>,
}

impl Reception {
    fn with_held<R>(&self, act: impl FnOnce(&mut Option<oneshot::Sender<()>>) -> R) -> R {
        // A panic elsewhere leaves it as good as it was.
        act(&mut self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Returns after `longest` if no link was asked for by then.
    async fn unused_for(&self, longest: Duration) {
        tokio::time::sleep(longest).await;
        if self.with_held(|held| held.is_none()) {
            std::future::pending().await
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if request.uri().path() != PATH {
            return refuse(StatusCode::NOT_FOUND, "unknown path; peers POST to /linckia/peer/1\n");
        }
        if request.method() != Method::POST {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "peers POST here\n");
        }
        let Some(held) = self.with_held(Option::take) else {
            return refuse(StatusCode::CONFLICT, "this connection has its link already\n");
        };
        let (entrance, body) = queue();
        let link = PeerLink::new(
            (self.peer.clone(), self.address),
            (entrance, request.into_body()),
            Arc::clone(&self.silence),
            held,
        );
        match self.links.send_timeout(link, HANDOVER_LONGEST).await {
            Ok(()) => {
                self.counters.accepted.fetch_add(1, Relaxed);
                Response::new(Either::Left(body))
            }
            Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "no links are taken now\n"),
        }
    }
}

fn refuse(status: StatusCode, reason: &'static str) -> Answer {
    let mut answer = Response::new(Either::Right(Full::new(Bytes::from_static(reason.as_bytes()))));
    *answer.status_mut() = status;
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    answer
}
