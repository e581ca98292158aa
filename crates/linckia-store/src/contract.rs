//! The suite that every engine of the store passes.
//!
//! Panics with what was broken; run from the tests of each engine.

use crate::port::{Batch, Rows, Store, Table, View};

fn put(rows: &[(&str, &str)]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in rows {
        batch.put(Table::States, key.as_bytes(), value.as_bytes());
    }
    batch
}

fn keys(view: &dyn View, from: &str, until: &str, limit: usize, backward: bool) -> Vec<String> {
    let rows = view
        .scan(Table::States, from.as_bytes(), until.as_bytes(), limit, backward)
        .expect("the engine scans");
    rows.into_iter().map(|(key, _)| String::from_utf8_lossy(&key).into_owned()).collect()
}

/// Writes what [`read_one`] expects.
pub fn write_one(store: &dyn Rows) {
    store.write(&put(&[("one", "1"), ("two", "2")])).expect("the engine writes");
}

/// Writes over it.
pub fn write_two(store: &dyn Rows) {
    store.write(&put(&[("one", "9"), ("three", "3")])).expect("the engine writes");
}

/// Expects exactly what [`write_one`] wrote.
pub fn read_one(store: &dyn View) {
    assert_eq!(keys(store, "", "", 9, false), ["one", "two"]);
    let one = store.get(Table::States, b"one").expect("the engine reads");
    assert_eq!(one.as_deref(), Some(&b"1"[..]));
}

/// Everything the port promises, on stores that start empty.
pub fn check<S: Store>(mut open: impl FnMut() -> S) {
    let store = open();
    assert_eq!(store.get(Table::States, b"one").expect("the engine reads"), None);
    write_one(&store);
    read_one(&store);
    assert_eq!(store.get(Table::Meta, b"one").expect("tables are apart"), None);

    let before = store.snapshot();
    write_two(&store);
    let mut removal = Batch::default();
    removal.remove(Table::States, b"two");
    store.write(&removal).expect("the engine removes");
    assert_eq!(keys(&store, "", "", 9, false), ["one", "three"]);
    assert_eq!(keys(before.as_ref(), "", "", 9, false), ["one", "two"]);

    store.write(&put(&[("a", ""), ("b", ""), ("c", ""), ("d", "")])).expect("the engine writes");
    assert_eq!(keys(&store, "b", "d", 9, false), ["b", "c"]);
    assert_eq!(keys(&store, "b", "d", 1, false), ["b"]);
    assert_eq!(keys(&store, "b", "d", 1, true), ["c"]);
    assert_eq!(keys(&store, "d", "b", 9, false), Vec::<String>::new());
    let last_wins = put(&[("e", "1"), ("e", "2")]);
    store.write(&last_wins).expect("the engine writes");
    let value = store.get(Table::States, b"e").expect("the engine reads");
    assert_eq!(value.as_deref(), Some(&b"2"[..]));
    many(&open());
    replaced(&open());
}

/// Rows that are on their way are apart from those of the store, and replace them as a whole.
fn replaced(store: &dyn Store) {
    write_two(store);
    let before = store.snapshot();
    let incoming = || store.incoming().expect("the engine takes rows in");
    write_one(incoming().as_ref());
    assert_eq!(keys(store, "", "", 9, false), ["one", "three"]);
    read_one(incoming().as_ref());
    store.discard().expect("the engine lets go of them");
    assert_eq!(keys(incoming().as_ref(), "", "", 9, false), Vec::<String>::new());
    write_one(incoming().as_ref());
    store.adopt().expect("the engine replaces the rows");
    read_one(store);
    assert_eq!(keys(before.as_ref(), "", "", 9, false), ["one", "three"]);
    assert_eq!(keys(incoming().as_ref(), "", "", 9, false), Vec::<String>::new());
    write_two(store);
    assert_eq!(keys(store, "", "", 9, false), ["one", "three", "two"]);
    store.sync().expect("the engine syncs");
}

/// Rows of one batch here: more than an engine takes for a small one.
const MANY: usize = 40_000;

/// A large batch is a batch like a small one, over what is there and under what comes.
fn many(store: &dyn Store) {
    let name = |number: usize| format!("{number:06}");
    let write = |from: usize, until: usize, step: usize, value: Option<&str>| {
        let mut batch = Batch::default();
        // Not in order: the engine sorts.
        for number in (from..until).step_by(step).rev() {
            let key = name(number);
            match value {
                Some(value) => batch.put(Table::History, key.as_bytes(), value.as_bytes()),
                None => batch.remove(Table::History, key.as_bytes()),
            }
        }
        store.write(&batch).expect("the engine writes");
    };
    let value = |view: &dyn View, number: usize| {
        let row = view.get(Table::History, name(number).as_bytes()).expect("the engine reads");
        row.map(|row| String::from_utf8_lossy(&row).into_owned())
    };
    write(0, 10, 1, Some("small before"));
    write(0, MANY, 1, Some("large"));
    let before = store.snapshot();
    write(0, MANY, 1_000, Some("small after"));
    write(1, MANY, 2, None);
    assert_eq!(value(store, 2).as_deref(), Some("large"));
    assert_eq!(value(store, 0).as_deref(), Some("small after"));
    assert_eq!(value(store, 3), None);
    assert_eq!(value(before.as_ref(), 0).as_deref(), Some("large"));
    assert_eq!(value(before.as_ref(), 3).as_deref(), Some("large"));
    let rows = store.scan(Table::History, b"", b"", usize::MAX, false).expect("the engine scans");
    assert_eq!(rows.len(), MANY / 2);
    let last = store.scan(Table::History, b"", b"", 1, true).expect("the engine scans");
    assert_eq!(last[0].0, name(MANY - 2).into_bytes());
}
