//! What a full disk came to: whether its region went on answering reads, refused writes and took
//! them again, and whether the others noticed.
//!
//! Pure: from what one client saw that asks this region alone, and from the account of all others.
//! What always holds: times are of the observer's clock, in milliseconds from the start.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::account::Written;

/// With room again a region takes writes within this: it looks at its disk every second.
pub const AGAIN_LONGEST: u64 = 10_000;

/// No other region goes without acknowledging a write for so long: clients that come from the full
/// one give it a second to catch up with what they have seen.
pub const SILENCE_LONGEST: u64 = 5_000;

/// What one request to the region came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    Read,
    /// A read that got no answer, or another one than what it asked for.
    ReadFailed,
    Taken,
    /// 503 `disk-full`.
    Refused,
    /// A write that failed for another reason.
    WriteFailed,
}

/// While the disk was full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: u64,
    pub until: u64,
}

impl Span {
    const fn holds(self, at: u64) -> bool {
        self.from <= at && at <= self.until
    }
}

/// What a full disk came to; times in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Full {
    pub full_milliseconds: u64,
    /// From then on until a write was refused for it.
    pub noticed_milliseconds: Option<u64>,
    pub refused: u64,
    /// Writes that the region took after it had refused one, while the disk was full.
    pub taken: u64,
    /// Writes that it refused or left unanswered for other reasons meanwhile.
    pub failed: u64,
    pub reads: u64,
    pub reads_failed: u64,
    /// The longest time without an acknowledged write meanwhile, by every other region.
    pub silence_milliseconds: BTreeMap<String, u64>,
    /// From when there was room until the region took a write.
    pub rto_milliseconds: Option<u64>,
    /// From then until it had applied all that the others had at that moment.
    pub level_milliseconds: u64,
}

impl Full {
    /// From what was seen, in its order, of the region, and written, in all.
    pub fn of(
        probes: &[(u64, Probe)],
        written: &[Written],
        others: &[&str],
        span: Span,
        level_milliseconds: u64,
    ) -> Self {
        let meanwhile = || probes.iter().filter(|(at, _)| span.holds(*at));
        let noticed = meanwhile().find(|(_, probe)| *probe == Probe::Refused).map(|(at, _)| *at);
        let counted =
            |wanted: Probe| meanwhile().filter(|(_, probe)| *probe == wanted).count() as u64;
        let taken = |at: u64| noticed.is_some_and(|noticed| at > noticed);
        let again = probes.iter().find(|(at, probe)| *at > span.until && *probe == Probe::Taken);
        let silence = |region: &&str| ((*region).to_owned(), silence(written, region, span));
        Self {
            full_milliseconds: span.until - span.from,
            noticed_milliseconds: noticed.map(|at| at - span.from),
            refused: counted(Probe::Refused),
            taken: meanwhile().filter(|(at, it)| *it == Probe::Taken && taken(*at)).count() as u64,
            failed: counted(Probe::WriteFailed),
            reads: counted(Probe::Read),
            reads_failed: counted(Probe::ReadFailed),
            silence_milliseconds: others.iter().map(silence).collect(),
            rto_milliseconds: again.map(|(at, _)| at - span.until),
            level_milliseconds,
        }
    }

    /// True if the region answered every read, refused writes, and took them again; and if all
    /// others took writes all the time.
    pub fn is_right(&self) -> bool {
        self.refused > 0
            && self.reads > 0
            && self.reads_failed == 0
            && self.rto_milliseconds.is_some_and(|again| again <= AGAIN_LONGEST)
            && self.silence_longest() <= SILENCE_LONGEST
    }

    pub fn silence_longest(&self) -> u64 {
        self.silence_milliseconds.values().copied().max().unwrap_or(u64::MAX)
    }
}

/// The longest time in that span in which a region acknowledged nothing.
fn silence(written: &[Written], region: &str, span: Span) -> u64 {
    let receipts = written.iter().filter_map(|write| write.acknowledged.as_ref());
    let own = receipts.filter(|receipt| receipt.region == region && span.holds(receipt.when));
    let mut whens: Vec<u64> = own.map(|receipt| receipt.when).collect();
    whens.extend([span.from, span.until]);
    whens.sort_unstable();
    whens.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Receipt;

    const SPAN: Span = Span { from: 1_000, until: 9_000 };

    fn write(region: &str, when: u64) -> Written {
        let (region, origin) = (region.to_owned(), format!("{region}.1"));
        Written {
            level: 0,
            key: "k".to_owned(),
            id: "i".to_owned(),
            begun: when,
            acknowledged: Some(Receipt { when, region, origin, sequence: 1 }),
            attempts: 1,
        }
    }

    fn found(more: &[(u64, Probe)]) -> Full {
        let mut probes = vec![
            (500, Probe::ReadFailed),
            (1_200, Probe::Taken),
            (2_000, Probe::Refused),
            (2_100, Probe::Read),
            (9_700, Probe::Taken),
        ];
        probes.extend(more);
        probes.sort_by_key(|(at, _)| *at);
        let written = [2_000, 5_000, 8_000].map(|when| write("b", when));
        Full::of(&probes, &written, &["b"], SPAN, 7)
    }

    #[test]
    fn what_was_seen_is_counted() {
        let right = found(&[]);
        assert!(right.is_right(), "{right:?}");
        assert_eq!((right.noticed_milliseconds, right.refused, right.taken), (Some(1_000), 1, 0));
        assert_eq!((right.reads, right.reads_failed), (1, 0), "only while it is full");
        assert_eq!((right.rto_milliseconds, right.silence_longest()), (Some(700), 3_000));
        assert_eq!(found(&[(3_000, Probe::Taken)]).taken, 1);
    }

    #[test]
    fn a_region_that_does_not_answer_or_others_that_are_silent_fail() {
        assert!(!found(&[(3_000, Probe::ReadFailed)]).is_right());
        let late = [
            (9_000 + AGAIN_LONGEST + 1, Probe::Taken),
            (2_000, Probe::Refused),
            (2_001, Probe::Read),
        ];
        let written = [write("b", 5_000)];
        let judge = |probes: &[(u64, Probe)], others: &[&str]| {
            Full::of(probes, &written, others, SPAN, 0).is_right()
        };
        assert!(!judge(&late, &["b"]));
        let soon = [(2_000, Probe::Refused), (2_001, Probe::Read), (9_500, Probe::Taken)];
        assert!(judge(&soon, &["b"]));
        assert!(!judge(&soon[1..], &["b"]), "nothing was refused");
        assert!(!judge(&soon, &["b", "c"]), "c took nothing");
        assert!(!judge(&soon, &[]), "there are others");
    }
}
