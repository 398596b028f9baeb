//! The things that vendors publish, each under a name of its own.

use anchorhold_rats::hex;
use anchorhold_verifier::snp::{ChipId, Product, Signer, Tcb};
use std::fmt::{self, Write as _};

/// Who publishes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// AMD's key distribution service.
    Amd,
    /// Intel's provisioning certification service, or a cache of it.
    Intel,
    /// NVIDIA's RIM service and OCSP responder.
    Nvidia,
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amd => "AMD",
            Self::Intel => "Intel",
            Self::Nvidia => "NVIDIA",
        })
    }
}

/// Which of Intel's TCB evaluations is asked for (PCS API version 4, parameter `update`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Update {
    /// The one whose time to update the platform has passed.
    #[default]
    Standard,
    /// The newest, while platforms are still being updated.
    Early,
}

impl Update {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Early => "early",
        }
    }
}

/// Which of Intel's two intermediates issued a PCK certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PckCa {
    /// Of platforms that registered, such as all servers with several sockets.
    Platform,
    /// Of single processors.
    Processor,
}

impl PckCa {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Processor => "processor",
        }
    }
}

/// Family, model, stepping, platform type and custom SKU: what Intel's TCB info is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fmspc(pub [u8; 6]);

impl fmt::Display for Fmspc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// The name of a reference integrity manifest at NVIDIA's RIM service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RimId(String);

impl RimId {
    /// The longest name that is asked for.
    pub const MAX_LEN: usize = 128;

    /// A name of letters, digits, `_`, `-` and `.` that begins with `NV_`; `None` for anything else, since it becomes
    /// part of a path.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        (plain && text.len() <= Self::MAX_LEN && text.starts_with("NV_")).then(|| Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What OCSP asks about: a certificate by its issuer and serial number (RFC 6960, section 4.1.1), with SHA-384.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertId {
    /// SHA-384 of the DER of the issuer's name.
    pub issuer_name_hash: [u8; 48],
    /// SHA-384 of the issuer's key, without tag, length and unused bits.
    pub issuer_key_hash: [u8; 48],
    /// Contents of the serial number.
    pub serial: Vec<u8>,
}

/// One thing that a vendor publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The certificate of a chip's key at one TCB, which also names the product.
    Vcek {
        /// The chip.
        chip_id: ChipId,
        /// The TCB that the report states.
        tcb: Tcb,
    },
    /// AMD's intermediate and root of a product.
    AmdChain {
        /// The product line.
        product: Product,
        /// ASK for VCEKs, ASVK for VLEKs.
        signer: Signer,
    },
    /// AMD's revocation list of a product.
    AmdCrl {
        /// The product line.
        product: Product,
        /// The kind of leaf that it is asked for.
        signer: Signer,
    },
    /// Intel's TCB levels of a kind of platform.
    TcbInfo {
        /// The kind of platform.
        fmspc: Fmspc,
        /// Which evaluation.
        update: Update,
    },
    /// Intel's identity of the quoting enclave for TDX.
    QeIdentity {
        /// Which evaluation.
        update: Update,
    },
    /// The revocation list of the CA of PCK certificates.
    PckCrl {
        /// Which CA.
        ca: PckCa,
    },
    /// The revocation list of Intel's root.
    IntelRootCrl,
    /// A reference integrity manifest.
    Rim(RimId),
    /// The state of one certificate.
    Ocsp(Box<CertId>),
}

/// The product whose layout a TCB has.
pub(crate) const fn product_of(tcb: &Tcb) -> Product {
    match tcb {
        Tcb::Milan(_) => Product::Milan,
        Tcb::Genoa(_) => Product::Genoa,
        Tcb::Turin(_) => Product::Turin,
    }
}

/// The bytes of CHIP_ID that certificates and URLs name: 64, on Turin the first 8.
pub(crate) fn hwid(product: Product, chip_id: &ChipId) -> &[u8] {
    let used = if product == Product::Turin { 8 } else { 64 };
    chip_id.0.get(..used).unwrap_or_default()
}

const fn leaf_name(signer: Signer) -> &'static str {
    match signer {
        Signer::Vcek => "vcek",
        Signer::Vlek => "vlek",
    }
}

impl Item {
    /// Who publishes it.
    #[must_use]
    pub const fn vendor(&self) -> Vendor {
        match self {
            Self::Vcek { .. } | Self::AmdChain { .. } | Self::AmdCrl { .. } => Vendor::Amd,
            Self::TcbInfo { .. } | Self::QeIdentity { .. } | Self::PckCrl { .. } | Self::IntelRootCrl => {
                Vendor::Intel
            }
            Self::Rim(_) | Self::Ocsp(_) => Vendor::Nvidia,
        }
    }

    /// Path and query at the vendor's service (AMD 57230, chapter 4; Intel PCS API version 4). Of Intel's root CRL it is
    /// the path at a PCCS, and of OCSP nothing, since that asks with a body.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Vcek { chip_id, tcb } => {
                let product = product_of(tcb);
                let mut path = format!("/vcek/v1/{product}/{}", hex(hwid(product, chip_id)));
                for (index, (name, value)) in tcb.components().into_iter().enumerate() {
                    let separator = if index == 0 { '?' } else { '&' };
                    let _ = write!(path, "{separator}{}SPL={value:02}", kds_name(name));
                }
                path
            }
            Self::AmdChain { product, signer } => format!("/{}/v1/{product}/cert_chain", leaf_name(*signer)),
            Self::AmdCrl { product, signer } => format!("/{}/v1/{product}/crl", leaf_name(*signer)),
            Self::TcbInfo { fmspc, update } => {
                format!("/tdx/certification/v4/tcb?fmspc={fmspc}&update={}", update.as_str())
            }
            Self::QeIdentity { update } => {
                format!("/tdx/certification/v4/qe/identity?update={}", update.as_str())
            }
            Self::PckCrl { ca } => format!("/sgx/certification/v4/pckcrl?ca={}&encoding=der", ca.as_str()),
            Self::IntelRootCrl => "/sgx/certification/v4/rootcacrl".to_owned(),
            Self::Rim(id) => format!("/v1/rim/{}", id.as_str()),
            Self::Ocsp(_) => String::new(),
        }
    }

    /// The name under which it is kept: the same wherever it was fetched.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Ocsp(id) => format!(
                "NVIDIA/ocsp/{}/{}/{}",
                hex(&id.issuer_name_hash),
                hex(&id.issuer_key_hash),
                hex(&id.serial)
            ),
            other => format!("{}{}", other.vendor(), other.path()),
        }
    }

    /// The longest answer that is read, in bytes: well over every real one, and never more than evidence may carry
    /// after decoding.
    #[must_use]
    pub const fn max_bytes(&self) -> usize {
        match self {
            Self::Vcek { .. } => 8 * 1024,
            Self::AmdChain { .. } | Self::Ocsp(_) => 16 * 1024,
            Self::AmdCrl { .. } => 256 * 1024,
            Self::TcbInfo { .. } | Self::QeIdentity { .. } => 64 * 1024,
            // A PCCS may write the list in hex.
            Self::PckCrl { .. } | Self::IntelRootCrl => 2 * 256 * 1024,
            // Base64 of at most 256 KiB.
            Self::Rim(_) => 256 * 1024 / 3 * 4,
        }
    }
}

/// What AMD's service calls a component of the TCB.
fn kds_name(component: &str) -> &str {
    match component {
        "bootloader" => "bl",
        "microcode" => "ucode",
        same => same,
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vcek { chip_id, tcb } => {
                let product = product_of(tcb);
                let chip = hex(hwid(product, chip_id).get(..8).unwrap_or_default());
                write!(f, "VCEK of {product} chip {chip} at {tcb}")
            }
            Self::AmdChain { product, signer } => write!(f, "{signer:?} issuers of {product}"),
            Self::AmdCrl { product, signer } => write!(f, "{signer:?} revocation list of {product}"),
            Self::TcbInfo { fmspc, update } => write!(f, "TCB info of FMSPC {fmspc} ({})", update.as_str()),
            Self::QeIdentity { update } => {
                write!(f, "identity of the TDX quoting enclave ({})", update.as_str())
            }
            Self::PckCrl { ca } => write!(f, "revocation list of the PCK {} CA", ca.as_str()),
            Self::IntelRootCrl => f.write_str("revocation list of Intel's root"),
            Self::Rim(id) => write!(f, "reference manifest {}", id.as_str()),
            Self::Ocsp(id) => write!(f, "OCSP response for serial number {}", hex(&id.serial)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_verifier::snp::{MilanTcb, TurinTcb};

    #[test]
    fn paths_are_those_of_the_services() {
        let mut chip = [0; 64];
        chip[..8].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 0xf8]);
        let milan = MilanTcb { bootloader: 3, tee: 0, snp: 8, microcode: 115 };
        let vcek = Item::Vcek { chip_id: ChipId(chip), tcb: Tcb::Milan(milan) };
        let wanted = format!(
            "/vcek/v1/Milan/01020304050607f8{}?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115",
            "00".repeat(56)
        );
        assert_eq!(vcek.path(), wanted);
        let turin = TurinTcb { fmc: 1, bootloader: 2, tee: 3, snp: 4, microcode: 71 };
        let vcek = Item::Vcek { chip_id: ChipId(chip), tcb: Tcb::Turin(turin) };
        assert_eq!(
            vcek.path(),
            "/vcek/v1/Turin/01020304050607f8?fmcSPL=01&blSPL=02&teeSPL=03&snpSPL=04&ucodeSPL=71"
        );
        let crl = Item::AmdCrl { product: Product::Genoa, signer: Signer::Vlek };
        assert_eq!(crl.path(), "/vlek/v1/Genoa/crl");
        let fmspc = Fmspc([0xb0, 0xc0, 0x6f, 0, 0, 0]);
        assert_eq!(
            Item::TcbInfo { fmspc, update: Update::Early }.path(),
            "/tdx/certification/v4/tcb?fmspc=B0C06F000000&update=early"
        );
        assert_eq!(
            Item::PckCrl { ca: PckCa::Platform }.path(),
            "/sgx/certification/v4/pckcrl?ca=platform&encoding=der"
        );
    }

    #[test]
    fn refuses_rim_ids_that_would_change_the_path() {
        for bad in ["", "GPU", "NV_/../x", "NV_a?b", "NV_a b", "NV_%2e", "NV_é", &format!("NV_{:0>126}", 1)]
        {
            assert_eq!(RimId::new(bad), None, "{bad}");
        }
        assert_eq!(
            RimId::new("NV_GPU_DRIVER_GH100_550.144.03").unwrap().as_str(),
            "NV_GPU_DRIVER_GH100_550.144.03"
        );
    }

    #[test]
    fn decoded_answers_fit_the_limits_of_endorsements() {
        assert!(Item::Rim(RimId::new("NV_A").unwrap()).max_bytes() / 4 * 3 <= 256 * 1024);
    }
}
