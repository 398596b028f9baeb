//! A paravisor's evidence, real and simulated: one test for each refusal, the real samples with their stated verdicts, and
//! mutations.

#[cfg(test)]
mod mutation;
#[cfg(test)]
mod real;
#[cfg(test)]
mod refuses_claims;
#[cfg(test)]
mod refuses_hcl;
#[cfg(test)]
mod refuses_policy;
#[cfg(test)]
mod refuses_quote;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod support;
