//! The binary's rooms, as a library so that tests and `main.rs` call the same functions.
//!
//! Where it stands: the top floor. `arguments` and `config` turn words into checked values before
//! anything binds; `fleet` runs several regions on one machine; `command` asks regions through
//! their doors. What always holds: nothing below this crate reads a flag, a file of settings or the
//! environment.

pub mod arguments;
mod backup;
pub mod command;
pub mod config;
pub mod fleet;
pub mod house;
