//! Everything together, through real processes and sockets: each test has a deployment of its own in a directory that
//! goes with it. Tests that stop, kill or scan processes take turns ([`support::alone`]), the others run side by side.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

mod audit;
mod broker_faults;
mod canary;
mod clients;
mod disconnect;
mod good_path;
mod gpus;
mod kbs;
mod leases;
mod prefixes;
mod production;
mod proxy;
mod refusals;
mod reload;
mod rerank;
mod retention;
mod soak;
mod store;
mod support;
mod tampering;
mod td;
mod witnesses;
mod worker_faults;
