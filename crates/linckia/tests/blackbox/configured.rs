//! Regions that are configured by hand, each a process of its own, without a supervisor.
//!
//! Beside `fleet`, for what a local fleet does not do. What always holds: no process outlives its
//! test.

use std::path::Path;
use std::process::Child;

/// Processes that end with the test.
pub struct Processes(pub Vec<Child>);

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Gone already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One that nobody listens on.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The configuration of one region, in a directory that holds them all.
pub fn toml(dir: &Path, name: &str, http: Option<u16>, peers: &[(&str, u16)]) -> String {
    let pki = dir.join("pki");
    let own = peers.iter().find(|(peer, _)| *peer == name).unwrap().1;
    let mut text = format!("region = \"{name}\"\ndir = {:?}\n", dir.join(name));
    match http {
        Some(port) => text += &format!("[door]\nlisten = \"127.0.0.1:{port}\"\n"),
        None => text += "witness = true\n",
    }
    text += &format!("[peer]\nlisten = \"127.0.0.1:{own}\"\n");
    let files = [("certificate", format!("{name}.pem")), ("key", format!("{name}.key"))];
    for (word, file) in files.into_iter().chain([("ca", "ca.pem".to_owned())]) {
        text += &format!("{word} = {:?}\n", pki.join(file));
    }
    for (peer, port) in peers.iter().filter(|(peer, _)| *peer != name) {
        text += &format!("[[peers]]\nregion = \"{peer}\"\naddress = \"127.0.0.1:{port}\"\n");
        if *peer == "w" {
            text += "witness = true\n";
        }
    }
    text
}
