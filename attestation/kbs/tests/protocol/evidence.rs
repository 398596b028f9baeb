//! Evidence in guest-components' JSON: against the crate that writes it there, and real samples.

use crate::samples::sample;
use crate::support::{Guest, device};
use anchorhold_kbs::{ReadEvidence, ReadEvidenceError, Tee, WriteEvidenceError, WrittenEvidence};
use anchorhold_rats::{Der, Evidence, Nonce, ReportData};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sev::firmware::guest::AttestationReport;
use sev::firmware::host::{CertTableEntry, CertType};
use sev::parser::ByteParser as _;

const REPORT_DATA: ReportData = ReportData::new([3; 64]);

/// Every real report of version 3 to 5, which are those that guest-components and Trustee take.
const REPORTS: &[&str] = &[
    "milan-v3-vlek-aws",
    "milan-v4-gcp",
    "milan-v3-oak-staging",
    "turin-v5-oak",
    "milan-v5-gcp-reportdata",
    "milan-v3-dstack",
    "milan-v5-gcp",
    "genoa-v5-oak",
    "genoa-v3-aci",
];

fn read(tee: Tee, primary: &Value) -> Result<Evidence, ReadEvidenceError> {
    ReadEvidence::read(tee, &primary.to_string(), "").map(|read| read.evidence)
}

#[test]
fn real_snp_reports_come_out_of_sev_s_struct_byte_for_byte_and_go_back_in() {
    for name in REPORTS {
        let Some(bytes) = sample(&format!("snp/{name}/report.bin")) else { return };
        let struct_of_sev = AttestationReport::from_bytes(&bytes).unwrap();
        let json = json!({ "attestation_report": struct_of_sev, "cert_chain": null });
        let evidence = read(Tee::Snp, &json).unwrap();
        assert_eq!(evidence.report, bytes, "{name}");

        let written = WrittenEvidence::of(&evidence).unwrap();
        assert_eq!(serde_json::from_str::<Value>(written.primary.get()).unwrap(), json, "{name}");
        let value: Value = serde_json::from_str(written.primary.get()).unwrap();
        let again: AttestationReport = serde_json::from_value(value["attestation_report"].clone()).unwrap();
        assert_eq!(again.to_bytes().unwrap().as_slice(), bytes.as_slice(), "{name}");
    }
}

#[test]
fn certificates_keep_their_kinds_as_sev_names_them() {
    let entry = |cert_type, byte: u8| CertTableEntry { cert_type, data: vec![byte] };
    let report = AttestationReport { version: 3, ..AttestationReport::default() };
    let with = |chain: Vec<CertTableEntry>| json!({ "attestation_report": report, "cert_chain": chain });
    let all = with(vec![
        entry(CertType::ARK, 3),
        entry(CertType::OTHER(Default::default()), 9),
        entry(CertType::Empty, 9),
        entry(CertType::CRL, 4),
        entry(CertType::ASK, 2),
        entry(CertType::VCEK, 1),
    ]);
    let read = ReadEvidence::read(Tee::Snp, &all.to_string(), "").unwrap();
    assert_eq!(read.evidence.certificates, [1, 2, 3].map(|byte| Der(vec![byte])));
    assert_eq!(read.endorsements.snp_crls, [Der(vec![4])]);
    for chain in [
        vec![entry(CertType::VCEK, 1), entry(CertType::VLEK, 2)],
        vec![entry(CertType::VCEK, 1), entry(CertType::ASK, 2), entry(CertType::ASK, 2)],
        vec![entry(CertType::ASK, 2)],
        vec![entry(CertType::ARK, 2)],
    ] {
        let refused = self::read(Tee::Snp, &with(chain));
        assert!(matches!(refused, Err(ReadEvidenceError::Malformed { .. })), "{refused:?}");
    }
    let long = with(vec![CertTableEntry { cert_type: CertType::VLEK, data: vec![0; 9000] }]);
    assert!(matches!(self::read(Tee::Snp, &long), Err(ReadEvidenceError::Limit(_))));
}

#[test]
fn refuses_other_members_and_lengths_of_an_snp_report() {
    let report = AttestationReport { version: 3, ..AttestationReport::default() };
    let good = json!({ "attestation_report": report, "cert_chain": null });
    assert!(read(Tee::Snp, &good).is_ok());
    type Change = fn(&mut Value);
    let changes: [Change; 8] = [
        |json| json["more"] = json!(1),
        |json| json["attestation_report"]["more"] = json!(1),
        |json| drop(json["attestation_report"].as_object_mut().unwrap().remove("vmpl")),
        |json| json["attestation_report"]["measurement"].as_array_mut().unwrap().push(json!(0)),
        |json| drop(json["attestation_report"]["measurement"].as_array_mut().unwrap().pop()),
        |json| json["attestation_report"]["measurement"][0] = json!(256),
        |json| json["attestation_report"]["vmpl"] = json!(-1),
        |json| json["attestation_report"]["current_tcb"]["more"] = json!(1),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut changed = good.clone();
        change(&mut changed);
        assert!(matches!(read(Tee::Snp, &changed), Err(ReadEvidenceError::Malformed { .. })), "{at}");
    }
    let old = Evidence::snp(
        AttestationReport { version: 2, ..report }.to_bytes().unwrap_or([0; 1184]).to_vec(),
        vec![],
    );
    assert_eq!(WrittenEvidence::of(&old).err(), Some(WriteEvidenceError::Report));
}

#[test]
fn refuses_to_write_a_report_that_the_struct_would_not_hold() {
    let evidence = Guest::Snp.evidence(&REPORT_DATA, 64);
    for (place, byte) in [(0x4c, 1), (0x18b, 1), (0x208, 1), (0x330, 1), (0x49f, 1), (0, 6)] {
        let mut changed = evidence.clone();
        changed.report[place] = byte;
        assert_eq!(WrittenEvidence::of(&changed).err(), Some(WriteEvidenceError::Report), "{place:#x}");
    }
    let short = Evidence::snp(evidence.report[..1183].to_vec(), vec![]);
    assert_eq!(WrittenEvidence::of(&short).err(), Some(WriteEvidenceError::Report));
    let many = Evidence::snp(evidence.report, vec![Der(vec![]); 4]);
    assert_eq!(WrittenEvidence::of(&many).err(), Some(WriteEvidenceError::Certificates));
}

#[test]
fn evidence_of_every_family_reads_back_as_it_was_written() {
    for guest in Guest::ALL {
        let mut evidence = guest.evidence(&REPORT_DATA, 48);
        if guest == Guest::SnpWithGpu {
            evidence.gpus = vec![device().evidence(&Nonce::new([1; 32])).unwrap(); 2];
        }
        let additional = WrittenEvidence::additional(&evidence.gpus);
        let written = WrittenEvidence::of(&evidence).unwrap();
        let read = ReadEvidence::read(written.tee, written.primary.get(), &additional).unwrap();
        assert_eq!((written.tee, read.evidence), (guest.tee(), evidence), "{guest:?}");
    }
}

#[test]
fn real_azure_evidence_is_read() {
    for (name, tee, binds) in [
        ("azure/snp-vtpm/evidence-v1.json", Tee::AzSnpVtpm, false),
        ("azure/snp-vtpm/evidence-v2.json", Tee::AzSnpVtpm, true),
        ("azure/tdx-vtpm/evidence-v1.json", Tee::AzTdxVtpm, false),
    ] {
        let Some(json) = sample(name) else { return };
        let json = String::from_utf8(json).unwrap();
        let read = ReadEvidence::read(tee, &json, "").unwrap();
        assert_eq!((read.evidence.paravisor.is_some(), read.binds_user_data), (true, binds), "{name}");
        let other = if tee == Tee::AzSnpVtpm { Tee::AzTdxVtpm } else { Tee::AzSnpVtpm };
        assert!(ReadEvidence::read(other, &json, "").is_err(), "{name}");
        let old = json.replacen("\"version\"", "\"revision\"", 1);
        assert_eq!(ReadEvidence::read(tee, &old, "").err(), Some(ReadEvidenceError::Old), "{name}");
    }
}

#[test]
fn tdx_evidence_may_have_no_log_and_has_nothing_else() {
    let quote = STANDARD.encode([1, 2, 3]);
    for log in [json!(null), json!("")] {
        let evidence = read(Tee::Tdx, &json!({ "quote": quote, "cc_eventlog": log })).unwrap();
        assert_eq!((evidence.report, evidence.event_log), (vec![1, 2, 3], None));
    }
    for bad in [
        json!({ "quote": "A", "cc_eventlog": null }),
        json!({ "quote": quote, "cc_eventlog": "A" }),
        json!({ "quote": quote, "cc_eventlog": null, "aa_eventlog": "" }),
        json!({ "cc_eventlog": null }),
        json!([]),
    ] {
        assert!(matches!(read(Tee::Tdx, &bad), Err(ReadEvidenceError::Malformed { .. })), "{bad}");
    }
    let long = json!({ "quote": STANDARD.encode(vec![0; 20_000]), "cc_eventlog": null });
    assert!(matches!(read(Tee::Tdx, &long), Err(ReadEvidenceError::Limit(_))));
}

#[test]
fn devices_come_in_base64_or_hexadecimal() {
    let device = |evidence: &str| {
        json!({ "nvidia": { "device_evidence_list": [
            { "arch": "HOPPER", "uuid": "unknown", "evidence": evidence, "certificate": "" },
        ] } })
        .to_string()
    };
    let tdx = json!({ "quote": "", "cc_eventlog": null }).to_string();
    for text in ["AQIDBA==", "01020304"] {
        let read = ReadEvidence::read(Tee::Tdx, &tdx, &device(text)).unwrap();
        assert_eq!(read.evidence.gpus[0].report, [1, 2, 3, 4], "{text}");
    }
    for text in
        [device("AQ"), device("AQID").replace("uuid", "more"), device("AQID").replace("\"\"", "\"AQID\"")]
    {
        let refused = ReadEvidence::read(Tee::Tdx, &tdx, &text);
        assert!(matches!(refused, Err(ReadEvidenceError::Malformed { .. })), "{text}");
    }
}
