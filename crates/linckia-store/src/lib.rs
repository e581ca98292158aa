//! What holds now, behind the log: rows in tables, written in atomic batches; no sync is relied on.
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
pub use port::{Batch, Changed, Error, Pair, Result, Store, Table, View};

#[cfg(test)]
mod tests {
    use super::{FjallStore, MemoryStore, contract};

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
}
