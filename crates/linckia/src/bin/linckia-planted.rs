//! The same program with a fault planted in its regions, for `cargo xtask soak --planted`.
//!
//! Built only with the feature `planted-faults`, under this name, so that it is never taken for
//! the real one. Which fault, and why it starts no region without one: `house/planted.rs`.

#[path = "../main.rs"]
mod program;

fn main() -> std::process::ExitCode {
    program::main()
}
