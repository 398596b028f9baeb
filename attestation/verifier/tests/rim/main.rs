//! The verifier on real and self-made reference integrity manifests: one test for each refusal, all real samples with
//! their stated verdicts, fixed canonical forms, mutations and bounds.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod canonical;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod compare;
#[cfg(test)]
mod mutation;
#[cfg(test)]
mod real;
#[cfg(test)]
mod refuses_chain;
#[cfg(test)]
mod refuses_claims;
#[cfg(test)]
mod refuses_signature;
#[cfg(test)]
mod refuses_wrapping;
#[cfg(test)]
mod refuses_xml;
#[cfg(test)]
#[path = "../shared/stops.rs"]
mod stops;
#[cfg(test)]
mod support;
