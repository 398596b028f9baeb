//! What AMD's intermediates are: the ASK, which issues VCEKs, and the ASVK, which issues VLEKs (AMD 57230, chapter 3).

use super::chain::Members;
use super::codes;
use super::{Product, Signer};
use crate::TrustAnchors;
use crate::der::{self, Reader};
use crate::x509::{CRL_DISTRIBUTION_POINTS, Certificate};
use anchorhold_rats::Checks;

/// Tags of a distribution point's name, of its full name, and of an address in it (RFC 5280, section 4.2.1.13).
const POINT_NAME: u8 = 0xa0;
const FULL_NAME: u8 = 0xa0;
const ADDRESS: u8 = 0x86;

/// Records whether the pinned root is named, whether the intermediate may issue, and what it issues.
pub(super) fn record(
    [ark, intermediate, _]: Members<'_, '_>,
    signer: Signer,
    foreign: bool,
    checks: &mut Checks,
) -> bool {
    let named = intermediate.issuer == ark.subject;
    let observed = if named { "it" } else { "another" };
    let mut sound = checks.record(codes::NO_TRUST_ANCHOR, named, "the pinned ARK as issuer", observed);
    let authority = intermediate.authority;
    sound &= checks.record(
        codes::INTERMEDIATE_AUTHORITY,
        authority.may_issue(0)
            && (foreign || authority.signs_certificates && authority.path_length == Some(0)),
        "a CA with path length 0 that signs certificates",
        format!("{authority:?}"),
    );
    let kind = intermediate.common_name().map(issued_kind);
    let says_nothing =
        foreign && !intermediate.common_name().is_some_and(|name| name.starts_with(ASK_PREFIX));
    let issuer_of = |kind| match kind {
        Some(Signer::Vcek) => "ASK",
        Some(Signer::Vlek) => "ASVK",
        None => "an unnamed one",
    };
    sound
        & checks.record(
            codes::INTERMEDIATE_KIND,
            kind == Some(signer) || says_nothing,
            issuer_of(Some(signer)),
            issuer_of(kind),
        )
}

const ASVK_PREFIX: &str = "SEV-VLEK-";
const ASK_PREFIX: &str = "SEV-";

/// What an intermediate with this common name issues.
fn issued_kind(common_name: &str) -> Signer {
    if common_name.starts_with(ASVK_PREFIX) { Signer::Vlek } else { Signer::Vcek }
}

/// The product in the common name of an intermediate, such as `SEV-Milan` or `SEV-VLEK-Milan`.
fn issued_product(common_name: &str) -> Option<Product> {
    let name = common_name.strip_prefix(ASVK_PREFIX).or_else(|| common_name.strip_prefix(ASK_PREFIX))?;
    Product::ALL.into_iter().find(|product| product.name() == name)
}

/// Records whether the intermediate is of the leaf's product, by its name and by the revocation list that it points to.
///
/// The pinned ARK is the product's own, so both hold for all that AMD issued. A simulated root stands for all products; its
/// intermediates may leave out both, but not say otherwise.
pub(super) fn record_product(
    [_, intermediate, _]: Members<'_, '_>,
    (signer, product): (Signer, Product),
    anchors: &TrustAnchors,
    checks: &mut Checks,
) -> bool {
    let may_leave_out = anchors.are_simulated();
    let named = intermediate.common_name().and_then(issued_product);
    let passed = named.map_or(may_leave_out, |named| named == product);
    let wanted = format!("{product} in the intermediate's name");
    let observed = named.map_or("no product", Product::name);
    let sound = checks.record(codes::INTERMEDIATE_PRODUCT, passed, wanted, observed);

    let kind = match signer {
        Signer::Vcek => "vcek",
        Signer::Vlek => "vlek",
    };
    let wanted = format!("https://kdsintf.amd.com/{kind}/v1/{product}/crl");
    let (passed, observed) = match crl_address(intermediate) {
        Ok(None) => (may_leave_out, "none"),
        Ok(Some(address)) if address == wanted.as_bytes() => (true, "it"),
        Ok(Some(_)) => (false, "another address"),
        Err(_) => (false, "not one address"),
    };
    sound & checks.record(codes::INTERMEDIATE_CRL_LINK, passed, wanted, observed)
}

/// The one address at which a certificate says its issuer's revocation list is.
fn crl_address<'a>(certificate: &Certificate<'a>) -> Result<Option<&'a [u8]>, der::Error> {
    let Some(value) = certificate.extension(CRL_DISTRIBUTION_POINTS) else { return Ok(None) };
    let mut contents = value;
    for tag in [der::SEQUENCE, der::SEQUENCE, POINT_NAME, FULL_NAME, ADDRESS] {
        let mut reader = Reader::new(contents);
        contents = reader.read(tag)?;
        reader.finish()?;
    }
    Ok(Some(contents))
}
