//! The development authority's directory, and what is said of bad files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use linckia_net::{ClientTls, DevelopmentCa, Error, IdentityFiles, SubjectNames};

use crate::support::{Authority, told};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_is_there_is_used_again() {
    let authority = Authority::new();
    let now = SystemTime::now();
    let names = SubjectNames::default();
    let files = authority.ca.issue("us-east-1", &names, now).unwrap();
    let first = (read(&files.certificate), read(&files.key), read(&files.authority));

    let again = DevelopmentCa::open_or_create(authority.directory.path(), now).unwrap();
    let files = again.issue("us-east-1", &names, now).unwrap();
    assert_eq!((read(&files.certificate), read(&files.key), read(&files.authority)), first);
    assert_eq!(files.load(now).unwrap().region(), "us-east-1");
}

#[test]
fn keys_are_for_the_owner_alone() {
    let authority = Authority::new();
    let directory = authority.directory.path();
    let now = SystemTime::now();
    // A left-over of a crash does not lend its mode.
    fs::write(directory.join("a.key.new"), "x").unwrap();
    authority.ca.issue("a", &SubjectNames::default(), now).unwrap();
    assert_eq!(mode(&directory.join("ca.key")), 0o600);
    assert_eq!(mode(&directory.join("a.key")), 0o600);
    assert!(!directory.join("a.key.new").exists());
}

#[test]
fn processes_that_start_together_agree() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let start = |region: &str| {
        let ca = DevelopmentCa::open_or_create(directory.path(), now).unwrap();
        ca.issue(region, &SubjectNames::default(), now).unwrap()
    };
    let all: Vec<IdentityFiles> = std::thread::scope(|scope| {
        let start = &start;
        let regions = ["a", "b", "c", "a", "b", "c", "a", "b"];
        let threads: Vec<_> =
            regions.into_iter().map(|region| scope.spawn(move || start(region))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for files in all {
        files.load(now).unwrap();
    }
}

#[test]
fn certificates_near_their_end_are_renewed() {
    let authority = Authority::new();
    let now = SystemTime::now();
    let names = SubjectNames::default();
    let files = authority.ca.issue("a", &names, now).unwrap();
    let first = read(&files.certificate);
    authority.ca.issue("a", &names, now + 300 * DAY).unwrap();
    assert_eq!(read(&files.certificate), first);
    authority.ca.issue("a", &names, now + 340 * DAY).unwrap();
    assert_ne!(read(&files.certificate), first);

    // The authority itself: a new certificate, the same key, so what it issued stays valid.
    let directory = authority.directory.path();
    let (first, key) = (read(&files.authority), read(&directory.join("ca.key")));
    let late = now + 3640 * DAY;
    let renewed = DevelopmentCa::open_or_create(directory, late).unwrap();
    assert_ne!(read(&files.authority), first);
    assert_eq!(read(&directory.join("ca.key")), key);
    files.load(now + 341 * DAY).unwrap();
    renewed.issue("a", &names, late).unwrap().load(late).unwrap();
}

#[test]
fn more_names_need_a_new_certificate() {
    let authority = Authority::new();
    let now = SystemTime::now();
    let mut names = SubjectNames::default();
    let files = authority.ca.issue("a", &names, now).unwrap();
    let first = read(&files.certificate);
    names.dns.push("a.example.org".to_owned());
    authority.ca.issue("a", &names, now).unwrap();
    let second = read(&files.certificate);
    assert_ne!(second, first);
    authority.ca.issue("a", &SubjectNames::default(), now).unwrap();
    assert_eq!(read(&files.certificate), second);
}

#[test]
fn half_an_authority() {
    let authority = Authority::new();
    let directory = authority.directory.path();
    let now = SystemTime::now();
    let files = authority.ca.issue("a", &SubjectNames::default(), now).unwrap();

    // Only the key: a start was cut off; the certificate is made again and fits what it issued.
    fs::remove_file(directory.join("ca.pem")).unwrap();
    DevelopmentCa::open_or_create(directory, now).unwrap();
    files.load(now).unwrap();

    fs::remove_file(directory.join("ca.key")).unwrap();
    let error = DevelopmentCa::open_or_create(directory, now).err().unwrap();
    assert!(told(&error).contains("ca.key: the authority's certificate is there"), "{error}");
}

#[test]
fn names_that_cannot_be_issued() {
    let authority = Authority::new();
    for name in ["ca", "", "A", "../b", "-a"] {
        let issued = authority.ca.issue(name, &SubjectNames::default(), SystemTime::now());
        assert!(matches!(issued, Err(Error::RegionName { .. })), "{name:?}");
    }
}

#[test]
fn bad_files_are_named() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let now = SystemTime::now();
    let names = SubjectNames::default();
    let good = ours.ca.issue("a", &names, now).unwrap();
    let other = ours.ca.issue("b", &names, now).unwrap();
    let foreign = theirs.ca.issue("a", &names, now).unwrap();
    let directory = ours.directory.path();
    let write = |name: &str, text: &[u8]| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let check = |files: IdentityFiles, at, expected: &str| {
        let error = told(&files.load(at).err().unwrap());
        assert!(error.contains(expected), "{error}\nlacks: {expected}");
    };
    let with_certificate = |path| IdentityFiles { certificate: path, ..good.clone() };
    let with_key = |path| IdentityFiles { key: path, ..good.clone() };
    let with_authority = |path| IdentityFiles { authority: path, ..good.clone() };

    check(with_key(directory.join("none")), now, "could not read");
    check(with_key(other.key.clone()), now, "b.key: this key does not belong");
    check(with_key(write("k", b"no key")), now, "k: there is no usable private key");
    check(with_certificate(write("c", b"nothing")), now, "c: there is no certificate");
    check(with_certificate(write("bytes", &[0xff; 9])), now, "bytes: this file is not text");
    let large = write("large", &vec![b'a'; 2 << 20]);
    check(with_certificate(large), now, "large: this file is larger");
    let broken = write("broken", b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n");
    check(with_certificate(broken), now, "broken: this PEM text is broken");
    check(with_authority(foreign.authority.clone()), now, "a.pem: peers would refuse");
    check(good.clone(), now + 400 * DAY, "a.pem: peers would refuse");
    check(good.clone(), now - 2 * DAY, "a.pem: peers would refuse");
    let authority_as_region = IdentityFiles {
        certificate: good.authority.clone(),
        key: directory.join("ca.key"),
        ..good.clone()
    };
    check(authority_as_region, now, "ca.pem: this certificate names no region");
    assert!(ClientTls::load(&directory.join("k"), None).is_err());
    good.load(now).unwrap();
}
