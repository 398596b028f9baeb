//! The verifier on real and simulated TDX quotes: one test for each refusal, all real samples with their stated
//! verdicts, and mutations.

#[cfg(test)]
mod chain_cache;
#[cfg(test)]
mod made;
#[cfg(test)]
mod mutation;
#[cfg(test)]
mod real;
#[cfg(test)]
mod refuses_chain;
#[cfg(test)]
mod refuses_collateral;
#[cfg(test)]
mod refuses_policy;
#[cfg(test)]
mod refuses_quote;
#[cfg(test)]
mod refuses_signature;
#[cfg(test)]
mod refuses_tcb;
#[cfg(test)]
#[path = "../shared/stops.rs"]
mod stops;
#[cfg(test)]
mod support;
