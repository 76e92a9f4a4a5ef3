//! Handshakes over real sockets: who is believed, and who is not.
