//! The scheduler and the batcher against a model that watches its contract.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "test code: a wrong assumption is a failed test"
)]

mod scheduling;
mod simulation;
mod toy;
