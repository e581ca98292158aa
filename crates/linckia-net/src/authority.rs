//! The development authority: makes its own certificate and those of the regions.
//!
//! Where in the flow: `io::development_ca` keeps what is made here in a directory; a production
//! fleet brings certificates of the same form from its own authority and never comes here.
//!
//! What always holds: time is passed in; every region certificate carries exactly one URI (its
//! SPIFFE identity), its internal DNS name, and may be used by a server and by a client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::{Error, Result};
use crate::identity::{Pem, certificates_of};
use crate::region_identity::{
    check_region_name, expires_at_seconds, internal_dns_name, region_of_certificate, spiffe_id,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Longer than any development fleet lives.
const AUTHORITY_VALID: Duration = DAY.saturating_mul(3652);

const REGION_VALID: Duration = DAY.saturating_mul(365);

/// A certificate with less than this left is made anew at the next start, so that no fleet that
/// is restarted now and then ever meets an expired one.
pub(crate) const RENEW_BEFORE: Duration = DAY.saturating_mul(30);

/// Certificates are valid from this long before they are made, for machines with clocks behind.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// The names and addresses, beside its identity, under which a region's own door is reached.
#[derive(Clone, Debug)]
pub struct SubjectNames {
    pub dns: Vec<String>,
    pub addresses: Vec<IpAddr>,
}

impl Default for SubjectNames {
    /// This machine: `localhost`, `127.0.0.1`, `::1`.
    fn default() -> Self {
        Self {
            dns: vec!["localhost".to_owned()],
            addresses: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        }
    }
}

/// A certificate and its key, as PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

pub(crate) struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority with a new key.
    pub(crate) fn create(now: SystemTime) -> Result<Self> {
        Self::certify(KeyPair::generate()?, now)
    }

    /// A new certificate for a key that exists already. What was issued under the old one stays
    /// valid: name and key are the same.
    pub(crate) fn recertify(key: &Pem<'_>, now: SystemTime) -> Result<Self> {
        Self::certify(read_key(key)?, now)
    }

    /// Reads an authority back.
    pub(crate) fn from_pem(certificate: &Pem<'_>, key: &Pem<'_>) -> Result<Self> {
        let chain = certificates_of(certificate)?;
        let key_pair = read_key(key)?;
        if !is_certificate_of(&chain[0], &key_pair) {
            return Err(Error::Pem {
                path: key.path.to_owned(),
                problem: "this key does not belong to the authority's certificate beside it",
                advice: "bring back the right file, or remove both to begin a new authority",
                source: None,
            });
        }
        let issuer = Issuer::from_ca_cert_der(&chain[0], key_pair)?;
        Ok(Self { certificate: certificate.text.to_owned(), issuer })
    }

    fn certify(key: KeyPair, now: SystemTime) -> Result<Self> {
        let mut params = params_valid(now, AUTHORITY_VALID, "");
        // Named after the key, so that a certificate of another development authority is refused
        // as of an unknown issuer, not as forged by this one.
        let key_name: String =
            params.key_identifier(&key)[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("Linckia development authority {key_name}");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    pub(crate) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A new key and certificate for a region.
    pub(crate) fn issue(
        &self,
        region: &str,
        names: &SubjectNames,
        now: SystemTime,
    ) -> Result<Issued> {
        check_region_name(region)?;
        let mut params = params_valid(now, REGION_VALID, region);
        params.subject_alt_names.push(SanType::URI(spiffe_id(region).try_into()?));
        params.subject_alt_names.push(SanType::DnsName(internal_dns_name(region).try_into()?));
        for name in &names.dns {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        for address in &names.addresses {
            params.subject_alt_names.push(SanType::IpAddress(*address));
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem() })
    }
}

/// Whether a certificate has more than [`RENEW_BEFORE`] left.
pub(crate) fn is_fresh(certificate: &CertificateDer<'_>, now: SystemTime) -> bool {
    let renew_at = seconds_since_1970(now + RENEW_BEFORE);
    expires_at_seconds(certificate).is_some_and(|end| i128::from(end) > i128::from(renew_at))
}

/// Whether a certificate names that region and carries all these names.
pub(crate) fn covers(certificate: &CertificateDer<'_>, region: &str, names: &SubjectNames) -> bool {
    use x509_parser::extensions::GeneralName;
    let Ok(found) = region_of_certificate(certificate) else { return false };
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(carried)) = parsed.subject_alternative_name() else { return false };
    let carried = &carried.value.general_names;
    let has_name = |wanted: &str| {
        carried.iter().any(|name| matches!(name, GeneralName::DNSName(dns) if *dns == wanted))
    };
    let has_address = |wanted: &IpAddr| {
        let bytes = match wanted {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        carried.iter().any(|name| matches!(name, GeneralName::IPAddress(ip) if *ip == bytes))
    };
    found == region
        && has_name(&internal_dns_name(region))
        && names.dns.iter().all(|name| has_name(name))
        && names.addresses.iter().all(has_address)
}

fn params_valid(now: SystemTime, valid: Duration, common_name: &str) -> CertificateParams {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let begin = seconds_since_1970(now).saturating_sub(BACKDATED.as_secs());
    let mut params = CertificateParams::default();
    params.not_before = epoch + Duration::from_secs(begin);
    params.not_after = epoch + Duration::from_secs(seconds_since_1970(now)) + valid;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Linckia");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn seconds_since_1970(now: SystemTime) -> u64 {
    // A clock before 1970 is taken as 1970: the certificates are then long expired, which is seen.
    now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn read_key(key: &Pem<'_>) -> Result<KeyPair> {
    KeyPair::from_pem(key.text).map_err(|source| Error::Pem {
        path: key.path.to_owned(),
        problem: "this is not a private key that can be used",
        advice: "bring back the file; a PKCS #8 key in PEM form is expected",
        source: Some(Box::new(source)),
    })
}

fn is_certificate_of(certificate: &CertificateDer<'_>, key: &KeyPair) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, parsed)| {
        parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw()
    })
}

/// The authority as its directory's files tell it: both, only the key (a start was cut off between
/// the two, or the certificate is near its end), or neither.
pub(crate) fn authority_of_files(
    certificate: (&Path, Option<&str>),
    key: (&Path, Option<&str>),
    now: SystemTime,
) -> Result<(Authority, bool)> {
    match (certificate.1, key.1) {
        (Some(text), Some(key_text)) => {
            let pem = Pem { path: certificate.0, text };
            let key_pem = Pem { path: key.0, text: key_text };
            let authority = Authority::from_pem(&pem, &key_pem)?;
            if is_fresh(&certificates_of(&pem)?[0], now) {
                return Ok((authority, false));
            }
            Ok((Authority::recertify(&key_pem, now)?, true))
        }
        (None, Some(text)) => Ok((Authority::recertify(&Pem { path: key.0, text }, now)?, true)),
        (None, None) => Ok((Authority::create(now)?, true)),
        (Some(_), None) => Err(Error::Pem {
            path: key.0.to_owned(),
            problem: "the authority's certificate is there, its key is not",
            advice: "bring the key back, or remove the certificate to begin a new authority, \
                     which every region must then be restarted with",
            source: None,
        }),
    }
}
