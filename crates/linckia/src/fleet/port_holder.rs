//! Which process listens on a port, as far as this user may see.
//!
//! Where it stands: asked by `ports.rs` for an error message, nowhere else. What always holds: it
//! reads `/proc` and guesses nothing; where it cannot see, it says nothing.

use std::fs;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// "process 1234 (linckia)", or nothing.
#[must_use]
pub fn holder_of(port: u16) -> Option<String> {
    let socket = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| inode_of(&table, port))?;
    let wanted = format!("socket:[{socket}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let holds = files
            .flatten()
            .any(|file| fs::read_link(file.path()).is_ok_and(|link| *link == *wanted));
        if holds {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("process {pid} ({})", name.trim()));
        }
    }
    None
}

/// The inode of the socket that listens on `port`, from a table of `/proc/net`.
fn inode_of(table: &str, port: u16) -> Option<String> {
    let ending = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace();
        let local = words.nth(1)?;
        let state = words.nth(1)?;
        let inode = words.nth(5)?;
        (local.ends_with(&ending) && state == LISTENING).then(|| inode.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_table_is_read() {
        let tail = "00000000:00000000 00:00000000 00000000  0  0";
        let table = format!(
            "  sl  local_address rem_address   st tx_queue rx_queue tr retrnsmt uid inode\n\
                0: 0100007F:1CE9 0100007F:9999 01 {tail} 11 1\n\
                1: 0100007F:1CE9 00000000:0000 0A {tail} 4242 1\n"
        );
        assert_eq!(inode_of(&table, 7401).as_deref(), Some("4242"));
        assert_eq!(inode_of(&table, 7402), None);
    }
}
