//! Configurations as people get them wrong: text in, line and reason out.

use std::path::Path;

use super::*;

const GOOD: &str = r#"region = "us-east-1"
dir = "data"
[door]
listen = "127.0.0.1:7401"
"#;

const FLEET: &str = r#"region = "us-east-1"
dir = "/var/lib/linckia"
[door]
listen = "0.0.0.0:7401"
certificate = "door.crt"
key = "door.key"
token_file = "token"
body_max = "1MiB"
[peer]
listen = "0.0.0.0:7411"
certificate = "r.crt"
key = "r.key"
ca = "ca.crt"
[[peers]]
region = "eu-west-1"
address = "eu.example.com:7411"
[[peers]]
region = "ap-southeast-1"
address = "[fd00::7]:7411"
[apply]
[ship]
linger = "0"
gather = "1ms"
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("conf/linckia.toml"), text)
}

#[test]
fn a_minimal_file_takes_the_defaults() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.dir, Path::new("conf/data"));
    assert_eq!(config.peers, vec![]);
    let door = config.door.unwrap();
    assert_eq!(door.body_bytes_max, 8 << 20);
    assert_eq!(door.events_per_array_max, 10_000);
    assert_eq!(door.connections_max, 16_384);
    assert_eq!(door.idle_timeout, Duration::from_secs(120));
    assert_eq!(config.log.bytes_max, 16 << 30);
    assert_eq!(config.store.cache_bytes, 32 << 20);
    assert_eq!(config.clock.epsilon, Duration::from_millis(500));
    assert_eq!(config.ship.linger, Duration::from_millis(5));
    assert_eq!(config.ship.gather, Duration::from_millis(3));
}

#[test]
fn a_full_file_is_read_as_written() {
    let config = parse(FLEET).unwrap();
    assert_eq!(config.dir, Path::new("/var/lib/linckia"));
    let door = config.door.unwrap();
    assert_eq!(door.body_bytes_max, 1 << 20);
    assert_eq!(door.tls.unwrap().key, Path::new("conf/door.key"));
    assert_eq!(config.peer.unwrap().ca, Path::new("conf/ca.crt"));
    let names: Vec<_> = config.peers.iter().map(|peer| peer.region.as_str()).collect();
    assert_eq!(names, ["eu-west-1", "ap-southeast-1"]);
    assert_eq!(config.ship.linger, Duration::ZERO);
    assert_eq!(config.ship.gather, Duration::from_millis(1));
}

/// One change to a good file, the line of the fault, a part of its reason, a part of its advice.
fn check(good: &str, from: &str, to: &str, line: usize, reason: &str, advice: &str) {
    assert!(good.contains(from), "the table is wrong: no {from:?}");
    let error = parse(&good.replacen(from, to, 1)).expect_err(to);
    let all = error.to_string();
    assert_eq!(error.line, Some(line), "{to:?}: {all}");
    assert!(error.reason.contains(reason), "{to:?}: {all}");
    assert!(error.advice.contains(advice), "{to:?}: {all}");
    assert!(all.starts_with(&format!("conf/linckia.toml:{line}:")), "{all}");
}

#[test]
fn bad_values_say_line_and_reason() {
    let bad = |from, to, line, reason, advice| check(GOOD, from, to, line, reason, advice);
    bad("us-east-1", "US East", 1, "not a region's name", "a-z, 0-9 and -");
    bad("us-east-1", "", 1, "region is empty", "us-east-1");
    bad("us-east-1", "a-name-that-is-longer-than-thirty-two", 1, "not a region's name", "32");
    bad("region =", "regoin =", 1, "unknown field `regoin`", "linckia init");
    bad("region = \"us-east-1\"\n", "", 1, "region is missing", "add");
    bad("dir = \"data\"\n", "", 1, "dir is missing", "add");
    bad("\"data\"", "7", 2, "expected a string", "quotes");
    bad("\"data\"", "\"data", 2, "", "linckia init");
    bad("[door]\nlisten = \"127.0.0.1:7401\"\n", "", 1, "[door] is missing", "listen");
    bad("listen =", "#", 3, "door.listen is missing", "127.0.0.1:7401");
    bad("127.0.0.1:7401", "localhost:7401", 4, "not an IP address with a port", "127.0.0.1");
    bad("127.0.0.1:7401", "127.0.0.1", 4, "not an IP address with a port", "127.0.0.1");
    bad("[door]\n", "[door]\nbody_max = 8388608\n", 4, "expected a string", "8MiB");
    bad("[door]\n", "[door]\nbody_max = \"8\"\n", 4, "is not a number of bytes", "");
    bad("[door]\n", "[door]\nbody_max = \"9GiB\"\n", 4, "out of range", "to 12MiB");
    bad("[door]\n", "[door]\ndepth_max = 4096\n", 4, "4096 is out of range", "2 to 128");
    bad("[door]\n", "[door]\ndepth_max = -1\n", 4, "-1", "");
    bad("[door]\n", "[door]\nidle_timeout = \"2 minutes\"\n", 4, "is not a duration", "");
    bad("[door]\n", "[door]\ntoken = \"secret\"\n", 4, "unknown field `token`", "linckia init");
    bad("[door]\n", "[doors]\n", 3, "unknown field `doors`", "");
    bad("[door]\n", "[log]\nbytes_max = \"1MiB\"\n[door]\n", 4, "out of range", "16MiB");
    bad("[door]\n", "[log]\nsegment_bytes_first = \"128MiB\"\n[door]\n", 4, "larger than", "");
    bad("[door]\n", "[log]\nbytes_max = \"100MiB\"\n[door]\n", 4, "eight segments", "");
    bad("[door]\n", "[log]\nhistory_bytes_max = \"9GiB\"\n[door]\n", 4, "more than half", "");
    bad("[door]\n", "[clock]\nepsilon = \"0\"\n[door]\n", 4, "out of range", "1ms to");
    bad("[door]\n", "[apply]\nthreads = 4\n[door]\n", 4, "unknown field `threads`", "");
    bad("[door]\n", "[ship]\nheartbeat = \"1h\"\n[door]\n", 4, "out of range", "10ms to 60s");
    bad("dir", "region = \"again\"\ndir", 2, "duplicate key", "");
}

#[test]
fn an_open_door_outside_loopback_is_refused() {
    let bad = |from, to, line, reason, advice| check(GOOD, from, to, line, reason, advice);
    let both = "certificate and key (TLS), and token_file or client_ca";
    bad("127.0.0.1", "0.0.0.0", 4, "reachable from outside", both);
    bad("127.0.0.1", "[::]", 4, "reachable from outside", both);
    let key = "certificate = \"c\"\nkey = \"k\"\nlisten = \"10.0.0.1:7401\"";
    bad("listen = \"127.0.0.1:7401\"", key, 6, "reachable from outside", "token_file or client_ca");
    let token = "token_file = \"t\"\nlisten = \"10.0.0.1:7401\"";
    bad("listen = \"127.0.0.1:7401\"", token, 5, "reachable from outside", "certificate and key");
    bad("[door]", "[door]\ncertificate = \"c\"", 4, "without key", "add key");
    bad("[door]", "[door]\nkey = \"k\"", 4, "without certificate", "add certificate");
    bad("[door]", "[door]\nclient_ca = \"c\"", 4, "without certificate and key", "add");
    assert!(parse(&GOOD.replace("127.0.0.1", "[::1]")).is_ok());
}

#[test]
fn a_witness_has_peers_and_no_door() {
    let door = FLEET.find("[door]").unwrap()..FLEET.find("[peer]").unwrap();
    let mut witness = FLEET.to_owned();
    witness.replace_range(door, "");
    let witness = witness.replace("[peer]", "witness = true\n[peer]");
    let config = parse(&witness).unwrap();
    assert!(config.witness && config.door.is_none());
    let bad = |from, to, line, reason, advice| check(FLEET, from, to, line, reason, advice);
    bad("[door]\n", "witness = true\n[door]\n", 4, "has no door", "remove the section [door]");
    let alone = "region = \"w\"\ndir = \"data\"\nwitness = true\n";
    let error = parse(alone).unwrap_err();
    assert_eq!((error.line, error.reason.contains("of nothing")), (Some(3), true), "{error}");
}

#[test]
fn peers_come_in_by_mutual_tls_only() {
    let bad = |from, to, line, reason, advice| check(FLEET, from, to, line, reason, advice);
    bad("ca = \"ca.crt\"\n", "", 9, "peer.ca is missing", "add ca =");
    bad("certificate = \"r.crt\"\n", "", 9, "peer.certificate is missing", "certificate");
    bad("key = \"r.key\"\n", "", 9, "only talk over mutual TLS", "key = ");
    bad("listen = \"0.0.0.0:7411\"\n", "", 9, "peer.listen is missing", "7411");
    bad("0.0.0.0:7411", "0.0.0.0:7401", 9, "both listen", "its own port");
    bad("\"eu-west-1\"", "\"us-east-1\"", 15, "is this region itself", "other regions");
    bad("\"ap-southeast-1\"", "\"eu-west-1\"", 18, "listed twice", "remove");
    bad("eu.example.com:7411", "eu.example.com", 16, "not an address", "host:port");
    bad("eu.example.com:7411", "eu.example.com:0", 16, "not an address", "host:port");
    bad("[fd00::7]:7411", "fd00::7:7411", 19, "not an address", "host:port");
    bad("region = \"eu-west-1\"\n", "", 14, "peers.region is missing", "add");
    let alone = format!("{GOOD}[[peers]]\nregion = \"eu-west-1\"\naddress = \"h:1\"\n");
    let error = parse(&alone).unwrap_err();
    assert_eq!((error.line, error.reason.contains("no section [peer]")), (Some(5), true));
}

#[test]
fn what_init_writes_parses_and_shows_the_defaults() {
    let written = commented_default();
    let config = parse(&written).unwrap();
    assert_eq!(config.peer, None);
    let uncommented: String = written
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => rest,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let full = parse(&uncommented).unwrap();
    assert_eq!(full.peers.len(), 1);
    let (full_door, door) = (full.door.unwrap(), config.door.unwrap());
    assert_eq!(full_door.body_bytes_max, door.body_bytes_max);
    assert_eq!(full_door.events_per_array_max, door.events_per_array_max);
    assert_eq!(full_door.depth_max, door.depth_max);
    assert_eq!(full_door.name_bytes_max, door.name_bytes_max);
    assert_eq!(full_door.connections_max, door.connections_max);
    assert_eq!(full_door.idle_timeout, door.idle_timeout);
    assert_eq!((full.log, full.store), (config.log, config.store));
    assert_eq!((full.clock, full.ship), (config.clock, config.ship));
    assert_eq!((full.repair, config.repair.keys_per_second), (config.repair, 200));
    assert!(written.lines().all(|line| line.len() <= 120));
}

#[test]
fn named_files_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("linckia.toml");
    std::fs::write(&path, FLEET).unwrap();
    let missing = |line: usize, name: &str| {
        let error = Config::load(&path).expect_err(name);
        assert_eq!(error.line, Some(line), "{error}");
        assert!(error.reason.contains(name), "{error}");
    };
    missing(5, "door.crt");
    for name in ["door.crt", "door.key", "token", "r.crt", "r.key"] {
        std::fs::write(dir.path().join(name), "x").unwrap();
    }
    missing(13, "ca.crt");
    std::fs::write(dir.path().join("ca.crt"), "").unwrap();
    missing(13, "empty");
    std::fs::write(dir.path().join("ca.crt"), "x").unwrap();
    assert_eq!(Config::load(&path).unwrap().region, "us-east-1");
    let absent = Config::load(&dir.path().join("absent.toml")).unwrap_err();
    assert_eq!((absent.line, absent.reason.contains("cannot be read")), (None, true));
}
