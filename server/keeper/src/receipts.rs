//! Receipts for callers: signed here, because this process holds the log and its key, and the gateway neither.

use anchorhold_audit_log::{
    DeviceId, Hash, Measurement as LoggedMeasurement, ModelId, Receipt, ReceiptModel, RequestId,
    SignedReceipt, Signer, Stamp,
};
use anchorhold_ipc::{ModelInfo, RequestRecord};
use anchorhold_rats::{Measurement, Sha256Digest};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Signs receipts, from any thread.
pub(crate) struct Receipts {
    signer: Arc<Signer>,
    measurement: LoggedMeasurement,
    selinux_policy: Option<Hash>,
    gpus: Vec<DeviceId>,
    /// Every model that was ever served, as it was last; held for single map operations.
    models: Mutex<BTreeMap<String, ReceiptModel>>,
}

impl Receipts {
    /// Receipts of a guest with this measurement and these GPUs, whose kernel enforces this SELinux policy.
    pub(crate) fn new(
        signer: Arc<Signer>,
        measurement: Measurement,
        selinux_policy: Option<Sha256Digest>,
        gpus: &[DeviceId],
    ) -> Self {
        let measurement = LoggedMeasurement::new(*measurement.as_bytes());
        let selinux_policy = selinux_policy.map(|digest| Hash::new(*digest.as_bytes()));
        Self { signer, measurement, selinux_policy, gpus: gpus.to_vec(), models: Mutex::default() }
    }

    /// A model answers from now on.
    pub(crate) fn serves(&self, info: &ModelInfo, policy_digest: Option<Sha256Digest>) {
        let Ok(id) = ModelId::new(&info.id) else { return };
        let model = ReceiptModel {
            id,
            version: info.version,
            manifest_digest: Hash::new(info.manifest_digest),
            policy_digest: policy_digest.map(|digest| Hash::new(*digest.as_bytes())),
        };
        // A panic while the lock is held leaves a whole map behind.
        self.models.lock().unwrap_or_else(PoisonError::into_inner).insert(info.id.clone(), model);
    }

    /// What a receipt will say about this request, but for the index; `None` for a request without commitments.
    pub(crate) fn about(&self, record: &RequestRecord, at: Stamp) -> Option<SignedReceipt> {
        let (request, response) = record.commitments?;
        let model = self.models.lock().unwrap_or_else(PoisonError::into_inner).get(&record.model).cloned();
        Some(SignedReceipt {
            origin: self.signer.origin().clone(),
            index: 0,
            rid: RequestId::new(&record.rid).ok()?,
            at_ns: at.wall_ns,
            status: record.status,
            model,
            measurement: self.measurement,
            selinux_policy: self.selinux_policy,
            gpus: self.gpus.clone(),
            tokens_in: record.tokens_in,
            tokens_out: record.tokens_out,
            commitments: Receipt::new(Hash::new(request), Hash::new(response)),
        })
    }

    /// The receipt of an entry that is durable at `index`.
    pub(crate) fn sign(&self, said: SignedReceipt, index: u64) -> Option<String> {
        SignedReceipt { index, ..said }.sign(&self.signer)
    }
}
