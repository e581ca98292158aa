//! Rows read in pages, those whose digest is not their state's, and digests of ranges counted anew.

use linckia_model::{Dot, Event, Extras, Operation, Origin, Transaction};
use linckia_store::{Batch, MemoryStore, Rows as _, Store as _};

use super::*;
use crate::apply::{Apply, Recounted};
use crate::digests::Ranges;

const ALL: (usize, usize) = (usize::MAX, usize::MAX);

struct Nothing;

impl EventSource for Nothing {
    fn event(
        &self,
        _: &Dot,
    ) -> std::result::Result<Option<std::sync::Arc<Event>>, linckia_model::Cause> {
        Ok(None)
    }

    fn between(
        &self,
        _: &Key,
        _: &Stamp,
        _: &Stamp,
    ) -> std::result::Result<Vec<std::sync::Arc<Event>>, linckia_model::Cause> {
        Ok(Vec::new())
    }
}

fn key(number: u64) -> Key {
    Key::new("default", "T", &format!("{number:03}"))
}

/// A key that was written once.
fn state(number: u64) -> KeyState {
    let origin = Origin::parse("a.0000000000000001").unwrap();
    let event = Event {
        dot: Dot::new(origin, number),
        hlc: Hlc::from_bits(number << 16),
        deps: Vector::new(),
        transaction: Transaction::single(number),
        key: key(number),
        event_type: "E".into(),
        operation: Operation::Put,
        data: serde_json::json!({"n": number}),
        ctx: None,
        identity: Identity { event_id: "e".into(), place: 0 },
        version: 1,
        policy_epoch: 0,
        schema_version: 0,
        extras: Extras::default(),
    };
    let (mut state, fold) = (KeyState::default(), FoldSettings::default());
    state.apply(&event.into(), &[], &Nothing, Epochs::none(), &fold).unwrap();
    state.take(Hlc::ZERO, Epochs::none(), &fold);
    state
}

/// A store with keys 1 to `keys`, and the digests of its ranges.
fn filled(keys: u64) -> MemoryStore {
    let (store, mut batch, mut ranges) = (MemoryStore::new(), Batch::default(), Ranges::default());
    for number in 1..=keys {
        let (key, state) = (key(number), state(number));
        let digest = canonical::digest(&key, &state);
        ranges.change(&key.to_bytes(), None, digest.as_ref());
        batch.put(Table::States, &key.to_bytes(), &keys::encode(0, digest.as_ref(), &state));
    }
    for (place, row) in ranges.take_rows() {
        batch.put_parts(Table::Meta, &[rows::RANGE, &[place]], &row);
    }
    store.write(&batch).unwrap();
    store
}

/// Key 5 has the state of key 6.
fn spoil(store: &MemoryStore, digest: Option<Digest>) {
    let mut batch = Batch::default();
    batch.put(Table::States, &key(5).to_bytes(), &keys::encode(0, digest.as_ref(), &state(6)));
    store.write(&batch).unwrap();
}

#[test]
fn pages_are_as_long_as_asked_and_go_on_where_they_ended() {
    let store = filled(700);
    let whole = read_rows(&store, &[], &[], ALL, None).unwrap();
    assert_eq!((whole.rows.len(), whole.read, whole.next), (700, 700, None));
    let (mut from, mut rows) = (Vec::new(), Vec::new());
    loop {
        let page = read_rows(&store, &from, &[], (300, usize::MAX), None).unwrap();
        assert!(page.read <= 300);
        rows.extend(page.rows);
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(rows, whole.rows);
    let until = &whole.rows[10].0;
    let part = read_rows(&store, &whole.rows[3].0, until, ALL, None).unwrap();
    assert_eq!(hash_of(&part.rows), hash_of(&whole.rows[3..10]));
    assert_ne!(hash_of(&part.rows), hash_of(&whole.rows[3..11]));
}

#[test]
fn a_state_that_its_row_does_not_name_is_found_where_rows_are_verified() {
    let (store, known) = (filled(9), Vector::new());
    let sound = read_rows(&store, &[], &[], ALL, Some(&known)).unwrap();
    assert!(sound.stale.is_empty());
    spoil(&store, canonical::digest(&key(5), &state(5)));
    let quick = read_rows(&store, &[], &[], ALL, None).unwrap();
    assert_eq!(quick.rows, sound.rows, "by the row's own word all is well");
    let verified = read_rows(&store, &[], &[], ALL, Some(&known)).unwrap();
    assert_eq!(verified.stale, [key(5).to_bytes()]);
    assert_ne!(verified.rows, sound.rows);
    assert!(look_at(&store, &key(5).to_bytes(), &known).unwrap().stale);
}

#[test]
fn rows_are_one_where_each_side_has_what_the_other_rests_on() {
    let seen = look_at(&filled(9), &key(5).to_bytes(), &Vector::new()).unwrap();
    let at = |upto: u64| -> Vector {
        [(Origin::parse("a.0000000000000001").unwrap(), upto)].into_iter().collect()
    };
    assert_eq!(seen.shown, at(5));
    assert!(seen.is_one_with(&at(5), &at(5), &at(9)));
    assert!(!seen.is_one_with(&at(5), &at(6), &at(9)), "the other one has more of it");
    assert!(!seen.is_one_with(&at(5), &at(4), &at(4)), "the other one has less of it");
}

#[test]
fn ranges_that_do_not_name_their_rows_are_counted_anew() {
    let store = filled(40);
    spoil(&store, canonical::digest(&key(5), &state(6)));
    let mut counting = Apply::recount(store.snapshot()).unwrap();
    let lacks = loop {
        match counting.run(7).unwrap() {
            Recounted::Going(more) => counting = more,
            Recounted::Done(lacks) => break lacks,
        }
    };
    let mut said = Ranges::read(&store).unwrap();
    assert_eq!(said.amend(&lacks).len(), lacks.len());
    let mut counted = Ranges::default();
    for (row, value) in store.scan(Table::States, &[], &[], usize::MAX, false).unwrap() {
        let (_, digest) = keys::head(&mut Reader(&value)).unwrap();
        counted.change(&row, None, digest.as_ref());
    }
    assert_eq!((said.digests(), lacks.len()), (counted.digests(), 1));
}
