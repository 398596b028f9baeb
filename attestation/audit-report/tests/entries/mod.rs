//! An entry of every kind, with every part that an entry can have.

use anchorhold_audit_log::*;

pub(crate) const BOOT: [u8; 16] = [7; 16];
pub(crate) const ORIGIN: &str = "acme/07070707070707070707070707070707";

/// The entry with this index that tells the event; its id is always the same.
pub(crate) fn entry(event: &Event, seq: u64) -> Entry {
    let entry = Entry::from_bytes(&encode_entry(event, seq, BootId::new(BOOT)).unwrap()).unwrap();
    Entry { id: Ulid::new("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap(), ..entry }
}

/// Compares with a published file; writes it when `UPDATE_SNAPSHOTS` is set.
pub(crate) fn is_published(name: &str, made: &str) {
    let path = format!("{}/../../tests/vectors/audit/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap();
    for (line, (made, published)) in made.lines().zip(published.lines()).enumerate() {
        assert_eq!(made, published, "{name}, line {}", line + 1);
    }
    assert!(made == published, "{name} has another length or other line ends");
}

pub(crate) fn at(seconds: i64) -> Stamp {
    Stamp { wall_ns: (1_764_400_000 + seconds) * 1_000_000_000, mono_ns: 5 }
}

pub(crate) fn model() -> Model {
    Model { id: ModelId::new("acme/chat").unwrap(), manifest: Some(Hash::new([1; 32])), ver: Some(3) }
}

pub(crate) fn request() -> Request {
    Request {
        finish: Some(Finish::Stop),
        ms: 120,
        receipt: None,
        rid: RequestId::new("req-1").unwrap(),
        route: Route::ChatCompletions,
        status: Some(200),
        stream: true,
        tin: 12,
        tout: 34,
        ttft_ms: Some(20),
    }
}

pub(crate) fn tenant() -> Actor {
    Actor {
        auth: Some(AuthMethod::ApiKey),
        kind: ActorKind::Client,
        pseud: Some(Hash::new([8; 32])),
        tenant: Some(TenantId::new("clinic").unwrap()),
    }
}

/// Nothing filled, and everything.
pub(crate) fn bare_and_full(kind: EventType, outcome: Outcome) -> [Event; 2] {
    let bare = Event::new(kind, outcome, at(0));
    let mut full = bare.clone();
    full.code = Code::from_static("some_reason");
    full.actor = Some(tenant());
    full.request = Some(request());
    full.model = Some(model());
    full.platform = Some(Platform {
        meas: Some(Measurement::new([2; 48])),
        ..Platform::of_evidence(Tee::Snp, Hash::new([3; 32]))
    });
    full.decision = Some(Decision {
        checks: vec![CheckResult {
            got: Claim::of("21"),
            id: Code::from_static("snp.min_tcb"),
            ok: false,
            want: Claim::of(">=23"),
        }],
        claims: None,
        grant: Some(GrantId::new("chat").unwrap()),
        lease_s: Some(3600),
        policy_digest: Hash::new([4; 32]),
        policy_id: PolicyId::new("acme-prod").unwrap(),
        policy_ver: 42,
    });
    full.key = Some(Key { kek: None, kid: KeyId::new("kid-1").unwrap(), op: KeyOperation::Release });
    full.log =
        Some(LogState { lost_max: Some(5), size: Some(9), ..LogState::of(Origin::new(ORIGIN).unwrap()) });
    full.setting = Some(Setting {
        approved_by: vec![Hash::new([5; 32])],
        name: Code::from_static("release_policy"),
        new: Some(Hash::new([6; 32])),
        old: None,
    });
    full.keeping = Some(Keeping {
        count: Some(2),
        end: Some(9),
        first: Some(3),
        hold: Some(HoldId::new("case-17").unwrap()),
        kid: Some(Hex::new([9; 16])),
        origin: Some(Origin::new(ORIGIN).unwrap()),
        profiles: vec![Code::from_static("default"), Code::from_static("pci")],
        root: Some(Hash::new([6; 32])),
        since: Some(at(0).wall_ns),
        size: Some(12),
        tenant: Some(TenantId::new("clinic").unwrap()),
        until: Some(at(1).wall_ns),
    });
    full.sealed = Some(Sealed {
        ct: Ciphertext::new(vec![0xc7; 106]).unwrap(),
        kid: Hex::new([9; 16]),
        n: Hex::new([3; 12]),
    });
    full.correlation = Some(CorrelationId::new("corr-1").unwrap());
    [bare, full]
}
