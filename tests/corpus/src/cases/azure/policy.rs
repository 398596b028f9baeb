//! Rules of an appraisal profile.

use super::{Made, Sent};
use crate::cases::profile::Profile;
use crate::writer::{Case, Suite};
use anchorhold_attester::software::SoftwareParavisor;

const POLICY: &str = "policy";

/// Accepts the good machine on SNP.
fn profile() -> Profile {
    let value = format!("[\"sha256:{}\"]", "00".repeat(32));
    Profile::snp().with("paravisor.pcrs.4", value.clone()).with("paravisor.pcrs.7", value)
}

fn judged(sent: &Sent, profile: &Profile) -> anyhow::Result<Case> {
    Ok(sent.case()?.file("profile", profile.text()))
}

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let good = made.snp()?;
    suite.add("azure-profile-good", judged(&good, &profile())?, "a profile that accepts it")?;
    let td = profile().and_tdx();
    suite.add("azure-profile-good-tdx", judged(&made.tdx()?, &td)?, "a profile that accepts both TEEs")?;
    let none = Profile::snp().with("paravisor.pcrs", "{}");
    let case = judged(&good, &none)?.refused(POLICY, "azure_pcrs_empty");
    suite.add("azure-profile-no-pcrs", case, "the profile accepts no values")?;
    let other = profile().with("paravisor.pcrs.4", format!("[\"sha256:{}\"]", "01".repeat(32)));
    let case = judged(&good, &other)?.refused(POLICY, "azure_pcr_value");
    suite.add("azure-profile-pcr-value", case, "another value of PCR 4")?;
    let mut few = SoftwareParavisor::new()?;
    few.pcrs = vec![(4, [0; 32])];
    let case = judged(&made.snp_below(&few)?, &profile())?.refused(POLICY, "azure_pcr_not_quoted");
    suite.add("azure-profile-pcr-not-quoted", case, "PCR 7 was not quoted")?;
    claims(suite, made)?;
    let id = profile().with("paravisor.vm_ids", "[\"00000000-0000-4000-8000-51513C1A7ED1\"]");
    let case = judged(&good, &id)?.refused(POLICY, "azure_vm_id");
    suite.add("azure-profile-vm-id", case, "the profile names another machine")?;
    let case = judged(&good, &profile())?.rule("tpm_nonce", "00".repeat(64));
    suite.add("azure-profile-nonce", case.refused("binding", "azure_nonce"), "made for another nonce")?;
    let case = judged(&good, &Profile::snp())?.refused(POLICY, "family_denied");
    suite.add("azure-profile-family", case, "the profile says nothing of paravisors")?;
    let case = judged(&good, &Profile::tdx().with("paravisor.pcrs", "{}"))?;
    suite.add(
        "azure-profile-tee",
        case.refused(POLICY, "family_denied"),
        "the profile says nothing of SEV-SNP",
    )
}

fn claims(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    for (id, from, to) in
        [("off", "\"secure-boot\":true", "\"secure-boot\":false"), ("unsaid", "\"secure-boot\":true,", "")]
    {
        let mut paravisor = SoftwareParavisor::new()?;
        paravisor.claims = paravisor.claims.replacen(from, to, 1);
        let sent = made.snp_below(&paravisor)?;
        let case = judged(&sent, &profile())?.refused(POLICY, "azure_secure_boot");
        suite.add(format!("azure-profile-secure-boot-{id}"), case, "Secure Boot is not known to be on")?;
    }
    let no_console = profile().with("paravisor.require_no_console", "true");
    let case = judged(&made.snp()?, &no_console)?.refused(POLICY, "azure_console");
    suite.add("azure-profile-console", case, "a console is attached")
}
