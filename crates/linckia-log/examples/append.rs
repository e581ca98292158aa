//! What an append costs: CPU per record for own and foreign records of 400 bytes in memory, and
//! the same with batches of 64 and a real fdatasync each. Run it in release:
//! `cargo run --release -p linckia-log --example append`. A directory may be named; the default is
//! a temporary one.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use linckia_log::{Disk, LocalDisk, Logs, MemoryDisk, Scope, Settings};

const PAYLOAD: usize = 400;
const RECORDS: u64 = 100_000;
const BATCH: u64 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let source = in_memory()?;
    let mut args = std::env::args().skip(1);
    let (root, _kept) = match args.next() {
        Some(root) => (std::path::PathBuf::from(root), None),
        None => {
            let dir = tempfile::tempdir()?;
            (dir.path().to_owned(), Some(dir))
        }
    };
    on_disk(&root, &source)
}

fn open(disk: Arc<dyn Disk>) -> linckia_log::Result<Logs> {
    let mut salt = 0;
    let mut fresh_salt = || {
        salt += 1;
        [salt; 16]
    };
    Ok(Logs::open(disk, Settings::default(), &mut fresh_salt)?.0)
}

fn sync(logs: &mut Logs) -> linckia_log::Result<()> {
    if let Some(job) = logs.begin_sync(Scope::All)? {
        logs.complete_sync(job.run())?;
    }
    Ok(())
}

/// Nanoseconds of CPU per record, from the kernel's count of this thread.
fn measure(
    name: &str,
    count: u64,
    run: &mut dyn FnMut() -> linckia_log::Result<()>,
) -> Result<(), Box<dyn Error>> {
    let (wall, cpu) = (Instant::now(), cpu_ns()?);
    run()?;
    let cpu = cpu_ns()? - cpu;
    let wall = wall.elapsed();
    println!(
        "{name:<44} {:>6} ns CPU a record {:>9.0} records/s",
        cpu / count,
        count as f64 / wall.as_secs_f64()
    );
    Ok(())
}

fn cpu_ns() -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split_whitespace().next().ok_or("an empty schedstat")?.parse()?)
}

fn in_memory() -> Result<Logs, Box<dyn Error>> {
    let mut source = open(Arc::new(MemoryDisk::new()))?;
    source.create("peer")?;
    let payload = [7; PAYLOAD];
    measure("append_own, memory disk, no sync", RECORDS, &mut || {
        for sequence in 1..=RECORDS {
            source.append_own("peer", sequence, &payload)?;
        }
        Ok(())
    })?;
    sync(&mut source)?;
    let mut mirror = open(Arc::new(MemoryDisk::new()))?;
    mirror.create("peer")?;
    let mut batches = Vec::new();
    let reader = source.reader("peer")?;
    measure("read in batches of 256, memory disk", RECORDS, &mut || {
        for batch in reader.batches(1, u64::MAX, 256) {
            batches.push(batch?);
        }
        Ok(())
    })?;
    measure("append_mirror, memory disk, no sync", RECORDS, &mut || {
        for batch in &batches {
            for record in batch.iter() {
                mirror.append_mirror("peer", &record)?;
            }
        }
        Ok(())
    })?;
    let step = Arc::new(MemoryDisk::new());
    let mut logs = open(step)?;
    logs.create("step")?;
    measure("append, begin, run, complete, memory disk", RECORDS, &mut || {
        for sequence in 1..=RECORDS {
            logs.append_own("step", sequence, &payload)?;
            sync(&mut logs)?;
        }
        Ok(())
    })?;
    Ok(source)
}

fn on_disk(root: &std::path::Path, source: &Logs) -> Result<(), Box<dyn Error>> {
    let payload = [7; PAYLOAD];
    let mut logs = open(Arc::new(LocalDisk::open(root)?))?;
    for origin in ["own", "peer"] {
        logs.create(origin)?;
    }
    measure("append_own, batches of 64, fdatasync", RECORDS, &mut || {
        for first in (1..=RECORDS).step_by(BATCH as usize) {
            for sequence in first..(first + BATCH).min(RECORDS + 1) {
                logs.append_own("own", sequence, &payload)?;
            }
            sync(&mut logs)?;
        }
        Ok(())
    })?;
    let reader = source.reader("peer")?;
    measure("read, append_mirror, batches of 64, fdatasync", RECORDS, &mut || {
        for batch in reader.batches(1, u64::MAX, BATCH as usize) {
            for record in batch?.iter() {
                logs.append_mirror("peer", &record)?;
            }
            sync(&mut logs)?;
        }
        Ok(())
    })?;
    let reader = logs.reader("own")?;
    measure("point reads, local disk", 10_000, &mut || {
        for at in 0..10_000 {
            reader.read(1 + at * 7919 % RECORDS, 1, 1)?;
        }
        Ok(())
    })?;
    logs.close()?;
    let opened = Instant::now();
    let logs = open(Arc::new(LocalDisk::open(root)?))?;
    println!("opening {} bytes of segments: {:?}", logs.usage().used, opened.elapsed());
    Ok(())
}
