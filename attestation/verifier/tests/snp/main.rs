//! The verifier on real and simulated SEV-SNP evidence: one test for each refusal, all real samples with their stated
//! verdicts, mutations, and a second implementation beside it.

#[cfg(test)]
mod certificate_table;
#[cfg(test)]
mod chain_cache;
#[cfg(test)]
mod codes;
#[cfg(test)]
mod collateral;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod encode;
#[cfg(test)]
mod mutation;
#[cfg(test)]
mod real;
#[cfg(test)]
mod refuses_chain;
#[cfg(test)]
mod refuses_firmware;
#[cfg(test)]
mod refuses_policy;
#[cfg(test)]
mod refuses_report;
#[cfg(test)]
mod roots;
#[cfg(test)]
mod sources;
#[cfg(test)]
#[path = "../shared/stops.rs"]
mod stops;
#[cfg(test)]
mod support;
