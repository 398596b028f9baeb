//! What to ask for, out of the evidence alone: no network, no clock.

use crate::config::{Config, Intermediates};
use crate::endorsement::Endorsement;
use crate::error::Unplannable;
use crate::item::{CertId, Item, RimId, product_of};
use crate::{pck, rim};
use anchorhold_rats::{Der, Evidence, GpuEvidence, Tee};
use anchorhold_verifier::der::{self, Reader};
use anchorhold_verifier::snp::{Product, Report, Signer, SigningKey, Tcb};
use anchorhold_verifier::x509::Certificate;

/// The most manifests and OCSP responses that endorsements may hold.
const MAX_RIMS: usize = 32;
const MAX_OCSP: usize = 64;
/// AMD's productName, below 1.3.6.1.4.1.3704.1.
const AMD_PRODUCT_ARC: &[u8] = &[2];

/// One thing that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What it is.
    pub item: Item,
    /// What it is otherwise, where evidence leaves that open and the vendor has no such item.
    pub otherwise: Vec<Item>,
}

impl From<Item> for Wanted {
    fn from(item: Item) -> Self {
        Self { item, otherwise: Vec::new() }
    }
}

/// What `evidence` needs that does not accompany it. `rim_ids` are the names of the manifests for its devices.
///
/// Some needs show only in what the first ones bring: see [`follow_up`].
///
/// # Errors
/// [`Unplannable`] where the TEE's report is not readable or names nothing that vendors publish.
pub fn plan(evidence: &Evidence, rim_ids: &[String], config: &Config) -> Result<Vec<Wanted>, Unplannable> {
    let mut wanted = match evidence.tee {
        Tee::Snp => plan_snp(evidence, config)?,
        Tee::Tdx => {
            let (fmspc, ca) = pck::platform(&evidence.report)?;
            let update = config.update;
            [
                Item::TcbInfo { fmspc, update },
                Item::QeIdentity { update },
                Item::PckCrl { ca },
                Item::IntelRootCrl,
            ]
            .map(Wanted::from)
            .into()
        }
    };
    let mut items = Vec::new();
    for (index, id) in rim_ids.iter().enumerate() {
        add(&mut items, Item::Rim(RimId::new(id).ok_or(Unplannable::RimId { index })?));
    }
    if items.len() > MAX_RIMS {
        return Err(Unplannable::Limit { what: "reference manifests", limit: MAX_RIMS });
    }
    for GpuEvidence { certificates, .. } in &evidence.gpus {
        // NVIDIA's responder knows the certificates that it issued, not the one that the device made itself.
        let chain: Vec<&[u8]> =
            certificates.iter().skip(1).map(|certificate| certificate.0.as_slice()).collect();
        about(&chain).into_iter().for_each(|id| add(&mut items, id));
    }
    check_ocsp(items.iter())?;
    wanted.extend(items.into_iter().map(Wanted::from));
    Ok(wanted)
}

/// What the answers to the first plan lead to beyond it: the revocation list of a product that only the VCEK tells, and the
/// state of the certificates that signed manifests.
///
/// # Errors
/// [`Unplannable::Limit`] with too many certificates.
pub fn follow_up(
    planned: &[Wanted],
    found: &[(Item, Endorsement)],
    config: &Config,
) -> Result<Vec<Wanted>, Unplannable> {
    let mut items = Vec::new();
    for (item, value) in found {
        match (item, value) {
            (Item::Vcek { tcb, .. }, _) => {
                for of_product in amd_items(product_of(tcb), Signer::Vcek, config) {
                    add(&mut items, of_product);
                }
            }
            (Item::Rim(_), Endorsement::Manifest { xml }) => {
                let certificates = rim::certificates(&xml.0);
                let chain: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
                about(&chain).into_iter().for_each(|id| add(&mut items, id));
            }
            _ => {}
        }
    }
    items.retain(|item| !planned.iter().any(|wanted| wanted.item == *item));
    check_ocsp(items.iter().chain(planned.iter().map(|wanted| &wanted.item)))?;
    Ok(items.into_iter().map(Wanted::from).collect())
}

fn add(items: &mut Vec<Item>, item: Item) {
    if !items.contains(&item) {
        items.push(item);
    }
}

fn check_ocsp<'a>(items: impl Iterator<Item = &'a Item>) -> Result<(), Unplannable> {
    let count = items.filter(|item| matches!(item, Item::Ocsp(_))).count();
    if count > MAX_OCSP {
        return Err(Unplannable::Limit { what: "certificates of devices and manifests", limit: MAX_OCSP });
    }
    Ok(())
}

/// The OCSP items for each certificate of a chain whose issuer is in the chain too. Roots, and what is no certificate, are
/// left out: about those the verifier has the say.
fn about(chain: &[&[u8]]) -> Vec<Item> {
    let chain: Vec<_> = chain.iter().filter_map(|bytes| Certificate::parse(bytes).ok()).collect();
    let id = |certificate: &Certificate<'_>| {
        let issuer = chain.iter().find(|issuer| issuer.subject == certificate.issuer)?;
        (certificate.issuer != certificate.subject).then(|| CertId::of(certificate, issuer))?
    };
    chain.iter().filter_map(id).map(|id| Item::Ocsp(Box::new(id))).collect()
}

/// What AMD publishes for all chips of a product.
fn amd_items(product: Product, signer: Signer, config: &Config) -> Vec<Item> {
    let mut items = vec![Item::AmdCrl { product, signer }];
    if config.intermediates == Intermediates::Fetched {
        items.push(Item::AmdChain { product, signer });
    }
    items
}

fn plan_snp(evidence: &Evidence, config: &Config) -> Result<Vec<Wanted>, Unplannable> {
    let report =
        Report::parse(&evidence.report).map_err(|refusal| Unplannable::Report(refusal.code().to_owned()))?;
    let SigningKey::Signed(signer) = report.signing_key else { return Err(Unplannable::Unsigned) };
    let leaf = leaf_of(&evidence.certificates);
    let product = match report.cpuid {
        Some(cpuid) => Some(Product::from_cpuid(cpuid).ok_or(Unplannable::Product)?),
        None => leaf.as_ref().and_then(product_of_leaf).or(config.assumed_product),
    };
    let mut wanted = Vec::new();
    if !has_leaf(&evidence.certificates) {
        wanted.push(wanted_vcek(&report, signer, product)?);
    }
    if let Some(product) = product {
        wanted.extend(amd_items(product, signer, config).into_iter().map(Wanted::from));
    }
    Ok(wanted)
}

/// Whether the report's signer is certified already: the first certificate is not one of an authority.
pub(crate) fn has_leaf(certificates: &[Der]) -> bool {
    certificates.first().is_some_and(|first| {
        // What is not readable stands where a leaf belongs; the verifier refuses it.
        Certificate::parse(&first.0).map_or(true, |certificate| !certificate.authority.is_ca)
    })
}

/// The leaf, if there is one and it is readable.
pub(crate) fn leaf_of(certificates: &[Der]) -> Option<Certificate<'_>> {
    let leaf = Certificate::parse(&certificates.first()?.0).ok()?;
    (!leaf.authority.is_ca).then_some(leaf)
}

pub(crate) fn product_of_leaf(leaf: &Certificate<'_>) -> Option<Product> {
    let name = Reader::new(leaf.amd_extension(AMD_PRODUCT_ARC)?).read(der::IA5_STRING).ok()?;
    Product::from_name(std::str::from_utf8(name).ok()?)
}

/// The certificate of the report's signer, which could be one of two where the product is open.
fn wanted_vcek(report: &Report, signer: Signer, product: Option<Product>) -> Result<Wanted, Unplannable> {
    if signer == Signer::Vlek {
        return Err(Unplannable::Vlek);
    }
    if report.chip_id.is_zero() {
        return Err(Unplannable::ChipIdMasked);
    }
    let products = product.map_or(vec![Product::Milan, Product::Genoa], |product| vec![product]);
    let mut items = products.into_iter().filter_map(|product| vcek(report, product));
    let item = items.next().ok_or(Unplannable::Tcb)?;
    Ok(Wanted { item, otherwise: items.collect() })
}

/// The certificate of the report's chip at the TCB that the report states.
pub(crate) fn vcek(report: &Report, product: Product) -> Option<Item> {
    Tcb::decode(product, report.reported_tcb).map(|tcb| Item::Vcek { chip_id: report.chip_id, tcb })
}
