//! Rules of an appraisal profile, and of whole evidence.

use super::{LaunchConfig, MEASUREMENT, Made, REPORT_DATA, launch, of};
use crate::cases::bytes::put;
use crate::cases::profile::{Profile, hex};
use crate::writer::{Case, Suite};
use anchorhold_attester::software::Signer;

const NAMES: &str = "the profile names another";
const ASKS: &str = "the profile asks for it";

/// A key of the profile, its value, and the code that must find the good report wanting.
type Rule = (&'static str, &'static str, &'static str, &'static str);

const POLICY: [Rule; 18] = [
    ("measurements", "[]", "snp_measurements_empty", "the profile accepts no guest"),
    ("min_guest_svn", "1", "snp_guest_svn", "GUEST_SVN is below the profile's"),
    ("guest_policy.min_abi_version", "\"1.55\"", "snp_abi_version", "POLICY asks for a lower ABI"),
    ("guest_policy.single_socket", "\"set\"", "snp_single_socket", ASKS),
    ("guest_policy.cxl_allowed", "\"set\"", "snp_cxl", ASKS),
    ("guest_policy.aes_256_xts", "\"set\"", "snp_aes_256_xts", ASKS),
    ("guest_policy.rapl_disabled", "\"set\"", "snp_rapl", ASKS),
    ("guest_policy.ciphertext_hiding", "\"set\"", "snp_ciphertext_hiding", ASKS),
    ("guest_policy.page_swap_disabled", "\"set\"", "snp_page_swap", ASKS),
    ("platform.smt_enabled", "\"clear\"", "snp_platform_smt", "the profile asks for it to be off"),
    ("platform.tsme_enabled", "\"set\"", "snp_platform_tsme", ASKS),
    ("platform.ecc_enabled", "\"clear\"", "snp_platform_ecc", "the profile asks for it to be off"),
    ("platform.rapl_disabled", "\"set\"", "snp_platform_rapl", ASKS),
    ("platform.ciphertext_hiding_enabled", "\"set\"", "snp_platform_ciphertext_hiding", ASKS),
    ("platform.tio_enabled", "\"set\"", "snp_platform_tio", ASKS),
    ("family_id", "\"01010101010101010101010101010101\"", "snp_family_id", NAMES),
    ("image_id", "\"01010101010101010101010101010101\"", "snp_image_id", NAMES),
    ("machines", "\"listed\"", "snp_chip_not_allowed", "no machine list names the chip"),
];

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let judged =
        |profile: &Profile| -> anyhow::Result<Case> { Ok(made.case()?.file("profile", profile.text())) };
    suite.add("snp-profile-good", judged(&Profile::snp())?, "a profile that accepts it")?;
    for (key, value, code, why) in POLICY {
        let case = judged(&Profile::snp().with(&format!("snp.{key}"), value))?.refused("policy", code);
        suite.add(format!("snp-profile-{}", name(key)), case, why)?;
    }
    firmware(suite, made)?;
    keys(suite, made)?;
    provider(suite)?;
    families(suite, made)
}

/// A key as a part of an id.
fn name(key: &str) -> String {
    key.replace(['.', '_'], "-")
}

fn firmware(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let tcb = "tcb";
    let high = "{ bl = 10, tee = 0, snp = 25, ucode = 85 }";
    for (key, value, code, why) in [
        ("min_committed_tcb.genoa", high, "snp_tcb_committed_minimum", "COMMITTED_TCB below its floor"),
        ("min_launch_tcb.genoa", high, "snp_tcb_launch_minimum", "LAUNCH_TCB below its floor"),
        ("min_firmware_version", "\"1.55.44\"", "snp_firmware_version", "the firmware is older"),
    ] {
        let profile = Profile::snp().with(&format!("snp.{key}"), value).text();
        let case = made.case()?.file("profile", profile).refused(tcb, code);
        suite.add(format!("snp-profile-{}", name(key)), case, why)?;
    }
    let committed = Profile::snp().with("snp.require_committed_firmware", "true").text();
    let newer = made.fields(|fields| put(&mut fields.current_tcb, 7, 85))?;
    suite.add("snp-good-provisional", newer.clone(), "provisional firmware, about which nobody asked")?;
    let case = newer.file("profile", committed).refused(tcb, "snp_firmware_provisional");
    suite.add("snp-profile-provisional", case, "the firmware in use can be rolled back")?;
    let case = made.fields(|fields| put(&mut fields.committed_version, 0, 44))?;
    suite.add(
        "snp-firmware-order",
        case.refused(tcb, "snp_firmware_order"),
        "firmware older than the committed one, which AMD's firmware refuses to load",
    )?;
    let turin = Profile::snp()
        .without("snp.min_tcb.genoa")
        .with("snp.products", "[\"turin\"]")
        .with("snp.min_tcb.turin", "{ fmc = 0, bl = 0, tee = 0, snp = 0, ucode = 0 }");
    let case = made.case()?.file("profile", turin.text()).refused("policy", "snp_product_denied");
    suite.add("snp-profile-product", case, "the profile names another product")
}

fn keys(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let policy = "policy";
    let fields = made.guest.report_fields(&REPORT_DATA);
    let chip = format!("[{}]", hex(&fields.chip_id));
    let other = format!("[{}]", hex(&[1; 48]));
    for (key, value, code, why) in [
        ("denied_machines", &chip, "snp_chip_denied", "the profile denies this chip"),
        ("id_keys", &other, "snp_id_key", NAMES),
        ("author_keys", &other, "snp_author_key", NAMES),
    ] {
        let profile = Profile::snp().with(&format!("snp.{key}"), value).text();
        let case = made.case()?.file("profile", profile).refused(policy, code);
        suite.add(format!("snp-profile-{}", name(key)), case, why)?;
    }
    let listed = Profile::snp().with("snp.machines", chip).text();
    suite.add("snp-profile-good-chip", made.case()?.file("profile", listed), "a chip that is named")?;
    let others = Profile::snp().with("snp.machines", format!("[{}]", hex(&[1; 64]))).text();
    let case = made.case()?.file("profile", others).refused(policy, "snp_chip_not_allowed");
    suite.add("snp-profile-other-chip", case, "the profile names other chips")?;
    let crl = Profile::snp().without("snp.require_crl").text();
    let case = made.case()?.file("profile", crl).refused("collateral", "snp_crl_missing");
    suite.add("snp-profile-crl-missing", case, "profiles ask for a revocation list")?;
    let bound = made.case()?.file("profile", Profile::snp().text()).rule("report_data", "00".repeat(64));
    suite.add(
        "snp-profile-report-data",
        bound.refused("binding", "snp_report_data"),
        "made for somebody else",
    )
}

fn provider(suite: &mut Suite) -> anyhow::Result<()> {
    let config = LaunchConfig { signer: Signer::Vlek, ..LaunchConfig::new(MEASUREMENT) };
    let vlek = of(&launch(config)?.attest(&REPORT_DATA)?)?;
    let judged = |profile: Profile| vlek.clone().file("profile", profile.text());
    let case = judged(Profile::snp()).refused("policy", "snp_signer");
    suite.add("snp-profile-signer", case, "a VLEK, of which the profile says nothing")?;
    let accepted = Profile::snp().with("snp.signers", "[\"vlek\"]");
    suite.add("snp-profile-good-vlek", judged(accepted.clone()), "VLEKs of every provider are accepted")?;
    let named = accepted.with("snp.allowed_providers", "[\"CN=another.invalid\"]");
    let case = judged(named).refused("policy", "snp_provider");
    suite.add("snp-profile-provider", case, "a VLEK of another cloud provider")
}

/// Rules about the evidence as a whole.
fn families(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let case = made.case()?.file("profile", Profile::tdx().text()).refused("policy", "family_denied");
    suite.add("snp-profile-family", case, "the profile says nothing of SEV-SNP")?;
    let paravisor = Profile::snp().with("paravisor.pcrs", "{}").text();
    let case = made.case()?.file("profile", paravisor).refused("policy", "family_missing");
    suite.add("snp-profile-no-paravisor", case, "the profile asks for a paravisor")?;
    let case = made.case()?.file("profile", Profile::snp().text()).file("vek", vec![0; 8193]);
    suite.add("snp-profile-limit", case.refused("parse", "evidence_limit"), "a certificate over 8 KiB")
}
