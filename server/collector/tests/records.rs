//! Records as kernels wrote them, and what is made of them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at a surprise")]

use anchorhold_collector::record::{AVC, MAX_RECORD_BYTES, SECCOMP, SELINUX_ERROR, STATUS, Unreadable, read};
use anchorhold_ipc::{KernelEvent, MandatoryPolicy, PolicyDenial};
use proptest::prelude::*;
use std::path::Path;

/// Every file of the vectors: its name begins with the record's kind.
fn vectors() -> Vec<(u16, String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/kernel-audit");
    let mut vectors: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter_map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let name = name.strip_suffix(".txt")?.to_owned();
            let kind = name.split('-').next().unwrap().parse().unwrap();
            Some((kind, name, std::fs::read(entry.path()).unwrap()))
        })
        .collect();
    vectors.sort();
    vectors
}

#[test]
fn recorded_records_are_read_as_the_vectors_say() {
    let mut said = String::new();
    for (kind, name, text) in vectors() {
        let record = read(kind, &text);
        said.push_str(&format!("{name}: {record:?}\n"));
    }
    let expected =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/kernel-audit/read.expected");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&expected, &said).unwrap();
    }
    assert_eq!(said, std::fs::read_to_string(expected).unwrap());
}

const STAMP: &str = "audit(1795965692.563:5): ";

fn of(kind: u16, rest: &str) -> Result<Option<KernelEvent>, Unreadable> {
    read(kind, format!("{STAMP}{rest}").as_bytes()).map(|record| record.event)
}

fn denial(source: &str, target: &str, class: &str, permissions: &[&str]) -> KernelEvent {
    KernelEvent::Denied(PolicyDenial {
        policy: MandatoryPolicy::Selinux,
        pid: 9,
        source: source.to_owned(),
        target: Some(target.to_owned()),
        class: class.to_owned(),
        permissions: permissions.iter().map(|word| (*word).to_owned()).collect(),
        enforced: true,
    })
}

#[test]
fn what_a_process_chose_is_not_read_and_cannot_stand_for_another_field() {
    let good = "avc:  denied  { read write } for  pid=9 comm=2053636F6E74 name=\"scontext=a:b:init_t:s0\" \
                scontext=u:r:worker_t:s0:c3 tcontext=u:object_r:log_t:s0 tclass=file permissive=0";
    assert_eq!(of(AVC, good), Ok(Some(denial("worker_t", "log_t", "file", &["read", "write"]))));
    let twice = good.replace("tclass=file", "tclass=file tclass=dir");
    assert_eq!(of(AVC, &twice), Err(Unreadable));
}

#[test]
fn refuses_what_has_not_the_form_of_its_kind() {
    for (kind, text) in [
        (AVC, "avc:  denied  { read } for  pid=9 scontext=u:r:t:s0 tcontext=u:r:t:s0"),
        (AVC, "avc:  denied  { } for  pid=9 scontext=u:r:t:s0 tcontext=u:r:t:s0 tclass=file"),
        (AVC, "avc:  denied  { Read } for  pid=9 scontext=u:r:t:s0 tcontext=u:r:t:s0 tclass=file"),
        (AVC, "avc:  denied  read for  pid=9 scontext=u:r:t:s0 tcontext=u:r:t:s0 tclass=file"),
        (AVC, "avc:  denied  { read } for  pid=-9 scontext=u:r:t:s0 tcontext=u:r:t:s0 tclass=file"),
        (AVC, "avc:  denied  { read } for  pid=9 scontext=u:r tcontext=u:r:t:s0 tclass=file"),
        (AVC, "avc:  denied  { read } for  pid=9 scontext=u:r:T!:s0 tcontext=u:r:t:s0 tclass=file"),
        (AVC, "operation=\"open\" profile=\"x\""),
        (AVC, ""),
        (SECCOMP, "pid=9 sig=0"),
        (SECCOMP, "pid=99999999999 sig=0 syscall=1"),
        (SECCOMP, "pid=9 sig=0 syscall=+1"),
        (SELINUX_ERROR, "op=x"),
        (STATUS, "enforcing=2"),
    ] {
        assert_eq!(of(kind, text), Err(Unreadable), "{kind} {text}");
    }
    for stamp in
        ["", "audit(1.1): x", "audit(1:1): x", "audit(a.b:c): x", "audit(1.1:-1): x", "audit(1.1:1)x"]
    {
        assert_eq!(read(1300, stamp.as_bytes()), Err(Unreadable), "{stamp}");
    }
    assert_eq!(read(1300, &vec![b'x'; MAX_RECORD_BYTES + 1]), Err(Unreadable));
    assert_eq!(read(1300, b"audit(1.1:1): \xff"), Err(Unreadable));
    let many = "r ".repeat(33);
    let text =
        format!("avc:  denied  {{ {many}}} for  pid=9 scontext=u:r:t:s0 tcontext=u:r:t:s0 tclass=file");
    assert_eq!(of(AVC, &text), Err(Unreadable));
}

#[test]
fn kinds_that_are_not_told_have_a_number_and_no_event() {
    let record = read(1300, b"audit(1.1:77): arch=c000003e syscall=41").unwrap();
    assert_eq!((record.serial, record.event), (77, None));
    assert_eq!(of(AVC, "apparmor=\"STATUS\" operation=\"profile_load\" name=\"x\" pid=9"), Ok(None));
}

#[test]
fn permissive_and_complaining_policies_are_told_as_not_enforced() {
    let avc =
        "avc:  denied  { read } for  pid=9 scontext=u:r:a_t:s0 tcontext=u:r:b_t:s0 tclass=file permissive=1";
    let apparmor =
        "apparmor=\"ALLOWED\" operation=\"open\" profile=\"anchorhold-worker\" pid=9 denied_mask=\"r\"";
    for text in [avc, apparmor] {
        let Ok(Some(KernelEvent::Denied(denial))) = of(AVC, text) else { panic!("{text}") };
        assert!(!denial.enforced, "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(kind in prop_oneof![Just(AVC), Just(SECCOMP), Just(SELINUX_ERROR), Just(STATUS)], text in ".{0,400}") {
        let _ = read(kind, text.as_bytes());
        let _ = of(kind, &text);
    }
}
