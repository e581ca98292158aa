//! How a region's sockets end: in order, in bounded time, and without a task left behind.

use std::time::Duration;

use linckia_net::Shutdown;

use crate::support::soon;

#[tokio::test]
async fn whoever_waits_hears_it_once_and_for_all() {
    let (trigger, shutdown) = Shutdown::new();
    let waiting = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { shutdown.wait().await }
    });
    assert!(!shutdown.is_triggered());
    trigger.trigger();
    trigger.trigger();
    soon(waiting).await.unwrap();
    soon(shutdown.wait()).await;
    assert!(shutdown.is_triggered());
}

#[tokio::test]
async fn the_drain_waits_for_guards_within_bounds() {
    let (trigger, shutdown) = Shutdown::new();
    let guard = shutdown.guard();
    assert!(!trigger.drain(Duration::from_millis(20)).await);
    let working = tokio::spawn(async move {
        tokio::task::yield_now().await;
        drop(guard);
    });
    assert!(soon(trigger.drain(Duration::from_secs(10))).await);
    working.await.unwrap();
}

#[tokio::test]
async fn a_dropped_trigger_announces_nothing() {
    let (trigger, shutdown) = Shutdown::new();
    drop(trigger);
    let waited = tokio::time::timeout(Duration::from_millis(20), shutdown.wait()).await;
    assert!(waited.is_err());
}
