//! The roots that a caller trusts, one AMD root key (ARK) for each product.

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

/// The root certificates that chains must end in, pinned per product by all their bytes.
///
/// [`production`](Self::production) is the default for everything that protects something;
/// [`dangerous::simulated_anchors`](crate::dangerous::simulated_anchors) is the other way to make one.
#[derive(Debug, Clone)]
pub struct TrustAnchors {
    milan: Anchor,
    genoa: Anchor,
    turin: Anchor,
    simulated: bool,
}

impl TrustAnchors {
    /// AMD's own ARKs for Milan, Genoa (with Bergamo and Siena) and Turin, with the ASKs and ASVKs that they
    /// issued, as published by AMD's key distribution service (`https://kdsintf.amd.com/vcek/v1/PRODUCT/cert_chain`
    /// and `vlek/v1/PRODUCT/cert_chain`).
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
        Self { milan: amd!("milan"), genoa: amd!("genoa"), turin: amd!("turin"), simulated: false }
    }

    /// One root for all products, not AMD's; results say so.
    pub(crate) fn simulated(ark: &[u8]) -> Self {
        let anchor = Anchor { ark: Cow::Owned(ark.to_vec()), ask: None, asvk: None };
        Self { milan: anchor.clone(), genoa: anchor.clone(), turin: anchor, simulated: true }
    }

    pub(crate) const fn of(&self, product: Product) -> &Anchor {
        match product {
            Product::Milan => &self.milan,
            Product::Genoa => &self.genoa,
            Product::Turin => &self.turin,
        }
    }

    /// Whether these are not AMD's roots.
    #[must_use]
    pub const fn are_simulated(&self) -> bool {
        self.simulated
    }
}
