//! The verifier on real and forged evidence of NVIDIA GPUs and NVSwitches: one test for each refusal, all real samples with
//! their stated verdicts, and mutations.

#[cfg(test)]
mod forge;
#[cfg(test)]
mod real;
#[cfg(test)]
mod refuses_chain;
#[cfg(test)]
mod refuses_report;
#[cfg(test)]
mod support;
