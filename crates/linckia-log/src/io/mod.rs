//! The hands: the only place of this crate that touches an operating system. What always holds:
//! nothing here decides anything about logs.

pub(crate) mod disk;
