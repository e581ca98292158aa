//! The door from outside: a real server on a free port before a region that is a map, driven over
//! sockets. One file per resource; `fake` is the region, `client` the other end of the wire.

#[cfg(test)]
mod door {
    mod access;
    mod aggregates;
    mod append;
    mod client;
    mod cloud;
    mod fake;
    mod fleet;
    mod lines;
    mod locks;
    mod policies;
    mod protocol;
    mod read;
    mod schema;
    mod server;
    mod session;
    mod stream;
    mod undo;
}
