//! The roots that a caller trusts.

use crate::dangerous::SimulatedRoots;
use crate::snp::Product;
use std::borrow::Cow;

/// AMD's certificates of one product.
#[derive(Debug, Clone)]
pub(crate) struct Anchor {
    /// The root, DER.
    pub(crate) ark: Cow<'static, [u8]>,
    /// Issues VCEKs; used when the evidence brings no intermediate.
    pub(crate) ask: Option<&'static [u8]>,
    /// Issues VLEKs; used when the evidence brings no intermediate.
    pub(crate) asvk: Option<&'static [u8]>,
}

/// The root certificates that chains must end in, pinned by all their bytes.
///
/// [`production`](Self::production) is the default for everything that protects something;
/// [`dangerous::simulated_anchors`](crate::dangerous::simulated_anchors) is the other way to make one.
#[derive(Debug, Clone)]
pub struct TrustAnchors {
    amd: Option<AmdAnchors>,
    intel: Option<Cow<'static, [u8]>>,
    nvidia_device: Option<Cow<'static, [u8]>>,
    nvidia_rim: Option<Cow<'static, [u8]>>,
    simulated: bool,
    foreign: bool,
}

#[derive(Debug, Clone)]
struct AmdAnchors {
    milan: Anchor,
    genoa: Anchor,
    turin: Anchor,
}

impl TrustAnchors {
    /// The vendors' own roots.
    ///
    /// AMD's ARKs for Milan, Genoa (with Bergamo and Siena) and Turin, with the ASKs and ASVKs that they
    /// issued, as published by AMD's key distribution service (`https://kdsintf.amd.com/vcek/v1/PRODUCT/cert_chain`
    /// and `vlek/v1/PRODUCT/cert_chain`); Intel's SGX root CA
    /// (`https://certificates.trustedservices.intel.com/IntelSGXRootCA.der`); NVIDIA's device identity CA and
    /// CoRIM signing root CA, as published with NVIDIA's own verifier (package `nv-local-gpu-verifier`).
    #[must_use]
    pub fn production() -> Self {
        macro_rules! amd {
            ($name:literal) => {
                Anchor {
                    ark: Cow::Borrowed(include_bytes!(concat!("snp/roots/", $name, "-ark.der"))),
                    ask: Some(include_bytes!(concat!("snp/roots/", $name, "-ask.der"))),
                    asvk: Some(include_bytes!(concat!("snp/roots/", $name, "-asvk.der"))),
                }
            };
        }
        Self {
            amd: Some(AmdAnchors { milan: amd!("milan"), genoa: amd!("genoa"), turin: amd!("turin") }),
            intel: Some(Cow::Borrowed(include_bytes!("tdx/roots/intel-sgx-root-ca.der"))),
            nvidia_device: Some(Cow::Borrowed(include_bytes!("nvidia/roots/device-identity-ca.der"))),
            nvidia_rim: Some(Cow::Borrowed(include_bytes!("nvidia/roots/corim-signing-root-ca.der"))),
            simulated: false,
            foreign: false,
        }
    }

    /// Roots that are not the vendors'; results say so.
    pub(crate) fn simulated(roots: &SimulatedRoots<'_>) -> Self {
        let owned = |root: Option<&[u8]>| root.map(|der| Cow::Owned(der.to_vec()));
        let amd = owned(roots.amd).map(|ark| {
            let anchor = Anchor { ark, ask: None, asvk: None };
            AmdAnchors { milan: anchor.clone(), genoa: anchor.clone(), turin: anchor }
        });
        Self {
            amd,
            intel: owned(roots.intel),
            nvidia_device: owned(roots.nvidia_device),
            nvidia_rim: owned(roots.nvidia_rim),
            simulated: true,
            foreign: roots.foreign,
        }
    }

    /// AMD's certificates of one product.
    pub(crate) fn amd(&self, product: Product) -> Option<&Anchor> {
        let anchors = self.amd.as_ref()?;
        Some(match product {
            Product::Milan => &anchors.milan,
            Product::Genoa => &anchors.genoa,
            Product::Turin => &anchors.turin,
        })
    }

    /// Intel's SGX root CA, DER.
    pub(crate) fn intel(&self) -> Option<&[u8]> {
        self.intel.as_deref()
    }

    /// NVIDIA's device identity CA, DER.
    pub(crate) fn nvidia_device(&self) -> Option<&[u8]> {
        self.nvidia_device.as_deref()
    }

    /// NVIDIA's CoRIM signing root CA, DER.
    pub(crate) fn nvidia_rim(&self) -> Option<&[u8]> {
        self.nvidia_rim.as_deref()
    }

    /// Whether the certificates below need not follow the vendors' habits; see
    /// [`SimulatedRoots::foreign`](crate::dangerous::SimulatedRoots::foreign).
    pub(crate) const fn are_foreign(&self) -> bool {
        self.foreign
    }

    /// Whether these are not the vendors' roots.
    #[must_use]
    pub const fn are_simulated(&self) -> bool {
        self.simulated
    }
}
