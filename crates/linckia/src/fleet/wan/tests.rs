//! The emulator between plain TCP servers: what passes, when, and what a cut looks like.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::*;

/// Silence is believed after this long; every link here is faster.
const SILENCE: Duration = Duration::from_millis(120);
/// What must come comes within this, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(10);

/// Regions `a` and `b`, each a server that answers every byte with itself.
async fn two(delay: u64) -> Wan {
    let mut regions = Vec::new();
    for name in ["a", "b"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        regions.push((name.to_owned(), listener.local_addr().unwrap()));
        tokio::spawn(echo(listener));
    }
    with_delay(&regions, delay).await
}

async fn with_delay(regions: &[(String, SocketAddr)], delay: u64) -> Wan {
    let names: Vec<String> = regions.iter().map(|(name, _)| name.clone()).collect();
    let text = format!("[[link]]\nfrom = \"a\"\nto = \"b\"\ndelay = \"{delay}ms\"\n");
    let profile = Profile::parse(std::path::Path::new("test"), &text, &names).unwrap();
    Wan::start(regions, profile).await.unwrap()
}

async fn echo(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let (mut read, mut write) = stream.into_split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
    }
}

async fn dial(wan: &Wan, from: &str, to: &str) -> TcpStream {
    let stream = TcpStream::connect(wan.address(from, to).unwrap()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends `text` and returns how long its echo took.
async fn round_trip(stream: &mut TcpStream, text: &[u8]) -> Duration {
    let start = Instant::now();
    stream.write_all(text).await.unwrap();
    let mut back = vec![0; text.len()];
    timeout(PATIENCE, stream.read_exact(&mut back)).await.expect("an echo").unwrap();
    assert_eq!(back, text);
    start.elapsed()
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(SILENCE, stream.read_u8()).await.is_err()
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    timeout(PATIENCE, stream.read_u8()).await.is_ok_and(|read| read.is_err())
}

#[tokio::test]
async fn delay_holds_both_ways_and_opening_takes_a_round_trip() {
    let wan = two(30).await;
    let mut stream = dial(&wan, "a", "b").await;
    let first = round_trip(&mut stream, b"hello").await;
    assert!(first >= Duration::from_millis(118), "{first:?}");
    let next = round_trip(&mut stream, b"again").await;
    assert!(next >= Duration::from_millis(58), "{next:?}");
    assert!(next < Duration::from_millis(118), "{next:?}");
}

#[tokio::test]
async fn many_bytes_are_on_the_way_at_once() {
    let wan = two(40).await;
    let stream = dial(&wan, "b", "a").await;
    let (mut read, mut write) = stream.into_split();
    const BYTES: usize = 16 << 20;
    let sent: Vec<u8> = (0..BYTES).map(|n| (n * 31 % 251) as u8).collect();
    let expected = sent.clone();
    let start = Instant::now();
    tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    timeout(PATIENCE, read.read_to_end(&mut back)).await.expect("all of it").unwrap();
    assert!(back == expected, "every byte, in order, then the end");
    // One chunk of 64 KiB per round trip would take twenty seconds.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_cut_swallows_and_healing_closes() {
    let wan = two(5).await;
    let mut holed = dial(&wan, "a", "b").await;
    let mut idle = dial(&wan, "a", "b").await;
    round_trip(&mut holed, b"before").await;
    round_trip(&mut idle, b"before").await;
    let items = wan.cut("a", Some("b"), false).unwrap();
    assert!(items.len() == 2 && items.iter().all(|item| item.cut));
    holed.write_all(b"lost").await.unwrap();
    let mut new = dial(&wan, "b", "a").await;
    new.write_all(b"lost too").await.unwrap();
    assert!(is_silent(&mut holed).await && is_silent(&mut new).await);
    wan.heal(None, None).unwrap();
    assert!(is_closed(&mut holed).await && is_closed(&mut new).await);
    round_trip(&mut idle, b"unharmed").await;
    let mut fresh = dial(&wan, "b", "a").await;
    round_trip(&mut fresh, b"after").await;
}

#[tokio::test]
async fn what_is_on_the_way_is_lost_in_a_cut() {
    let wan = two(60).await;
    let mut stream = dial(&wan, "a", "b").await;
    round_trip(&mut stream, b"before").await;
    stream.write_all(b"in flight").await.unwrap();
    wan.cut("b", None, false).unwrap();
    assert!(is_silent(&mut stream).await);
    wan.heal(Some("a"), Some("b")).unwrap();
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn one_way_means_one_way() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let regions = [("a".to_owned(), address), ("b".to_owned(), address)];
    let wan = with_delay(&regions, 1).await;
    let mut client = dial(&wan, "a", "b").await;
    client.write_all(b"x").await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'x');
    wan.cut("b", Some("a"), true).unwrap();
    client.write_all(b"y").await.unwrap();
    assert_eq!(timeout(PATIENCE, server.read_u8()).await.unwrap().unwrap(), b'y');
    server.write_all(b"unheard").await.unwrap();
    assert!(is_silent(&mut client).await);
    // The server goes away; its end is swallowed like its bytes.
    drop(server);
    assert!(is_silent(&mut client).await);
    wan.heal(Some("b"), None).unwrap();
    assert!(is_closed(&mut client).await);
}

#[tokio::test]
async fn an_end_passes_after_the_bytes_before_it() {
    let wan = two(10).await;
    let mut stream = dial(&wan, "a", "b").await;
    stream.write_all(b"last words").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut back)).await.expect("an end").unwrap();
    assert_eq!(back, b"last words");
}

#[tokio::test]
async fn a_region_that_is_down_refuses() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let regions = [("a".to_owned(), gone), ("b".to_owned(), gone)];
    let wan = with_delay(&regions, 5).await;
    let mut stream = dial(&wan, "a", "b").await;
    assert!(is_closed(&mut stream).await);
    wan.cut("a", None, false).unwrap();
    let mut during = dial(&wan, "a", "b").await;
    assert!(is_silent(&mut during).await);
}

#[tokio::test]
async fn a_narrow_link_is_shared_and_slow() {
    let wan = two(0).await;
    let change = |bandwidth: &str| RuleChange {
        bandwidth: Some(bandwidth.to_owned()),
        ..RuleChange::default()
    };
    wan.set("a", "b", true, &change("2mbit")).unwrap();
    let (mut one, mut other) = (dial(&wan, "a", "b").await, dial(&wan, "a", "b").await);
    let start = Instant::now();
    let text = vec![7u8; 50_000];
    tokio::join!(round_trip(&mut one, &text), round_trip(&mut other, &text));
    // 800,000 bits at 2 Mbit/s.
    assert!(start.elapsed() >= Duration::from_millis(390), "{:?}", start.elapsed());
    wan.set("a", "b", true, &change("none")).unwrap();
    assert_eq!(wan.items()[0].bandwidth, None);
}

#[tokio::test]
async fn rules_are_changed_by_name() {
    let wan = two(7).await;
    let change = RuleChange { loss: Some("2%".to_owned()), ..RuleChange::default() };
    let both = wan.set("a", "b", false, &change).unwrap();
    assert_eq!(both.len(), 2);
    assert_eq!((both[1].from.as_str(), both[1].loss.as_str()), ("b", "2%"));
    let healed = wan.heal(Some("a"), None).unwrap();
    assert!(healed.iter().all(|item| item.loss == "0%" && item.delay == "7ms" && !item.cut));
    let check = |result: Result<Vec<LinkItem>, String>, reason: &str| {
        let error = result.unwrap_err();
        assert!(error.contains(reason), "{error}");
    };
    check(wan.cut("x", None, false), "its regions are a, b");
    check(wan.cut("a", Some("a"), false), "to itself");
    check(wan.set("a", "b", false, &RuleChange { delay: Some("5".into()), ..change }), "duration");
}
