//! What a fleet that was restored to a moment has of a drill's writes, and what it must have.
//!
//! Pure. What always holds: a write that was acknowledged before the moment is owed, one that was
//! begun after it must not be there; of those in between nothing is said.

use serde::Serialize;

use crate::account::{Final, Written};

/// When the moment was, by the observer's clock, in milliseconds from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What its region had acknowledged by then has an earlier stamp.
    pub before: u64,
    /// What is begun from then on has a later one.
    pub after: u64,
}

/// What a restored fleet has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// Writes that were acknowledged before the moment.
    pub owed: u64,
    /// Those of them that some restored region lacks.
    pub missing_ids: Vec<String>,
    /// Writes that were begun after the moment.
    pub later: u64,
    /// Those of them that some restored region has nevertheless.
    pub too_late_ids: Vec<String>,
}

impl Restored {
    /// True if all is there that is owed, and nothing later; and if there was either.
    pub const fn is_right(&self) -> bool {
        self.missing_ids.is_empty()
            && self.too_late_ids.is_empty()
            && self.owed > 0
            && self.later > 0
    }
}

/// What `end` has, of writes in a region that was backed up.
pub fn restored(written: &[Written], region: &str, moment: Moment, end: &Final) -> Restored {
    let mut found = Restored::default();
    for write in written {
        let holders = end.values().filter(|shown| {
            shown.get(&write.key).is_some_and(|shown| shown.marks.contains(&write.id))
        });
        let (holders, all) = (holders.count(), end.len());
        let receipt = write.acknowledged.as_ref();
        let is_owed = receipt.is_some_and(|it| it.region == region && it.when < moment.before);
        if is_owed {
            found.owed += 1;
            if holders < all || all == 0 {
                found.missing_ids.push(write.id.clone());
            }
        }
        if write.begun > moment.after {
            found.later += 1;
            if holders > 0 {
                found.too_late_ids.push(write.id.clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Receipt, Shown};

    fn write(id: &str, begun: u64, region: &str, when: u64) -> Written {
        let (region, origin) = (region.to_owned(), format!("{region}.1"));
        Written {
            level: 0,
            key: "k".to_owned(),
            id: id.to_owned(),
            begun,
            acknowledged: Some(Receipt { when, region, origin, sequence: 1 }),
            attempts: 1,
        }
    }

    fn end(regions: &[(&str, &[&str])]) -> Final {
        let of = |marks: &[&str]| Shown {
            marks: marks.iter().map(|mark| (*mark).to_owned()).collect(),
            version: 1,
        };
        let each = regions.iter();
        each.map(|(region, marks)| ((*region).to_owned(), [("k".to_owned(), of(marks))].into()))
            .collect()
    }

    #[test]
    fn what_was_acknowledged_before_is_owed_and_nothing_later() {
        let written = [
            write("early", 1, "a", 5),
            write("elsewhere", 1, "b", 5),
            write("between", 8, "a", 25),
            write("late", 21, "a", 30),
        ];
        let moment = Moment { before: 10, after: 20 };
        let judge = |marks: &[(&str, &[&str])]| restored(&written, "a", moment, &end(marks));
        let right = judge(&[("a", &["early", "between"]), ("b", &["early"])]);
        assert_eq!((right.owed, right.later), (1, 1));
        assert!(right.is_right());
        let lacking = judge(&[("a", &["early"]), ("b", &[])]);
        assert_eq!(lacking.missing_ids, ["early"]);
        assert!(!lacking.is_right());
        let late = judge(&[("a", &["early"]), ("b", &["early", "late"])]);
        assert_eq!(late.too_late_ids, ["late"]);
        assert!(!late.is_right());
        assert!(!judge(&[]).is_right(), "a fleet without regions has nothing");
        assert!(!restored(&[], "a", moment, &end(&[])).is_right(), "nothing was owed");
    }
}
