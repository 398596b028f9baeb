//! Revocation lists.

use super::{Made, at};
use crate::writer::Suite;
use anchorhold_attester::software::Authority;
use anchorhold_attester::software::certificate::name;
use anchorhold_attester::software::revocation::RevocationTemplate;

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let template = |revoked: &[u8]| -> anyhow::Result<RevocationTemplate> {
        Ok(RevocationTemplate {
            issuer: name(Authority::Ark.common_name()),
            this_update: at()?.plus_seconds(-3600),
            next_update: at()?.plus_seconds(3600),
            revoked: if revoked.is_empty() { vec![] } else { vec![revoked.to_vec()] },
        })
    };
    let (ark, asvk) = (Authority::Ark.key()?, Authority::Asvk.key()?);
    let good = template(&[])?.sign(&ark)?;
    let case = made.case()?.file("crl", good.clone()).rule("require_crl", true);
    suite.add("snp-crl-good", case, "a fresh list that names nothing")?;
    let case = made.case()?.file("crl", template(&[77])?.sign(&ark)?).rule("require_crl", true);
    suite.add("snp-crl-other-serial", case, "a list that names another certificate")?;
    let case = made.case()?.rule("require_crl", true).refused("collateral", "snp_crl_missing");
    suite.add("snp-crl-missing", case, "the policy asks for a list and there is none")?;
    let mut cut = good.clone();
    cut.pop();
    let case = made.case()?.file("crl", cut).refused("collateral", "snp_crl_malformed");
    suite.add("snp-crl-cut", case, "the list's last byte is missing")?;
    let case =
        made.case()?.file("crl", template(&[])?.sign(&asvk)?).refused("collateral", "snp_crl_signature");
    suite.add("snp-crl-signature", case, "the root did not sign the list")?;
    let mut stranger = template(&[])?;
    stranger.issuer = name("ARK-SIMULATED (another)");
    let case = made.case()?.file("crl", stranger.sign(&ark)?).refused("collateral", "snp_crl_issuer");
    suite.add("snp-crl-issuer", case, "the list names another issuer")?;
    for (id, from, to) in [("stale", -7200, -1), ("future", 1, 7200)] {
        let mut list = template(&[])?;
        list.this_update = at()?.plus_seconds(from);
        list.next_update = at()?.plus_seconds(to);
        let case = made.case()?.file("crl", list.sign(&ark)?).refused("collateral", "snp_crl_freshness");
        suite.add(format!("snp-crl-{id}"), case, "the list is not the current one at that time")?;
    }
    let case = made.case()?.file("crl", template(&[2])?.sign(&ark)?);
    suite.add("snp-crl-ask", case.refused("collateral", "snp_certificate_revoked"), "the ASK is revoked")?;
    let roles = ["crl-1", "crl-2", "crl-3", "crl-4"];
    let four = roles.into_iter().fold(made.case()?, |case, role| case.file(role, good.clone()));
    suite.add("snp-crl-good-four", four.clone(), "as many lists as are read")?;
    let case = four.file("crl-5", good).refused("collateral", "snp_crl_count");
    suite.add("snp-crl-five", case, "more lists than are read")
}
