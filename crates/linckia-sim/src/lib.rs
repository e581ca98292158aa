//! Whole regions under faults from a seed, judged by a naive reference.

pub mod reference;
