//! The verifier on real and simulated evidence of NVIDIA GPUs and NVSwitches: one test for each refusal, all real samples
//! with their stated verdicts, and mutations.

#[cfg(test)]
mod real;
#[cfg(test)]
mod support;
