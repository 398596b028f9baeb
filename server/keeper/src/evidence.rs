//! Who this boot is: its keys, and evidence that names them.

use crate::attester::Attester;
use crate::clock::Clock;
use crate::gpus::Gpus;
use crate::receipts::Receipts;
use crate::settings::Settings;
use crate::start::warn;
use anchorhold_audit_log::{BindingInputs, Code, Hash, MAX_EVIDENCE_BYTES, Opening, Origin, note::Signer};
use anchorhold_channel::authenticator::AuthenticatorKey;
use anchorhold_channel::document::{self, ChannelKeys, Document, DocumentKeys, DocumentState};
use anchorhold_ipc::{GuestCard, HeldProcess};
use anchorhold_key_release::{GuestKeys, InstanceId, ReleaseKey, sign_lease_end};
use anchorhold_rats::{
    Ed25519PublicKey, Endorsements, Evidence, EvidenceBundle, GpuEvidence, KeyBinding, Measurement, Nonce,
    Purpose, ReportData, Secret, Sha256Digest, WrappingKey, gpu_digest,
};
use anyhow::Context as _;
use std::sync::Arc;

/// The guest as the rest of the world may know it. The private keys never leave this process.
pub(crate) struct Identity {
    pub(crate) attester: Attester,
    pub(crate) gpus: Gpus,
    pub(crate) measurement: Measurement,
    pub(crate) release_key: ReleaseKey,
    audit_key: Ed25519PublicKey,
    tls_key: Sha256Digest,
    pub(crate) instance: InstanceId,
    /// The name of this boot's audit log.
    pub(crate) log_origin: Origin,
    voice: Arc<Signer>,
    pub(crate) authenticator_key: Arc<AuthenticatorKey>,
    /// What callers may encrypt to; the private halves are the gateway's.
    body_keys: Vec<WrappingKey>,
    /// What the settings have of what vendors say about this machine's parts.
    pub(crate) endorsements: Endorsements,
    pub(crate) receipts: Arc<Receipts>,
}

/// What the gateway says of its own keys.
pub(crate) struct GatewayKeys {
    pub(crate) tls_key: [u8; 32],
    pub(crate) body_keys: Vec<String>,
}

/// The name and the signing key of this boot's audit log.
pub(crate) struct Boot {
    pub(crate) id: [u8; 16],
    /// For the log.
    pub(crate) signer: Signer,
    /// The same key, for what the guest says as itself.
    pub(crate) voice: Signer,
}

impl Boot {
    /// A boot nobody has seen before.
    pub(crate) fn new(deployment: &str) -> anyhow::Result<Self> {
        let id = *Secret::<16>::random()?.expose();
        let hex = InstanceId::new(id).to_string();
        let origin = Origin::new(&format!("{deployment}/{hex}"))?;
        let seed = Secret::<32>::random()?;
        let signer = || Signer::from_seed(origin.clone(), seed.expose());
        Ok(Self { id, signer: signer()?, voice: signer()? })
    }
}

impl Identity {
    /// Opens what attests this guest, and makes the keys of this boot.
    ///
    /// # Errors
    /// Nothing attests as the settings want it, or the system gives no randomness.
    pub(crate) fn launch(
        settings: &Settings,
        (id, voice): ([u8; 16], Signer),
        (gateway, endorsements): (&GatewayKeys, Endorsements),
        gpus: Gpus,
        clock: Clock,
        selinux_policy: Option<Sha256Digest>,
    ) -> anyhow::Result<Self> {
        let attester = Attester::open(settings, clock)?;
        let measurement = attester.measurement();
        let body_keys = gateway.body_keys.iter().map(|key| key.parse());
        let body_keys = body_keys.collect::<Result<_, _>>().context("a key of the gateway for bodies")?;
        let voice = Arc::new(voice);
        Ok(Self {
            attester,
            measurement,
            release_key: ReleaseKey::generate(settings.broker.kem()?)?,
            audit_key: Ed25519PublicKey::new(*voice.key().public_key().as_bytes()),
            tls_key: Sha256Digest::new(gateway.tls_key),
            instance: InstanceId::new(id),
            log_origin: voice.origin().clone(),
            authenticator_key: Arc::new(
                AuthenticatorKey::generate().context("making the authenticator key")?,
            ),
            body_keys,
            endorsements: endorsements.or(gpus.endorsements()),
            receipts: Arc::new(Receipts::new(Arc::clone(&voice), measurement, selinux_policy, gpus.ids())),
            gpus,
            voice,
        })
    }

    pub(crate) fn keys(&self) -> GuestKeys {
        GuestKeys {
            tls_key: self.tls_key,
            release_key: self.release_key.public_key().clone(),
            audit_key: self.audit_key,
        }
    }

    /// What callers use after the handshake.
    pub(crate) fn channel_keys(&self) -> ChannelKeys {
        ChannelKeys {
            authenticator_key: self.authenticator_key.public_key(),
            body_keys: self.body_keys.clone(),
        }
    }

    /// What anybody may know of this boot, whose log has so many entries.
    pub(crate) fn card(&self, log_size: u64, held: Vec<HeldProcess>) -> GuestCard {
        GuestCard {
            platform: self.attester.platform().to_owned(),
            is_simulated: self.attester.is_simulated(),
            measurement: self.measurement.to_string(),
            log_origin: self.log_origin.as_str().to_owned(),
            log_size,
            held,
        }
    }

    /// What gives back the lease of the key with this id.
    pub(crate) fn lease_end(&self, kid: &str) -> Option<Vec<u8>> {
        sign_lease_end(&self.voice, kid).ok()
    }

    /// What evidence about this boot's keys says to nobody in particular, for this nonce; without GPUs.
    pub(crate) fn binding(&self, nonce: Nonce) -> KeyBinding {
        let GuestKeys { tls_key, release_key, audit_key } = self.keys();
        KeyBinding {
            purpose: Purpose::Serving,
            nonce,
            tls_key,
            release_key: release_key.digest(),
            audit_key,
            context: Sha256Digest::of(b""),
            gpu_evidence: Sha256Digest::of(b""),
        }
    }

    /// Evidence for the key of this boot's log, made before the log begins, with what the settings have of vendors. Where it cannot be made,
    /// entry 0 says so; the guest then gets no key either.
    pub(crate) fn opening(&self) -> Opening {
        self.evidence_of_log().unwrap_or_else(|error| {
            warn(&format!("the audit log begins without evidence: {error:#}"));
            Opening::Failed(Code::from_static("attester_failed"))
        })
    }

    fn evidence_of_log(&self) -> anyhow::Result<Opening> {
        let context = Sha256Digest::of(self.log_origin.as_str().as_bytes());
        let binding =
            KeyBinding { purpose: Purpose::Log, context, ..self.binding(Nonce::new([0; Nonce::LEN])) };
        let of_gpus = |gpus: Sha256Digest| KeyBinding { gpu_evidence: gpus, ..binding.clone() };
        let evidence = self.attest(&binding.gpu_nonce(), |gpus| of_gpus(gpu_digest(gpus)).report_data())?;
        let hash = |digest: Sha256Digest| Hash::new(*digest.as_bytes());
        let inputs =
            BindingInputs::of_log(&self.log_origin, hash(binding.release_key), hash(binding.tls_key));
        let bundle = EvidenceBundle::new(evidence, self.endorsements.clone());
        let mut evidence_json = serde_json::to_vec(&bundle)?;
        if evidence_json.len() > MAX_EVIDENCE_BYTES {
            // Whoever judges it has to have the vendors' word from elsewhere.
            evidence_json = serde_json::to_vec(&bundle.evidence)?;
        }
        Ok(Opening::Attested { evidence_json, inputs, tee: self.attester.logged_tee() })
    }

    /// Evidence of the GPUs, for their nonce, and of the guest, for the report data that is made of the digest of theirs.
    pub(crate) fn attest(
        &self,
        gpu_nonce: &Nonce,
        report_data: impl FnOnce(&[GpuEvidence]) -> ReportData,
    ) -> anyhow::Result<Evidence> {
        let gpus = self.gpus.evidence(gpu_nonce)?;
        let evidence = self.attester.attest(&report_data(&gpus))?;
        Ok(Evidence { gpus, ..evidence })
    }

    /// The attestation document for a caller's nonce.
    pub(crate) fn document(&self, nonce: [u8; 32], state: &DocumentState) -> anyhow::Result<Vec<u8>> {
        let nonce = Nonce::new(nonce);
        let GuestKeys { tls_key, release_key, audit_key } = self.keys();
        let keys = DocumentKeys { tls_key, release_key: release_key.digest(), audit_key };
        let state = state.to_json()?;
        let binding = |gpus: Sha256Digest| document::binding(nonce, &keys, &state, gpus);
        let gpu_nonce = binding(Sha256Digest::of(&[])).gpu_nonce();
        let evidence = self.attest(&gpu_nonce, |gpus| binding(gpu_digest(gpus)).report_data())?;
        let document = Document::new(nonce, keys, state, evidence)?;
        Ok(document.with_endorsements(self.endorsements.clone())?.to_json()?)
    }
}
