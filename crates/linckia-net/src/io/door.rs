//! The HTTP door's listener: connections in, requests to somebody else's service.
//!
//! Where in the flow: under `linckia-api`, and under any other HTTP door. HTTP/1.1 and HTTP/2, in
//! plaintext (then by prior knowledge) or over TLS 1.3 (then by ALPN).
//!
//! What always holds: between the socket and the service lie no box and no task hop per request;
//! a connection is made known to the service once, when the service is made for it; connections
//! are bounded in number, in silence and, at the end, in time.

use std::error::Error as StdError;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::error::{Error, Result};
use crate::identity::DoorTls;
use crate::io::shutdown::Shutdown;
use crate::io::stream::{Counted, Traffic};
use crate::io::tcp;
use crate::region_identity::{region_of_certificate, subject_of};

/// With which an HTTP/2 client begins (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Of a request's head and of what is read ahead of a handler; hyper's own default is 400 kB a
/// connection, which 10,000 slow ones would turn into 4 GB.
const BUFFER_BYTES: usize = 64 * 1024;

/// Requests at once on an HTTP/2 connection.
const STREAMS_MAX: u32 = 128;

/// What an HTTP/2 client may send before the handler reads it: a body of the default limit passes
/// in some round trips, and a connection holds no more.
const HTTP2_WINDOW_BYTES: u32 = 1024 * 1024;

/// Limits of a door.
#[derive(Clone, Debug)]
pub struct DoorOptions {
    /// Connections at once; the next ones wait in the kernel.
    pub connections_max: usize,
    pub handshake_longest: Duration,
    /// How long a connection may stay without a whole request head, and how long without any
    /// byte while no request is being worked on. There is no shorter limit for a head: who wants
    /// to occupy a connection can as well stay silent.
    pub idle_longest: Duration,
    /// How long a connection may stay without any byte while a request is being worked on.
    pub stall_longest: Duration,
    /// After the end was announced, how long for requests under way.
    pub drain_longest: Duration,
}

impl Default for DoorOptions {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            handshake_longest: Duration::from_secs(10),
            idle_longest: Duration::from_secs(120),
            stall_longest: Duration::from_secs(300),
            drain_longest: Duration::from_secs(5),
        }
    }
}

/// What is known of a connection; cheap to clone, also into a request's extensions.
#[derive(Clone, Debug)]
pub struct Connection {
    known: Arc<Known>,
}

#[derive(Debug)]
struct Known {
    address: SocketAddr,
    is_tls: bool,
    client_region: Option<String>,
    client_subject: Option<String>,
}

impl Connection {
    fn plain(address: SocketAddr) -> Self {
        let known = Known { address, is_tls: false, client_region: None, client_subject: None };
        Self { known: Arc::new(known) }
    }

    fn over_tls(address: SocketAddr, stream: &TlsStream<TcpStream>) -> Self {
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let known = Known {
            address,
            is_tls: true,
            client_region: leaf.and_then(|leaf| region_of_certificate(leaf).ok()),
            client_subject: leaf.and_then(subject_of),
        };
        Self { known: Arc::new(known) }
    }

    /// Where the client is.
    pub fn address(&self) -> SocketAddr {
        self.known.address
    }

    pub fn is_tls(&self) -> bool {
        self.known.is_tls
    }

    /// The region that the client's verified certificate names, if it names one.
    pub fn client_region(&self) -> Option<&str> {
        self.known.client_region.as_deref()
    }

    /// The subject of the client's verified certificate, if it presented one.
    pub fn client_subject(&self) -> Option<&str> {
        self.known.client_subject.as_deref()
    }
}

/// A bound listener.
pub struct Door {
    listener: TcpListener,
    address: SocketAddr,
    context: Context,
}

struct Context {
    tls: Option<TlsAcceptor>,
    options: DoorOptions,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Door {
    pub fn bind(address: SocketAddr, tls: Option<&DoorTls>, options: DoorOptions) -> Result<Self> {
        let listener = tcp::listen(address)?;
        let address = listener.local_addr().map_err(|source| Error::Bind { address, source })?;
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(options.idle_longest)
            .max_buf_size(BUFFER_BYTES)
            .pipeline_flush(true);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(HTTP2_WINDOW_BYTES)
            .initial_connection_window_size(HTTP2_WINDOW_BYTES);
        let tls = tls.map(|tls| TlsAcceptor::from(Arc::clone(&tls.server)));
        Ok(Self { listener, address, context: Context { tls, options, http1, http2 } })
    }

    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the end is announced, with one service per connection made by `service_for`,
    /// which keeps what it wants to know of the connection, or puts it into every request's
    /// extensions (`request.extensions_mut().insert(connection.clone())`), at that cost.
    /// Requests then under way hold a guard of `shutdown`; they are cut after `drain_longest`.
    pub async fn serve<M, S, B>(self, service_for: M, shutdown: Shutdown)
    where
        M: Fn(Connection) -> S + Send + Sync + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let Self { listener, context, .. } = self;
        let room = Arc::new(Semaphore::new(context.options.connections_max));
        let shared = Arc::new((context, service_for));
        while let Some((tcp, address, place)) = tcp::accept(&listener, &room, &shutdown).await {
            let shared = Arc::clone(&shared);
            let shutdown = shutdown.clone();
            tokio::spawn(async move {
                let (context, service_for) = &*shared;
                let _place = place;
                let _guard = shutdown.guard();
                context.greet(tcp, address, service_for, &shutdown).await;
            });
        }
    }
}

impl Context {
    /// TLS, if any, then the service for this connection.
    async fn greet<M, S, B>(
        &self,
        tcp: TcpStream,
        address: SocketAddr,
        service_for: &M,
        shutdown: &Shutdown,
    ) where
        M: Fn(Connection) -> S,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let Some(acceptor) = &self.tls else {
            let service = service_for(Connection::plain(address));
            return self.serve(tcp, service, shutdown).await;
        };
        let accepting = tokio::time::timeout(self.options.handshake_longest, acceptor.accept(tcp));
        let accepted = tokio::select! {
            accepted = accepting => accepted,
            () = shutdown.wait() => return,
        };
        match accepted {
            Ok(Ok(stream)) => {
                let service = service_for(Connection::over_tls(address, &stream));
                self.serve(stream, service, shutdown).await;
            }
            // Clients that hang up, scanners, plaintext: the client is told by TLS, and an
            // operator who looks for it finds it.
            Ok(Err(error)) => tracing::debug!(%address, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
        }
    }

    /// One connection, whatever it lies on.
    async fn serve<T, S, B>(&self, mut stream: T, service: S, shutdown: &Shutdown)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let reading = tokio::time::timeout(self.options.idle_longest, read_beginning(&mut stream));
        let read = tokio::select! {
            read = reading => read,
            () = shutdown.wait() => return,
        };
        // Silent for too long, or gone without a word.
        let Ok(Ok(beginning)) = read else { return };
        let is_http2 = beginning.starts_with(HTTP2_PREFACE);
        let traffic = Arc::new(Traffic::default());
        let io = TokioIo::new(Counted::new(stream, beginning, Arc::clone(&traffic)));
        let handlers = Arc::clone(&traffic);
        let service = service_fn(move |request| {
            let handling = handlers.handling();
            let answering = service.call(request);
            async move {
                let answer = answering.await;
                drop(handling);
                answer
            }
        });
        if is_http2 {
            let connection = self.http2.serve_connection(io, service);
            self.drive(connection, |c| c.graceful_shutdown(), &traffic, shutdown).await;
        } else {
            let connection = self.http1.serve_connection(io, service);
            self.drive(connection, |c| c.graceful_shutdown(), &traffic, shutdown).await;
        }
    }

    /// Until the connection ends, or is idle for too long, or the end comes.
    async fn drive<C>(
        &self,
        connection: C,
        end: impl FnOnce(std::pin::Pin<&mut C>),
        traffic: &Traffic,
        shutdown: &Shutdown,
    ) where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut connection = std::pin::pin!(connection);
        let DoorOptions { idle_longest, stall_longest, drain_longest, .. } = self.options;
        tokio::select! {
            biased;
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(error = &error as &dyn StdError, "connection failed");
                }
                return;
            }
            () = traffic.nothing_passed_for(idle_longest, stall_longest) => return,
            () = shutdown.wait() => {}
        }
        end(connection.as_mut());
        if tokio::time::timeout(drain_longest, connection).await.is_err() {
            tracing::debug!("requests cut at the end of the drain");
        }
    }
}

/// Reads until it is clear whether HTTP/2 begins here: one read, as a rule.
async fn read_beginning<T: AsyncRead + Unpin>(stream: &mut T) -> std::io::Result<Bytes> {
    let mut beginning = BytesMut::with_capacity(1024);
    loop {
        if stream.read_buf(&mut beginning).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let compared = beginning.len().min(HTTP2_PREFACE.len());
        if compared == HTTP2_PREFACE.len() || beginning[..compared] != HTTP2_PREFACE[..compared] {
            return Ok(beginning.freeze());
        }
    }
}
