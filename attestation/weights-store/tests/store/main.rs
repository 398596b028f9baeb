//! Fetching through real sockets: an honest store, a real S3 server, and one that does everything wrong.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a fixture that cannot be made fails its test"
)]

mod cache;
mod disk;
mod honest;
mod hostile;
mod s3;
mod server;
mod support;
mod tls;
