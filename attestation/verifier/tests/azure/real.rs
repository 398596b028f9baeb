//! Real evidence, with the stated verdicts.

use crate::samples::{sample, trustee};
use crate::support::*;
use anchorhold_attester::software::paravisor::td_report;
use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_rats::{Der, Measurement, ReportData, Tee, Timestamp};
use anchorhold_verifier::azure::{Attest, HclReport};
use anchorhold_verifier::dangerous::{self, SimulatedRoots};
use anchorhold_verifier::snp::{self, GenoaTcb, MilanTcb, MinimumTcb};
use anchorhold_verifier::{Authentic, TrustAnchors};

const SAMPLES: [&str; 3] =
    ["azure/snp-vtpm/evidence-v1.json", "azure/snp-vtpm/evidence-v2.json", "azure/tdx-vtpm/evidence-v1.json"];

fn authenticate_snp(report: &[u8], vcek: Der) -> Authentic<snp::AuthenticReport> {
    let at: Timestamp = "2026-07-25T00:00:00Z".parse().unwrap();
    let input = snp::Input { report, certificates: &[vcek], crls: &[] };
    snp::authenticate(&input, &TrustAnchors::production(), at).unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn appraise_snp(report: Authentic<snp::AuthenticReport>, report_data: &ReportData) {
    let floor = MilanTcb { bootloader: 0, tee: 0, snp: 0, microcode: 0 };
    let min_tcb = MinimumTcb { milan: Some(floor), ..MinimumTcb::default() };
    let mut policy = snp::Policy::strict(vec![report.claims().report().measurement], min_tcb);
    policy.require_alias_check = false;
    snp::appraise(report, &policy, report_data).unwrap_or_else(|refusal| panic!("{refusal}"));
}

#[test]
fn real_snp_machines_are_accepted_from_the_chip_to_the_nonce() {
    for (name, nonce) in [(SAMPLES[0], Some(&b"challenge"[..])), (SAMPLES[1], None)] {
        let Some((sent, vcek)) = trustee(name) else { return };
        let report = authenticate_snp(&sent.report, vcek.unwrap());
        let vtpm = sent.authentic();
        appraise_snp(report, &vtpm.report_data());
        assert_eq!(vtpm.pcrs().len(), 24, "{name}");
        assert_eq!(vtpm.claims().vm.secure_boot, Some(true));
        let nonce = nonce.unwrap_or(vtpm.nonce()).to_vec();
        assert_eq!(failed(&sent, &policy_of(vtpm.pcrs()), &nonce), [""; 0], "{name}");
    }
}

#[test]
fn the_virtual_tpm_of_a_real_td_is_accepted() {
    let Some((sent, vcek)) = trustee(SAMPLES[2]) else { return };
    assert_eq!((sent.tee, vcek), (Tee::Tdx, None));
    assert_eq!(sent.report, sample("azure/tdx-vtpm/td-quote.bin").unwrap());
    assert_eq!(sent.paravisor.hcl_report, sample("azure/tdx-vtpm/hcl-report.bin").unwrap());
    let vtpm = sent.authentic();
    assert_eq!(vtpm.claims().vm.vm_id.as_ref().unwrap().to_string(), "6332533D-5649-4D02-8AA7-8F64B7C3EE21");
    assert_eq!(failed(&sent, &policy_of(vtpm.pcrs()), b"challenge"), [""; 0]);
}

#[test]
fn the_snp_report_of_a_real_hcl_report_is_authentic_and_its_claims_are_bound() {
    let Some(bytes) = sample("azure/snp-vtpm/hcl-report.bin") else { return };
    let hcl = HclReport::parse(&bytes).unwrap();
    let vcek = Der(sample("azure/snp-vtpm/vcek.der").unwrap());
    let report = authenticate_snp(hcl.hardware_report, vcek);
    assert_eq!((hcl.tee, hcl.version), (Tee::Snp, 1));
    let mut bound = [0; 64];
    bound[..32].copy_from_slice(ring::digest::digest(&ring::digest::SHA256, hcl.claims).as_ref());
    appraise_snp(report, &ReportData::new(bound));
}

#[test]
fn real_hcl_reports_are_read_and_their_claims_are_bound() {
    for (name, tee, length, at) in [
        ("azure/hcl/hcl-report-snp-v2.bin", Tee::Snp, 2048, 0x50),
        ("azure/hcl/hcl-report-tdx.bin", Tee::Tdx, 2600, 128),
        ("azure/tdx-vtpm/hcl-report.bin", Tee::Tdx, 2600, 128),
    ] {
        let Some(bytes) = sample(name) else { return };
        assert_eq!(bytes.len(), length, "{name}");
        let hcl = HclReport::parse(&bytes).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert_eq!(hcl.tee, tee, "{name}");
        let digest = ring::digest::digest(&ring::digest::SHA256, hcl.claims);
        assert_eq!(&hcl.hardware_report[at..at + 32], digest.as_ref(), "{name}");
        assert_eq!(hcl.hardware_report[at + 32..at + 64], [0; 32], "{name}");
    }
}

/// The claims of an early release name the key for another use; report, binding and claims hold, and no quote came.
#[test]
fn claims_of_an_early_release_are_read() {
    let Some(hcl_report) = sample("azure/hcl/hcl-report-snp-v2.bin") else { return };
    let mut sent = snp();
    sent.report = hcl_report[32..1216].to_vec();
    sent.paravisor.hcl_report = hcl_report;
    assert_eq!(sent.refusal(), "azure_quote_signature");
}

#[test]
fn case_03_refuses_real_quotes_for_a_fresh_nonce() {
    for name in SAMPLES {
        let Some((sent, _)) = trustee(name) else { return };
        let policy = policy_of(sent.authentic().pcrs());
        assert_eq!(failed(&sent, &policy, &NONCE), ["azure_nonce"], "{name}");
    }
}

#[test]
fn refuses_parts_of_one_real_machine_beside_anothers() {
    let Some(all) = SAMPLES.iter().map(|name| trustee(name)).collect::<Option<Vec<_>>>() else { return };
    let [one, two, td] = [0, 1, 2].map(|index| all[index].0.clone());
    let mut other = one.clone();
    other.report = two.report.clone();
    assert_eq!(other.refusal(), "azure_tee_report");
    let mut other = one.clone();
    other.paravisor.quote = two.paravisor.quote.clone();
    other.paravisor.signature = two.paravisor.signature.clone();
    assert_eq!(other.refusal(), "azure_quote_signature");
    let mut other = one.clone();
    other.paravisor.pcrs = two.paravisor.pcrs.clone();
    assert_eq!(other.refusal(), "azure_pcr_digest");
    let mut other = td.clone();
    other.paravisor.hcl_report = sample("azure/hcl/hcl-report-tdx.bin").unwrap();
    assert_eq!(other.refusal(), "azure_tee_report");
    let mut other = td;
    other.paravisor.hcl_report = one.paravisor.hcl_report;
    assert_eq!(other.refusal(), "azure_tee_kind");
}

#[test]
fn a_clock_that_was_set_back_is_read_as_unsafe() {
    let quote = snp().paravisor.quote;
    let length = |at: usize| usize::from(u16::from_be_bytes([quote[at], quote[at + 1]]));
    // Magic and type, the signer's name and the nonce after their lengths, clock and both counts.
    let nonce = 6 + 2 + length(6);
    let safe = nonce + 2 + length(nonce) + 8 + 4 + 4;
    for (byte, wanted) in [(0, Some(false)), (1, Some(true)), (2, None)] {
        let mut changed = quote.clone();
        changed[safe] = byte;
        assert_eq!(Attest::parse(&changed).ok().map(|attest| attest.clock.safe), wanted, "{byte}");
    }
}

#[test]
fn real_quotes_are_read() {
    let Some((sent, _)) = trustee(SAMPLES[0]) else { return };
    let attest = Attest::parse(&sent.paravisor.quote).unwrap();
    assert_eq!(attest.nonce, b"challenge");
    assert_eq!(attest.selection, (0..24).collect::<Vec<u8>>());
    assert_eq!((attest.clock.reset_count, attest.clock.restart_count, attest.clock.safe), (2, 0, true));
    assert_eq!(attest.firmware_version, 0x2020_0312_0012_0003);
    assert_eq!(sent.authentic().firmware_version(), attest.firmware_version);
    assert_eq!(sent.authentic().clock(), attest.clock);
}

#[test]
fn the_software_paravisor_writes_the_bytes_of_real_hcl_reports() {
    for (name, tee) in [
        ("azure/snp-vtpm/hcl-report.bin", Tee::Snp),
        ("azure/tdx-vtpm/hcl-report.bin", Tee::Tdx),
        ("azure/hcl/hcl-report-tdx.bin", Tee::Tdx),
    ] {
        let Some(bytes) = sample(name) else { return };
        let hcl = HclReport::parse(&bytes).unwrap();
        let mut paravisor = paravisor();
        paravisor.claims = String::from_utf8(hcl.claims.to_vec()).unwrap();
        assert!(paravisor.hcl_report(tee, hcl.hardware_report) == bytes, "{name}");
        assert_eq!(paravisor.report_data().as_bytes(), report_data_of(&hcl), "{name}");
    }
}

fn report_data_of<'a>(hcl: &HclReport<'a>) -> &'a [u8] {
    match hcl.tee {
        Tee::Snp => &hcl.hardware_report[0x50..0x90],
        Tee::Tdx => &hcl.hardware_report[128..192],
    }
}

#[test]
fn the_software_tdreport_is_the_real_one_as_far_as_a_quote_says() {
    let Some(quote) = sample("azure/tdx-vtpm/td-quote.bin") else { return };
    let hcl = sample("azure/tdx-vtpm/hcl-report.bin").unwrap();
    let (made, real) = (td_report(&quote), HclReport::parse(&hcl).unwrap().hardware_report);
    assert_eq!(made.len(), real.len());
    for range in [0..16, 128..256 - 32, 256..384, 495..1024] {
        assert_eq!(made[range.clone()], real[range.clone()], "{range:?}");
    }
}

#[test]
fn the_software_paravisor_writes_a_real_quote() {
    let Some((sent, _)) = trustee(SAMPLES[0]) else { return };
    let real = &sent.paravisor.quote;
    let mut paravisor = paravisor();
    paravisor.pcrs = sent.authentic().pcrs().iter().map(|(pcr, value)| (*pcr, *value)).collect();
    let mut made = paravisor.quote(b"challenge");
    assert_eq!(made.len(), real.len());
    // The name of the key and the clock are the machine's own.
    for own in [10..42, 53..65] {
        made[own.clone()].copy_from_slice(&real[own]);
    }
    assert_eq!(&made, real);
}

#[test]
fn simulated_evidence_is_accepted_from_the_chip_to_the_nonce() {
    let paravisor = paravisor();
    let now: Timestamp = "2026-07-25T00:00:00Z".parse().unwrap();
    let guest = SoftwareGuest::launch(LaunchConfig::new(Measurement::new([7; 48])), now).unwrap();
    let evidence = guest.attest(&paravisor.report_data()).unwrap();
    let roots = SimulatedRoots::amd(simulated_ark_der());
    let anchors = dangerous::simulated_anchors(&roots).unwrap();
    let input = snp::Input { report: &evidence.report, certificates: &evidence.certificates, crls: &[] };
    let authentic = snp::authenticate(&input, &anchors, now).unwrap();

    let added = paravisor.attest(Tee::Snp, &evidence.report, &NONCE).unwrap();
    let sent = Sent { tee: Tee::Snp, report: evidence.report, paravisor: added };
    let vtpm = sent.authentic();
    let floor = GenoaTcb { bootloader: 0, tee: 0, snp: 0, microcode: 0 };
    let min_tcb = MinimumTcb { genoa: Some(floor), ..MinimumTcb::default() };
    let snp_policy =
        dangerous::allow_simulated(snp::Policy::strict(vec![Measurement::new([7; 48])], min_tcb));
    snp::appraise(authentic, &snp_policy, &vtpm.report_data()).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(failed(&sent, &policy(), &NONCE), [""; 0]);
}
