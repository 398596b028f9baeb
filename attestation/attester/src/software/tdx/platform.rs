//! The platform below a simulated TD, and the extension by which its PCK certificate states it.

use crate::der;
use crate::software::certificate::Extension;

/// 1.2.840.113741.1.13.1.
const SGX_ARC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];

/// What a PCK certificate of a multi-package platform says about its set-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformFlags {
    /// Packages can be added after the keys were made.
    pub dynamic_platform: bool,
    /// Intel's registration service holds the platform's keys.
    pub cached_keys: bool,
    /// SMT is on.
    pub smt_enabled: bool,
}

/// The platform, as its PCK certificate states it. The default is one whose TCB is up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformConfig {
    /// The family, model and configuration by which Intel publishes TCB info.
    pub fmspc: [u8; 6],
    /// PCEID.
    pub pce_id: [u8; 2],
    /// The identifier of the provisioning key.
    pub ppid: [u8; 16],
    /// The SGX TCB components; also CPUSVN of the certificate and of the quoting enclave.
    pub components: [u8; 16],
    /// PCESVN.
    pub pce_svn: u16,
    /// 0 standard, 1 scalable, 2 scalable with integrity.
    pub sgx_type: u8,
    /// Of platforms with several packages. Default: some.
    pub platform_instance_id: Option<[u8; 16]>,
    /// Of platforms with several packages. Default: all set but cached keys, as real servers report.
    pub flags: Option<PlatformFlags>,
}

impl Default for PlatformConfig {
    fn default() -> Self {
        Self {
            fmspc: [0x00, 0x51, 0x4d, 0x00, 0x00, 0x00],
            pce_id: [0; 2],
            ppid: *b"SIMULATED PPID..",
            components: [7, 7, 2, 2, 3, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0],
            pce_svn: 11,
            sgx_type: 1,
            platform_instance_id: Some(*b"SIMULATED INST.."),
            flags: Some(PlatformFlags { dynamic_platform: true, cached_keys: false, smt_enabled: true }),
        }
    }
}

/// The parts of the SGX extension in order, each an OID below 1.2.840.113741.1.13.1 and the DER of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SgxExtension(pub Vec<(Vec<u8>, Vec<u8>)>);

impl SgxExtension {
    /// Of this platform, in Intel's order.
    #[must_use]
    pub fn of(platform: &PlatformConfig) -> Self {
        let mut parts = vec![
            (vec![1], der::octet_string(&platform.ppid)),
            (vec![2], tcb(platform)),
            (vec![3], der::octet_string(&platform.pce_id)),
            (vec![4], der::octet_string(&platform.fmspc)),
            (vec![5], der::enumerated(platform.sgx_type)),
        ];
        if let Some(id) = &platform.platform_instance_id {
            parts.push((vec![6], der::octet_string(id)));
        }
        if let Some(flags) = platform.flags {
            let list: Vec<u8> = [flags.dynamic_platform, flags.cached_keys, flags.smt_enabled]
                .into_iter()
                .zip(1..)
                .flat_map(|(flag, arc)| part(&[7, arc], &der::boolean(flag)))
                .collect();
            parts.push((vec![7], der::sequence(&[&list])));
        }
        Self(parts)
    }

    /// The extension.
    #[must_use]
    pub fn extension(&self) -> Extension {
        let list: Vec<u8> = self.0.iter().flat_map(|(arcs, value)| part(arcs, value)).collect();
        Extension { id: SGX_ARC.to_vec(), critical: false, value: der::sequence(&[&list]) }
    }
}

/// The 16 components, PCESVN and CPUSVN.
fn tcb(platform: &PlatformConfig) -> Vec<u8> {
    let mut list = Vec::new();
    for (component, arc) in platform.components.iter().zip(1..) {
        list.extend(part(&[2, arc], &der::unsigned_integer(&[*component])));
    }
    list.extend(part(&[2, 17], &der::unsigned_integer(&platform.pce_svn.to_be_bytes())));
    list.extend(part(&[2, 18], &der::octet_string(&platform.components)));
    der::sequence(&[&list])
}

fn part(arcs: &[u8], value: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::object_identifier(&[SGX_ARC, arcs].concat()), value])
}
