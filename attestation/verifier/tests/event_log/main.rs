//! The event log on real and made logs: one test for each refusal, the real samples with their stated verdicts, and
//! mutations.

#[cfg(test)]
mod dstack;
#[cfg(test)]
mod mutation;
#[cfg(test)]
mod real;
#[cfg(test)]
mod refuses_log;
#[cfg(test)]
mod refuses_policy;
#[cfg(test)]
mod support;
