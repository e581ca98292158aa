//! Time, as the world lives it: what will happen, in order. What always holds: what was put in
//! first of what happens at one time happens first, so a seed has one course.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// What is to come, by time; of one time, what was put in first comes first.
pub(crate) struct Queue<M> {
    due: BinaryHeap<Due<M>>,
    serial: u64,
}

impl<M> Queue<M> {
    pub(crate) fn new() -> Self {
        Self { due: BinaryHeap::new(), serial: 0 }
    }

    pub(crate) fn push(&mut self, when: u64, moment: M) {
        self.serial += 1;
        self.due.push(Due { when, serial: self.serial, moment: Box::new(moment) });
    }

    pub(crate) fn pop(&mut self) -> Option<(u64, M)> {
        self.due.pop().map(|due| (due.when, *due.moment))
    }
}

struct Due<M> {
    when: u64,
    serial: u64,
    /// Apart, so that the queue moves little.
    moment: Box<M>,
}

impl<M> Due<M> {
    fn order(&self) -> Reverse<(u64, u64)> {
        Reverse((self.when, self.serial))
    }
}

impl<M> PartialEq for Due<M> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl<M> Eq for Due<M> {}

impl<M> PartialOrd for Due<M> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<M> Ord for Due<M> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}
