//! Alarms of the core in words: what is wrong, and what to do where somebody must do something.

use linckia_model::Key;
use linckia_region::{Alarm, Finding};

use crate::house::repairs;

/// Why the region ends at once, if it does: what it leaves is put aside at the next start.
pub(super) fn ending(alarm: &Alarm) -> Option<&'static str> {
    match alarm {
        Alarm::OldCopy { .. } => Some(OLD_COPY),
        Alarm::Lapsed { .. } => Some(LAPSED),
        Alarm::Beyond { .. } => Some(BEYOND),
        Alarm::StateLeft { .. } => Some(STATE_LEFT),
        _ => None,
    }
}

/// What is said when a region ends because of it.
const OLD_COPY: &str = "this directory is an old copy of the region's: a peer knows \
                                   more of its own log than it holds. It takes nothing more; at \
                                   the next start the region leaves that log, and goes on in \
                                   another incarnation with what the other members hold";

/// What is said when a region ends because of that.
const LAPSED: &str = "this region was away for too long: the other members have \
                                 closed its log. At the next start it goes on in another \
                                 incarnation; what it holds beyond the end of a log is put aside";

/// What is said when a region ends because it holds more of a log than there is.
const BEYOND: &str = "this region holds events beyond the end of a closed log: it had \
                                 lost its state when the end was found, and could not speak for \
                                 them. They are put aside, and its state is made anew";

/// What is said when a region ends because its state cannot take what is still to come.
const STATE_LEFT: &str = "an event of a closed log is of a time that was thought past: \
                                     its region had gone on from an old copy of its directory. \
                                     The state here is put aside, and made anew with that event";

/// Writes an alarm into the log.
pub(super) fn tell(alarm: &Alarm) {
    match alarm {
        Alarm::ChainBroken { peer, detail } => {
            tracing::error!(%peer, detail, "a peer holds another event under a dot held here");
        }
        Alarm::Malformed { peer, detail } => {
            tracing::error!(%peer, detail, "a peer sent what is no record");
        }
        Alarm::MirrorFull { peer, detail } => {
            tracing::error!(%peer, detail, "no room for a peer's events; they are asked for again");
        }
        Alarm::Refused { peer, reason } => tracing::warn!(%peer, reason, "a peer refuses us"),
        Alarm::ClockDrift { milliseconds } => {
            tracing::warn!(milliseconds, "the wall clock is far from the fleet's time");
        }
        Alarm::LogHalfFull { used, bound } => {
            tracing::warn!(used, bound, "the log has taken half of its bound");
        }
        Alarm::DiskFull { free, kept } => {
            tracing::error!(
                free,
                kept,
                "the disk is full: no writes are taken until there is room again"
            );
        }
        Alarm::Closed { origin, end } => {
            tracing::error!(
                origin,
                end,
                "this directory was taken for lost and its log is closed: the region lives on in \
                 another directory, and this one takes no writes. Keep it, and start the region in \
                 an empty one"
            );
        }
        Alarm::OldCopy { peer, detail } => tracing::error!(%peer, detail, OLD_COPY),
        Alarm::Lapsed { origin, end, held } => {
            tracing::error!(origin, end, held, LAPSED);
        }
        Alarm::Beyond { origin, end, held } => tracing::error!(origin, end, held, BEYOND),
        Alarm::StateLeft { origin } => tracing::error!(origin, STATE_LEFT),
        Alarm::BelowStable { origin } => {
            tracing::error!(
                origin,
                "an event is of a time that was thought past, and is not applied: this region was \
                 away when that one came back, or that one has gone on from an old copy of its \
                 directory. This one lapses, or makes its state anew, by itself; if it does not \
                 within minutes, let it lapse"
            );
        }
        Alarm::OwnLogDamaged { detail } => {
            tracing::error!(
                detail,
                "this region's own log is damaged: docs/operate.md says what to do before it is \
                 started again"
            );
        }
        Alarm::Differs(finding) => differs(finding),
        Alarm::Repaired { key, from, by } => {
            let by = repairs::word(*by);
            tracing::warn!(
                key = named(key),
                %from,
                by,
                "a key was wrong here, and was taken from another region"
            );
        }
        Alarm::Poisoned { reason } => {
            tracing::error!(reason, "the log failed; writes are refused until a restart");
        }
    }
}

fn named(key: &Key) -> String {
    format!("{}/{}/{}", key.data_set, key.aggregate_type, key.aggregate_id)
}

fn differs(finding: &Finding) {
    let side = |(region, digest): &linckia_region::Side| match digest {
        Some([a, b, c, d, ..]) => format!("{region} {a:02x}{b:02x}{c:02x}{d:02x}"),
        None => format!("{region} nothing"),
    };
    let sides: Vec<String> = finding.sides.iter().map(side).collect();
    let (key, sides) = (named(&finding.key), sides.join(", "));
    let wrong: Vec<&str> = finding.wrong.iter().map(|region| region.as_str()).collect();
    match finding.judged_by {
        Some(by) => {
            let (by, wrong) = (repairs::word(by), wrong.join(", "));
            tracing::warn!(key, sides, wrong, by, "regions show different things of a key");
        }
        None => tracing::error!(
            key,
            sides,
            "regions show different things of a key, and nobody can say who is right: `linckia \
             repair TYPE/ID --from REGION`"
        ),
    }
}
