//! What holds now, behind the log: rows in tables, written in atomic batches; no sync is relied on
//! but before the log lets go of what is in them.
//!
//! Apply is the only writer; queries read. The log is the store's write-ahead log: a batch carries
//! the applied vector it brings the state to, and after a crash the store may be any number of
//! batches behind, but always at a batch's end. What always holds: a batch is there whole or not at
//! all, and batches are lost only from the end.

pub mod contract;
mod io;
mod memory;
mod port;

pub use io::FjallStore;
pub use memory::MemoryStore;
pub use port::{Batch, Changed, Error, Pair, Result, Rows, Store, Table, View};

#[cfg(test)]
mod tests {
    use super::{FjallStore, MemoryStore, Store as _, Table, View as _, contract};

    #[test]
    fn the_memory_store_keeps_the_contract() {
        contract::check(MemoryStore::new);
    }

    #[test]
    fn fjall_keeps_the_contract() {
        let mut directories = Vec::new();
        contract::check(|| {
            let directory = tempfile::tempdir().unwrap();
            let store = FjallStore::open(directory.path(), 8 << 20).unwrap();
            directories.push(directory);
            store
        });
    }

    #[test]
    fn fjall_is_found_again_after_closing() {
        let directory = tempfile::tempdir().unwrap();
        contract::write_one(&FjallStore::open(directory.path(), 8 << 20).unwrap());
        contract::read_one(&FjallStore::open(directory.path(), 8 << 20).unwrap());
    }

    #[test]
    fn a_crash_takes_whole_batches_from_the_end() {
        let store = MemoryStore::new();
        contract::write_one(&store);
        contract::write_two(&store);
        store.crash(1);
        contract::read_one(&store);
    }

    #[test]
    fn what_was_synced_survives_a_crash_and_rows_on_their_way_lose_their_end() {
        let store = MemoryStore::new();
        contract::write_one(&store);
        store.sync().unwrap();
        store.crash(9);
        contract::read_one(&store);
        contract::write_two(store.incoming().unwrap().as_ref());
        store.crash(1);
        assert_eq!(store.incoming().unwrap().get(Table::States, b"one").unwrap(), None);
    }

    #[test]
    fn fjall_finds_what_was_adopted_and_what_is_on_its_way_again() {
        let directory = tempfile::tempdir().unwrap();
        let open = || FjallStore::open(directory.path(), 8 << 20).unwrap();
        {
            let store = open();
            contract::write_two(&store);
            contract::write_one(store.incoming().unwrap().as_ref());
        }
        {
            let store = open();
            assert!(store.get(Table::States, b"three").unwrap().is_some());
            store.adopt().unwrap();
            contract::read_one(&store);
            contract::write_two(store.incoming().unwrap().as_ref());
            store.discard().unwrap();
        }
        let store = open();
        contract::read_one(&store);
        assert_eq!(store.incoming().unwrap().get(Table::States, b"one").unwrap(), None);
    }
}
