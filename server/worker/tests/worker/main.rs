//! A worker's whole life over real sockets, with a model that is arithmetic.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "test code: a wrong assumption is a failed test"
)]

mod calls;
mod embeds;
mod generates;
mod lives;
mod loads;
mod process;
mod reranks;
mod rig;
mod tokenizes;
mod toy;
