//! Links that work: who is at the other end, frames, backpressure, throughput.

use bytes::Bytes;
use linckia_net::{Error, FRAME_BYTES_MAX, LinkOptions};

use crate::support::{Authority, Listening, soon};

#[tokio::test]
async fn both_ends_know_each_other_and_frames_pass_both_ways() {
    let authority = Authority::new();
    let (us, eu) = (authority.tls("us-east-1"), authority.tls("eu-west-1"));
    let mut listening = Listening::start(&us, LinkOptions::for_listener());
    let (mut dialled, mut accepted) = listening.dialled(&eu, "us-east-1").await;
    assert_eq!((&*dialled.peer, &*accepted.peer), ("us-east-1", "eu-west-1"));
    assert_eq!(dialled.address, listening.address);
    assert_eq!((listening.counters.accepted(), listening.counters.refused()), (1, 0));

    for frame in [Bytes::new(), Bytes::from("one"), Bytes::from(vec![3; FRAME_BYTES_MAX])] {
        let (sent, received) =
            tokio::join!(dialled.sender.send(frame.clone()), soon(accepted.receiver.recv()));
        sent.unwrap();
        assert_eq!(received.unwrap().unwrap(), frame);
        accepted.sender.send(frame.clone()).await.unwrap();
        assert_eq!(soon(dialled.receiver.recv()).await.unwrap().unwrap(), frame);
    }
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    let authority = Authority::new();
    let (us, eu) = (authority.tls("us"), authority.tls("eu"));
    let mut listening = Listening::start(&us, LinkOptions::for_listener());
    let (mut dialled, mut accepted) = listening.dialled(&eu, "us").await;
    dialled.sender.send("last").await.unwrap();
    drop(dialled.sender);
    assert_eq!(soon(accepted.receiver.recv()).await.unwrap().unwrap(), "last");
    assert_eq!(soon(accepted.receiver.recv()).await.unwrap(), None);
    assert!(matches!(accepted.receiver.recv().await, Err(Error::LinkClosed { .. })));
    accepted.sender.send("answer").await.unwrap();
    drop(accepted.sender);
    assert_eq!(soon(dialled.receiver.recv()).await.unwrap().unwrap(), "answer");
    assert_eq!(soon(dialled.receiver.recv()).await.unwrap(), None);
}

#[tokio::test]
async fn a_region_can_dial_itself_and_many_links_coexist() {
    let authority = Authority::new();
    let us = authority.tls("us");
    let mut listening = Listening::start(&us, LinkOptions::for_listener());
    let mut links = Vec::new();
    for _ in 0..8 {
        links.push(listening.dialled(&us, "us").await);
    }
    for (index, (dialled, accepted)) in links.iter_mut().enumerate() {
        dialled.sender.send(index.to_string()).await.unwrap();
        let frame = soon(accepted.receiver.recv()).await.unwrap().unwrap();
        assert_eq!(frame, index.to_string());
    }
}

#[tokio::test]
async fn a_slow_reader_stops_the_writer() {
    let authority = Authority::new();
    let (us, eu) = (authority.tls("us"), authority.tls("eu"));
    let mut listening = Listening::start(&us, LinkOptions::for_listener());
    let (mut dialled, accepted) = listening.dialled(&eu, "us").await;
    let frame = Bytes::from(vec![7; 1024 * 1024]);
    let mut sent = 0_u64;
    // Until nothing moves for a while; what was taken then lies in window, buffers and queue.
    let patience = std::time::Duration::from_millis(500);
    while tokio::time::timeout(patience, accepted.sender.send(frame.clone())).await.is_ok() {
        sent += 1;
        assert!(sent < 100, "nothing stops the writer");
    }
    assert!(matches!(accepted.sender.try_send(frame.clone()), Err(Error::QueueFull { .. })));
    assert!(sent >= 16, "the window is smaller than meant: {sent} MiB");
    assert!(sent <= 16 + 32 + 16, "more than window, queue and buffers: {sent} MiB");

    // And all of it arrives.
    for _ in 0..sent {
        assert_eq!(soon(dialled.receiver.recv()).await.unwrap().unwrap(), frame);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_frames_of_all_sizes_arrive_in_order() {
    let authority = Authority::new();
    let (us, eu) = (authority.tls("us"), authority.tls("eu"));
    let mut listening = Listening::start(&us, LinkOptions::for_listener());
    let (mut dialled, accepted) = listening.dialled(&eu, "us").await;
    let sizes = [0, 1, 3, 100, 4095, 4096, 4097, 70_000, 300_000];
    let count = 4_000_usize;
    let frame = move |index: usize| {
        let mut bytes = vec![(index % 251) as u8; sizes[index % sizes.len()] + 8];
        bytes[..8].copy_from_slice(&index.to_be_bytes());
        Bytes::from(bytes)
    };
    let started = std::time::Instant::now();
    let writing = tokio::spawn(async move {
        for index in 0..count {
            accepted.sender.send(frame(index)).await.unwrap();
        }
        accepted
    });
    let mut bytes = 0;
    for index in 0..count {
        let received = soon(dialled.receiver.recv()).await.unwrap().unwrap();
        assert_eq!(received, frame(index), "{index}");
        bytes += received.len();
    }
    writing.await.unwrap();
    println!("{bytes} bytes in {:?}", started.elapsed());
}

#[tokio::test]
async fn frames_that_are_too_long_never_leave() {
    let authority = Authority::new();
    let us = authority.tls("us");
    let mut listening = Listening::start(&us, LinkOptions::for_listener());
    let (dialled, mut accepted) = listening.dialled(&us, "us").await;
    let long = Bytes::from(vec![0; FRAME_BYTES_MAX + 1]);
    let refused = dialled.sender.try_send(long.clone());
    assert!(matches!(refused, Err(Error::FrameTooLarge { .. })));
    assert!(matches!(dialled.sender.send(long).await, Err(Error::FrameTooLarge { .. })));
    dialled.sender.send("short").await.unwrap();
    assert_eq!(soon(accepted.receiver.recv()).await.unwrap().unwrap(), "short");
}
