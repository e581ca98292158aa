//! Hands only: identity, mutual TLS, listeners, the message transport between peers.
