//! The writers of the software attester against real evidence: read with independent readers, written again, compared
//! byte for byte.

#[cfg(test)]
mod gpu;
#[cfg(test)]
mod rim;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tdx;
