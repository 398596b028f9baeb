//! Evidence of TDX and of GPUs: shown, bundled from its parts, and judged under the simulated roots.

use crate::support::{Folder, MEASUREMENT, Ran, guest, header, now, run, td, td_profile};
use anchorhold_attester::software::SoftwareParavisor;
use anchorhold_attester::software::gpu::Board;
use anchorhold_rats::{Endorsements, GpuEvidence, Nonce, ReportData, TdxCollateral, Tee};
use serde_json::json;

pub(crate) const REPORT_DATA: ReportData = ReportData::new([9; 64]);
const GPU_NONCE: Nonce = Nonce::new([4; 32]);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Collateral as dcap-qvl writes it.
fn dcap_json(collateral: &TdxCollateral) -> Vec<u8> {
    let json = json!({
        "tcb_info": collateral.tcb_info,
        "tcb_info_signature": hex(&collateral.tcb_info_signature.0),
        "tcb_info_issuer_chain": collateral.tcb_info_issuer_chain,
        "qe_identity": collateral.qe_identity,
        "qe_identity_signature": hex(&collateral.qe_identity_signature.0),
        "qe_identity_issuer_chain": collateral.qe_identity_issuer_chain,
        "pck_crl": hex(&collateral.pck_crl.0),
        "pck_crl_issuer_chain": collateral.pck_crl_issuer_chain,
        "root_ca_crl": hex(&collateral.root_ca_crl.0),
    });
    serde_json::to_vec(&json).unwrap()
}

/// A bundle that the program made of a bare quote, an event log and collateral.
pub(crate) fn td_bundle(folder: &Folder) -> String {
    let (evidence, collateral) = td(&REPORT_DATA);
    let quote = folder.write("quote.bin", &evidence.report);
    let log = folder.write("ccel.bin", &evidence.event_log.unwrap().0);
    let collateral = folder.write("collateral.json", dcap_json(&collateral));
    let bundle = folder.path("td.json");
    run(["evidence", "bundle", &quote, "--event-log", &log, "--collateral", &collateral, "--out", &bundle])
        .expect(0, "");
    bundle
}

/// Judges a bundle for [`REPORT_DATA`] under the simulated roots.
pub(crate) fn verify(folder: &Folder, bundle: &str, more: &[&str]) -> Ran {
    let (roots, report_data) = (folder.simulated_roots(), REPORT_DATA.to_string());
    let args = ["evidence", "verify", bundle, "--report-data", &report_data];
    run(args.iter().chain(&["--dangerous-simulated-root", &roots]).chain(more))
}

#[test]
fn a_td_is_judged_from_a_bundle_of_its_parts_by_measurement_and_by_profile() {
    let folder = Folder::new();
    let bundle = td_bundle(&folder);
    let measurement = MEASUREMENT.to_string();
    let ran = verify(&folder, &bundle, &["--measurement", &measurement]);
    ran.expect(0, "--measurement is MRTD, the firmware alone");
    assert!(ran.out.starts_with("accepted (simulated root"), "{}", ran.out);
    verify(&folder, &bundle, &["--measurement", &"00".repeat(48)]).expect(4, "");
    let profile = folder.write("profile.toml", td_profile(MEASUREMENT));
    let ran = verify(&folder, &bundle, &["--profile", &profile]);
    ran.expect(0, "");
    assert!(ran.out.contains("tds version 3, SHA-256 "), "{}", ran.out);
    // Only the vendors' roots are trusted without a word, and the root of SEV-SNP says nothing of a TD.
    let report_data = REPORT_DATA.to_string();
    let args = ["evidence", "verify", &bundle, "--report-data", &report_data, "--profile", &profile];
    let ran = run(args);
    ran.expect(3, "");
    assert!(ran.out.contains("tdx_no_trust_anchor"), "{}", ran.out);
    let snp_only = folder.simulated_root();
    run(args.iter().chain(&["--dangerous-simulated-root", snp_only.as_str()])).expect(3, "");
}

#[test]
fn a_td_without_collateral_has_no_endorsements() {
    let folder = Folder::new();
    let (evidence, _) = td(&REPORT_DATA);
    let bundle = folder.bundle("bare.json", evidence, Endorsements::default());
    let ran = verify(&folder, &bundle, &["--measurement", &MEASUREMENT.to_string()]);
    ran.expect(5, "");
    assert!(ran.out.contains("tdx_collateral_missing"), "{}", ran.out);
}

#[test]
fn a_td_is_shown_with_its_platform_its_log_and_its_collateral() {
    let folder = Folder::new();
    let bundle = td_bundle(&folder);
    let ran = run(["evidence", "show", &bundle]);
    ran.expect(0, "");
    for text in [
        "\nTDX quote\n",
        &format!("MRTD                     {MEASUREMENT}\n"),
        "\nquoting enclave\n",
        "FMSPC ",
        "EV_SEPARATOR",
        "console=ttyS0",
        "RTMR2 by this log",
        "TCB info nextUpdate",
        "root CRL ",
    ] {
        assert!(ran.out.contains(text), "{text} in {}", ran.out);
    }
    let parts = run(["evidence", "show", &bundle, "--json"]).json();
    let field = |part: &str, field: &str| {
        let part = parts.as_array().unwrap().iter().find(|read| read["name"] == part).unwrap();
        let fields = part["fields"].as_array().unwrap();
        fields.iter().find(|read| read["name"] == field).unwrap()["value"].clone()
    };
    // The registers of the log are those of the quote.
    assert_eq!(field("event log", "RTMR1 by this log"), field("TD report", "RTMR1"));
}

/// A board in NVIDIA's own JSON.
fn serialized(devices: &[GpuEvidence]) -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let pem = |device: &GpuEvidence| -> String {
        let frame = |der: &[u8]| {
            format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
        };
        device.certificates.iter().map(|certificate| frame(&certificate.0)).collect()
    };
    let list: Vec<_> = devices
        .iter()
        .map(|device| {
            json!({
                "arch": "HOPPER",
                "certificate": STANDARD.encode(pem(device)),
                "evidence": STANDARD.encode(&device.report),
                "nonce": GPU_NONCE.to_string(),
            })
        })
        .collect();
    serde_json::to_vec(&list).unwrap()
}

#[test]
fn a_board_beside_a_guest_is_judged_from_nvidia_s_json_manifests_and_ocsp_responses() {
    let folder = Folder::new();
    let board = Board::make().unwrap();
    let (rims, mut ocsp) = board.rims(now()).unwrap();
    ocsp.extend(board.ocsp(now()).unwrap());
    let evidence = guest().attest(&REPORT_DATA).unwrap();
    let cpu = folder.bundle("cpu.json", evidence, Endorsements::default());
    let gpus = folder.write("gpus.json", serialized(&board.evidence(&GPU_NONCE).unwrap()));
    let bundle = folder.path("board.json");
    let mut args: Vec<String> =
        ["evidence", "bundle", &cpu, "--gpus", &gpus, "-o", &bundle].map(ToOwned::to_owned).into();
    for (flag, items) in [("--rim", rims), ("--ocsp", ocsp)] {
        for (index, item) in items.iter().enumerate() {
            args.extend([flag.to_owned(), folder.write(&format!("{flag}{index}"), &item.0)]);
        }
    }
    run(&args).expect(0, "");

    let snp = format!(
        "[snp]\nmeasurements = [\"sha384:{MEASUREMENT}\"]\nproducts = [\"genoa\"]\nmachines = \"any\"\nrequire_crl = false\n\
         [snp.min_tcb]\ngenoa = {{ bl = 10, tee = 0, snp = 23, ucode = 84 }}\n"
    );
    let gpu = "[gpu]\nmode = \"protected-pcie\"\ngpus = 8\nswitches = 4\narchitectures = [\"hopper\", \"ls10\"]\nmachines = \"any\"\n";
    let profile = folder.write("profile.toml", format!("{}{snp}{gpu}", header("board")));
    let nonce = GPU_NONCE.to_string();
    let good = ["--profile", &profile, "--gpu-nonce", &nonce];
    verify(&folder, &bundle, &good).expect(0, "");
    let other = Nonce::new([5; 32]).to_string();
    verify(&folder, &bundle, &["--profile", &profile, "--gpu-nonce", &other]).expect(3, "");
    // A measurement alone accepts no devices.
    let ran = verify(&folder, &bundle, &["--measurement", &MEASUREMENT.to_string()]);
    ran.expect(4, "");
    let smaller = folder.write("smaller.toml", format!("{}{snp}{}", header("board"), gpu.replace('8', "4")));
    verify(&folder, &bundle, &["--profile", &smaller, "--gpu-nonce", &nonce]).expect(4, "");

    let shown = run(["evidence", "show", &bundle]);
    shown.expect(0, "");
    let pdi = hex(&board.gpus[0].config().pdi);
    for text in [
        "GPU or switch 11",
        &pdi,
        "VBIOS_VERSION",
        "DRIVER_VERSION",
        "manifest 2 colloquialVersion",
        "response 0",
    ] {
        assert!(shown.out.contains(text), "{text} in {}", shown.out);
    }
    run(["evidence", "bundle", &cpu, "--gpus", &cpu, "-o", &folder.path("none")])
        .expect(1, "cpu.json: device evidence is not the expected JSON");
}

/// Trustee's evidence of a simulated guest below a paravisor, whose quote has this nonce, and the certificates of its chain.
fn azure(folder: &Folder, nonce: &[u8]) -> [String; 2] {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let paravisor = SoftwareParavisor::new().unwrap();
    let report = guest().attest(&paravisor.report_data()).unwrap();
    let made = paravisor.attest(Tee::Snp, &report.report, nonce).unwrap();
    let pcrs: Vec<String> = made.pcrs.iter().map(|pcr| hex(&pcr.0)).collect();
    let json = json!({
        "tpm_quote": { "message": hex(&made.quote), "signature": hex(&made.signature), "pcrs": pcrs },
        "hcl_report": URL_SAFE_NO_PAD.encode(&made.hcl_report),
        "vcek": URL_SAFE_NO_PAD.encode(&report.certificates[0].0),
    });
    let issuer = folder.write("ask.der", &report.certificates[1].0);
    [folder.write("azure.json", serde_json::to_vec(&json).unwrap()), issuer]
}

/// A profile that accepts that guest.
fn azure_profile() -> String {
    let pcr = format!("sha256:{}", "00".repeat(32));
    format!(
        "{}[snp]\nmeasurements = [\"sha384:{MEASUREMENT}\"]\nproducts = [\"genoa\"]\nsigners = [\"vcek\"]\n\
         machines = \"any\"\nrequire_crl = false\nmin_tcb.genoa = {{ bl = 0, tee = 0, snp = 0, ucode = 0 }}\n\
         [paravisor]\npcrs.4 = [\"{pcr}\"]\nrequire_secure_boot = false\n",
        header("azure")
    )
}

#[test]
fn azure_evidence_of_trustee_is_judged_by_the_nonce_of_its_quote() {
    let folder = Folder::new();
    let [file, issuer] = azure(&folder, b"9 bytes..");
    let (roots, profile) = (folder.simulated_roots(), folder.write("azure.toml", azure_profile()));
    let verify = |file: &str, more: &[&str]| {
        let args = ["evidence", "verify", file, "--certificates", &issuer, "--profile", &profile];
        run(args.iter().chain(&["--dangerous-simulated-root", &roots]).chain(more))
    };
    let ran = verify(&file, &["--any-report-data"]);
    assert!(ran.code == 0 && ran.err.contains("the report data is not judged"), "{}{}", ran.out, ran.err);
    verify(&file, &["--tpm-nonce", &hex(b"9 bytes..")]).expect(0, "");
    for other in [&b"9 bytes.!"[..], b"9 bytes", b"9 bytes..\0"] {
        let ran = verify(&file, &["--tpm-nonce", &hex(other)]);
        assert!(ran.code == 3 && ran.out.contains("FAILED azure_nonce"), "{}{}", ran.out, ran.err);
    }
    verify(&file, &["--report-data", &hex(&[0; 64])]).expect(3, "");
    for wrong in ["", "0", "0g", &"00".repeat(65)] {
        verify(&file, &["--tpm-nonce", wrong]).expect(2, "wanted 1 to 64 bytes in hex");
    }
    let other = guest().attest(&REPORT_DATA).unwrap();
    let other = folder.write("snp.json", serde_json::to_vec(&other).unwrap());
    verify(&other, &["--tpm-nonce", "00"]).expect(2, "--tpm-nonce is for evidence of a virtual TPM");
}

#[test]
fn azure_evidence_of_trustee_is_read_and_shown() {
    let folder = Folder::new();
    let [file, _] = azure(&folder, b"fresh nonce");
    let ran = run(["evidence", "show", &file]);
    ran.expect(0, "");
    for text in
        ["SNP report", "HCL report", "TPM quote", "EXTRA_DATA               6672657368206e6f6e6365", "PCR 0 "]
    {
        assert!(ran.out.contains(text), "{text} in {}", ran.out);
    }
}
