//! A small HTTP client.
//!
//! Where in the flow: our command line, drills and black-box tests talk to doors with it.
//!
//! What always holds: connections are kept and used again, a bounded number of them; a request is
//! sent again only when it certainly did not leave; every wait has a limit; an answer that is
//! collected is bounded in size.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::header::{HOST, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::{Error, Result};
use crate::identity::ClientTls;

/// Connections kept for later; more than that at once are used and closed.
const IDLE_CONNECTIONS_MAX: usize = 128;

/// Of an answer that is collected; larger ones are for [`Client::send`].
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A kept connection is ready at once, or is not worth waiting for.
const REUSE_LONGEST: Duration = Duration::from_millis(100);

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Until a connection stands, TLS included.
    pub connect_longest: Duration,
    /// Until an answer is complete; for a streamed one until its head is there.
    pub answer_longest: Duration,
    /// For `https`.
    pub tls: Option<ClientTls>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_longest: Duration::from_secs(5),
            answer_longest: Duration::from_secs(30),
            tls: None,
        }
    }
}

/// A client of one door. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    target: Arc<Target>,
}

struct Target {
    base: String,
    host: String,
    port: u16,
    host_header: HeaderValue,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    options: ClientOptions,
    idle: Mutex<Vec<SendRequest<RequestBody>>>,
}

/// An answer whose body is read as it comes.
pub struct ClientResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    /// Given back once the body was read to its end.
    connection: Option<SendRequest<RequestBody>>,
    target: Arc<Target>,
}

impl Client {
    /// A client of the door at `base_url`: `http://` or `https://`, host, port, and nothing more.
    pub fn new(base_url: &str, options: ClientOptions) -> Result<Self> {
        let refuse = |reason| Error::Url { url: base_url.to_owned(), reason };
        let uri: Uri = base_url.parse().map_err(|_| refuse("it is not a URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refuse("it must begin with http:// or https://")),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(refuse("it must end after host and port"));
        }
        let authority = uri.authority().ok_or_else(|| refuse("it names no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let host_header = HeaderValue::from_str(authority.as_str())
            .map_err(|_| refuse("its host cannot be sent"))?;
        let tls = match (is_tls, &options.tls) {
            (false, _) => None,
            (true, None) => return Err(refuse("https needs the authority's certificate")),
            (true, Some(tls)) => {
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| refuse("its host is neither a name nor an address"))?;
                Some((TlsConnector::from(Arc::clone(&tls.client)), name))
            }
        };
        let target = Target {
            base: base_url.trim_end_matches('/').to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            host,
            host_header,
            tls,
            options,
            idle: Mutex::default(),
        };
        Ok(Self { target: Arc::new(target) })
    }

    /// The address this client was made for, without a slash at its end.
    pub fn base_url(&self) -> &str {
        &self.target.base
    }

    /// Sends a request and collects the answer.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<(StatusCode, HeaderMap, Bytes)> {
        let answering = async {
            let mut answer = self.send(method, path, headers, RequestBody::full(body)).await?;
            let body = answer.collect().await?;
            Ok((answer.status, answer.headers, body))
        };
        self.target.within("answering", self.target.options.answer_longest, answering).await
    }

    /// Sends a request, whose body may be a stream, and returns when the answer's head is there.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: RequestBody,
    ) -> Result<ClientResponse> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.target.host_header.clone());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body)?;
        let target = &self.target;
        target.within("answering", target.options.answer_longest, target.exchange(request)).await
    }
}

impl Target {
    async fn within<R>(
        &self,
        step: &'static str,
        after: Duration,
        future: impl Future<Output = Result<R>>,
    ) -> Result<R> {
        let timeout = |_| Error::Timeout { address: self.base.clone(), step, after };
        tokio::time::timeout(after, future).await.map_err(timeout)?
    }

    fn failed(&self, source: hyper::Error) -> Error {
        Error::Http { address: self.base.clone(), source }
    }

    async fn exchange(
        self: &Arc<Self>,
        mut request: Request<RequestBody>,
    ) -> Result<ClientResponse> {
        while let Some(mut connection) = self.take_idle().await {
            match connection.try_send_request(request).await {
                Ok(answer) => return Ok(self.response(answer, connection)),
                Err(mut error) => match error.take_message() {
                    // The door closed it meanwhile; nothing left.
                    Some(unsent) => request = unsent,
                    None => return Err(self.failed(error.into_error())),
                },
            }
        }
        let connecting = self.connect();
        let mut connection =
            self.within("connecting", self.options.connect_longest, connecting).await?;
        let answer =
            connection.send_request(request).await.map_err(|source| self.failed(source))?;
        Ok(self.response(answer, connection))
    }

    fn response(
        self: &Arc<Self>,
        answer: http::Response<Incoming>,
        connection: SendRequest<RequestBody>,
    ) -> ClientResponse {
        let (head, body) = answer.into_parts();
        ClientResponse {
            status: head.status,
            headers: head.headers,
            body,
            connection: Some(connection),
            target: Arc::clone(self),
        }
    }

    async fn connect(&self) -> Result<SendRequest<RequestBody>> {
        let address = || format!("{}:{}", self.host, self.port);
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|source| Error::Connect { address: address(), source })?;
        tcp.set_nodelay(true).map_err(|source| Error::Connect { address: address(), source })?;
        let Some((connector, name)) = &self.tls else { return self.begin(tcp).await };
        let stream = connector
            .connect(name.clone(), tcp)
            .await
            .map_err(|source| Error::Handshake { address: address(), source })?;
        self.begin(stream).await
    }

    async fn begin<T>(&self, stream: T) -> Result<SendRequest<RequestBody>>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (requests, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|source| self.failed(source))?;
        // Ends when the last handle is dropped; its failures are told to whoever awaits an answer.
        tokio::spawn(connection);
        Ok(requests)
    }

    fn with_idle<R>(&self, act: impl FnOnce(&mut Vec<SendRequest<RequestBody>>) -> R) -> R {
        // A panic elsewhere leaves the list as good as it was.
        act(&mut self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    async fn take_idle(&self) -> Option<SendRequest<RequestBody>> {
        loop {
            let mut connection = self.with_idle(Vec::pop)?;
            if let Ok(Ok(())) = tokio::time::timeout(REUSE_LONGEST, connection.ready()).await {
                return Some(connection);
            }
        }
    }
}

impl ClientResponse {
    /// The next piece of the body; `None` at its end. Waits as long as it takes.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    // Trailers say nothing here.
                    if let Ok(chunk) = frame.into_data() {
                        return Ok(Some(chunk));
                    }
                }
                Some(Err(source)) => return Err(self.target.failed(source)),
                None => {
                    self.give_back();
                    return Ok(None);
                }
            }
        }
    }

    /// The rest of the body, bounded.
    pub async fn collect(&mut self) -> Result<Bytes> {
        let mut collected = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if collected.len() + chunk.len() > ANSWER_BYTES_MAX {
                let address = self.target.base.clone();
                return Err(Error::AnswerTooLarge { address, limit: ANSWER_BYTES_MAX });
            }
            collected.extend_from_slice(&chunk);
        }
        Ok(collected.freeze())
    }

    fn give_back(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if connection.is_closed() {
            return;
        }
        self.target.with_idle(|idle| {
            if idle.len() < IDLE_CONNECTIONS_MAX {
                idle.push(connection);
            }
        });
    }
}

type PieceStream = dyn Stream<Item = std::io::Result<Bytes>> + Send;

/// The body of a request.
pub struct RequestBody(Content);

enum Content {
    Full(Option<Bytes>),
    Stream(Pin<Box<PieceStream>>),
}

impl RequestBody {
    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// A body that is there as a whole.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(Content::Full((!bytes.is_empty()).then_some(bytes)))
    }

    /// A body sent as it comes, in chunked coding; an error in it breaks the request off.
    pub fn stream(pieces: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Self {
        Self(Content::Stream(Box::pin(pieces)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        let piece = match &mut self.get_mut().0 {
            Content::Full(bytes) => bytes.take().map(Ok),
            Content::Stream(pieces) => ready!(pieces.as_mut().poll_next(context)),
        };
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Content::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Stream(_) => SizeHint::default(),
        }
    }
}
