//! The stage says no, or nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

use anchorhold_audit_log::claims::{
    Asked, Claims, GpuArchitecture, GpuClaims, GpuMode, OcspClaims, ParavisorClaims, SnpClaims, SnpProduct,
    SnpSigner, TdxClaims, TeeClaims,
};
use anchorhold_audit_log::{Claim, Hash, Hex, Measurement, ModelId};
use anchorhold_rats::{Sha256Digest, Timestamp};
use anchorhold_release_cedar::{CedarError, Granted, MAX_CEDAR_BYTES, MAX_POLICIES, Stage, is_of_stage};

const PERMIT: &str = "permit(principal, action, resource);\n";

fn digest() -> Measurement {
    Measurement::new([0xa1; 48])
}

fn snp() -> SnpClaims {
    let tcb = Hex::new([1, 2, 3, 4, 0, 0, 0, 71]);
    SnpClaims {
        author_key: digest(),
        author_key_enabled: false,
        chip: Some(Hash::new([0x0c; 32])),
        committed_tcb: tcb,
        committed_version: [1, 55, 40],
        crl_judged: true,
        current_tcb: tcb,
        current_version: [1, 55, 40],
        family_id: Hex::new([0; 16]),
        guest_policy: 0x3_0000,
        guest_svn: 5,
        host_data: Hex::new([0x0a; 32]),
        id_key: digest(),
        image_id: Hex::new([0; 16]),
        launch_tcb: tcb,
        measurement: digest(),
        mitigations: None,
        platform_info: 0x25,
        product: SnpProduct::Turin,
        provider: None,
        reported_tcb: tcb,
        signer: SnpSigner::Vcek,
        vmpl: 0,
    }
}

fn tdx() -> TdxClaims {
    TdxClaims {
        advisories: vec![Claim::new("INTEL-SA-00615").unwrap()],
        attributes: 1 << 28,
        cached_keys: None,
        dynamic_platform: None,
        fmspc: Hex::new([1; 6]),
        mr_config_id: digest(),
        mr_owner: digest(),
        mr_owner_config: digest(),
        mr_seam: digest(),
        mrtd: digest(),
        padding: 0,
        platform: Hex::new([0x0c; 16]),
        qe_evaluation: 17,
        rtmrs: [digest(); 4],
        smt: Some(true),
        status: Claim::new("UpToDate").unwrap(),
        superseded: None,
        tcb_evaluation: 18,
        td15: None,
        xfam: 0xe7,
    }
}

fn gpu(device: u8, driver: &str) -> GpuClaims {
    let ocsp = OcspClaims { age_s: None, hold: false, unanswered: 0 };
    GpuClaims {
        architecture: GpuArchitecture::Hopper,
        device: Hex::new([device; 8]),
        device_ocsp: ocsp,
        driver: Some(Claim::new(driver).unwrap()),
        fwid: true,
        linked: true,
        mode: Some(GpuMode::Single),
        protected_pcie: Some(false),
        rim_ocsp: ocsp,
        rims_missing: 0,
        vbios: Hex::new([0x96, 0, 0xa5, 0, 1]),
    }
}

fn claims(tee: TeeClaims) -> Claims {
    Claims {
        asked: Asked {
            anchor_ms: Some(1000),
            kem: Claim::new("x-wing").unwrap(),
            min_version: 1,
            model: Some(ModelId::new("acme/chat-70b").unwrap()),
            purpose: Claim::new("serve").unwrap(),
            witnesses: 2,
        },
        gpus: vec![gpu(1, "580.95"), gpu(2, "580.95")],
        paravisor: None,
        tpm: None,
        simulated: false,
        tee,
    }
}

fn at() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

/// Whether the policies let the decision stand, and what the rule observed.
fn judge(policies: &str, claims: &Claims) -> (bool, String) {
    let manifest = Sha256Digest::new([7; 32]);
    let granted = Granted {
        grant: "chat-prod",
        model: ("acme/chat-70b", 7, "k7"),
        manifest: &manifest,
        claims: Some(claims),
        at: at(),
    };
    let checks = Stage::read(policies).unwrap().judge(&granted);
    assert!(checks.all().len() == 1 && is_of_stage(&checks.all()[0]));
    (checks.none_failed(), checks.all()[0].observed.clone())
}

fn on_snp(condition: &str) -> (bool, String) {
    let policies = format!("{PERMIT}forbid(principal, action, resource) when {{ {condition} }};");
    judge(&policies, &claims(TeeClaims::Snp(Box::new(snp()))))
}

fn on_tdx(condition: &str) -> (bool, String) {
    let policies = format!("{PERMIT}forbid(principal, action, resource) when {{ {condition} }};");
    judge(&policies, &claims(TeeClaims::Tdx(Box::new(tdx()))))
}

#[test]
fn a_permit_alone_has_nothing_to_say() {
    assert_eq!(judge(PERMIT, &claims(TeeClaims::Snp(Box::new(snp())))), (true, "permitted".to_owned()));
    assert!(judge(PERMIT, &claims(TeeClaims::Tdx(Box::new(tdx())))).0);
}

#[test]
fn a_forbid_that_holds_denies_and_one_that_does_not_hold_does_not() {
    for (holds, other) in [
        ("principal.measurement like \"a1*\"", "principal.measurement == \"\""),
        ("!principal.simulated", "principal.simulated"),
        ("principal has snp && principal.snp.product == \"turin\"", "principal has tdx"),
        (
            "principal has snp && principal.snp.reported_tcb has fmc && principal.snp.reported_tcb.fmc == 1",
            "principal has snp && principal.snp.reported_tcb.microcode > 71",
        ),
        (
            "principal has snp && principal.snp.committed_tcb.bootloader == 2",
            "principal has snp && principal.snp.launch_tcb.snp < 4",
        ),
        (
            "principal has snp && principal.snp has chip && principal.snp.chip like \"0c0c*\"",
            "principal has snp && principal.snp has provider",
        ),
        ("principal has snp && principal.snp.guest_svn >= 5", "principal has snp && principal.snp.vmpl > 0"),
        ("principal.gpus.count == 2", "principal.gpus.count < 2"),
        ("principal.gpus.drivers.contains(\"580.95\")", "principal.gpus.drivers.contains(\"580.96\")"),
        (
            "principal.gpus.devices.containsAll([\"0101010101010101\", \"0202020202020202\"])",
            "principal.gpus.devices.containsAny([\"03\"])",
        ),
        ("principal.gpus.modes == [\"single\"]", "principal.gpus.modes.contains(\"multi\")"),
        ("resource.version == 7 && resource.kid == \"k7\"", "resource.version < 7"),
        ("resource == Model::\"acme/chat-70b\"", "resource == Model::\"acme/other\""),
        ("context.grant == \"chat-prod\" && context.purpose == \"serve\"", "context.kem == \"x25519\""),
        ("context has anchor_ms && context.anchor_ms <= 1000", "context.witnesses < 2"),
        // 2026-06-01T00:00:00Z.
        ("context.now >= 1780272000", "context.now > 1780272000"),
    ] {
        assert_eq!(on_snp(holds), (false, "forbidden by policy1".to_owned()), "{holds}");
        assert!(on_snp(other).0, "{other}");
    }
    for (holds, other) in [
        ("principal has tdx && principal.tdx.status == \"UpToDate\"", "principal has snp"),
        (
            "principal has tdx && principal.tdx.advisories.contains(\"INTEL-SA-00615\")",
            "principal has tdx && principal.tdx.advisories.contains(\"INTEL-SA-1\")",
        ),
        (
            "principal has tdx && principal.tdx.tcb_evaluation > 17",
            "principal has tdx && principal.tdx.qe_evaluation > 17",
        ),
        ("principal has tdx && principal.tdx has smt && principal.tdx.smt", "principal has paravisor"),
        (
            "principal has tdx && principal.tdx.attributes == \"0000000010000000\"",
            "principal has tdx && principal.tdx.rtmr1 == \"\"",
        ),
    ] {
        assert_eq!(on_tdx(holds), (false, "forbidden by policy1".to_owned()), "{holds}");
        assert!(on_tdx(other).0, "{other}");
    }
    let mut below = claims(TeeClaims::Snp(Box::new(snp())));
    below.paravisor =
        Some(ParavisorClaims { console: Some(true), pcrs: Vec::new(), secure_boot: Some(true), vm: None });
    let forbid = |condition: &str| {
        let policies = format!("{PERMIT}forbid(principal, action, resource) when {{ {condition} }};");
        judge(&policies, &below).0
    };
    assert!(!forbid(
        "principal has paravisor && principal.paravisor has console && principal.paravisor.console"
    ));
    assert!(forbid("principal has paravisor && principal.paravisor has vm"));
}

#[test]
fn without_a_permit_that_holds_it_denies() {
    let policies = "permit(principal, action, resource) when { principal.gpus.count == 8 };";
    assert_eq!(judge(policies, &claims(TeeClaims::Snp(Box::new(snp())))), (false, "no permit".to_owned()));
}

#[test]
fn an_evaluation_that_fails_denies_though_cedar_would_skip_it() {
    // 2^62 + 2^62 is over what a number holds; Cedar would leave the policy out and allow.
    let overflow = "context.now + 9223372036854775000 > 0";
    let (passed, observed) = on_snp(overflow);
    assert!(!passed && observed.starts_with("not evaluated: "), "{observed}");
    let policies = format!("{PERMIT}permit(principal, action, resource) when {{ {overflow} }};");
    assert!(!judge(&policies, &claims(TeeClaims::Snp(Box::new(snp())))).0);
}

#[test]
fn claims_that_cannot_be_entities_deny() {
    let mut odd = snp();
    odd.guest_policy = u64::MAX;
    let (passed, observed) = judge(PERMIT, &claims(TeeClaims::Snp(Box::new(odd))));
    assert!(!passed && observed.contains("over 2^63"), "{observed}");
    let mut odd = snp();
    odd.product = SnpProduct::Milan;
    let (passed, observed) = judge(PERMIT, &claims(TeeClaims::Snp(Box::new(odd))));
    assert!(!passed && observed.contains("none of its product"), "{observed}");
}

#[test]
fn refuses_what_is_no_stage() {
    let refused = |text: &str| Stage::read(text).unwrap_err();
    assert!(matches!(refused("permit(principal, action, resource)"), CedarError::Malformed(_)));
    assert!(matches!(refused("policy = 1"), CedarError::Malformed(_)));
    assert_eq!(refused(""), CedarError::NoPermit);
    assert_eq!(refused("forbid(principal, action, resource);"), CedarError::NoPermit);
    assert_eq!(refused("permit(principal == ?principal, action, resource);"), CedarError::Template);
    for beside in [
        "permit(principal, action, resource) when { principal.colour == \"red\" };",
        "permit(principal, action, resource) when { principal.gpus.count == \"8\" };",
        // An attribute that may be missing must be asked for first.
        "permit(principal, action, resource) when { principal.snp.vmpl == 0 };",
        "permit(principal, action == Action::\"import\", resource);",
        "permit(principal is User, action, resource);",
    ] {
        assert!(matches!(refused(beside), CedarError::Schema(_)), "{beside}");
    }
}

#[test]
fn case_09_refuses_too_much_of_everything() {
    let spaces = " ".repeat(MAX_CEDAR_BYTES);
    assert_eq!(
        Stage::read(&format!("{spaces}{PERMIT}")).unwrap_err(),
        CedarError::TooMuch { what: "bytes", limit: MAX_CEDAR_BYTES }
    );
    let many = PERMIT.repeat(MAX_POLICIES + 1);
    assert_eq!(
        Stage::read(&many).unwrap_err(),
        CedarError::TooMuch { what: "policies", limit: MAX_POLICIES }
    );
    assert!(Stage::read(&PERMIT.repeat(MAX_POLICIES)).is_ok());
    let deep = format!("{}true{}", "(".repeat(40), ")".repeat(40));
    let deep = format!("permit(principal, action, resource) when {{ {deep} }};");
    assert!(matches!(Stage::read(&deep), Err(CedarError::TooMuch { what: "brackets open at once", .. })));
}

#[test]
fn case_09_long_chains_end_with_an_answer_on_a_small_stack() {
    // As the broker's workers have it.
    let worker = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let all = move || {
        for (link, end) in [("true && ", "true"), ("true || ", "true"), ("1 + ", "1 == 1"), ("!!!! ", "true")]
        {
            let count = (MAX_CEDAR_BYTES - 100) / link.len();
            let chain = link.repeat(count);
            let text = format!("permit(principal, action, resource) when {{ {chain}{end} }};");
            if let Ok(stage) = Stage::read(&text) {
                let manifest = Sha256Digest::new([7; 32]);
                let claims = claims(TeeClaims::Snp(Box::new(snp())));
                let model = ("acme/chat-70b", 7, "k7");
                let granted =
                    Granted { grant: "g", model, manifest: &manifest, claims: Some(&claims), at: at() };
                let _ = stage.judge(&granted);
            }
        }
    };
    worker.spawn(all).unwrap().join().unwrap();
}
