//! Deletions that meet late writes: what a tombstone is for.
//!
//! Beside the wanderers of a soak. An aggregate is made in one region; once a second region shows
//! it, that one deletes it while the first patches it, neither knowing of the other. What comes of
//! it is judged by the digests alone: every region must show the same.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::visitor::{DrillDoor, Looked, Tried, Visitor, path};
use super::wanderer::Wandering;
use crate::schedule::Random;

/// Between two graves.
const PACE: Duration = Duration::from_millis(100);

/// How often the second region is asked whether it shows the aggregate.
const LOOKS: usize = 5;

/// Digs until the soak is over; how many deletions met a write.
pub(super) async fn dig(wandering: Arc<Wandering>) -> u64 {
    let doors = &wandering.doors;
    let mut random = Random::new(!wandering.seed);
    let mut met = 0;
    let mut number = 0_u64;
    while !wandering.ledger.is_over() {
        number += 1;
        let at = random.below(doors.len() as u64) as usize;
        let step = random.between(1, doors.len() as u64 - 1) as usize;
        let late = Duration::from_millis(random.below(20));
        let there = (at + step) % doors.len();
        let key = format!("grave-{number}");
        met += u64::from(one(&wandering.kind, doors, &key, at, there, late).await);
        tokio::time::sleep(PACE).await;
    }
    met
}

/// True if both the deletion and the write that it did not know of were acknowledged.
async fn one(
    kind: &Arc<str>,
    doors: &Arc<[DrillDoor]>,
    key: &str,
    at: usize,
    there: usize,
    late: Duration,
) -> bool {
    let visitor = |at| Visitor {
        doors: Arc::clone(doors),
        kind: Arc::clone(kind),
        ack: "local".to_owned(),
        at,
        token: String::new(),
    };
    let (mut maker, mut digger) = (visitor(at), visitor(there));
    let target = path(kind, key);
    let made = maker.write(Method::PUT, &target, r#"{"made":true}"#.to_owned()).await;
    if !matches!(made, Tried::Acknowledged(..)) {
        return false;
    }
    digger.token.clone_from(&maker.token);
    let mut seen = false;
    for _ in 0..LOOKS {
        seen = matches!(digger.look(key).await, Looked::Shown(marks) if !marks.is_empty());
        if seen {
            break;
        }
    }
    if !seen {
        return false;
    }
    let patch = maker.write(Method::PATCH, &target, r#"{"late":true}"#.to_owned());
    let delete = async {
        tokio::time::sleep(late).await;
        digger.write(Method::DELETE, &target, String::new()).await
    };
    matches!(tokio::join!(patch, delete), (Tried::Acknowledged(..), Tried::Acknowledged(..)))
}
