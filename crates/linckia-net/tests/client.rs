//! The client: reuse of connections, streams both ways, limits.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, Response};
use hyper::service::service_fn;
use linckia_net::{
    Client, ClientOptions, Door, DoorOptions, Error, RequestBody, Shutdown, Trigger,
};

use crate::support::{loopback, soon};

/// Sends every body back as it comes; counts connections.
fn open(options: DoorOptions) -> (SocketAddr, Arc<AtomicUsize>, Trigger) {
    let door = Door::bind(loopback(), None, options).unwrap();
    let address = door.local_address();
    let (trigger, shutdown) = Shutdown::new();
    let connections = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&connections);
    let service_for = move |_| {
        counting.fetch_add(1, Ordering::Relaxed);
        service_fn(|request: http::Request<hyper::body::Incoming>| async {
            Ok::<_, Infallible>(Response::new(request.into_body()))
        })
    };
    tokio::spawn(door.serve(service_for, shutdown));
    (address, connections, trigger)
}

fn client(address: SocketAddr) -> Client {
    Client::new(&format!("http://{address}/"), ClientOptions::default()).unwrap()
}

#[tokio::test]
async fn connections_are_used_again() {
    let (address, connections, _trigger) = open(DoorOptions::default());
    let client = client(address);
    for _ in 0..20 {
        let (_, _, body) = soon(client.request(Method::POST, "/", &[], "x")).await.unwrap();
        assert_eq!(body, "x");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    let both = || client.request(Method::POST, "/", &[], "x");
    let (one, two) = soon(async { tokio::join!(both(), both()) }).await;
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_kept_connection_that_the_door_closed_costs_nothing() {
    let idle_longest = Duration::from_millis(50);
    let (address, connections, _trigger) =
        open(DoorOptions { idle_longest, ..DoorOptions::default() });
    let client = client(address);
    for round in 1..4 {
        soon(client.request(Method::POST, "/", &[], "x")).await.unwrap();
        assert_eq!(connections.load(Ordering::Relaxed), round);
        // The door closes it; how long that takes is its business, so wait for its limit.
        let _ = tokio::time::timeout(4 * idle_longest, std::future::pending::<()>()).await;
    }
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let (address, connections, _trigger) = open(DoorOptions::default());
    let client = client(address);
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((Ok(piece), receiver))
    });
    let body = RequestBody::stream(pieces);
    let mut answer = soon(client.send(Method::POST, "/", &[], body)).await.unwrap();
    for piece in ["one", "two", "three"] {
        sender.send(Bytes::from(piece)).await.unwrap();
        assert_eq!(soon(answer.chunk()).await.unwrap().unwrap(), piece);
    }
    drop(sender);
    assert_eq!(soon(answer.chunk()).await.unwrap(), None);
    soon(client.request(Method::POST, "/", &[], "x")).await.unwrap();
    assert_eq!(connections.load(Ordering::Relaxed), 1);

    let pieces = futures_util::stream::iter(0..1000).map(|_| Ok(Bytes::from(vec![1; 10_000])));
    let body = RequestBody::stream(pieces);
    let mut answer = soon(client.send(Method::POST, "/", &[], body)).await.unwrap();
    assert_eq!(soon(answer.collect()).await.unwrap().len(), 10_000_000);
}

#[tokio::test]
async fn an_answer_that_does_not_come() {
    let silent = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let options =
        ClientOptions { answer_longest: Duration::from_millis(50), ..ClientOptions::default() };
    let client = Client::new(&url, options.clone()).unwrap();
    let error = soon(client.request(Method::GET, "/", &[], "")).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { step: "answering", .. }), "{error:?}");
    drop(silent);
    let error = soon(client.request(Method::GET, "/", &[], "")).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
}

#[test]
fn addresses() {
    let check = |url: &str, accepted: bool| {
        let client = Client::new(url, ClientOptions::default());
        assert_eq!(client.is_ok(), accepted, "{url}");
    };
    check("http://127.0.0.1:7401", true);
    check("http://localhost/", true);
    check("http://[::1]:7401", true);
    check("https://localhost", false);
    check("ftp://localhost", false);
    check("localhost:1", false);
    check("http://localhost/v1", false);
    check("", false);
}
