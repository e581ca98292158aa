//! Who this region is on the wire, and the TLS settings that follow from it.
//!
//! Where in the flow: read once at the start by `io::identity_files`, then only its TLS settings
//! are used: [`PeerTls`] by the peer transport, [`DoorTls`] by the HTTP door, [`ClientTls`] by the
//! client.
//!
//! What always holds: TLS 1.3 only, the ring provider named explicitly; between peers both sides
//! present a certificate of the fleet's authority; an [`Identity`] that exists was accepted by the
//! very rules its peers will apply.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::error::{Error, Result};
use crate::region_identity::{internal_dns_name, region_of_certificate};

const ALPN_HTTP2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The text of a PEM file, and where it came from for what is said about it.
#[derive(Clone, Copy)]
pub(crate) struct Pem<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
}

impl Pem<'_> {
    fn refuse(
        &self,
        problem: &'static str,
        advice: &'static str,
        source: impl Into<Option<Box<dyn std::error::Error + Send + Sync>>>,
    ) -> Error {
        Error::Pem { path: self.path.to_owned(), problem, advice, source: source.into() }
    }
}

/// A region's certificate chain and key, and the fleet's authority.
pub struct Identity {
    region: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
}

impl Identity {
    pub(crate) fn from_pem(
        certificate: &Pem<'_>,
        key: &Pem<'_>,
        authority: &Pem<'_>,
        now: SystemTime,
    ) -> Result<Self> {
        let chain = certificates_of(certificate)?;
        let region = region_of_certificate(&chain[0]).map_err(|source| {
            certificate.refuse(
                "this certificate names no region",
                "it needs the one URI spiffe://linckia/region/<name> as alternative name",
                Some(source.into()),
            )
        })?;
        let key_der = key_of(key)?;
        check_key_matches(certificate, key, &chain, &key_der)?;
        let roots = Arc::new(roots_of(authority)?);
        let identity = Self { region, chain, key: key_der, roots };
        identity.check_as_peers_do(certificate, now)?;
        Ok(identity)
    }

    /// The name of this region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The settings for links with peers, both directions.
    pub fn peer_tls(&self) -> Result<PeerTls> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider())
                .build()
                .map_err(no_roots)?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        server.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        // Links live for days: a resumed session would save nothing and outlive a renewed
        // authority.
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        client.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        client.resumption = Resumption::disabled();
        Ok(PeerTls { server: Arc::new(server), client: Arc::new(client) })
    }

    /// Says at the start what every peer would otherwise say in its log: not of this authority,
    /// expired, not for this use.
    fn check_as_peers_do(&self, certificate: &Pem<'_>, now: SystemTime) -> Result<()> {
        let advice = "every region needs a certificate of the one authority of the fleet, valid \
                      today, for use by server and client, with the DNS name \
                      <region>.region.linckia.internal; in development, remove it and start again";
        let now = UnixTime::since_unix_epoch(
            now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO),
        );
        let intermediates = &self.chain[1..];
        let server =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&self.roots), provider())
                .build()
                .map_err(no_roots)?;
        let name = internal_server_name(&self.region)?;
        server.verify_server_cert(&self.chain[0], intermediates, &name, &[], now).map_err(
            |source| {
                certificate.refuse("peers would refuse this server", advice, Some(source.into()))
            },
        )?;
        let client =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider())
                .build()
                .map_err(no_roots)?;
        client.verify_client_cert(&self.chain[0], intermediates, now).map_err(|source| {
            certificate.refuse("peers would refuse this client", advice, Some(source.into()))
        })?;
        Ok(())
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("region", &self.region).finish_non_exhaustive()
    }
}

/// TLS between peers: both sides show a certificate of the fleet.
#[derive(Clone, Debug)]
pub struct PeerTls {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

/// TLS of the HTTP door.
#[derive(Clone, Debug)]
pub struct DoorTls {
    pub(crate) server: Arc<ServerConfig>,
}

impl DoorTls {
    /// With a client authority, a certificate that a client presents must be of it; a client may
    /// also present none, and is then for the door to judge by its token.
    pub(crate) fn from_pem(
        certificate: &Pem<'_>,
        key: &Pem<'_>,
        client_authority: Option<&Pem<'_>>,
    ) -> Result<Self> {
        let chain = certificates_of(certificate)?;
        let key_der = key_of(key)?;
        check_key_matches(certificate, key, &chain, &key_der)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?;
        let builder = match client_authority {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let roots = Arc::new(roots_of(authority)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                    .allow_unauthenticated()
                    .build()
                    .map_err(no_roots)?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut server = builder.with_single_cert(chain, key_der)?;
        server.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
        Ok(Self { server: Arc::new(server) })
    }
}

/// TLS of the client: whom it trusts, and who it is where the door asks.
#[derive(Clone, Debug)]
pub struct ClientTls {
    pub(crate) client: Arc<ClientConfig>,
}

impl ClientTls {
    pub(crate) fn from_pem(authority: &Pem<'_>, own: Option<(&Pem<'_>, &Pem<'_>)>) -> Result<Self> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots_of(authority)?);
        let mut client = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates_of(certificate)?;
                let key_der = key_of(key)?;
                check_key_matches(certificate, key, &chain, &key_der)?;
                builder.with_client_auth_cert(chain, key_der)?
            }
        };
        client.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
        Ok(Self { client: Arc::new(client) })
    }
}

/// The name that the dialler of a region verifies.
pub(crate) fn internal_server_name(region: &str) -> Result<ServerName<'static>> {
    ServerName::try_from(internal_dns_name(region)).map_err(|_| Error::RegionName {
        name: region.to_owned(),
        reason: "it cannot stand in a DNS name",
    })
}

/// The certificates in a PEM text, the leaf first; never empty.
pub(crate) fn certificates_of(pem: &Pem<'_>) -> Result<Vec<CertificateDer<'static>>> {
    let advice = "a PEM file with -----BEGIN CERTIFICATE----- is expected, the leaf first";
    let chain = CertificateDer::pem_slice_iter(pem.text.as_bytes())
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|source| pem.refuse("this PEM text is broken", advice, Some(source.into())))?;
    if chain.is_empty() {
        return Err(pem.refuse("there is no certificate in this file", advice, None));
    }
    Ok(chain)
}

fn key_of(pem: &Pem<'_>) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem.text.as_bytes()).map_err(|source| {
        pem.refuse(
            "there is no usable private key in this file",
            "an unencrypted PEM key is expected (PKCS #8, PKCS #1 or SEC 1)",
            Some(source.into()),
        )
    })
}

fn roots_of(pem: &Pem<'_>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates_of(pem)? {
        roots.add(certificate).map_err(|source| {
            pem.refuse(
                "a certificate in this file cannot serve as an authority",
                "the authority's own certificate is expected here",
                Some(source.into()),
            )
        })?;
    }
    Ok(roots)
}

fn check_key_matches(
    certificate: &Pem<'_>,
    key: &Pem<'_>,
    chain: &[CertificateDer<'static>],
    key_der: &PrivateKeyDer<'static>,
) -> Result<()> {
    match CertifiedKey::from_der(chain.to_vec(), key_der.clone_key(), &provider()) {
        Ok(_) => Ok(()),
        Err(source @ rustls::Error::InconsistentKeys(_)) => Err(key.refuse(
            "this key does not belong to the certificate",
            "name the key that the certificate was made for",
            Some(source.into()),
        )),
        Err(source @ rustls::Error::InvalidCertificate(_)) => Err(certificate.refuse(
            "this certificate cannot be read",
            "name an X.509 certificate in PEM form",
            Some(source.into()),
        )),
        Err(source) => Err(key.refuse(
            "this key cannot be used",
            "an ECDSA P-256 or P-384, Ed25519 or RSA key is expected",
            Some(source.into()),
        )),
    }
}

fn no_roots(source: rustls::client::VerifierBuilderError) -> Error {
    Error::Tls { source: rustls::Error::General(source.to_string()) }
}

/// Named explicitly everywhere, so that this crate works whatever the process installed.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
