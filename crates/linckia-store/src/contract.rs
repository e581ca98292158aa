//! The suite that every engine of the store passes.
//!
//! Panics with what was broken; run from the tests of each engine.

use crate::port::{Batch, Store, Table, View};

fn put(rows: &[(&str, &str)]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in rows {
        batch.put(Table::States, key.as_bytes().to_vec(), value.as_bytes().to_vec());
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
pub fn write_one(store: &mut dyn Store) {
    store.write(put(&[("one", "1"), ("two", "2")])).expect("the engine writes");
}

/// Writes over it.
pub fn write_two(store: &mut dyn Store) {
    store.write(put(&[("one", "9"), ("three", "3")])).expect("the engine writes");
}

/// Expects exactly what [`write_one`] wrote.
pub fn read_one(store: &dyn Store) {
    assert_eq!(keys(store, "", "", 9, false), ["one", "two"]);
    let one = store.get(Table::States, b"one").expect("the engine reads");
    assert_eq!(one.as_deref(), Some(&b"1"[..]));
}

/// Everything the port promises, on stores that start empty.
pub fn check<S: Store>(mut open: impl FnMut() -> S) {
    let mut store = open();
    assert_eq!(store.get(Table::States, b"one").expect("the engine reads"), None);
    write_one(&mut store);
    read_one(&store);
    assert_eq!(store.get(Table::Meta, b"one").expect("tables are apart"), None);

    let before = store.snapshot();
    write_two(&mut store);
    let mut removal = Batch::default();
    removal.remove(Table::States, b"two".to_vec());
    store.write(removal).expect("the engine removes");
    assert_eq!(keys(&store, "", "", 9, false), ["one", "three"]);
    assert_eq!(keys(before.as_ref(), "", "", 9, false), ["one", "two"]);

    store.write(put(&[("a", ""), ("b", ""), ("c", ""), ("d", "")])).expect("the engine writes");
    assert_eq!(keys(&store, "b", "d", 9, false), ["b", "c"]);
    assert_eq!(keys(&store, "b", "d", 1, false), ["b"]);
    assert_eq!(keys(&store, "b", "d", 1, true), ["c"]);
    assert_eq!(keys(&store, "d", "b", 9, false), Vec::<String>::new());
    let last_wins = Batch {
        rows: vec![
            (Table::States, b"e".to_vec(), Some(b"1".to_vec())),
            (Table::States, b"e".to_vec(), Some(b"2".to_vec())),
        ],
    };
    store.write(last_wins).expect("the engine writes");
    let value = store.get(Table::States, b"e").expect("the engine reads");
    assert_eq!(value.as_deref(), Some(&b"2"[..]));
}
