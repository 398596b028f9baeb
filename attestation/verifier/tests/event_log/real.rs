//! Real logs, with the registers of their quotes, and as another implementation reads them.

use crate::support::*;
use anchorhold_verifier::event_log::{EventData, EventKind, Policy, Replayed, Rtmr, appraise};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// RTMR0 to RTMR3 of a version 4 quote.
pub(crate) fn rtmrs(quote: &[u8]) -> [[u8; 48]; 4] {
    [0, 1, 2, 3].map(|index| quote[48 + 328 + 48 * index..][..48].try_into().unwrap())
}

fn failed(replayed: &Replayed, quote: &[u8], policy: &Policy) -> Vec<String> {
    match appraise(Some(replayed), &rtmrs(quote), policy) {
        Ok(_) => Vec::new(),
        Err(refusal) => refusal.checks().failed().map(|check| check.code.to_string()).collect(),
    }
}

fn proved(replayed: &Replayed, kind: EventKind) -> (usize, usize) {
    let of_kind = replayed.events().iter().filter(|event| event.kind() == kind);
    let (proved, unproved): (Vec<_>, Vec<_>) =
        of_kind.partition(|event| matches!(event.data(), EventData::Proved(_)));
    (proved.len(), unproved.len())
}

#[test]
fn the_log_of_a_google_guest_is_its_quotes() {
    let Some(log) = sample("tdx/v4-gcp-cos113/ccel-data.dat") else { return };
    let quote = sample("tdx/v4-gcp-cos113/quote.bin").unwrap();
    let replayed = replayed(&log);
    assert_eq!(failed(&replayed, &quote, &Policy::strict()), [""; 0]);
    assert_eq!(replayed.rtmrs()[3], [0; 48]);
    // Secure Boot is off in this guest.
    let secure = Policy { require_secure_boot: true, ..Policy::strict() };
    assert_eq!(failed(&replayed, &quote, &secure), ["eventlog_secure_boot"]);
    let command_line = replayed.events().iter().any(|event| {
        matches!(event.data(), EventData::Proved(data) if data.starts_with(b"/syslinux/vmlinuz.A init="))
            && event.register() == Rtmr::Rtmr2
    });
    assert!(command_line);
    let other = sample("tdx/v4-gcp/quote.bin").unwrap();
    assert_eq!(failed(&replayed, &other, &Policy::strict()), ["eventlog_replay"; 3]);
}

#[test]
fn a_register_that_was_extended_without_a_log_is_refused_unless_left_out() {
    let Some(log) = sample("tdx/v4-preprod-root/ccel_data.bin") else { return };
    let quote = sample("tdx/v4-preprod-root/quote.bin").unwrap();
    let replayed = replayed(&log);
    assert_eq!(failed(&replayed, &quote, &Policy::strict()), ["eventlog_replay"]);
    let registers = vec![Rtmr::Rtmr0, Rtmr::Rtmr1, Rtmr::Rtmr3];
    assert_eq!(failed(&replayed, &quote, &Policy { registers, ..Policy::strict() }), [""; 0]);
}

#[test]
fn secure_boot_is_proved_where_it_was_on() {
    for (name, on) in [
        ("ccel/CCEL_data_grub", true),
        ("ccel/CCEL_data_ovmf", false),
        ("ccel/CCEL_AAEL_alibabacloud", false),
        ("tdx/v4-preprod-root/ccel_data.bin", false),
    ] {
        let Some(log) = sample(name) else { return };
        let replayed = replayed(&log);
        let policy = Policy { require_secure_boot: true, ..Policy::strict() };
        assert_eq!(appraise(Some(&replayed), replayed.rtmrs(), &policy).is_ok(), on, "{name}");
    }
}

#[test]
fn data_is_proved_where_real_firmware_measured_it() {
    use EventKind::*;
    for (name, rows) in [
        (
            "ccel/CCEL_AAEL_alibabacloud",
            &[(Ipl, 53, 5), (EventTag, 2, 0), (VariableBoot, 7, 0), (VariableAuthority, 1, 0), (Gpt, 1, 0)][..],
        ),
        (
            "ccel/CCEL_data_grub",
            &[(Ipl, 0, 6), (EventTag, 0, 2), (VariableDriverConfig, 5, 0), (Separator, 2, 0)],
        ),
        (
            "tdx/v4-gcp-cos113/ccel-data.dat",
            &[(Ipl, 15, 5), (BootServicesApplication, 0, 2), (EfiAction, 3, 0)],
        ),
        (
            "tdx/v4-preprod-root/ccel_data.bin",
            &[(Ipl, 57, 16), (PlatformConfigFlags, 0, 3), (HandoffTables2, 0, 1)],
        ),
    ] {
        let Some(log) = sample(name) else { return };
        let replayed = replayed(&log);
        for (kind, wanted_proved, wanted_unproved) in rows {
            assert_eq!(proved(&replayed, *kind), (*wanted_proved, *wanted_unproved), "{name} {kind}");
        }
    }
}

/// td-shim's log was cut inside its last event, whose data ends with zeros.
#[test]
fn a_log_that_was_cut_with_its_zeros_is_refused_and_reads_when_they_are_back() {
    let Some(mut log) = sample("ccel/CCEL_data_trimmed") else { return };
    assert_eq!(code(&log), "eventlog_truncated");
    log.resize(64 * 1024, 0);
    let replayed = replayed(&log);
    compare(&replayed, "ccel/CCEL_data_out.json");
    assert_eq!(proved(&replayed, EventKind::PlatformConfigFlags), (2, 0));
}

#[test]
fn another_implementation_reads_the_same_events() {
    for name in ["ccel/CCEL_AAEL_alibabacloud", "ccel/CCEL_data_grub", "ccel/CCEL_data_ovmf"] {
        let Some(log) = sample(name) else { return };
        compare(&replayed(&log), &format!("{name}_out.json"));
    }
}

/// Compares register, type, digest and data of every event with the parsed form of trustee.
fn compare(replayed: &Replayed, name: &str) {
    let parsed: Value = serde_json::from_slice(&sample(name).unwrap()).unwrap();
    let parsed = parsed["uefi_event_logs"].as_array().unwrap();
    assert_eq!(replayed.events().len(), parsed.len(), "{name}");
    for (event, other) in replayed.events().iter().zip(parsed) {
        let index = Rtmr::ALL.iter().position(|register| *register == event.register()).unwrap() + 1;
        assert_eq!(other["index"], index, "{other}");
        assert_eq!(other["type_name"], event.kind().to_string(), "{other}");
        let digest: String = event.digest().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(other["digests"][0]["digest"], digest);
        let data = STANDARD.decode(other["event"].as_str().unwrap()).unwrap();
        match event.data() {
            EventData::Proved(proved) => {
                assert!(data.windows(proved.len().max(1)).any(|part| part == proved), "{other}");
                assert_eq!(sha384(proved), *event.digest());
            }
            EventData::Unproved { length } => {
                assert_eq!(length, data.len());
                assert_eq!(other["digest_matches_event"], false, "{other}");
            }
        }
    }
}
