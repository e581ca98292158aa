//! How links end: dropped, cut off in silence, at the shutdown.

use std::time::Duration;

use linckia_net::{Error, LinkOptions, dial};

use crate::support::{Authority, LONGEST, Listening, Proxy, soon};

fn impatient() -> LinkOptions {
    LinkOptions {
        ping_interval: Duration::from_millis(100),
        silence_longest: Duration::from_millis(400),
        ..LinkOptions::default()
    }
}

#[tokio::test]
async fn a_dropped_link_ends_at_the_other_end() {
    let authority = Authority::new();
    let us = authority.tls("us");
    let mut listening = Listening::start(&us, LinkOptions::for_listener());
    let (dialled, mut accepted) = listening.dialled(&us, "us").await;
    drop(dialled);
    assert!(!matches!(soon(accepted.receiver.recv()).await, Ok(Some(_))));
    soon(accepted.sender.closed()).await;
    assert!(matches!(accepted.sender.send("?").await, Err(Error::LinkClosed { .. })));

    let (mut dialled, accepted) = listening.dialled(&us, "us").await;
    drop(accepted);
    assert!(!matches!(soon(dialled.receiver.recv()).await, Ok(Some(_))));
    soon(dialled.sender.closed()).await;
    assert!(matches!(dialled.sender.send("?").await, Err(Error::LinkClosed { .. })));
}

#[tokio::test]
async fn a_closed_link_loses_no_last_words() {
    let authority = Authority::new();
    let us = authority.tls("us");
    let mut listening = Listening::start(&us, LinkOptions::for_listener());
    for dialler_closes in [true, false] {
        let (dialled, accepted) = listening.dialled(&us, "us").await;
        let (closing, mut hearing) =
            if dialler_closes { (dialled, accepted) } else { (accepted, dialled) };
        let words = bytes::Bytes::from(vec![1; 5_000_000]);
        closing.sender.send(words.clone()).await.unwrap();
        let closing = tokio::spawn(closing.close(LONGEST));
        assert_eq!(soon(hearing.receiver.recv()).await.unwrap().unwrap(), words);
        assert_eq!(soon(hearing.receiver.recv()).await.unwrap(), None);
        drop(hearing);
        soon(closing).await.unwrap();
    }
}

#[tokio::test]
async fn a_link_that_falls_silent_ends_at_both_ends() {
    let authority = Authority::new();
    let us = authority.tls("us");
    let mut listening = Listening::start(&us, impatient());
    let proxy = Proxy::start(listening.address).await;
    let address = proxy.address.to_string();
    let mut dialled = soon(dial(&address, "us", &us, &impatient())).await.unwrap();
    let mut accepted = soon(listening.links.recv()).await.unwrap();
    dialled.sender.send("one").await.unwrap();
    assert_eq!(soon(accepted.receiver.recv()).await.unwrap().unwrap(), "one");

    // Pings keep an idle link: three limits long nothing happens.
    let idle = tokio::time::timeout(Duration::from_millis(1200), dialled.receiver.recv()).await;
    assert!(idle.is_err(), "{idle:?}");

    proxy.swallow();
    let ends = tokio::join!(soon(dialled.receiver.recv()), soon(accepted.receiver.recv()));
    for end in [ends.0, ends.1] {
        let Err(Error::Silent { after, .. }) = end else { panic!("{end:?}") };
        assert_eq!(after, Duration::from_millis(400));
    }
    assert!(matches!(dialled.sender.send("two").await, Err(Error::Silent { .. })));
    assert!(matches!(accepted.sender.try_send("two"), Err(Error::Silent { .. })));
    // A new one gets through as soon as the bytes do.
    listening.still_accepts(&us, "us").await;
}

#[tokio::test]
async fn a_reader_that_pauses_is_not_silent() {
    let authority = Authority::new();
    let us = authority.tls("us");
    let mut listening = Listening::start(&us, impatient());
    let address = listening.address.to_string();
    let mut dialled = soon(dial(&address, "us", &us, &impatient())).await.unwrap();
    let accepted = soon(listening.links.recv()).await.unwrap();
    let mut sent = 0;
    // Three limits long the writer is stopped, full window and all.
    let patience = Duration::from_millis(1200);
    let frame = bytes::Bytes::from(vec![1; 1 << 20]);
    while tokio::time::timeout(patience, accepted.sender.send(frame.clone())).await.is_ok() {
        sent += 1;
    }
    for _ in 0..sent {
        assert!(soon(dialled.receiver.recv()).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn the_shutdown_waits_for_links_and_takes_no_more() {
    let authority = Authority::new();
    let us = authority.tls("us");
    let mut listening = Listening::start(&us, LinkOptions::for_listener());
    let (mut dialled, accepted) = listening.dialled(&us, "us").await;
    listening.trigger.trigger();
    // What is under way may still be said.
    accepted.sender.send("last words").await.unwrap();
    assert_eq!(soon(dialled.receiver.recv()).await.unwrap().unwrap(), "last words");
    drop(accepted);
    assert!(!matches!(soon(dialled.receiver.recv()).await, Ok(Some(_))));
    assert!(soon(listening.trigger.drain(Duration::from_secs(10))).await);
    let address = listening.address.to_string();
    let refused = soon(dial(&address, "us", &us, &LinkOptions::default())).await;
    assert!(matches!(refused, Err(Error::Connect { .. })), "{refused:?}");
}

#[tokio::test]
async fn the_shutdown_cuts_links_that_nobody_drops() {
    let authority = Authority::new();
    let us = authority.tls("us");
    let mut listening = Listening::start(&us, LinkOptions::for_listener());
    let (mut dialled, _accepted) = listening.dialled(&us, "us").await;
    assert!(soon(listening.trigger.drain(Duration::from_secs(10))).await);
    assert!(!matches!(soon(dialled.receiver.recv()).await, Ok(Some(_))));
}
