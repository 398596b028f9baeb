//! A software guest that serves its attestation document, and a relying party that knows its measurement.

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_channel::authenticator::AuthenticatorKey;
use anchorhold_channel::document::{
    self, AuditHead, ChannelKeys, Document, DocumentKeys, DocumentState, Presented, Refusal, RuntimeClaims,
    ServedModel,
};
use anchorhold_channel::{AttestedServer, verify_document};
use anchorhold_rats::{Ed25519PublicKey, Endorsements, Measurement, Nonce, Purpose, Sha256Digest, Timestamp};
use anchorhold_verifier::dangerous::{self, SimulatedRoots};
use anchorhold_verifier::snp::{GenoaTcb, MinimumTcb, Policy};
use anchorhold_verifier::{AppraisalPolicy, TrustAnchors};

pub(crate) const MEASUREMENT: Measurement = Measurement::new([0x5a; 48]);
pub(crate) const NONCE: Nonce = Nonce::new([7; 32]);

pub(crate) fn at() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

pub(crate) fn anchors() -> TrustAnchors {
    dangerous::simulated_anchors(&SimulatedRoots::amd(simulated_ark_der())).unwrap()
}

/// Accepts the software guest, without the word that a simulated root is acceptable.
pub(crate) fn strict_policy() -> AppraisalPolicy {
    let genoa = Some(GenoaTcb { bootloader: 10, tee: 0, snp: 23, microcode: 84 });
    Policy::strict(vec![MEASUREMENT], MinimumTcb { genoa, ..MinimumTcb::default() }).into()
}

pub(crate) fn policy() -> AppraisalPolicy {
    dangerous::allow_simulated(strict_policy())
}

pub(crate) fn state() -> DocumentState {
    state_with(Ed25519PublicKey::new([4; 32]))
}

fn state_with(authenticator_key: Ed25519PublicKey) -> DocumentState {
    DocumentState {
        models: vec![ServedModel {
            id: "acme/chat".into(),
            version: 3,
            manifest_digest: Sha256Digest::new([8; 32]),
        }],
        policy_digest: Some(Sha256Digest::new([9; 32])),
        audit: AuditHead { origin: "acme/1".into(), tree_size: 12, root_hash: Sha256Digest::new([10; 32]) },
        channel: ChannelKeys { authenticator_key, body_keys: Vec::new() },
        runtime: Some(RuntimeClaims {
            selinux_policy: Some(Sha256Digest::new([11; 32])),
            layers: vec!["landlock".into()],
        }),
    }
}

pub(crate) struct Guest {
    guest: SoftwareGuest,
    pub(crate) keys: DocumentKeys,
    pub(crate) authenticator_key: AuthenticatorKey,
}

impl Guest {
    pub(crate) fn launch(config: LaunchConfig, tls_key: Sha256Digest) -> Self {
        let keys = DocumentKeys {
            tls_key,
            release_key: Sha256Digest::new([2; 32]),
            audit_key: Ed25519PublicKey::new([3; 32]),
        };
        let authenticator_key = AuthenticatorKey::generate().unwrap();
        Self { guest: SoftwareGuest::launch(config, at()).unwrap(), keys, authenticator_key }
    }

    pub(crate) fn new(tls_key: Sha256Digest) -> Self {
        Self::launch(LaunchConfig::new(MEASUREMENT), tls_key)
    }

    pub(crate) fn state(&self) -> DocumentState {
        state_with(self.authenticator_key.public_key())
    }

    pub(crate) fn document(&self, nonce: Nonce) -> Vec<u8> {
        self.document_for(nonce, Purpose::Serving)
    }

    pub(crate) fn document_for(&self, nonce: Nonce, purpose: Purpose) -> Vec<u8> {
        let state = self.state().to_json().unwrap();
        let mut binding = document::binding(nonce, &self.keys, &state, Sha256Digest::of(b""));
        binding.purpose = purpose;
        let evidence = self.guest.attest(&binding.report_data()).unwrap();
        Document::new(nonce, self.keys, state, evidence).unwrap().to_json().unwrap()
    }
}

/// Judges `document` for [`NONCE`] on a connection to `tls_key`, under the simulated root.
pub(crate) fn judge(document: &[u8], tls_key: Sha256Digest) -> Result<AttestedServer, Box<Refusal>> {
    verify_document(
        &Presented { document, nonce: NONCE, tls_key },
        &Endorsements::default(),
        &anchors(),
        &policy(),
        at(),
    )
}
