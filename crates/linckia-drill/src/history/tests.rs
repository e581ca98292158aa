//! Histories that break one guarantee each, and some that break none.

use super::*;

struct History(Vec<Entry>);

impl History {
    fn wrote(mut self, session: usize, key: &str, mark: &str) -> Self {
        let (key, mark) = (key.to_owned(), mark.to_owned());
        let at = self.0.len() as u64 * 10;
        let begins = Deed::Begins { key: key.clone(), mark: mark.clone() };
        self.0.push(Entry { session, at, deed: begins });
        self.0.push(Entry { session, at: at + 5, deed: Deed::Wrote { key, mark } });
        self
    }

    fn read(mut self, session: usize, region: &str, key: &str, marks: &[&str]) -> Self {
        let at = self.0.len() as u64 * 10;
        let marks = marks.iter().map(|mark| (*mark).to_owned()).collect();
        let (region, key) = (region.to_owned(), key.to_owned());
        let deed = Deed::Read { region, key, marks, begun: at.saturating_sub(5) };
        self.0.push(Entry { session, at, deed });
        self
    }

    fn guarantee(&self) -> Option<&'static str> {
        check(&self.0, &BTreeSet::new()).err().map(|broken| broken.guarantee)
    }
}

fn history() -> History {
    History(Vec::new())
}

#[test]
fn each_guarantee_is_told_from_the_others() {
    let mine = history().wrote(1, "k", "a").read(1, "r", "k", &[]);
    assert_eq!(mine.guarantee(), Some("read your writes"));
    let back = history().wrote(2, "k", "a").read(1, "r", "k", &["a"]).read(1, "s", "k", &[]);
    assert_eq!(back.guarantee(), Some("monotonic reads"));
    let order = || history().wrote(1, "k", "a").wrote(1, "l", "b").read(2, "r", "l", &["b"]);
    assert_eq!(order().read(3, "r", "k", &[]).guarantee(), Some("monotonic writes"));
    assert_eq!(order().read(3, "s", "k", &[]).guarantee(), None, "another region may lag");
    assert_eq!(order().read(2, "s", "k", &[]).guarantee(), Some("monotonic writes"));
    let follow = history().wrote(9, "k", "a").read(1, "r", "k", &["a"]).wrote(1, "l", "b");
    let follow = follow.read(2, "s", "l", &["b"]).read(3, "s", "k", &[]);
    assert_eq!(follow.guarantee(), Some("writes follow reads"));
    let shown = history().wrote(9, "k", "a").read(1, "r", "k", &["a"]).read(2, "r", "k", &[]);
    assert_eq!(shown.guarantee(), Some("a region shows what it showed"));
}

#[test]
fn what_comes_before_reaches_through_several_sessions() {
    let chain = history().wrote(1, "k", "a").read(2, "r", "k", &["a"]).wrote(2, "l", "b");
    let chain = chain.read(3, "r", "l", &["b"]).wrote(3, "m", "c").read(4, "s", "m", &["c"]);
    assert_eq!(chain.read(4, "s", "k", &[]).guarantee(), Some("writes follow reads"));
}

#[test]
fn what_is_as_it_must_be_breaks_nothing() {
    let fine = history().wrote(1, "k", "a").read(1, "r", "k", &["a"]).read(2, "s", "k", &[]);
    let fine =
        fine.wrote(2, "k", "b").read(1, "s", "k", &["a", "b"]).read(2, "s", "k", &["a", "b"]);
    assert_eq!(fine.guarantee(), None);
    // A read that was under way when another one saw more may have seen less.
    let mut late = history().wrote(1, "k", "a").read(1, "r", "k", &["a"]).0;
    let deed = Deed::Read {
        region: "r".to_owned(),
        key: "k".to_owned(),
        marks: BTreeSet::new(),
        begun: 15,
    };
    late.push(Entry { session: 2, at: 90, deed });
    assert_eq!(check(&late, &BTreeSet::new()), Ok(()));
}

#[test]
fn a_write_without_an_answer_need_not_be_there_and_orders_others_if_it_is() {
    let mut begun = history().wrote(1, "k", "a").0;
    let deed = Deed::Begins { key: "l".to_owned(), mark: "b".to_owned() };
    begun.push(Entry { session: 1, at: 30, deed });
    let unanswered = || History(begun.clone());
    assert_eq!(unanswered().read(1, "r", "l", &[]).guarantee(), None);
    let seen = unanswered().read(2, "r", "l", &["b"]).read(2, "r", "k", &[]);
    assert_eq!(seen.guarantee(), Some("monotonic writes"));
}

#[test]
fn a_write_that_was_tried_again_in_a_new_session_follows_what_both_had() {
    let mut tried = history().wrote(1, "k", "a").0;
    let begins = Deed::Begins { key: "l".to_owned(), mark: "b".to_owned() };
    for session in [1, 2] {
        tried.push(Entry { session, at: 30, deed: begins.clone() });
    }
    let seen = History(tried).read(3, "r", "l", &["b"]).read(3, "r", "k", &[]);
    assert_eq!(seen.guarantee(), None);
}

#[test]
fn nobody_has_to_see_what_was_declared_lost() {
    let mine = history().wrote(1, "k", "a").read(1, "r", "k", &[]);
    let lost = [("k".to_owned(), "a".to_owned())].into_iter().collect();
    assert_eq!(check(&mine.0, &lost), Ok(()));
}
