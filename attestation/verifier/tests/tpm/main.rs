//! A TPM's quote, simulated: one test for each refusal, and mutations.

#[cfg(test)]
mod certificates;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod mutation;
#[cfg(test)]
mod refuses_key;
#[cfg(test)]
mod refuses_policy;
#[cfg(test)]
mod refuses_quote;
#[cfg(test)]
mod support;
