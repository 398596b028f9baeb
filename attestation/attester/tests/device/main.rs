//! The readers of this machine's devices against doubles of the kernel's interfaces, and against the machine itself where it is
//! told to have them (`ANCHORHOLD_TEST_DEVICE=snp` or `tdx`).

#[cfg(test)]
mod configfs;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod sev_guest;
#[cfg(test)]
mod sysfs;
#[cfg(test)]
mod tpm;
#[cfg(test)]
mod tsm;
