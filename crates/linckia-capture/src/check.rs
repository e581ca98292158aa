//! Whether what a client asks for beforehand holds of a key: judged against what is ahead, too.
//!
//! Pure. What always holds: a precondition is judged in the same step in which the event is made.

use linckia_model::{Key, KeyState, Precondition, Refusal, canonical};

/// Why the precondition does not hold, if it does not.
pub(crate) fn check(
    precondition: &Precondition,
    key: &Key,
    state: &KeyState,
    exists: bool,
) -> Option<Refusal> {
    let conflict = || Refusal::VersionConflict {
        version: state.version(),
        entity_tag: canonical::entity_tag(state),
    };
    match precondition {
        Precondition::Match(tag) => {
            let matches = canonical::entity_tag(state).is_some_and(|found| found == *tag);
            (!matches).then(conflict)
        }
        Precondition::Exists => (!exists).then(conflict),
        Precondition::Absent => exists.then(conflict),
        Precondition::Deletable => (!exists).then_some(Refusal::NotFound),
        Precondition::Unchanged { version, entity_tag } => {
            (!unchanged(state, *version, entity_tag)).then(conflict)
        }
        Precondition::UnchangedEach(keys) => {
            let (version, entity_tag) = keys.get(key)?;
            (!unchanged(state, *version, entity_tag)).then(conflict)
        }
    }
}

fn unchanged(state: &KeyState, version: u64, entity_tag: &Option<String>) -> bool {
    state.version() == version && canonical::entity_tag(state) == *entity_tag
}
