//! Strangers at the peer port: other people's certificates, none, and no TLS at all.
//!
//! A scenario over `fleet`, with a TLS client that keeps to no rule of ours. What always holds:
//! the same client with the fleet's own certificate gets in, so what is refused is the stranger.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use linckia_net::{DevelopmentCa, SubjectNames};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::door::event;
use crate::fleet::{Fleet, REGIONS};
use crate::processes::eventually;

/// The beginning of every HTTP/2 connection, with empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const PATIENCE: Duration = Duration::from_secs(20);

type Pair = (PathBuf, PathBuf);

fn peer_port(fleet: &Fleet, region: usize) -> SocketAddr {
    let bytes = std::fs::read(fleet.dir().join("ports.json")).unwrap();
    let ports: Value = serde_json::from_slice(&bytes).unwrap();
    let port = ports["regions"][region]["peer"].as_u64().unwrap();
    SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()))
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The first bytes that the peer port answers to this client; why there are none.
fn greet(
    fleet: &Fleet,
    certificate: Option<&Pair>,
    version: &'static rustls::SupportedProtocolVersion,
) -> Result<Vec<u8>, String> {
    let mut roots = RootCertStore::empty();
    let authority = fleet.dir().join("fleet.pki/ca.pem");
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
                .unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(client, connect(peer_port(fleet, 0)));
    stream.write_all(PREFACE).map_err(|error| refusal(&error))?;
    let mut bytes = vec![0; 1_024];
    match stream.read(&mut bytes) {
        Ok(0) => Err("closed".to_owned()),
        Ok(count) => Ok(bytes[..count].to_vec()),
        Err(error) => Err(refusal(&error)),
    }
}

fn refusal(error: &std::io::Error) -> String {
    let waited = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    assert!(!waited, "a stranger is left waiting");
    error.to_string()
}

#[test]
fn strangers_are_refused_at_the_peer_port_and_the_region_stays_healthy() {
    let fleet = Fleet::near();
    let elsewhere = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let foreign = DevelopmentCa::open_or_create(elsewhere.path(), now).unwrap();
    let foreign = foreign.issue("eu-west-1", &SubjectNames::default(), now).unwrap();
    let foreign = (foreign.certificate, foreign.key);
    let pki = fleet.dir().join("fleet.pki");
    let own = (pki.join("eu-west-1.pem"), pki.join("eu-west-1.key"));
    let (tls12, tls13) = (&rustls::version::TLS12, &rustls::version::TLS13);

    let welcome = greet(&fleet, Some(&own), tls13).expect("the fleet's own certificate");
    assert_eq!(welcome.get(3), Some(&4), "HTTP/2 settings: {welcome:?}");
    for (certificate, version, said) in [
        (Some(&foreign), tls13, "UnknownCA"),
        (None, tls13, "CertificateRequired"),
        (Some(&own), tls12, "ProtocolVersion"),
    ] {
        let refused = greet(&fleet, certificate, version).expect_err(said);
        assert!(refused.contains(said), "{said}: {refused}");
    }
    for bytes in [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        PREFACE.to_vec(),
        vec![0xff; 100_000],
        vec![0x16, 3, 1, 0xff, 0xff],
        Vec::new(),
    ] {
        garbage(&fleet, &bytes);
    }
    let unsaid: Vec<_> = (0..50).map(|_| connect(peer_port(&fleet, 0))).collect();
    healthy(&fleet);
    drop(unsaid);
    healthy(&fleet);
    let welcome = greet(&fleet, Some(&own), tls13).expect("still the fleet's own certificate");
    assert!(!welcome.is_empty());
}

/// Not TLS: closed, with an alert at most.
fn garbage(fleet: &Fleet, bytes: &[u8]) {
    let mut stream = connect(peer_port(fleet, 0));
    // It may be refused before all of it is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        refusal(&error);
    }
    assert!(answer.len() <= 7, "an alert at most: {answer:?}");
}

/// It answers, no process died, and its links carry events both ways.
fn healthy(fleet: &Fleet) {
    for (at, region) in REGIONS.iter().enumerate() {
        assert!(fleet.door(region).is_ready(), "{region}");
        assert_eq!(fleet.state()["regions"][at]["restarts"], 0, "{region}");
    }
    for (from, to) in [(0, 1), (1, 0)] {
        let [from, to] = [from, to].map(|at: usize| &fleet.doors[at]);
        let id = format!("{}-{}", from.name, from.applied());
        from.write(&event(&id, &id, "put", &json!({})));
        eventually(20, "the links carry events", || to.thing(&id));
    }
}
