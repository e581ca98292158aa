//! Logs into state: causal order, the fold, records, stability.
