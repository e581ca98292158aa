//! Closings, step by step: who speaks for a log, where it ends, and what opens one again.

use super::*;

fn members() -> BTreeSet<String> {
    ["a", "b", "c"].map(str::to_owned).into_iter().collect()
}

fn origin(region: &str, life: u64) -> String {
    format!("{region}.{life:016x}")
}

fn holds(origin: &str, sequence: u64) -> Promise {
    let held = BTreeMap::from([(origin.to_owned(), sequence)]);
    Promise { held, heard: sequence + 1, hlc: sequence * 10 }
}

fn three() -> Incarnations {
    let mut lives = Incarnations::default();
    for region in ["a", "b", "c"] {
        let step = lives.present(1, region, &origin(region, 1), (&members(), &BTreeSet::new()));
        assert_eq!(step, Step::Lives);
    }
    lives
}

#[test]
fn a_log_ends_where_the_highest_promise_is() {
    let (mut lives, lost) = (three(), origin("a", 1));
    assert_eq!(
        lives.present(2, "a", &origin("a", 2), (&members(), &BTreeSet::new())),
        Step::Succeeds
    );
    assert_eq!(lives.present(2, "a", &origin("a", 2), (&members(), &BTreeSet::new())), Step::Lives);
    let promise = |lives: &mut Incarnations, region: &str, life, sequence| {
        lives.promise(&lost, 1, &origin(region, life), &holds(&lost, sequence))
    };
    assert_eq!(promise(&mut lives, "a", 1, 9), Step::Gone, "it does not live any more");
    assert_eq!(promise(&mut lives, "a", 2, 0), Step::Awaits);
    assert_eq!(promise(&mut lives, "b", 1, 6), Step::Awaits);
    assert_eq!(promise(&mut lives, "b", 1, 9), Step::Awaits, "a second word does not count");
    assert!(lives.is_closing());
    assert_eq!(promise(&mut lives, "c", 1, 4), Step::Closed(6));
    assert_eq!(lives.ends().collect::<Vec<_>>(), [(lost.as_str(), 6)]);
    let (_, closing) = lives.closings().next().unwrap();
    assert_eq!((closing.heard, closing.hlc), (7, 60));
    // The directory that was taken for lost comes back.
    assert_eq!(lives.present(3, "a", &lost, (&members(), &BTreeSet::new())), Step::Closed(6));
    assert_eq!(lives.of("a"), Some(origin("a", 2).as_str()));
}

#[test]
fn an_end_that_not_all_hold_is_found_anew_when_a_holder_is_lost() {
    let (mut lives, lost) = (three(), origin("a", 1));
    lives.present(2, "a", &origin("a", 2), (&members(), &BTreeSet::new()));
    for (region, life, sequence) in [("a", 2, 0), ("b", 1, 6), ("c", 1, 4)] {
        lives.promise(&lost, 1, &origin(region, life), &holds(&lost, sequence));
    }
    assert_eq!(lives.level(&lost, 1, &origin("b", 1)), Step::Awaits);
    lives.present(3, "b", &origin("b", 2), (&members(), &BTreeSet::new()));
    assert_eq!(lives.ends().count(), 0);
    let of_before = lives.promise(&lost, 1, &origin("c", 1), &holds(&lost, 6));
    assert_eq!(of_before, Step::Gone, "of the attempt before");
    for (region, life, sequence) in [("a", 2, 4), ("b", 2, 0)] {
        lives.promise(&lost, 2, &origin(region, life), &holds(&lost, sequence));
    }
    let last = lives.promise(&lost, 2, &origin("c", 1), &holds(&lost, 4));
    assert_eq!(last, Step::Closed(4));
    // What all hold stays.
    for (region, life) in [("a", 2), ("b", 2)] {
        assert_eq!(lives.level(&lost, 2, &origin(region, life)), Step::Awaits);
    }
    assert_eq!(lives.level(&lost, 2, &origin("c", 1)), Step::Closed(4));
    lives.present(4, "b", &origin("b", 3), (&members(), &BTreeSet::new()));
    assert!(lives.ends().any(|end| end == (&lost, 4)));
}

#[test]
fn a_log_ends_before_what_depends_on_what_is_lost() {
    let (mut lives, lost) = (three(), origin("a", 1));
    assert_eq!(lives.void(&lost, 3), Step::Gone, "it is not closed");
    lives.present(2, "a", &origin("a", 2), (&members(), &BTreeSet::new()));
    for (region, life) in [("a", 2), ("b", 1), ("c", 1)] {
        lives.promise(&lost, 1, &origin(region, life), &holds(&lost, 6));
    }
    assert_eq!(lives.void(&lost, 4), Step::Closed(3));
    assert_eq!(lives.void(&lost, 6), Step::Closed(3), "of a member that has not heard it");
    assert_eq!(lives.void(&lost, 1), Step::Closed(0));
}

#[test]
fn a_log_that_a_member_holds_is_closed_though_nobody_knows_who_wrote_it() {
    let mut lives = Incarnations::default();
    let held = |origins: &[String]| origins.iter().cloned().collect::<BTreeSet<_>>();
    let both = held(&[origin("a", 1), origin("b", 1)]);
    assert_eq!(lives.present(1, "b", &origin("b", 1), (&members(), &both)), Step::Lives);
    assert!(!lives.is_closing(), "a may live in it");
    lives.present(1, "a", &origin("a", 2), (&members(), &held(&[])));
    assert_eq!(lives.closings().map(|(origin, _)| origin).collect::<Vec<_>>(), [origin("a", 1)]);
    let mut lives = Incarnations::default();
    lives.present(1, "a", &origin("a", 2), (&members(), &held(&[])));
    lives.present(1, "b", &origin("b", 1), (&members(), &both));
    assert!(lives.is_closing());
}

#[test]
fn a_log_that_nobody_writes_is_closed_and_one_that_somebody_does_is_not() {
    let mut lives = three();
    assert_eq!(lives.close(2, &origin("a", 1), &members()), Step::Gone);
    assert_eq!(lives.close(2, &origin("d", 1), &members()), Step::Gone, "no such region");
    assert_eq!(lives.close(2, &origin("a", 7), &members()), Step::Awaits);
    assert!(lives.is_closing());
    assert_eq!(
        lives.present(2, "a", &origin("a", 7), (&members(), &BTreeSet::new())),
        Step::Awaits
    );
}

#[test]
fn a_member_that_lapses_is_not_waited_for_and_its_log_is_closed() {
    let (mut lives, log) = (three(), origin("c", 1));
    let promise = |lives: &mut Incarnations, region: &str, life, attempt| {
        lives.promise(&log, attempt, &origin(region, life), &holds(&log, 5))
    };
    assert_eq!(lives.lapse(2, "d", "away", &members()), Step::Gone);
    assert_eq!(lives.lapse(2, "c", "away", &members()), Step::Succeeds);
    assert_eq!(lives.lapse(3, "c", "again", &members()), Step::Lives);
    assert!(lives.counts(&origin("a", 1)) && !lives.counts(&log), "it has no say now");
    assert!(!lives.counts(&origin("a", 9)));
    let mut unknown = Incarnations::default();
    assert_eq!(unknown.lapse(2, "c", "away", &members()), Step::Gone, "no origin, no closing");
    let lapse = &lives.lapsed()["c"];
    assert_eq!((lapse.at, lapse.reason.as_str()), (2, "away"));
    let attempt = lives.closing(&log).unwrap().attempt;
    assert_eq!(promise(&mut lives, "a", 1, attempt), Step::Awaits);
    assert_eq!(promise(&mut lives, "c", 1, attempt), Step::Awaits, "it is not waited for");
    assert_eq!(promise(&mut lives, "b", 1, attempt), Step::Closed(5));
    // Another directory is lost: the one that lapsed is not asked for that either.
    lives.present(4, "a", &origin("a", 2), (&members(), &BTreeSet::new()));
    let awaited: Vec<_> = lives.closing(&origin("a", 1)).unwrap().awaited.iter().collect();
    assert_eq!(awaited, ["a", "b"]);
    // Its directory finds its log closed, and presents another one.
    assert_eq!(lives.present(5, "c", &log, (&members(), &BTreeSet::new())), Step::Awaits);
    assert!(lives.lapsed().contains_key("c"));
    let held = BTreeSet::from([log.clone()]);
    lives.present(6, "c", &origin("c", 2), (&members(), &held));
    assert!(lives.lapsed().is_empty());
    assert_eq!(lives.returning().collect::<Vec<_>>(), ["c"]);
    assert!(lives.closing(&log).unwrap().awaited.contains("c"), "not all had all of it");
    assert_eq!(lives.returned(&origin("c", 1)), Step::Gone);
    assert_eq!(lives.returned(&origin("c", 2)), Step::Lives);
    assert_eq!(lives.returning().count(), 0);
}

#[test]
fn an_end_that_all_hold_stands_when_the_region_comes_back() {
    let (mut lives, log) = (three(), origin("c", 1));
    lives.lapse(2, "c", "away", &members());
    let attempt = lives.closing(&log).unwrap().attempt;
    for region in ["a", "b"] {
        lives.promise(&log, attempt, &origin(region, 1), &holds(&log, 5));
    }
    for region in ["a", "b"] {
        lives.level(&log, attempt, &origin(region, 1));
    }
    lives.present(3, "c", &origin("c", 2), (&members(), &BTreeSet::new()));
    let closing = lives.closing(&log).unwrap();
    assert_eq!((closing.attempt, closing.end, closing.awaited.len()), (attempt, Some(5), 0));
}

#[test]
fn one_member_is_left_and_of_two_that_come_back_the_later_waits() {
    let mut lives = three();
    lives.lapse(2, "b", "away", &members());
    lives.lapse(2, "c", "away", &members());
    assert_eq!(lives.lapse(2, "a", "away", &members()), Step::Last);
    lives.present(3, "c", &origin("c", 2), (&members(), &BTreeSet::new()));
    lives.present(3, "b", &origin("b", 2), (&members(), &BTreeSet::new()));
    let agreed = lives.agreed(&[]);
    let names: Vec<RegionName> =
        ["a", "b", "c"].map(|name| RegionName::parse(name).unwrap()).to_vec();
    let waits = |region: &RegionName| {
        let each = agreed.passed_by(region, &names);
        each.map(|(other, epoch)| (other.to_string(), epoch)).collect::<Vec<_>>()
    };
    assert_eq!(waits(&names[0]), []);
    assert_eq!(waits(&names[2]), [("a".to_owned(), 3)]);
    assert_eq!(waits(&names[1]), [("a".to_owned(), 4), ("c".to_owned(), 4)]);
}

#[test]
fn a_region_that_joins_is_waited_for_by_nobody_before_and_is_heard_of_before_it_writes() {
    for of_an_earlier_version in [false, true] {
        let mut lives = three();
        let of = |name: &str| RegionName::parse(name).unwrap();
        let four = ["a", "b", "c", "d"].map(of);
        let names: BTreeSet<String> = four.iter().map(RegionName::to_string).collect();
        if of_an_earlier_version {
            lives.joined.clear();
        }
        assert!(lives.is_expected("d") && lives.agreed(&four).lapsed.contains(&four[3]));
        assert_eq!(lives.active(&names), members());
        let here = origin("d", 1);
        assert_eq!(lives.present(2, "d", &here, (&names, &BTreeSet::new())), Step::Lives);
        let agreed = lives.agreed(&four);
        assert!(agreed.lapsed.is_empty() && agreed.joins(&four[3]) && lives.is_joining("d"));
        let passed: Vec<_> = agreed.passed_by(&four[3], &[]).collect();
        assert_eq!(passed, [(&four[0], 1), (&four[1], 1), (&four[2], 1)]);
        assert_eq!(lives.active(&members()), names, "also for those that do not know it");
        assert_eq!(lives.present(3, "d", &here, (&names, &BTreeSet::new())), Step::Lives);
        assert_eq!(lives.returned(&here), Step::Lives);
        assert_eq!(lives.returning().count(), 0);
        // One that is in nobody's configuration any more can lapse all the same.
        assert_eq!(lives.clone().lapse(4, "d", "gone", &members()), Step::Succeeds);
        // One that was there at first and lost its directory does not join.
        lives.present(4, "a", &origin("a", 2), (&names, &BTreeSet::new()));
        assert_eq!(lives.returning().count(), 0);
    }
}
