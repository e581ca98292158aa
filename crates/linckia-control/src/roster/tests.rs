//! Rosters by hand: commands in an order, and what was decided by them.

use super::*;

#[test]
fn a_clock_that_is_behind_does_not_turn_time_back() {
    let mut roster = Roster::default();
    let acquire = |owner: &str| Command::Acquire {
        name: "a".to_owned(),
        owner: owner.to_owned(),
        ttl_milliseconds: 100,
    };
    assert!(matches!(roster.decide(1_000, &acquire("one")), Outcome::Leased(_)));
    assert!(matches!(roster.decide(1_100, &acquire("two")), Outcome::Leased(_)));
    assert!(matches!(roster.decide(1_050, &acquire("one")), Outcome::Held(_)));
}

#[test]
fn a_fleet_takes_over_what_one_directory_was_restored_with() {
    let origin = |region: &str, life: u64| format!("{region}.{life:016x}");
    let present = |region: &str, life: u64, restored: Option<&Restored>| Command::Present {
        region: region.to_owned(),
        origin: origin(region, life),
        members: ["a", "b"].map(str::to_owned).into_iter().collect(),
        held: restored.map(|it| it.ends.keys().cloned().collect()).unwrap_or_default(),
        restored: restored.cloned().map(Box::new),
    };
    let name = |kind: &str| TypeName { data_set: "d".to_owned(), aggregate_type: kind.to_owned() };
    let policy =
        |strategy: &str| Policy::from_json(&serde_json::json!({ "strategy": strategy })).unwrap();
    let mut old = Roster::default();
    for region in ["a", "b"] {
        old.decide(1, &present(region, 1, None));
    }
    let changes = [(5, "T", "Manual"), (9, "T", "DeleteWins"), (9, "U", "Manual")];
    for (at, kind, strategy) in changes {
        let (name, policy) = (name(kind), policy(strategy));
        let members = ["a", "b"].map(str::to_owned).into_iter().collect();
        let begin = Command::BeginPolicy { name: name.clone(), expected: None, policy, members };
        let Outcome::PolicyBegun(epoch) = old.decide(at, &begin) else { panic!("it begins") };
        for region in ["a", "b"] {
            let (name, origin) = (name.clone(), origin(region, 1));
            let written = BTreeMap::new();
            old.decide(at, &Command::PolicyReady { name, epoch, origin, written });
        }
    }
    let (lock, owner) = ("l".to_owned(), "one".to_owned());
    old.decide(9, &Command::Acquire { name: lock, owner, ttl_milliseconds: 60_000 });

    // At 7 the first epoch of T held; an event under U's shows that it did as well.
    let ends = BTreeMap::from([(origin("a", 1), 4)]);
    let written = BTreeMap::from([(name("U"), 1)]);
    let restored = old.restored(ends, Hlc::from_milliseconds(7), 7, &written);
    assert_eq!(restored.policies.policy(&name("T")), (1, policy("Manual")));
    assert_eq!(restored.policies.policy(&name("U")), (1, policy("Manual")));

    let mut new = Roster::default();
    new.decide(1, &present("b", 2, None));
    // It has pulled what the other one is to say.
    let members = ["a", "b"].map(str::to_owned).into_iter().collect();
    let stray = Command::Close { origin: origin("b", 1), members };
    assert_eq!(new.decide(2, &stray), Outcome::Closing);
    assert_eq!(new.decide(20, &present("a", 2, Some(&restored))), Outcome::Nothing);
    let agreed = new.agreed(&[]);
    let lives = agreed.incarnations.unwrap();
    let end =
        |region, life| lives.end(&linckia_model::Origin::parse(&origin(region, life)).unwrap());
    assert_eq!((end("a", 1), end("b", 1), end("b", 2)), (Some(4), Some(0), None));
    assert_eq!(lives.restored.to_string(), format!("{}:4", origin("a", 1)));
    assert_eq!(agreed.policies.awaited.len(), 2, "written once all of it is applied");
    assert_eq!(new.policies().policy(&name("T")).0, 1);
    let (name, owner) = ("l".to_owned(), "two".to_owned());
    let acquire = Command::Acquire { name, owner, ttl_milliseconds: 1 };
    let Outcome::Leased(lease) = new.decide(21, &acquire) else { panic!("nobody holds it") };
    assert_eq!(lease.fence, 2, "fences go on above");

    // Another region may have been restored to the same, and to nothing else.
    assert_eq!(new.decide(22, &present("b", 3, Some(&restored))), Outcome::Nothing);
    let other = Restored { fence: 9, ..Restored::default() };
    assert_eq!(new.decide(23, &present("a", 3, Some(&other))), Outcome::OtherHistory);
    assert_eq!(old.decide(24, &present("b", 4, Some(&restored))), Outcome::OtherHistory);
    let json = serde_json::to_string(&new).unwrap();
    assert_eq!(serde_json::from_str::<Roster>(&json).unwrap(), new);
}

#[test]
fn a_region_that_lost_its_directory_does_not_speak_for_its_earlier_life() {
    let mut roster = Roster::default();
    let origin = |region: &str, life: u64| format!("{region}.{life:016x}");
    let present = |region: &str, life: u64| Command::Present {
        region: region.to_owned(),
        origin: origin(region, life),
        members: ["a", "b"].map(str::to_owned).into_iter().collect(),
        held: BTreeSet::new(),
        restored: None,
    };
    let name = TypeName { data_set: "d".to_owned(), aggregate_type: "T".to_owned() };
    let begin = Command::BeginPolicy {
        name: name.clone(),
        expected: None,
        policy: Policy::from_json(&serde_json::json!({"strategy": "Manual"})).unwrap(),
        members: ["a", "b"].map(str::to_owned).into_iter().collect(),
    };
    let ready = |region: &str, life: u64, epoch: u64| Command::PolicyReady {
        name: name.clone(),
        epoch,
        origin: origin(region, life),
        written: BTreeMap::new(),
    };
    roster.decide(1, &present("a", 1));
    roster.decide(1, &present("b", 1));
    assert_eq!(roster.decide(2, &begin), Outcome::PolicyBegun(1));
    assert_eq!(roster.decide(3, &ready("a", 1, 1)), Outcome::PolicyAwaits);
    roster.decide(4, &present("b", 2));
    assert_eq!(roster.decide(5, &ready("b", 2, 1)), Outcome::PolicyGone);
    // Not before the earlier life is closed: nobody could say that all of it is applied.
    assert_eq!(roster.decide(6, &begin), Outcome::Closing);
    for (region, life) in [("a", 1), ("b", 2)] {
        let held = BTreeMap::from([(origin("b", 1), 7)]);
        let promise = Promise { held, ..Promise::default() };
        let (origin, by) = (origin("b", 1), origin(region, life));
        roster.decide(6, &Command::Promise { origin, attempt: 1, by, promise });
    }
    assert_eq!(roster.decide(6, &begin), Outcome::PolicyBegun(2));
    assert_eq!(roster.decide(7, &ready("b", 1, 2)), Outcome::PolicyGone);
    assert_eq!(roster.decide(7, &ready("a", 1, 2)), Outcome::PolicyAwaits);
    assert_eq!(roster.decide(7, &ready("b", 2, 2)), Outcome::PolicyOpened(2));
    let (_, awaited) = &roster.agreed(&[]).policies.awaited[0];
    assert_eq!(awaited.to_string(), format!("{}:7", origin("b", 1)), "its end is applied first");
}
