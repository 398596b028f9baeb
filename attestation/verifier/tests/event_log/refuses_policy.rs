//! Refusals of the policy for event logs.

use crate::support::*;
use anchorhold_rats::Outcome;
use anchorhold_verifier::event_log::{
    Content, EventKind, GLOBAL_VARIABLE, Policy, Replayed, RequiredEvent, Rtmr, appraise,
};

/// The codes that failed when this log meets a quote with its own registers.
fn failed(log: &[u8], policy: &Policy) -> Vec<String> {
    let replayed = replayed(log);
    failed_against(Some(&replayed), replayed.rtmrs(), policy)
}

fn failed_against(replayed: Option<&Replayed>, rtmrs: &[[u8; 48]; 4], policy: &Policy) -> Vec<String> {
    match appraise(replayed, rtmrs, policy) {
        Ok(checks) => {
            assert!(checks.all().iter().any(|check| check.outcome == Outcome::Passed));
            Vec::new()
        }
        Err(refusal) => refusal.checks().failed().map(|check| check.code.to_string()).collect(),
    }
}

fn required(register: Rtmr, kind: EventKind, content: Content) -> Policy {
    let required_events = vec![RequiredEvent { register, kind, content }];
    Policy { required_events, ..Policy::strict() }
}

fn secure() -> Policy {
    Policy { require_secure_boot: true, ..Policy::strict() }
}

#[test]
fn accepts_a_log_that_is_the_quotes() {
    assert_eq!(failed(&log(&boot()), &Policy::strict()), [""; 0]);
}

#[test]
fn refuses_where_no_log_came() {
    assert_eq!(failed_against(None, &[[0; 48]; 4], &Policy::strict()), ["eventlog_missing"]);
}

#[test]
fn refuses_a_policy_that_compares_nothing() {
    let nothing = Policy { registers: Vec::new(), ..Policy::strict() };
    assert_eq!(failed(&log(&boot()), &nothing), ["eventlog_registers_empty"]);
}

#[test]
fn refuses_each_register_that_is_not_the_quotes() {
    let replayed = replayed(&log(&boot()));
    for (index, register) in Rtmr::ALL.into_iter().enumerate() {
        let mut quote = *replayed.rtmrs();
        quote[index][47] ^= 1;
        assert_eq!(failed_against(Some(&replayed), &quote, &Policy::strict()), ["eventlog_replay"]);
        let others = Policy {
            registers: Rtmr::ALL.into_iter().filter(|other| *other != register).collect(),
            ..Policy::strict()
        };
        assert_eq!(failed_against(Some(&replayed), &quote, &others), [""; 0], "{register}");
    }
    let quote = [[1; 48]; 4];
    assert_eq!(failed_against(Some(&replayed), &quote, &Policy::strict()), ["eventlog_replay"; 4]);
}

#[test]
fn refuses_a_log_with_an_event_left_out_or_moved() {
    let records = boot();
    let quote = *replayed(&log(&records)).rtmrs();
    for index in 0..records.len() {
        let mut fewer = records.clone();
        fewer.remove(index);
        let fewer = replayed(&log(&fewer));
        assert_eq!(failed_against(Some(&fewer), &quote, &Policy::strict()), ["eventlog_replay"], "{index}");
    }
    let mut swapped = records;
    swapped.swap(0, 1);
    let swapped = replayed(&log(&swapped));
    assert_eq!(failed_against(Some(&swapped), &quote, &Policy::strict()), ["eventlog_replay"]);
}

#[test]
fn refuses_events_of_unknown_types() {
    let mut records = boot();
    let unknown = event(1, EventKind::Unknown(0x8000_0100), b"text");
    let place = (log(&records[..2]).len(), unknown.len());
    records.insert(2, unknown);
    let whole = log(&records);
    assert_eq!(failed(&whole, &Policy::strict()), ["eventlog_unknown_event"]);
    let replayed = replayed(&whole);
    let refused = appraise(Some(&replayed), replayed.rtmrs(), &Policy::strict());
    assert_eq!(crate::support::place(refused), ("eventlog_unknown_event".into(), Some(place)));
    let lenient = Policy { allow_unknown_events: true, ..Policy::strict() };
    assert_eq!(failed(&whole, &lenient), [""; 0]);
}

#[test]
fn refuses_where_a_required_event_is_not() {
    let log = log(&boot());
    let (data, digest) = (|text: &[u8]| Content::Data(text.to_vec()), Content::Digest);
    let (one, two) = (Rtmr::Rtmr1, Rtmr::Rtmr2);
    let program = EventKind::BootServicesApplication;
    for policy in [
        required(two, EventKind::Ipl, data(b"quiet")),
        required(two, EventKind::Ipl, digest(sha384(b"quiet"))),
        required(one, program, digest([7; 48])),
    ] {
        assert_eq!(failed(&log, &policy), [""; 0]);
    }
    for policy in [
        required(two, EventKind::Ipl, data(b"debug")),
        required(one, EventKind::Ipl, data(b"quiet")),
        required(two, EventKind::EventTag, data(b"quiet")),
        required(two, EventKind::Ipl, digest(sha384(b"debug"))),
        required(one, program, digest([8; 48])),
        required(one, program, data(b"a device path")),
    ] {
        assert_eq!(failed(&log, &policy), ["eventlog_required_event"], "{policy:?}");
    }
}

#[test]
fn refuses_a_required_event_in_a_register_that_is_not_compared() {
    let mut policy = required(Rtmr::Rtmr2, EventKind::Ipl, Content::Data(b"quiet".to_vec()));
    let replayed = replayed(&log(&boot()));
    let observed = |policy: &Policy| {
        let checks = match appraise(Some(&replayed), replayed.rtmrs(), policy) {
            Ok(checks) => checks,
            Err(refusal) => refusal.into_checks(),
        };
        let rule = checks.all().iter().find(|check| check.code == "eventlog_required_event").unwrap();
        (rule.outcome, rule.observed.to_string())
    };
    assert_eq!(observed(&policy), (Outcome::Passed, "one".to_owned()));
    policy.registers = vec![Rtmr::Rtmr0, Rtmr::Rtmr1, Rtmr::Rtmr3];
    assert_eq!(failed(&log(&boot()), &policy), ["eventlog_required_event"]);
    assert_eq!(observed(&policy), (Outcome::Failed, "one in a register that is not compared".to_owned()));
}

#[test]
fn refuses_where_secure_boot_is_not_proved() {
    assert_eq!(failed(&log(&boot()), &secure()), [""; 0]);
    let of = |records: &[Vec<u8>]| failed(&log(records), &secure());
    let on = variable(&GLOBAL_VARIABLE, "SecureBoot", &[1]);
    let refused = ["eventlog_secure_boot"];
    assert_eq!(of(&[secure_boot(&[0]), separator(1)]), refused);
    assert_eq!(of(&[secure_boot(&[]), separator(1)]), refused);
    assert_eq!(of(&[secure_boot(&[1, 1]), separator(1)]), refused);
    assert_eq!(of(&[separator(1)]), refused);
    assert_eq!(of(&[secure_boot(&[1]), secure_boot(&[1]), separator(1)]), refused);
    assert_eq!(of(&[secure_boot(&[0]), secure_boot(&[1]), separator(1)]), refused);
    assert_eq!(of(&[event(2, EventKind::VariableDriverConfig, &on), separator(1)]), refused, "register");
    assert_eq!(of(&[event(1, EventKind::EventTag, &on), separator(1)]), refused, "type");
    let vendor = variable(&[0; 16], "SecureBoot", &[1]);
    assert_eq!(of(&[event(1, EventKind::VariableDriverConfig, &vendor)]), refused, "vendor");
    let name = variable(&GLOBAL_VARIABLE, "SetupMode", &[1]);
    assert_eq!(of(&[event(1, EventKind::VariableDriverConfig, &name)]), refused, "name");
    let digest = sha384(&variable(&GLOBAL_VARIABLE, "SecureBoot", &[0]));
    let unproved = record(1, EventKind::VariableDriverConfig, &[(SHA384, &digest)], &on);
    assert_eq!(of(&[unproved, separator(1)]), refused, "data of another digest");
}

#[test]
fn refuses_a_later_measurement_relabelled_as_secure_boot() {
    // A host that chooses what ACPI tables hold can have their digest be that of the variable.
    let hidden = record(
        1,
        EventKind::PlatformConfigFlags,
        &[(SHA384, &sha384(&variable(&GLOBAL_VARIABLE, "SecureBoot", &[0])))],
        b"",
    );
    for kind in [EventKind::Separator, EventKind::PlatformConfigFlags] {
        for value in [[0; 4], [0xff; 4]] {
            let records = [hidden.clone(), event(1, kind, &value), secure_boot(&[1])];
            assert_eq!(failed(&log(&records), &secure()), ["eventlog_secure_boot"], "{kind}");
        }
    }
}

#[test]
fn refuses_secure_boot_in_a_register_that_is_not_compared() {
    let policy = Policy { registers: vec![Rtmr::Rtmr1], ..secure() };
    assert_eq!(failed(&log(&boot()), &policy), ["eventlog_secure_boot"]);
}

#[test]
fn every_broken_rule_is_reported() {
    let mut policy = required(Rtmr::Rtmr2, EventKind::Ipl, Content::Data(b"debug".to_vec()));
    policy.require_secure_boot = true;
    let replayed = replayed(&log(&[event(1, EventKind::Unknown(2), b"text")]));
    let wanted =
        ["eventlog_replay", "eventlog_unknown_event", "eventlog_required_event", "eventlog_secure_boot"];
    assert_eq!(failed_against(Some(&replayed), &[[0; 48]; 4], &policy), wanted);
}
