//! The words and the laws: origins, hybrid time, vectors, events and the fold, all pure.
