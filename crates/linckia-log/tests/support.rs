//! What the tests share: small settings, a seeded generator, and short words for common steps.

use std::sync::Arc;

use linckia_log::{Logs, MemoryDisk, Recovery, Result, Scope, Settings};

/// xorshift64*: deterministic, and good enough to choose faults.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }
}

pub fn tiny() -> Settings {
    Settings {
        segment_bytes_first: 4096,
        segment_bytes_max: 8192,
        record_bytes_max: 2048,
        buffer_bytes_max: 2048,
        bytes_max: 1 << 20,
        mirror_reserve_bytes: 1 << 18,
    }
}

pub fn open(disk: &Arc<MemoryDisk>, random: &mut Random) -> Result<(Logs, Recovery)> {
    open_with(disk, tiny(), random)
}

pub fn open_with(
    disk: &Arc<MemoryDisk>,
    settings: Settings,
    random: &mut Random,
) -> Result<(Logs, Recovery)> {
    let mut salt = || {
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&random.next().to_le_bytes());
        salt[8..].copy_from_slice(&random.next().to_le_bytes());
        salt
    };
    Logs::open(disk.clone(), settings, &mut salt)
}

pub fn sync(logs: &mut Logs) -> Result<()> {
    if let Some(job) = logs.begin_sync(Scope::All)? {
        logs.complete_sync(job.run())?;
    }
    Ok(())
}

pub fn payloads(logs: &Logs, origin: &str) -> Result<Vec<Vec<u8>>> {
    let reader = logs.reader(origin)?;
    let mut all = Vec::new();
    for batch in reader.batches(reader.first(), 4096, 20) {
        all.extend(batch?.iter().map(|record| record.payload().to_vec()));
    }
    Ok(all)
}
