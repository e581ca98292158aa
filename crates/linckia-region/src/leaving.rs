//! What a directory must leave before its region goes on: an old copy its log and its state, a
//! region that lapsed whatever reaches beyond where logs end.
//!
//! The core writes it and ends; at the next start, before anything is opened for use, what is named
//! is put aside. What always holds: nothing is removed, and what is not named stays as it is.

use linckia_model::Origin;

/// Where a directory keeps it, beside the logs.
pub const LEAVING_FILE: &str = "leaving";

/// What is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaving {
    /// The region goes on in another incarnation.
    pub incarnation: bool,
    /// The journal of the agreement: it may have forgotten votes.
    pub agreement: bool,
    /// The state.
    pub store: bool,
    /// Logs, by origin.
    pub logs: Vec<String>,
}

impl Leaving {
    /// What an old copy leaves that wrote this log: nothing that it held can be trusted to be all.
    pub fn old_copy(own: &Origin) -> Self {
        Self { incarnation: true, agreement: true, store: true, logs: vec![own.to_string()] }
    }

    /// A word or a log a line.
    pub fn text(&self) -> String {
        let words = [
            (self.incarnation, "incarnation"),
            (self.agreement, "agreement"),
            (self.store, "store"),
        ];
        let words = words.into_iter().filter(|(left, _)| *left).map(|(_, word)| word);
        let lines = words.chain(self.logs.iter().map(String::as_str));
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// The inverse of [`Leaving::text`]; nothing of an empty text. Errors: a line that is neither a
    /// word of it nor an origin.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut leaving = Self::default();
        for line in text.lines() {
            match line {
                "incarnation" => leaving.incarnation = true,
                "agreement" => leaving.agreement = true,
                "store" => leaving.store = true,
                log if Origin::parse(log).is_ok() => leaving.logs.push(log.to_owned()),
                other => return Err(other.to_owned()),
            }
        }
        Ok(leaving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_read_as_it_was_written() {
        let own = Origin::parse("a.0000000000000001").unwrap();
        for leaving in [Leaving::default(), Leaving::old_copy(&own)] {
            assert_eq!(Leaving::parse(&leaving.text()), Ok(leaving));
        }
        assert_eq!(Leaving::parse("store\nnonsense\n"), Err("nonsense".to_owned()));
    }
}
