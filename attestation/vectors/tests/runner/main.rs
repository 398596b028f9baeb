//! The runner over folders that it did not write: outside input, as the evidence in them.

#[cfg(test)]
mod manifests;
#[cfg(test)]
mod profiles;
#[cfg(test)]
mod support;
