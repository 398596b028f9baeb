//! What people read: the texts of errors, names and identities. A refusal that says the wrong thing costs its reader a day.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "tests stop at a surprise"
)]

use anchorhold_attester::software::tdx::{TdConfig, TdxGuest, simulated_intel_root_der};
use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_rats::{
    Endorsements, Evidence, Measurement, Outcome, ReportData, Stage, TableError, Timestamp,
};
use anchorhold_verifier::azure::VmId;
use anchorhold_verifier::dangerous::{AnchorError, SimulatedRoots, simulated_anchors};
use anchorhold_verifier::event_log::Rtmr;
use anchorhold_verifier::nvidia::{
    Architecture, DriverVersion, MAX_DEVICES, Mode, Pdi, SerializedError, VbiosVersion,
};
use anchorhold_verifier::snp::{ChipId, Cpuid, Product};
use anchorhold_verifier::tdx::{PlatformId, TcbStatus, TdAttributes, Xfam};
use anchorhold_verifier::{AuthenticEvidence, Refusal, TrustAnchors, authenticate, der, pem, xml};
use std::fmt::Debug;

#[cfg(test)]
fn at() -> Timestamp {
    "2026-07-25T00:00:00Z".parse().unwrap()
}

#[cfg(test)]
fn anchors() -> TrustAnchors {
    let roots = SimulatedRoots {
        amd: Some(simulated_ark_der()),
        intel: Some(simulated_intel_root_der()),
        ..SimulatedRoots::default()
    };
    simulated_anchors(&roots).unwrap()
}

#[cfg(test)]
fn authentic(evidence: &Evidence, endorsements: &Endorsements) -> AuthenticEvidence {
    authenticate(evidence, endorsements, &anchors(), at()).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// That each of these is written so.
#[cfg(test)]
fn assert_written<T: ToString + Debug>(texts: &[(T, &str)]) {
    for (value, wanted) in texts {
        assert_eq!(value.to_string(), *wanted, "{value:?}");
    }
}

#[test]
fn errors_of_readers_say_what_is_wrong() {
    assert_written(&[
        (der::Error::Truncated, "input ends inside a value"),
        (der::Error::Tag { wanted: 0x30, observed: 2 }, "tag 0x30 was wanted, 0x02 came"),
        (der::Error::Length, "length is not in its shortest form or over the limit"),
        (der::Error::Trailing { observed_bytes: 3 }, "3 bytes follow the value"),
        (der::Error::Value("time"), "time is not canonical or out of range"),
    ]);
    assert_written(&[
        (pem::Error::Count { limit: 4 }, "more than 4 certificates"),
        (pem::Error::Frame, "text that is not PEM certificates"),
        (pem::Error::Base64, "a certificate that is not canonical base64"),
    ]);
    assert_written(&[
        (xml::Error::Limit { what: "nodes", limit: 9 }, "more than 9 nodes"),
        (
            xml::Error::Feature { what: "comment", offset: 5 },
            "comment at byte 5, which is outside the subset",
        ),
        (xml::Error::Malformed { what: "name", offset: 6 }, "name at byte 6"),
    ]);
}

#[test]
fn errors_of_roots_say_what_is_wrong() {
    let of = |der: &[u8]| simulated_anchors(&SimulatedRoots::amd(der)).unwrap_err().to_string();
    assert_eq!(of(&[]), "trust anchor is not a certificate: input ends inside a value");
    assert_eq!(
        of(simulated_intel_root_der()),
        "trust anchor is not signed by its own key, of the kind that the vendor's root has"
    );
    let not_a_root = AnchorError::NotARoot.to_string();
    assert_eq!(not_a_root, "trust anchor is not a self-issued certificate authority");
}

#[test]
fn errors_of_containers_say_what_is_wrong() {
    assert_written(&[
        (
            TableError::TooLong { observed_bytes: 70_000 },
            "certificate table is 70000 bytes, the limit is 131072",
        ),
        (TableError::Unterminated, "certificate table does not end in an entry of zeros"),
        (TableError::Entries, "certificate table has more than 16 entries"),
        (TableError::Bounds { entry: 1 }, "entry 1 points outside the contents"),
        (TableError::Empty { entry: 2 }, "entry 2 has no contents"),
        (TableError::Overlap { entry: 3 }, "entry 3 shares bytes with an earlier one"),
        (TableError::Duplicate { entry: 4 }, "entry 4 repeats the GUID of an earlier one"),
        (TableError::TwoLeaves, "certificate table has both a VCEK and a VLEK"),
    ]);
    assert_written(&[
        (
            SerializedError::Malformed { line: 2, column: 3 },
            "device evidence is not the expected JSON (line 2, column 3)",
        ),
        (SerializedError::Count { observed: MAX_DEVICES + 1 }, "17 devices, the limit is 16"),
        (
            SerializedError::Chain(pem::Error::Frame),
            "the chain of a device is text that is not PEM certificates",
        ),
    ]);
}

#[test]
fn errors_of_names_say_what_is_wanted() {
    let wrong = "not a version such as 570.124.03 (driver) or 96.00.5E.00.01 (VBIOS)";
    assert_eq!("x".parse::<DriverVersion>().unwrap_err().to_string(), wrong);
    assert_eq!("x".parse::<VbiosVersion>().unwrap_err().to_string(), wrong);
    let wrong = "not a GUID of 32 hex digits in groups of 8, 4, 4, 4 and 12";
    assert_eq!("x".parse::<VmId>().unwrap_err().to_string(), wrong);
}

#[test]
fn names_and_identities_are_written_in_one_way() {
    assert_written(&[
        (Architecture::Hopper, "Hopper"),
        (Architecture::Blackwell, "Blackwell"),
        (Architecture::Ls10, "LS10"),
    ]);
    assert_written(&[
        (Mode::SinglePassthrough, "single GPU passthrough"),
        (Mode::MultiPassthrough, "multi GPU passthrough"),
        (Mode::ProtectedPcie, "protected PCIe"),
    ]);
    assert_written(&[(Rtmr::Rtmr0, "RTMR0"), (Rtmr::Rtmr3, "RTMR3")]);
    assert_written(&[(Product::Milan, "Milan"), (Product::Turin, "Turin")]);
    assert_written(&[
        (TcbStatus::OutOfDate, "OutOfDate"),
        (TcbStatus::TdRelaunchAdvised, "TDRelaunchAdvised"),
    ]);
    let cpuid = Cpuid { family: 0x19, model: 0x11, stepping: 1 };
    assert_eq!(cpuid.to_string(), "family 0x19 model 0x11 stepping 1");
    assert_eq!(format!("{:?}", ChipId([0xab; 64])), format!("ChipId({})", "ab".repeat(64)));
    assert_eq!(format!("{:?}", Pdi([0xcd; 8])), "Pdi(cdcdcdcdcdcdcdcd)");
    assert_eq!(format!("{:?}", PlatformId([0xef; 16])), format!("PlatformId({})", "ef".repeat(16)));
    assert_eq!(format!("{:?}", TdAttributes(0x1000_0000)), "TdAttributes(0x10000000)");
    assert_eq!(format!("{:?}", Xfam(0x602e7)), "Xfam(0x602e7)");
}

#[test]
fn versions_of_drivers_have_one_form() {
    for good in ["570", "570.124.03", "1.2.3.4"] {
        assert_eq!(good.parse::<DriverVersion>().unwrap().to_string(), good);
    }
    for bad in ["", "570.", ".570", "57000", "570.12400", "+57", "570.+1", "57a", "1.2.3.4.5", "570,1"] {
        assert!(bad.parse::<DriverVersion>().is_err(), "{bad}");
    }
}

#[test]
fn a_tee_says_its_product_and_its_tcb() {
    let (measurement, report_data) = (Measurement::new([7; 48]), ReportData::new([9; 64]));
    let snp = SoftwareGuest::launch(LaunchConfig::new(measurement), at()).unwrap();
    let snp = authentic(&snp.attest(&report_data).unwrap(), &Endorsements::default());
    let tee = &snp.claims().tee;
    assert_eq!((tee.measurement(), tee.product().as_str()), (measurement, "Genoa"));
    assert_eq!(tee.tcb(), "bootloader 10 tee 0 snp 25 microcode 84");
    let guest = TdxGuest::launch(TdConfig::new(measurement), at()).unwrap();
    let endorsements = Endorsements { tdx: Some(guest.collateral(at()).unwrap()), ..Endorsements::default() };
    let td = authentic(&guest.attest(&report_data).unwrap(), &endorsements);
    let tee = &td.claims().tee;
    assert_eq!((tee.measurement(), tee.product().as_str()), (measurement, "TDX platform 00514d000000"));
    assert_eq!(tee.tcb(), "UpToDate");
}

#[test]
fn a_refusal_says_all_its_reasons_and_gives_its_checks() {
    let guest = SoftwareGuest::launch(LaunchConfig::new(Measurement::new([7; 48])), at()).unwrap();
    let evidence = guest.attest(&ReportData::new([9; 64])).unwrap();
    let late = at().plus_seconds(100 * 365 * 86_400);
    let refusal: Refusal = authenticate(&evidence, &Endorsements::default(), &anchors(), late).unwrap_err();
    let reasons: Vec<String> = refusal
        .checks()
        .failed()
        .map(|check| format!("{}: wanted {}, observed {}", check.code, check.wanted, check.observed))
        .collect();
    assert!(reasons.len() > 1, "{reasons:?}");
    assert_eq!(refusal.to_string(), reasons.join("; "));
    assert_eq!((refusal.code(), refusal.stage()), ("snp_certificate_validity", Stage::Chain));
    let (listed, count) = (refusal.checks().clone(), refusal.checks().all().len());
    let checks = refusal.into_checks();
    assert_eq!((&checks, checks.all().len()), (&listed, count));
    assert!(checks.all().iter().any(|check| check.outcome == Outcome::Passed), "passed rules are listed too");
}
