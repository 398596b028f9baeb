//! The key broker: a server that holds weights keys and releases each to guests that a policy names.
//!
//! [`Broker`](broker::Broker) decides; [`router`](router::router) is its HTTP surface; [`command::run`] is the
//! program. Two programs exist. `anchorhold-key-broker` trusts AMD's roots and nothing can change that;
//! `anchorhold-key-broker-simulated` trusts only the software attester's root and protects nothing.
//!
//! Promised: one request is one decision and one entry in the broker's audit log, durable before the answer; a
//! nonce is used up on disk before a key leaves; a weights key is on disk only wrapped.
//!
//! This crate is *not* where the rules are: they live in `anchorhold-key-release` and `anchorhold-verifier`.

pub mod broker;
pub mod command;
pub mod journal;
pub mod kek;
pub mod kek_admin;
pub mod router;
pub mod state;
