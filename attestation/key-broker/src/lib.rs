//! The key broker: a server that holds weights keys and releases each to guests that a policy names.
//!
//! [`Broker`](broker::Broker) decides; [`router`](router::router) is its HTTP surface; [`command::run`] is the
//! program. Two programs exist. `anchorhold-key-broker` trusts AMD's roots and nothing can change that;
//! `anchorhold-key-broker-simulated` trusts only the software attester's root and protects nothing.
//!
//! Below the broker lie a [`Store`](store::Store), which keeps rows of bytes, and the [`Ledger`](ledger::Ledger), which
//! changes them together with the broker's log.
//!
//! Promised: one request is one decision and one entry in the broker's log; the entry, the used nonce and the lease are
//! one transaction, durable before the answer, and the answer proves the entry. A weights key is on disk only wrapped.
//!
//! This crate is *not* where the rules are: they live in `anchorhold-key-release` and `anchorhold-verifier`.

pub mod admin;
pub mod anchor;
pub mod broker;
pub mod cedar;
pub mod command;
pub mod cosigned;
pub mod endorser;
pub mod journal;
pub mod kek;
pub mod kek_admin;
pub mod layout;
pub mod ledger;
pub mod rotation;
pub mod router;
pub mod secrets;
pub mod state;
pub mod store;
