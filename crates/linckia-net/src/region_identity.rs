//! How a region's name stands in its certificate, and how it is read back.
//!
//! Where in the flow: `authority` writes these names into certificates, `identity` and the peer
//! transport read them from certificates that TLS has already verified.
//!
//! What always holds: a name found here was the certificate's only URI, in the SPIFFE form
//! `spiffe://linckia/region/<name>`. Chain, validity and signature are not judged here.

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::{Error, Result};

/// As on the wire: `[a-z0-9-]{1,32}`; it also keeps the DNS label below its 63 bytes.
const REGION_NAME_BYTES_MAX: usize = 32;

const SPIFFE_PREFIX: &str = "spiffe://linckia/region/";
const INTERNAL_SUFFIX: &str = ".region.linckia.internal";

/// Says whether a name can stand in a certificate. Stricter than the wire in one thing: a hyphen
/// neither begins nor ends it, because the name is also a DNS label.
pub fn check_region_name(name: &str) -> Result<()> {
    let refuse = |reason| Err(Error::RegionName { name: name.to_owned(), reason });
    if name.is_empty() || name.len() > REGION_NAME_BYTES_MAX {
        return refuse("it must have 1 to 32 characters");
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return refuse("only a-z, 0-9 and the hyphen may stand in it");
    }
    if name.starts_with('-') || name.ends_with('-') {
        return refuse("a hyphen may not begin or end it, because it is a DNS label too");
    }
    Ok(())
}

pub(crate) fn spiffe_id(region: &str) -> String {
    format!("{SPIFFE_PREFIX}{region}")
}

/// The DNS name that every certificate of the region carries. The dialler verifies it in place of
/// the address it dialled: regions move, sit behind emulated links and share hosts.
pub(crate) fn internal_dns_name(region: &str) -> String {
    format!("{region}{INTERNAL_SUFFIX}")
}

/// The region that a certificate names. The certificate must have been verified already.
pub fn region_of_certificate(certificate: &CertificateDer<'_>) -> Result<String> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| Error::NoRegion { reason: "it is not an X.509 certificate" })?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|_| Error::NoRegion { reason: "its alternative names cannot be read" })?
        .ok_or(Error::NoRegion { reason: "it has no alternative names" })?;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    // The SPIFFE standard: exactly one URI, so that two readers cannot pick different ones.
    let (Some(uri), None) = (uris.next(), uris.next()) else {
        return Err(Error::NoRegion { reason: "it must have exactly one URI as alternative name" });
    };
    let region = uri
        .strip_prefix(SPIFFE_PREFIX)
        .ok_or(Error::NoRegion { reason: "its URI is not spiffe://linckia/region/<name>" })?;
    check_region_name(region)?;
    Ok(region.to_owned())
}

/// The subject as text, for logs and for mapping a client certificate to an actor.
pub(crate) fn subject_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.subject().to_string())
}

/// Until when a certificate is valid, in seconds since 1970.
pub(crate) fn expires_at_seconds(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, accepted: bool) {
        assert_eq!(check_region_name(name).is_ok(), accepted, "{name:?}");
    }

    #[test]
    fn names() {
        check("us-east-1", true);
        check("a", true);
        check("0", true);
        check(&"a".repeat(32), true);
        check(&"a".repeat(33), false);
        check("", false);
        check("-a", false);
        check("a-", false);
        check("A", false);
        check("a.b", false);
        check("a_b", false);
        check("a/../b", false);
        check("é", false);
    }

    #[test]
    fn rubbish_names_no_region() {
        let rubbish = CertificateDer::from(vec![0x30, 0x03, 1, 2, 3]);
        assert!(matches!(region_of_certificate(&rubbish), Err(Error::NoRegion { .. })));
        assert_eq!(subject_of(&rubbish), None);
        assert_eq!(expires_at_seconds(&rubbish), None);
    }
}
