//! What holds now, behind the log: rows in batches, in memory or in fjall.
