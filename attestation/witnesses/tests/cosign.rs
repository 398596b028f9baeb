//! A log and witnesses that are away, slow, lying or forgetful.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test stops at a surprise")]

use anchorhold_audit_log::cosignature::{Cosigner, WitnessKey, cosignatures};
use anchorhold_audit_log::merkle::{Growth, TreeHead, leaf_hash};
use anchorhold_audit_log::note::Note;
use anchorhold_audit_log::witness::{AddCheckpoint, judge};
use anchorhold_audit_log::{Checkpoint, Hash, Origin, Signer};
use anchorhold_channel::{server, tls};
use anchorhold_witnesses::{ADD_CHECKPOINT, CosignError, Settings, WitnessSettings, Witnesses};
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

const NOW: u64 = 1_790_000_000;

/// What a witness does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Sound,
    /// It stores the head, and its answer is lost.
    LosesAnswer,
    /// It never answers.
    Hangs,
    /// It signs with another key under its name.
    OtherKey,
    /// It says another time than it is, by so many seconds.
    Time(i64),
    /// It knows of more entries than there are.
    KnowsMore,
    /// It names another size each time.
    Wavers,
    /// What it says with 409 is no size.
    Babbles,
}

struct State {
    known: TreeHead,
    manner: Manner,
    requests: usize,
}

/// A witness, and what it has stored.
struct FakeWitness {
    state: Arc<Mutex<State>>,
    settings: WitnessSettings,
    _folder: tempfile::TempDir,
    serving: tokio::task::JoinHandle<server::Served>,
}

fn log() -> Signer {
    Signer::from_seed(Origin::new("acme/0011").unwrap(), &[1; 32]).unwrap()
}

fn cosigner(seed: u8) -> Cosigner {
    Cosigner::from_seed("witness.example/1", &[seed; 32]).unwrap()
}

fn answer(state: &Mutex<State>, body: &[u8]) -> (StatusCode, String) {
    let mut state = state.lock().unwrap();
    state.requests += 1;
    let size = |size: u64| (StatusCode::CONFLICT, format!("{size}\n"));
    match state.manner {
        Manner::KnowsMore => return size(1000),
        Manner::Wavers => return size(state.requests as u64 % 2 + 1),
        Manner::Babbles => return (StatusCode::CONFLICT, "many".to_owned()),
        _ => {}
    }
    let request = AddCheckpoint::from_bytes(body).unwrap();
    match judge(&request, log().key(), &state.known) {
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status()).unwrap();
            (status, refusal.size().map_or_else(String::new, |size| format!("{size}\n")))
        }
        Ok(witnessed) => {
            state.known = witnessed.checkpoint().head;
            if state.manner == Manner::LosesAnswer {
                state.manner = Manner::Sound;
                return (StatusCode::BAD_GATEWAY, String::new());
            }
            let key = cosigner(if state.manner == Manner::OtherKey { 9 } else { 7 });
            let ahead = if let Manner::Time(ahead) = state.manner { ahead } else { 0 };
            let note = Note::parse(witnessed.note()).unwrap();
            (StatusCode::OK, key.cosign(note.unverified_text(), NOW.saturating_add_signed(ahead)))
        }
    }
}

impl FakeWitness {
    async fn start(manner: Manner) -> Self {
        let state = Arc::new(Mutex::new(State { known: TreeHead::empty(), manner, requests: 0 }));
        let folder = tempfile::tempdir().unwrap();
        let own = tls::SelfSigned::generate(&["127.0.0.1".to_owned()]).unwrap();
        let certificate = folder.path().join("witness.pem");
        std::fs::write(&certificate, own.certificate_pem()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let shared = Arc::clone(&state);
        let handler = post(move |body: Bytes| async move {
            if shared.lock().unwrap().manner == Manner::Hangs {
                std::future::pending::<()>().await;
            }
            answer(&shared, &body)
        });
        let router = Router::new().route(ADD_CHECKPOINT, handler);
        let config = own.into_server_config().unwrap();
        let limits = server::Limits::default();
        let serving = tokio::spawn(server::serve(listener, config, router, limits, std::future::pending()));
        let settings = WitnessSettings { key: cosigner(7).key().to_string(), url, certificate };
        Self { state, settings, _folder: folder, serving }
    }

    fn witnesses(&self) -> Witnesses {
        of(&Settings { needed: 1, witness: vec![self.settings.clone()] })
    }

    fn be(&self, manner: Manner) {
        self.state.lock().unwrap().manner = manner;
    }

    fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }
}

fn of(settings: &Settings) -> Witnesses {
    Witnesses::new(settings).unwrap().with_clock(Arc::new(|| NOW))
}

fn grown(count: u64) -> Growth {
    let mut growth = Growth::new();
    (0..count).for_each(|at| growth.push(leaf_hash(&at.to_be_bytes())));
    growth
}

/// Has a log of so many entries cosigned.
async fn cosign(witnesses: &mut Witnesses, size: u64) -> Result<Vec<u8>, CosignError<Infallible>> {
    let growth = grown(size);
    let note = Checkpoint::new(log().origin().as_str(), growth.head()).sign(&log()).unwrap();
    let prove = |known| Ok(growth.prove(known, size).unwrap());
    witnesses.cosign(growth.head(), &note, prove).await
}

fn is_cosigned(note: &[u8], key: &WitnessKey) -> bool {
    cosignatures(&Note::parse(note).unwrap(), std::slice::from_ref(key)).unwrap().len() == 1
}

#[tokio::test]
async fn case_31_a_lost_answer_is_asked_for_again_and_is_the_same() {
    let witness = FakeWitness::start(Manner::LosesAnswer).await;
    let mut witnesses = witness.witnesses();
    let error = cosign(&mut witnesses, 5).await.unwrap_err();
    assert!(matches!(&error, CosignError::TooFew { observed: 0, .. }) && !error.is_rollback(), "{error}");
    // The witness knows the size by now; the log proves that it is its own and goes on.
    let cosigned = cosign(&mut witnesses, 5).await.unwrap();
    assert!(is_cosigned(&cosigned, cosigner(7).key()));
    // The same for a log that grew meanwhile.
    witness.be(Manner::LosesAnswer);
    cosign(&mut witnesses, 8).await.unwrap_err();
    assert!(is_cosigned(&cosign(&mut witnesses, 12).await.unwrap(), cosigner(7).key()));
}

#[tokio::test]
async fn case_31_one_proof_catches_up_however_long_the_witness_was_away() {
    let witness = FakeWitness::start(Manner::Sound).await;
    let mut witnesses = witness.witnesses();
    cosign(&mut witnesses, 3).await.unwrap();
    let before = witness.requests();
    cosign(&mut witnesses, 90_000).await.unwrap();
    assert_eq!(witness.requests(), before + 1);
    assert_eq!(witnesses.least_known(), 90_000);
}

#[tokio::test]
async fn case_31_who_is_away_or_slow_or_says_another_time_or_key_is_not_counted() {
    let witness = FakeWitness::start(Manner::Sound).await;
    for manner in [
        Manner::OtherKey,
        Manner::Time(-301),
        Manner::Time(301),
        Manner::Time(1_000_000_000_000),
        Manner::Hangs,
        Manner::Babbles,
    ] {
        witness.be(manner);
        let error = cosign(&mut witness.witnesses(), 4).await.unwrap_err();
        let CosignError::TooFew { needed: 1, observed: 0, first } = &error else {
            assert!(manner == Manner::Babbles, "{manner:?}: {error}");
            continue;
        };
        assert!(!error.is_rollback());
        let is_expected = match manner {
            Manner::OtherKey => matches!(first.1, CosignError::Answer(_)),
            Manner::Hangs => matches!(first.1, CosignError::Unreachable(_)),
            _ => matches!(first.1, CosignError::Time { .. }),
        };
        assert!(is_expected, "{manner:?}: {error}");
    }
    witness.be(Manner::Time(-300));
    cosign(&mut witness.witnesses(), 4).await.unwrap();
    witness.serving.abort();
    let error = cosign(&mut witness.witnesses(), 4).await.unwrap_err();
    assert!(
        matches!(&error, CosignError::TooFew { first, .. } if matches!(first.1, CosignError::Unreachable(_)))
    );
}

#[tokio::test]
async fn case_29_a_witness_that_knows_more_or_another_history_is_an_error_whatever_others_say() {
    let sound = FakeWitness::start(Manner::Sound).await;
    let witness = FakeWitness::start(Manner::KnowsMore).await;
    let other = WitnessSettings {
        key: Cosigner::from_seed("witness.example/2", &[8; 32]).unwrap().key().to_string(),
        ..witness.settings.clone()
    };
    let settings = Settings { needed: 1, witness: vec![sound.settings.clone(), other] };
    let error = cosign(&mut of(&settings), 4).await.unwrap_err();
    assert!(matches!(error, CosignError::Behind { log: 4, witness: 1000 }) && error.is_rollback(), "{error}");
    // One that names another size each time ends the exchange.
    witness.be(Manner::Wavers);
    let before = witness.requests();
    let error = cosign(&mut witness.witnesses(), 4).await.unwrap_err();
    assert!(matches!(error, CosignError::Refused { status: 409 }), "{error}");
    assert!(witness.requests() <= before + 4);
    // Another history of the same length, and one that leads on from another.
    witness.be(Manner::Sound);
    let foreign = |size: u64| TreeHead { size, root: Hash::new([9; 32]) };
    for (known, status) in [(foreign(4), 409), (foreign(2), 422)] {
        witness.state.lock().unwrap().known = known;
        let error = cosign(&mut witness.witnesses(), 4).await.unwrap_err();
        assert!(matches!(error, CosignError::Refused { status: s } if s == status), "{error}");
        assert!(error.is_rollback());
    }
}
