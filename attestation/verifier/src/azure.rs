//! A cloud's paravisor: the HCL report, the virtual TPM's key and its quote.

pub mod codes;
