//! The HTTP door: both versions of HTTP, with and without TLS, and its limits.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use linckia_net::{
    Client, ClientOptions, ClientTls, Connection, Door, DoorOptions, DoorTls, Error, Shutdown,
    SubjectNames, Trigger,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Authority, loopback, soon};

/// `/who` tells the connection, `/slow/<milliseconds>` takes its time, all else echoes the body.
async fn answer(
    connection: Connection,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    if let Some(milliseconds) = path.strip_prefix("/slow/") {
        let milliseconds = milliseconds.parse().unwrap();
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    let answer = if path == "/who" {
        let region = connection.client_region().unwrap_or("-");
        let subject = connection.client_subject().unwrap_or("-");
        let version = request.version();
        let tls = connection.is_tls();
        Bytes::from(format!("{version:?} tls={tls} region={region} subject={subject}"))
    } else {
        request.into_body().collect().await.map_or_else(|_| Bytes::new(), |body| body.to_bytes())
    };
    Ok(Response::new(Full::new(answer)))
}

pub fn open(tls: Option<&DoorTls>, options: DoorOptions) -> (SocketAddr, Trigger) {
    let door = Door::bind(loopback(), tls, options).unwrap();
    let address = door.local_address();
    let (trigger, shutdown) = Shutdown::new();
    let service_for =
        |connection: Connection| service_fn(move |request| answer(connection.clone(), request));
    tokio::spawn(door.serve(service_for, shutdown));
    (address, trigger)
}

fn client(address: SocketAddr) -> Client {
    Client::new(&format!("http://{address}"), ClientOptions::default()).unwrap()
}

async fn get(client: &Client, path: &str) -> String {
    let (status, _, body) = soon(client.request(Method::GET, path, &[], "")).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn http_1_1_in_plaintext() {
    let (address, _trigger) = open(None, DoorOptions::default());
    let client = client(address);
    let who = get(&client, "/who").await;
    assert_eq!(who, "HTTP/1.1 tls=false region=- subject=-");
    let body = vec![5; 3_000_000];
    let (_, _, echo) =
        soon(client.request(Method::POST, "/", &[("x-a", "b")], body.clone())).await.unwrap();
    assert_eq!(echo, body);
}

#[tokio::test]
async fn http_2_by_prior_knowledge() {
    let (address, _trigger) = open(None, DoorOptions::default());
    let mut tcp = TcpStream::connect(address).await.unwrap();
    // The preface in two pieces, so that the door must wait for the second.
    tcp.set_nodelay(true).unwrap();
    tcp.write_all(b"PRI * HT").await.unwrap();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    tcp.write_all(b"TP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut settings = [0; 9];
    soon(tcp.read_exact(&mut settings)).await.unwrap();
    assert_eq!(settings[3], 4, "a SETTINGS frame answers");

    let tcp = TcpStream::connect(address).await.unwrap();
    assert_eq!(who_over_http2(TokioIo::new(tcp)).await, "HTTP/2.0 tls=false region=- subject=-");
}

async fn who_over_http2<T>(io: T) -> String
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut requests, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://door/who").body(Full::new(Bytes::new())).unwrap();
    let answer = soon(requests.send_request(request)).await.unwrap();
    let body = soon(answer.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn over_tls_with_and_without_a_client_certificate() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let now = SystemTime::now();
    let door = ours.ca.issue("us", &SubjectNames::default(), now).unwrap();
    let caller = ours.ca.issue("eu", &SubjectNames::default(), now).unwrap();
    let stranger = theirs.ca.issue("eu", &SubjectNames::default(), now).unwrap();
    let tls = DoorTls::load(&door.certificate, &door.key, Some(&door.authority)).unwrap();
    let (address, _trigger) = open(Some(&tls), DoorOptions::default());
    let client = |own: Option<&linckia_net::IdentityFiles>| {
        let own = own.map(|files| (&*files.certificate, &*files.key));
        let tls = Some(ClientTls::load(&door.authority, own).unwrap());
        let url = format!("https://localhost:{}", address.port());
        Client::new(&url, ClientOptions { tls, ..ClientOptions::default() }).unwrap()
    };
    let who = get(&client(None), "/who").await;
    assert_eq!(who, "HTTP/1.1 tls=true region=- subject=-");
    let who = get(&client(Some(&caller)), "/who").await;
    assert_eq!(who, "HTTP/1.1 tls=true region=eu subject=O=Linckia, CN=eu");
    let refused = soon(client(Some(&stranger)).request(Method::GET, "/who", &[], "")).await;
    assert!(refused.is_err());

    // A door of another authority is not talked to.
    let tls = Some(ClientTls::load(&stranger.authority, None).unwrap());
    let url = format!("https://{address}");
    let careful = Client::new(&url, ClientOptions { tls, ..ClientOptions::default() }).unwrap();
    let refused = soon(careful.request(Method::GET, "/who", &[], "")).await;
    assert!(matches!(refused, Err(Error::Handshake { .. })), "{refused:?}");

    // Plaintext closes its own connection and no other.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"));
    get(&client(None), "/who").await;
}

#[tokio::test]
async fn http_2_over_tls_by_alpn() {
    let authority = Authority::new();
    let files = authority.ca.issue("us", &SubjectNames::default(), SystemTime::now()).unwrap();
    let tls = DoorTls::load(&files.certificate, &files.key, None).unwrap();
    let (address, _trigger) = open(Some(&tls), DoorOptions::default());
    let mut roots = rustls::RootCertStore::empty();
    use rustls_pki_types::pem::PemObject;
    let known = rustls_pki_types::CertificateDer::from_pem_file(&files.authority).unwrap();
    roots.add(known).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let stream = connector.connect(name, tcp).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(who_over_http2(TokioIo::new(stream)).await, "HTTP/2.0 tls=true region=- subject=-");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (address, _trigger) = open(None, DoorOptions::default());
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let mut requests = String::new();
    for index in 0..50 {
        let length = index.to_string().len();
        requests +=
            &format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{index}");
    }
    requests += "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3\r\n\r\nend";
    tcp.write_all(requests.as_bytes()).await.unwrap();
    let mut answers = String::new();
    soon(tcp.read_to_string(&mut answers)).await.unwrap();
    let bodies: Vec<&str> = answers
        .split("\r\n\r\n")
        .skip(1)
        .map(|part| part.split("HTTP/1.1").next().unwrap())
        .collect();
    let expected: Vec<String> =
        (0..50).map(|index| index.to_string()).chain(["end".to_owned()]).collect();
    assert_eq!(bodies, expected);
}

fn idle_after(milliseconds: u64) -> DoorOptions {
    DoorOptions { idle_longest: Duration::from_millis(milliseconds), ..DoorOptions::default() }
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let (address, _trigger) = open(None, idle_after(200));
    let request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let h2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    // Never a word; half a head; a request, then silence; HTTP/2 without a request.
    for (said, is_answered) in [("", false), (&request[..20], false), (request, true), (h2, true)] {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(said.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = soon(tcp.read_to_end(&mut answer)).await;
        let got_200_or_settings = answer.starts_with(b"HTTP/1.1 200") || answer.get(3) == Some(&4);
        assert_eq!(got_200_or_settings, is_answered, "{said:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_request_being_worked_on_is_not_idle_until_it_stalls() {
    let (address, _trigger) = open(None, idle_after(100));
    get(&client(address), "/slow/600").await;

    let stalling =
        DoorOptions { stall_longest: Duration::from_millis(300), ..DoorOptions::default() };
    let (address, _trigger) = open(None, stalling);
    let mut tcp = TcpStream::connect(address).await.unwrap();
    // A body that never comes.
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n";
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(tcp.read_to_end(&mut answer)).await;
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let options = DoorOptions { connections_max: 1, ..DoorOptions::default() };
    let (address, _trigger) = open(None, options);
    let first = client(address);
    get(&first, "/").await;
    let second = client(address);
    let waiting = tokio::spawn(async move { get(&second, "/").await });
    // The first goes on, the second waits for it to go.
    get(&first, "/slow/50").await;
    assert!(!waiting.is_finished());
    drop(first);
    soon(waiting).await.unwrap();
}

#[tokio::test]
async fn heads_beyond_the_limit_are_refused() {
    let (address, _trigger) = open(None, DoorOptions::default());
    let long = "a".repeat(100_000);
    let answered = soon(client(address).request(Method::GET, "/", &[("x-a", &long)], "")).await;
    if let Ok((status, _, _)) = answered {
        assert_eq!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    get(&client(address), "/").await;
}

#[tokio::test]
async fn the_shutdown_lets_requests_finish() {
    let (address, trigger) = open(None, DoorOptions::default());
    let (busy, idle) = (client(address), client(address));
    get(&idle, "/").await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(b"GET /slow/300 HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let finishing = tokio::spawn(async move { get(&busy, "/slow/300").await });
    let mut answer = Vec::new();
    // Both requests are under way once a third, sent later, was answered.
    get(&idle, "/").await;
    let draining = trigger.drain(Duration::from_secs(10));
    let (drained, _) = soon(async { tokio::join!(draining, tcp.read_to_end(&mut answer)) }).await;
    assert!(drained);
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    finishing.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn the_shutdown_cuts_what_takes_too_long() {
    let options =
        DoorOptions { drain_longest: Duration::from_millis(100), ..DoorOptions::default() };
    let (address, trigger) = open(None, options);
    let client = client(address);
    get(&client, "/").await;
    let cut =
        tokio::spawn(async move { client.request(Method::GET, "/slow/60000", &[], "").await });
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    soon(tcp.read_to_end(&mut Vec::new())).await.unwrap();
    assert!(soon(trigger.drain(Duration::from_secs(10))).await);
    assert!(soon(cut).await.unwrap().is_err());
}
