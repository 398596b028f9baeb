//! The verifier on real and forged evidence of NVIDIA GPUs and NVSwitches: one test for each refusal, all real samples with
//! their stated verdicts, and mutations.

#[cfg(test)]
mod forge;
#[cfg(test)]
mod forge_ocsp;
#[cfg(test)]
mod forge_rim;
#[cfg(test)]
mod mutation;
#[cfg(test)]
mod ocsp;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod real;
#[cfg(test)]
mod references;
#[cfg(test)]
mod refuses_chain;
#[cfg(test)]
mod refuses_report;
#[cfg(test)]
mod simulated;
#[cfg(test)]
#[path = "../shared/stops.rs"]
mod stops;
#[cfg(test)]
mod support;
#[cfg(test)]
mod topology;
