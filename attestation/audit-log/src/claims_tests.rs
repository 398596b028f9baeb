use super::*;
use serde_json::Value;

const LONGEST: u64 = u64::MAX;

fn digest() -> Measurement {
    Measurement::new([0xff; 48])
}

fn longest_claim() -> Claim {
    Claim::new(&"c".repeat(64)).unwrap()
}

fn ocsp() -> OcspClaims {
    OcspClaims { age_s: Some(i64::from(u32::MAX)), hold: false, unanswered: u32::MAX }
}

fn gpu() -> GpuClaims {
    GpuClaims {
        architecture: GpuArchitecture::Blackwell,
        device: Hex::new([0xff; 8]),
        device_ocsp: ocsp(),
        driver: Some(Claim::new("9999.9999.9999.9999").unwrap()),
        fwid: false,
        linked: false,
        mode: Some(GpuMode::ProtectedPcie),
        protected_pcie: Some(false),
        rim_ocsp: ocsp(),
        rims_missing: u32::MAX,
        vbios: Hex::new([0xff; 5]),
    }
}

fn tdx() -> TdxClaims {
    let extended = Td15ExtendedClaims {
        current_service_td: digest(),
        device_info: digest(),
        initial_service_td: digest(),
        vm_index: u8::MAX,
    };
    TdxClaims {
        advisories: vec![Claim::new("INTEL-SA-00000").unwrap(); MAX_ADVISORIES],
        attributes: LONGEST,
        cached_keys: Some(false),
        dynamic_platform: Some(false),
        fmspc: Hex::new([0xff; 6]),
        mr_config_id: digest(),
        mr_owner: digest(),
        mr_owner_config: digest(),
        mr_seam: digest(),
        mrtd: digest(),
        padding: 8192,
        platform: Hex::new([0xff; 16]),
        qe_evaluation: u32::MAX,
        rtmrs: [digest(); 4],
        smt: Some(false),
        status: longest_claim(),
        superseded: Some(i64::MAX),
        tcb_evaluation: u32::MAX,
        td15: Some(Td15Claims { extended: Some(extended), service_td: digest() }),
        xfam: LONGEST,
    }
}

fn snp() -> SnpClaims {
    SnpClaims {
        author_key: digest(),
        author_key_enabled: false,
        chip: Some(Hash::new([0xff; 32])),
        committed_tcb: Hex::new([0xff; 8]),
        committed_version: [255; 3],
        crl_judged: false,
        current_tcb: Hex::new([0xff; 8]),
        current_version: [255; 3],
        family_id: Hex::new([0xff; 16]),
        guest_policy: LONGEST,
        guest_svn: u32::MAX,
        host_data: Hash::new([0xff; 32]),
        id_key: digest(),
        image_id: Hex::new([0xff; 16]),
        launch_tcb: Hex::new([0xff; 8]),
        measurement: digest(),
        mitigations: Some([LONGEST; 2]),
        platform_info: LONGEST,
        product: SnpProduct::Milan,
        provider: Some(longest_claim()),
        reported_tcb: Hex::new([0xff; 8]),
        signer: SnpSigner::Vcek,
        vmpl: 3,
    }
}

fn pcrs() -> Vec<Pcr> {
    vec![Pcr { index: 23, value: Hash::new([0xff; 32]) }; MAX_PCRS]
}

fn claims(tee: TeeClaims) -> Claims {
    Claims {
        asked: Asked {
            anchor_ms: Some(LONGEST),
            kem: Claim::new("x25519").unwrap(),
            min_version: LONGEST,
            model: Some(ModelId::new(&"m".repeat(128)).unwrap()),
            purpose: Claim::new("evaluate").unwrap(),
            witnesses: LONGEST,
        },
        gpus: vec![gpu(); MAX_DEVICES],
        paravisor: Some(ParavisorClaims {
            console: Some(false),
            pcrs: vec![Pcr { index: 23, value: Hash::new([0xff; 32]) }; MAX_PCRS],
            secure_boot: Some(false),
            vm: Some(Hex::new([0xff; 16])),
        }),
        simulated: false,
        tee,
        tpm: None,
    }
}

/// With a TPM in the place of the paravisor.
fn of_tpm(tee: TeeClaims) -> Claims {
    let tpm =
        TpmClaims { key: Hash::new([0xff; 32]), log: Some(vec![23; MAX_PCRS]), pcrs: pcrs(), root: None };
    Claims { paravisor: None, tpm: Some(tpm), ..claims(tee) }
}

fn assert_sorted(value: &Value) {
    match value {
        Value::Object(map) => {
            assert!(map.keys().collect::<Vec<_>>().is_sorted(), "{map:?}");
            map.values().for_each(assert_sorted);
        }
        Value::Array(items) => items.iter().for_each(assert_sorted),
        Value::Number(number) => assert!(number.is_i64() || number.is_u64(), "{number}"),
        _ => {}
    }
}

#[test]
fn the_longest_claims_fit_and_have_one_spelling() {
    let tees = || [TeeClaims::Tdx(Box::new(tdx())), TeeClaims::Snp(Box::new(snp()))];
    for claims in tees().into_iter().map(claims).chain(tees().map(of_tpm)) {
        assert_eq!(claims.excess(), None);
        let bytes = serde_json::to_vec(&claims).unwrap();
        assert!(bytes.len() <= MAX_CLAIMS_BYTES, "{} bytes", bytes.len());
        assert_eq!(serde_json::from_slice::<Claims>(&bytes).unwrap(), claims);
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_sorted(&value);
        assert_eq!(serde_json::to_vec(&value).unwrap(), bytes);
    }
}

#[test]
fn lists_over_their_limits_are_named() {
    let mut many = claims(TeeClaims::Tdx(Box::new(tdx())));
    many.gpus.push(gpu());
    assert_eq!(many.excess(), Some("devices"));
    let mut long = tdx();
    long.advisories.push(longest_claim());
    assert_eq!(claims(TeeClaims::Tdx(Box::new(long))).excess(), Some("advisories"));
    let mut pcrs = claims(TeeClaims::Snp(Box::new(snp())));
    let paravisor = pcrs.paravisor.as_mut().unwrap();
    paravisor.pcrs.push(paravisor.pcrs[0]);
    assert_eq!(pcrs.excess(), Some("PCRs"));
    let mut in_log = of_tpm(TeeClaims::Snp(Box::new(snp())));
    in_log.tpm.iter_mut().flat_map(|tpm| &mut tpm.log).for_each(|log| log.push(1));
    let mut quoted = of_tpm(TeeClaims::Snp(Box::new(snp())));
    quoted.tpm.iter_mut().for_each(|tpm| tpm.pcrs.push(tpm.pcrs[0]));
    assert_eq!((in_log.excess(), quoted.excess()), (Some("PCRs"), Some("PCRs")));
    let both = Claims {
        tpm: of_tpm(TeeClaims::Snp(Box::new(snp()))).tpm,
        ..claims(TeeClaims::Snp(Box::new(snp())))
    };
    assert_eq!(both.excess(), Some("TPMs"));
}
