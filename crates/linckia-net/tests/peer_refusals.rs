//! Who is refused, how it is told, and that the listener lives on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use linckia_net::{Error, LinkOptions, SubjectNames, dial};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use crate::support::{Authority, Listening, soon, told};

type Pieces = http_body_util::combinators::BoxBody<Bytes, std::io::Error>;

/// A client that keeps to no rule of ours.
async fn raw_tls(
    listening: &Listening,
    authority: &Authority,
    version: &'static rustls::SupportedProtocolVersion,
    with_certificate: bool,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let files = authority.ca.issue("raw", &SubjectNames::default(), SystemTime::now()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = if with_certificate {
        let chain = vec![CertificateDer::from_pem_file(&files.certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        builder.with_client_auth_cert(chain, key).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(listening.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

async fn raw_http2(listening: &Listening, authority: &Authority) -> SendRequest<Pieces> {
    let stream = raw_tls(listening, authority, &rustls::version::TLS13, true).await.unwrap();
    let (requests, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    requests
}

fn request(method: Method, path: &str, body: Pieces) -> Request<Pieces> {
    Request::builder().method(method).uri(format!("https://us{path}")).body(body).unwrap()
}

fn empty() -> Pieces {
    Full::new(Bytes::new()).map_err(std::io::Error::other).boxed()
}

/// A body that stays open as long as the sender.
fn open_body() -> (mpsc::Sender<Bytes>, Pieces) {
    let (sender, receiver) = mpsc::channel::<Bytes>(8);
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(Frame::data(piece)), receiver))
    });
    (sender, BodyExt::boxed(StreamBody::new(pieces)))
}

async fn text(answer: http::Response<Incoming>) -> (StatusCode, String) {
    let status = answer.status();
    let body = soon(answer.into_body().collect()).await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_foreign_certificate() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (us, eu) = (ours.tls("us"), ours.tls("eu"));
    let mut listening = Listening::start(&us, LinkOptions::for_listener());
    let address = listening.address.to_string();
    // Neither side trusts the other: the dialler says so first.
    let error =
        soon(dial(&address, "us", &theirs.tls("eu"), &LinkOptions::default())).await.unwrap_err();
    assert!(matches!(error, Error::Handshake { .. }), "{error:?}");
    listening.until_refused(1).await;
    assert!(told(&error).contains("UnknownIssuer"), "{}", told(&error));
    listening.still_accepts(&eu, "us").await;
    assert_eq!((listening.counters.accepted(), listening.counters.refused()), (1, 1));
}

#[tokio::test]
async fn a_dialler_whose_certificate_the_listener_does_not_know() {
    // It trusts us, we do not trust it: its certificate is of another authority.
    let (ours, theirs) = (Authority::new(), Authority::new());
    let mut listening = Listening::start(&ours.tls("us"), LinkOptions::for_listener());
    let now = SystemTime::now();
    let foreign = theirs.ca.issue("eu", &SubjectNames::default(), now).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let known = CertificateDer::from_pem_file(ours.ca.certificate_path()).unwrap();
    roots.add(known).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_file(&foreign.certificate).unwrap()],
            PrivateKeyDer::from_pem_file(&foreign.key).unwrap(),
        )
        .unwrap();
    let tcp = TcpStream::connect(listening.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    // With TLS 1.3 the refusal arrives after the client thinks that it is done.
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    assert!(soon(stream.read_u8()).await.is_err());
    listening.until_refused(1).await;
    listening.still_accepts(&ours.tls("eu"), "us").await;
}

#[tokio::test]
async fn the_right_authority_but_another_region() {
    let authority = Authority::new();
    let (us, eu) = (authority.tls("us"), authority.tls("eu"));
    let mut listening = Listening::start(&us, LinkOptions::for_listener());
    let address = listening.address.to_string();
    let error = soon(dial(&address, "ap", &eu, &LinkOptions::default())).await.unwrap_err();
    assert!(matches!(error, Error::Handshake { .. }), "{error:?}");
    let told = told(&error);
    assert!(told.contains("ap.region.linckia.internal"), "{told}");
    listening.still_accepts(&eu, "us").await;
}

#[tokio::test]
async fn tls_1_2_and_clients_without_certificate() {
    let authority = Authority::new();
    let us = authority.tls("us");
    let mut listening = Listening::start(&us, LinkOptions::for_listener());
    assert!(raw_tls(&listening, &authority, &rustls::version::TLS12, true).await.is_err());
    listening.until_refused(1).await;
    let stream = raw_tls(&listening, &authority, &rustls::version::TLS13, false).await;
    assert!(soon(stream.unwrap().read_u8()).await.is_err());
    listening.until_refused(2).await;
    listening.still_accepts(&us, "us").await;
}

#[tokio::test]
async fn plaintext_and_silence() {
    let authority = Authority::new();
    let us = authority.tls("us");
    let options = LinkOptions {
        handshake_longest: Duration::from_millis(100),
        ..LinkOptions::for_listener()
    };
    let mut listening = Listening::start(&us, options);
    let mut plain = TcpStream::connect(listening.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // Closed with or without a reset, after at most a TLS alert.
    let _ = soon(plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"));
    listening.until_refused(1).await;
    let mut silent = TcpStream::connect(listening.address).await.unwrap();
    let _ = soon(silent.read_to_end(&mut answer)).await;
    listening.until_refused(2).await;
    listening.still_accepts(&us, "us").await;
}

#[tokio::test]
async fn requests_that_ask_for_no_link() {
    let authority = Authority::new();
    let mut listening = Listening::start(&authority.tls("us"), LinkOptions::for_listener());
    let mut requests = raw_http2(&listening, &authority).await;
    let answer = requests.send_request(request(Method::POST, "/other", empty())).await.unwrap();
    let (status, reason) = text(answer).await;
    assert_eq!((status, reason.contains("/linckia/peer/1")), (StatusCode::NOT_FOUND, true));
    let get = request(Method::GET, "/linckia/peer/1", empty());
    let (status, _) = text(requests.send_request(get).await.unwrap()).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);

    let (_open, body) = open_body();
    let link = request(Method::POST, "/linckia/peer/1", body);
    let answer = requests.send_request(link).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let accepted = soon(listening.links.recv()).await.unwrap();
    assert_eq!(accepted.peer, "raw");
    let second = request(Method::POST, "/linckia/peer/1", empty());
    let (status, _) = text(requests.send_request(second).await.unwrap()).await;
    assert_eq!(status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let authority = Authority::new();
    let options = LinkOptions {
        handshake_longest: Duration::from_millis(200),
        ..LinkOptions::for_listener()
    };
    let listening = Listening::start(&authority.tls("us"), options);
    let mut requests = raw_http2(&listening, &authority).await;
    soon(async {
        while requests.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn oversized_and_torn_frames() {
    let authority = Authority::new();
    let mut listening = Listening::start(&authority.tls("us"), LinkOptions::for_listener());
    let oversized = Bytes::from(vec![0xff; 64]);
    let torn = Bytes::from(vec![0, 0, 0, 9, 1, 2]);
    for (piece, is_oversized) in [(oversized, true), (torn, false)] {
        let mut requests = raw_http2(&listening, &authority).await;
        let (open, body) = open_body();
        let link = request(Method::POST, "/linckia/peer/1", body);
        let _answer = requests.send_request(link).await.unwrap();
        let mut accepted = soon(listening.links.recv()).await.unwrap();
        open.send(piece).await.unwrap();
        drop(open);
        let error = soon(accepted.receiver.recv()).await.unwrap_err();
        let as_expected = match error {
            Error::FrameTooLarge { .. } => is_oversized,
            Error::FrameTorn { .. } => !is_oversized,
            _ => false,
        };
        assert!(as_expected, "{error:?}");
        assert!(matches!(accepted.receiver.recv().await, Err(Error::LinkClosed { .. })));
    }
    listening.still_accepts(&authority.tls("eu"), "us").await;
}

#[tokio::test]
async fn nobody_takes_the_links() {
    let authority = Authority::new();
    let us = authority.tls("us");
    let mut listening = Listening::start(&us, LinkOptions::for_listener());
    listening.links.close();
    let address = listening.address.to_string();
    let error = soon(dial(&address, "us", &us, &LinkOptions::default())).await.unwrap_err();
    let Error::Refused { status, reason, .. } = error else { panic!("{error:?}") };
    assert_eq!((status, &*reason), (503, "no links are taken now"));
}

#[tokio::test]
async fn nobody_listens() {
    let authority = Authority::new();
    let us = authority.tls("us");
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap().to_string();
    let options =
        LinkOptions { handshake_longest: Duration::from_millis(100), ..LinkOptions::default() };
    // Bound and never accepted: the kernel connects, nobody answers.
    let error = soon(dial(&address, "us", &us, &options)).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { step: "TLS handshake", .. }), "{error:?}");
    drop(free);
    let error = soon(dial(&address, "us", &us, &options)).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
}
