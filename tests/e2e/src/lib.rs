//! A whole deployment on one machine, through real processes and sockets: owner, key broker, guest and client.
//!
//! The demonstration (`anchorhold-demo`) and the end-to-end tests are both made of these parts, so what is shown is
//! what is tested. Nothing depends on this crate.
#![allow(clippy::indexing_slicing, reason = "indexing a JSON value answers null and does not panic")]
#![expect(
    clippy::missing_errors_doc,
    reason = "every error here is anyhow's: what was tried and what the program said"
)]

pub mod boot;
pub mod broker;
pub mod client;
pub mod guest;
pub mod kill;
pub mod kvm;
pub mod memory;
pub mod models;
pub mod owner;
pub mod policy;
pub mod port;
pub mod process;
pub mod refusals;
pub mod relay;
pub mod soak;
pub mod store;
pub mod tpm;
