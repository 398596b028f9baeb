//! Between items and the shapes in which endorsements travel.

use crate::answer;
use crate::config::Config;
use crate::endorsement::Endorsement;
use crate::error::Unplannable;
use crate::item::Item;
use crate::plan::{Wanted, follow_up, has_leaf, leaf_of, plan, product_of_leaf, vcek};
use crate::rim;
use anchorhold_rats::{Der, Endorsements, Evidence, EvidenceBundle, TdxCollateral, Tee};
use anchorhold_verifier::snp::{Report, Signer, SigningKey};
use anchorhold_verifier::x509::RevocationList;

/// The evidence with the certificates that it lacked, and the endorsements, out of what was found.
pub(crate) fn assemble(mut evidence: Evidence, found: &[(Item, Endorsement)]) -> (Evidence, Endorsements) {
    let mut endorsements = Endorsements::default();
    let mut issuers = &[][..];
    for (item, value) in found {
        match (item, value) {
            (Item::Vcek { .. }, Endorsement::Certificate { der }) => {
                evidence.certificates.insert(0, der.clone())
            }
            (Item::AmdChain { .. }, Endorsement::Certificates { ders }) => issuers = ders,
            (Item::AmdCrl { .. }, Endorsement::RevocationList { der, .. }) => {
                endorsements.snp_crls.push(der.clone());
            }
            (Item::Rim(_), Endorsement::Manifest { xml }) => endorsements.rims.push(xml.clone()),
            (Item::Ocsp(_), Endorsement::Ocsp { der }) => endorsements.ocsp.push(der.clone()),
            _ => {}
        }
    }
    // Issuers that accompany the report stay what they are.
    if evidence.certificates.len() == 1 && has_leaf(&evidence.certificates) {
        evidence.certificates.extend_from_slice(issuers);
    }
    endorsements.tdx = collateral(found);
    (evidence, endorsements)
}

/// Intel's collateral, if all of it was found.
fn collateral(found: &[(Item, Endorsement)]) -> Option<TdxCollateral> {
    let find = |is: fn(&Item) -> bool| found.iter().find(|(item, _)| is(item)).map(|(_, value)| value);
    let Endorsement::Statement {
        text: tcb_info,
        signature: tcb_info_signature,
        issuer_chain: tcb_info_issuer_chain,
    } = find(|item| matches!(item, Item::TcbInfo { .. }))?.clone()
    else {
        return None;
    };
    let Endorsement::Statement {
        text: qe_identity,
        signature: qe_identity_signature,
        issuer_chain: qe_identity_issuer_chain,
    } = find(|item| matches!(item, Item::QeIdentity { .. }))?.clone()
    else {
        return None;
    };
    let Endorsement::RevocationList { der: pck_crl, issuer_chain: pck_crl_issuer_chain } =
        find(|item| matches!(item, Item::PckCrl { .. }))?.clone()
    else {
        return None;
    };
    let Endorsement::RevocationList { der: root_ca_crl, .. } =
        find(|item| matches!(item, Item::IntelRootCrl))?.clone()
    else {
        return None;
    };
    Some(TdxCollateral {
        tcb_info,
        tcb_info_signature,
        tcb_info_issuer_chain,
        qe_identity,
        qe_identity_signature,
        qe_identity_issuer_chain,
        pck_crl,
        pck_crl_issuer_chain,
        root_ca_crl,
    })
}

/// What a bundle holds, each under the item that evidence like its own asks for.
pub(crate) fn entries(
    bundle: &EvidenceBundle,
    rim_ids: &[String],
    config: &Config,
) -> Result<Vec<(Item, Endorsement)>, Unplannable> {
    let EvidenceBundle { evidence, endorsements, .. } = bundle;
    let planned = plan(evidence, rim_ids, config)?;
    let mut entries = match (evidence.tee, &endorsements.tdx) {
        (Tee::Snp, _) => snp_entries(evidence, &endorsements.snp_crls),
        (Tee::Tdx, Some(tdx)) => planned
            .iter()
            .filter_map(|wanted| tdx_entry(&wanted.item, tdx).map(|value| (wanted.item.clone(), value)))
            .collect(),
        (Tee::Tdx, None) => Vec::new(),
    };
    let ids = planned.iter().filter_map(|wanted| match &wanted.item {
        Item::Rim(id) => Some(id),
        _ => None,
    });
    for (index, id) in ids.enumerate() {
        // In the order of the ids, unless the bundle has another.
        let in_order = endorsements.rims.get(index).into_iter();
        let mut candidates = in_order.chain(&endorsements.rims);
        if let Some(xml) = candidates.find(|xml| rim::may_have_id(&xml.0, id.as_str())) {
            entries.push((Item::Rim(id.clone()), Endorsement::Manifest { xml: xml.clone() }));
        }
    }
    let more = follow_up(&planned, &entries, config)?;
    for Wanted { item, .. } in planned.iter().chain(&more) {
        let values = endorsements.ocsp.iter().map(|der| Endorsement::Ocsp { der: der.clone() });
        if let (Item::Ocsp(_), Some(value)) =
            (item, values.into_iter().find(|value| answer::judge(item, value).is_ok()))
        {
            entries.push((item.clone(), value));
        }
    }
    Ok(entries)
}

fn snp_entries(evidence: &Evidence, crls: &[Der]) -> Vec<(Item, Endorsement)> {
    let mut entries = Vec::new();
    let leaf = leaf_of(&evidence.certificates);
    let (Some(product), Ok(report)) =
        (leaf.as_ref().and_then(product_of_leaf), Report::parse(&evidence.report))
    else {
        return entries;
    };
    let SigningKey::Signed(signer) = report.signing_key else { return entries };
    if let (Signer::Vcek, Some(item), Some(der)) =
        (signer, vcek(&report, product), evidence.certificates.first())
    {
        entries.push((item, Endorsement::Certificate { der: der.clone() }));
    }
    if let Some(issuers) = evidence.certificates.get(1..).filter(|issuers| !issuers.is_empty()) {
        let item = Item::AmdChain { product, signer };
        entries.push((item, Endorsement::Certificates { ders: issuers.to_vec() }));
    }
    let newest = crls.iter().filter_map(|crl| Some((RevocationList::parse(&crl.0).ok()?.this_update, crl)));
    if let Some((_, der)) = newest.max_by_key(|(issued, _)| *issued) {
        let value = Endorsement::RevocationList { der: der.clone(), issuer_chain: String::new() };
        entries.push((Item::AmdCrl { product, signer }, value));
    }
    entries
}

fn tdx_entry(item: &Item, tdx: &TdxCollateral) -> Option<Endorsement> {
    Some(match item {
        Item::TcbInfo { .. } => Endorsement::Statement {
            text: tdx.tcb_info.clone(),
            signature: tdx.tcb_info_signature.clone(),
            issuer_chain: tdx.tcb_info_issuer_chain.clone(),
        },
        Item::QeIdentity { .. } => Endorsement::Statement {
            text: tdx.qe_identity.clone(),
            signature: tdx.qe_identity_signature.clone(),
            issuer_chain: tdx.qe_identity_issuer_chain.clone(),
        },
        Item::PckCrl { .. } => Endorsement::RevocationList {
            der: tdx.pck_crl.clone(),
            issuer_chain: tdx.pck_crl_issuer_chain.clone(),
        },
        Item::IntelRootCrl => {
            Endorsement::RevocationList { der: tdx.root_ca_crl.clone(), issuer_chain: String::new() }
        }
        _ => return None,
    })
}
