//! Backups: the state and the logs as they lie on the disk, or what the logs have since.
//!
//! The region reads beside its core and gives pieces; here they become a body. What always holds: a
//! slow client holds a few pieces and no more, and one that leaves or stands still ends the backup.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use linckia_model::Vector;
use tokio::sync::mpsc;

use super::asked::Asked;
use super::respond::{self, Answered};
use crate::port::{NoBackup, Region};
use crate::problem::{Kind, Outcome, Problem};
use crate::query;

/// Pieces that wait for a slow reader.
const PIECES_UNREAD: usize = 2;

/// A client that takes nothing for so long holds up what logs let go of no longer.
const STALLED_LONGEST: Duration = Duration::from_secs(120);

/// Another backup takes at least so long.
const RETRY_SECONDS: u32 = 5;

/// `GET /v1/backup`.
pub(super) async fn take<R: Region>(asked: Asked<'_, R>) -> Outcome<Answered> {
    let after = asked.query.get("after").map(|text| query::vector("after", text)).transpose()?;
    let pieces = asked.region().backup(after.clone()).await;
    let mut pieces = pieces.map_err(|why| refused(why, after.as_ref()))?;
    let (sender, body) = mpsc::channel::<Bytes>(PIECES_UNREAD);
    let mut stopping = asked.house.stopping.clone();
    let house = Arc::clone(asked.house);
    tokio::spawn(async move {
        // The region goes on as long as its door does.
        let _house = house;
        let carried = async {
            while let Some(piece) = pieces.recv().await {
                let sent = tokio::time::timeout(STALLED_LONGEST, sender.send(piece)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
        };
        tokio::select! {
            () = carried => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    });
    Ok(respond::stream(&respond::BACKUP, body))
}

fn refused(why: NoBackup, after: Option<&Vector>) -> Box<Problem> {
    match why {
        NoBackup::Unavailable(why) => why.into(),
        NoBackup::UnderWay => {
            let detail = "another backup of this region is under way; try again, or ask another \
                          region";
            Problem::new(Kind::Unavailable, detail).retry_after(RETRY_SECONDS)
        }
        NoBackup::Gap(origin) => {
            let detail = format!(
                "what the log {origin} had behind `after` is not held here any more, or was lost: \
                 take a whole backup, without `after`"
            );
            Problem::new(Kind::PositionExpired, detail).with("origin", origin.to_string())
        }
        NoBackup::Behind => {
            let after = after.map(ToString::to_string).unwrap_or_default();
            let detail = format!(
                "this region has not applied all of `after` ({after}): if that is of this fleet, \
                 try again, or ask another region"
            );
            Problem::new(Kind::Behind, detail).retry_after(RETRY_SECONDS)
        }
    }
}
