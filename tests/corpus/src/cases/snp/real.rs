//! Real evidence under AMD's own root: the report and the VCEKs that the crate `sev` 8.0.0 publishes (`ORIGIN.md` beside them).

use super::{Made, ask_and_ark};
use crate::cases::bytes::flip;
use crate::writer::{Case, Suite};

macro_rules! published {
    ($path:literal) => {
        include_bytes!(concat!("../../../../../attestation/verifier/", $path)).as_slice()
    };
}

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let report = published!("tests/vectors/sev-8.0.0/report_milan.bin");
    let good = Case::new("snp")
        .real_root()
        .file("report", report)
        .file("vek", published!("tests/vectors/sev-8.0.0/vcek_milan.der"))
        .file("ask", published!("src/snp/roots/milan-ask.der"))
        .file("ark", published!("src/snp/roots/milan-ark.der"));
    suite.add("snp-real-good-milan", good.clone(), "a real report under AMD's root")?;
    let case = good.clone().without("ask").without("ark");
    suite.add("snp-real-good-leaf-only", case, "ASK and ARK are built in")?;
    let mut changed = report.to_vec();
    flip(&mut changed, 0x90);
    let case = good.clone().file("report", changed).refused("signature", "snp_report_signature");
    suite.add("snp-real-changed", case, "the measurement was changed after signing")?;
    let turin = published!("tests/vectors/sev-8.0.0/vcek_turin.der");
    let case = good.clone().file("vek", turin).without("ask").without("ark");
    let case = case.refused("signature", "snp_report_signature");
    suite.add("snp-real-vek-of-turin", case, "the VCEK of another chip")?;
    let case = good.clone().file("ask", published!("src/snp/roots/genoa-ask.der"));
    suite.add(
        "snp-real-ask-of-genoa",
        case.refused("chain", "snp_no_trust_anchor"),
        "another product's ASK",
    )?;
    let case = good.clone().file("ask", published!("src/snp/roots/milan-asvk.der"));
    suite.add(
        "snp-real-asvk",
        case.refused("chain", "snp_intermediate_kind"),
        "the ASVK in the ASK's place",
    )?;
    let case = good.clone().file("ark", published!("src/snp/roots/genoa-ark.der"));
    suite.add(
        "snp-real-ark-of-genoa",
        case.refused("chain", "snp_presented_root"),
        "another product's ARK",
    )?;
    let mut ark = published!("src/snp/roots/milan-ark.der").to_vec();
    ark.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1);
    let case = good.clone().file("ark", ark).refused("chain", "snp_presented_root");
    suite.add("snp-real-ark-changed", case, "an ARK that differs from AMD's in one bit")?;
    let case = good.clone().at("2018-01-01T00:00:00Z").refused("chain", "snp_certificate_validity");
    suite.add("snp-real-early", case, "a time at which nothing of the chain was valid")?;
    let case = ask_and_ark(good).refused("chain", "snp_no_trust_anchor");
    suite.add("snp-real-below-simulated", case, "a real VCEK below the simulated ASK and ARK")?;
    let case = ask_and_ark(made.case()?.real_root()).without("ark").refused("chain", "snp_no_trust_anchor");
    suite.add("snp-simulated-without-ark", case, "a simulated chain that leaves its root out")
}
