//! What the broker remembers, as rows of its [`Store`](crate::store::Store): wrapped keys, the policy, used nonces, leases, revocations, the heads
//! of the logs that it witnesses.
//!
//! These are functions over a view or a change, so that several of them and their log entry make one transaction. Each looks at
//! everything that could refuse before it changes anything.

mod witnessed;

pub use witnessed::{WitnessedRow, following, put_witnessed, register, witnessed};

use crate::store::{Change, Row, StoreError, Table, View, after_prefix};
use anchorhold_key_release::{InstanceId, MAX_INSTANCES, MachinePseudonyms, ModelId, WeightsKeyTerms};
use anchorhold_rats::{Measurement, Nonce, ResourcePath, Sha256Digest, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The most used nonces that are remembered. Each belongs to evidence that passed, within two minutes.
pub const MAX_NONCES: u64 = 65_536;
/// The most versions that one model may have.
pub const MAX_VERSIONS: usize = 1024;
/// The most leases of one grant or of one instance that are looked at, and the most that are shown.
pub const MAX_LEASES: usize = MAX_INSTANCES as usize + 1;
/// How many leases, of whichever grant, are looked at for their end whenever one is taken. More than one, so that leases of
/// grants that no policy has any more do not stay for ever.
const SWEPT_LEASES: usize = 64;
/// The most revocations beside the policy.
pub const MAX_REVOKED: usize = 16_384;
/// The most resources.
pub const MAX_RESOURCES: usize = 4096;
/// How many keys are read at a time when all of them are looked at.
const MODEL_ROWS: usize = 512;
/// How long after its expiry a used nonce is remembered, in seconds.
const NONCE_SLACK_S: i64 = 60;

/// Names in [`Table::Meta`].
const NONCES: &[u8] = b"nonces";
const FORGOTTEN: &[u8] = b"nonces forgotten until";
const REVOCATIONS: &[u8] = b"revocations";
const POLICIES: &[u8] = b"policies";
const SWEPT: &[u8] = b"leases swept until";
/// Names in [`Table::Policy`].
const IN_FORCE: &[u8] = b"in force";
const SIGNERS: &[u8] = b"signers";

fn read<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|_| StoreError::Corrupt(what))
}

fn write<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|_| StoreError::Corrupt(what))
}

fn number(view: &(impl View + ?Sized), name: &'static [u8]) -> Result<u64, StoreError> {
    let Some(bytes) = view.get(Table::Meta, name)? else { return Ok(0) };
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Corrupt("counter"))
}

/// A text before others in a key, with its length before it so that none is the beginning of another.
fn field(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_be_bytes(), text.as_bytes()].concat()
}

// --- Secrets of the broker itself

/// The wrapped secret of this kind.
///
/// # Errors
/// [`StoreError`].
pub fn secret(view: &dyn View, kind: &str) -> Result<Vec<u8>, StoreError> {
    view.get(Table::Secrets, kind.as_bytes())?.ok_or(StoreError::Corrupt("secret"))
}

/// Stores a wrapped secret.
///
/// # Errors
/// [`StoreError`].
pub fn put_secret(change: &mut dyn Change, kind: &str, wrapped: &[u8]) -> Result<(), StoreError> {
    change.put(Table::Secrets, kind.as_bytes(), wrapped)
}

/// Whether a broker was set up here.
///
/// # Errors
/// [`StoreError`].
pub fn is_set_up(view: &dyn View) -> Result<bool, StoreError> {
    Ok(!view.scan(Table::Secrets, &[]..&[u8::MAX], 1)?.is_empty())
}

// --- Weights keys

/// What is stored of a model version: the JSON of its terms, which is also where its key is bound to, and the wrapped key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRow {
    /// The exact JSON of the terms.
    pub terms: String,
    /// The wrapped weights key.
    #[serde(with = "anchorhold_rats::base64_bytes")]
    pub wrapped: Vec<u8>,
}

impl ModelRow {
    /// The terms, read.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn read_terms(&self) -> Result<WeightsKeyTerms, StoreError> {
        read("terms", self.terms.as_bytes())
    }
}

fn model_key(model_id: &str, version: u64) -> Vec<u8> {
    [field(model_id).as_slice(), &version.to_be_bytes()].concat()
}

/// The row of a model version.
///
/// # Errors
/// [`StoreError`].
pub fn model(view: &dyn View, model_id: &ModelId, version: u64) -> Result<Option<ModelRow>, StoreError> {
    let row = view.get(Table::Models, &model_key(model_id.as_str(), version))?;
    row.map(|row| read("model", &row)).transpose()
}

/// The versions of a model that there are keys of; none for an id that is none.
///
/// # Errors
/// [`StoreError`].
pub fn versions(view: &dyn View, model_id: &str) -> Result<Vec<WeightsKeyTerms>, StoreError> {
    let (from, mut to) = (model_key(model_id, 0), model_key(model_id, u64::MAX));
    to.push(0);
    let rows = view.scan(Table::Models, &from..&to, MAX_VERSIONS + 1)?;
    rows.iter().map(|(_, row)| read::<ModelRow>("model", row)?.read_terms()).collect()
}

/// Whether there is a key whose terms are as `wanted`. Looks at every key, so it is for what the operator asks.
///
/// # Errors
/// [`StoreError`].
pub fn holds_key(
    view: &dyn View,
    mut wanted: impl FnMut(&WeightsKeyTerms) -> bool,
) -> Result<bool, StoreError> {
    let mut from = Vec::new();
    loop {
        let rows = view.scan(Table::Models, &from..&[u8::MAX], MODEL_ROWS)?;
        for (_, row) in &rows {
            if wanted(&read::<ModelRow>("model", row)?.read_terms()?) {
                return Ok(true);
            }
        }
        let Some((last, _)) = rows.last() else { return Ok(false) };
        from = [last.as_slice(), &[0]].concat();
    }
}

/// How storing a model version ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// It is there now.
    Stored,
    /// That version is there already.
    Taken,
    /// The model has [`MAX_VERSIONS`] versions.
    TooMany,
}

/// Whether a model version can be stored.
///
/// # Errors
/// [`StoreError`].
pub fn can_put_model(view: &dyn View, terms: &WeightsKeyTerms) -> Result<Imported, StoreError> {
    if model(view, &terms.model_id, terms.version)?.is_some() {
        return Ok(Imported::Taken);
    }
    let full = versions(view, terms.model_id.as_str())?.len() >= MAX_VERSIONS;
    Ok(if full { Imported::TooMany } else { Imported::Stored })
}

/// Stores a model version. Presumes that it can be.
///
/// # Errors
/// [`StoreError`].
pub fn put_model(change: &mut dyn Change, terms: &WeightsKeyTerms, row: &ModelRow) -> Result<(), StoreError> {
    change.put(Table::Models, &model_key(terms.model_id.as_str(), terms.version), &write("model", row)?)
}

// --- Resources of the KBS role

/// A resource: a key of its own, wrapped, and the content under that key. So the key-encryption key, which may be in a machine
/// of its own, sees 32 bytes whatever the resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The wrapped key. It has a row of its own, so that wrapping it anew passes over the content.
    pub wrapped_key: Vec<u8>,
    /// The rest.
    pub row: ResourceRow,
}

/// What is stored of a resource beside its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceRow {
    /// The content under the resource's key, AES-256-GCM.
    #[serde(with = "anchorhold_rats::base64_bytes")]
    pub content: Vec<u8>,
    /// Since when it is so.
    pub since: Timestamp,
}

/// The resource of this name.
///
/// # Errors
/// [`StoreError`].
pub fn resource(view: &dyn View, path: &ResourcePath) -> Result<Option<Resource>, StoreError> {
    let name = path.as_str().as_bytes();
    let Some(row) = view.get(Table::Resources, name)? else { return Ok(None) };
    let wrapped_key = view.get(Table::ResourceKeys, name)?.ok_or(StoreError::Corrupt("resource"))?;
    Ok(Some(Resource { wrapped_key, row: read("resource", &row)? }))
}

/// The names of all resources.
///
/// # Errors
/// [`StoreError`].
pub fn resource_names(view: &dyn View) -> Result<Vec<ResourcePath>, StoreError> {
    let rows = view.scan(Table::ResourceKeys, &[]..&[u8::MAX], MAX_RESOURCES)?;
    let name = |key: &[u8]| std::str::from_utf8(key).ok().and_then(|name| name.parse().ok());
    rows.iter().map(|(key, _)| name(key).ok_or(StoreError::Corrupt("resource name"))).collect()
}

/// Whether there is room for a resource, or it is there already.
///
/// # Errors
/// [`StoreError`].
pub fn can_put_resource(view: &dyn View, path: &ResourcePath) -> Result<bool, StoreError> {
    let there = view.get(Table::Resources, path.as_str().as_bytes())?.is_some();
    Ok(there || resource_names(view)?.len() < MAX_RESOURCES)
}

/// Stores a resource in place of any there. Presumes that there is room.
///
/// # Errors
/// [`StoreError`].
pub fn put_resource(
    change: &mut dyn Change,
    path: &ResourcePath,
    resource: &Resource,
) -> Result<(), StoreError> {
    let name = path.as_str().as_bytes();
    change.put(Table::ResourceKeys, name, &resource.wrapped_key)?;
    change.put(Table::Resources, name, &write("resource", &resource.row)?)
}

/// Takes a resource away. Gives back whether there was one.
///
/// # Errors
/// [`StoreError`].
pub fn remove_resource(change: &mut dyn Change, path: &ResourcePath) -> Result<bool, StoreError> {
    let key = path.as_str().as_bytes();
    let end = [key, &[0]].concat();
    change.delete(Table::ResourceKeys, key..&end)?;
    Ok(change.delete(Table::Resources, key..&end)? > 0)
}

// --- The policy

/// The policy in force, as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRow {
    /// Its version.
    pub version: u64,
    /// The file.
    pub file: String,
    /// The envelope with the signatures, where it came in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
    /// The Cedar policies that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cedar: Option<String>,
}

impl PolicyRow {
    /// The policy's digest.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::of(self.file.as_bytes())
    }
}

/// Who may sign policies, as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignersRow {
    /// The file.
    pub file: String,
    /// The envelope with which the set took the place of the one before; none of the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
}

/// What a decision rests on: how often a policy came into force, and how many revocations were added. When it is the same
/// later, neither has changed.
///
/// # Errors
/// [`StoreError`].
pub fn stands_for(view: &dyn View) -> Result<(u64, u64), StoreError> {
    Ok((number(view, POLICIES)?, number(view, REVOCATIONS)?))
}

/// The policy in force.
///
/// # Errors
/// [`StoreError`].
pub fn policy(view: &dyn View) -> Result<Option<PolicyRow>, StoreError> {
    view.get(Table::Policy, IN_FORCE)?.map(|row| read("policy", &row)).transpose()
}

/// Puts a policy in force. Presumes that it is newer than the one in force.
///
/// # Errors
/// [`StoreError`].
pub fn put_policy(change: &mut dyn Change, row: &PolicyRow) -> Result<(), StoreError> {
    change.put(Table::Policy, IN_FORCE, &write("policy", row)?)?;
    let count = number(&*change, POLICIES)?;
    change.put(Table::Meta, POLICIES, &(count + 1).to_be_bytes())
}

/// Who may sign policies; `None` where everybody may who has the state.
///
/// # Errors
/// [`StoreError`].
pub fn signers(view: &dyn View) -> Result<Option<SignersRow>, StoreError> {
    view.get(Table::Policy, SIGNERS)?.map(|row| read("signers", &row)).transpose()
}

/// Sets who may sign policies. Presumes that it may be.
///
/// # Errors
/// [`StoreError`].
pub fn put_signers(change: &mut dyn Change, row: &SignersRow) -> Result<(), StoreError> {
    change.put(Table::Policy, SIGNERS, &write("signers", row)?)
}

// --- Nonces

/// Whether a nonce is used up, or so old that this is not known any more. Presumes that it was recognised.
///
/// # Errors
/// [`StoreError`].
pub fn is_used(view: &dyn View, nonce: &Nonce, expires: Timestamp) -> Result<bool, StoreError> {
    let forgotten = number(view, FORGOTTEN)?;
    let forgotten = i64::try_from(forgotten).map_err(|_| StoreError::Corrupt("counter"))?;
    Ok(expires.unix_seconds() <= forgotten || view.get(Table::Nonces, nonce.as_bytes())?.is_some())
}

/// Whether another nonce can be remembered once those are forgotten that can never be taken again at `at`.
///
/// # Errors
/// [`StoreError`].
pub fn has_room_for_nonce(view: &dyn View, at: Timestamp) -> Result<bool, StoreError> {
    let count = number(view, NONCES)?;
    if count < MAX_NONCES {
        return Ok(true);
    }
    Ok(!view.scan(Table::Nonces, &[]..&forgettable(at), 1)?.is_empty())
}

/// The end of the nonces that expired long enough before `at`.
fn forgettable(at: Timestamp) -> [u8; 8] {
    at.plus_seconds(-NONCE_SLACK_S).unix_seconds().saturating_add(1).max(0).to_be_bytes()
}

/// Uses a nonce up and forgets those that can never be taken again. Presumes that it is unused and that there is room.
///
/// # Errors
/// [`StoreError`].
pub fn use_up(change: &mut dyn Change, nonce: &Nonce, at: Timestamp) -> Result<(), StoreError> {
    let limit = at.plus_seconds(-NONCE_SLACK_S).unix_seconds();
    let mut count = number(&*change, NONCES)?;
    if let Ok(limit) = u64::try_from(limit)
        && limit > number(&*change, FORGOTTEN)?
    {
        let gone = change.delete(Table::Nonces, &[]..&forgettable(at))?;
        count = count.saturating_sub(gone);
        change.put(Table::Meta, FORGOTTEN, &limit.to_be_bytes())?;
    }
    change.put(Table::Nonces, nonce.as_bytes(), &[])?;
    change.put(Table::Meta, NONCES, &(count + 1).to_be_bytes())
}

// --- Leases

/// A lease of one instance under one grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The grant.
    pub grant: String,
    /// The instance.
    pub instance: InstanceId,
    /// When it ends.
    pub ends: Timestamp,
    /// The model.
    pub model_id: ModelId,
    /// Its version.
    pub version: u64,
    /// The weights key.
    pub kid: String,
    /// SHA-256 of the manifest.
    pub manifest_digest: Sha256Digest,
    /// The launch measurement.
    pub measurement: Measurement,
    /// The machines below the guest.
    pub machines: MachinePseudonyms,
}

/// The key of [`Table::Leases`]: the instance first, because guests ask about theirs.
fn lease_key(grant: &str, instance: InstanceId) -> Vec<u8> {
    [instance.as_bytes().as_slice(), &field(grant)].concat()
}

/// The key of [`Table::LeaseEnds`]: the grant first, because instances of a grant are counted.
fn lease_end_key(grant: &str, instance: InstanceId) -> Vec<u8> {
    [field(grant).as_slice(), instance.as_bytes()].concat()
}

/// When a row of [`Table::LeaseEnds`] ends, and whose lease it is.
fn lease_end((key, ends): &Row) -> Result<(Timestamp, InstanceId), StoreError> {
    let corrupt = StoreError::Corrupt("lease");
    let ends = <[u8; 8]>::try_from(ends.as_slice()).map(i64::from_be_bytes).map(Timestamp::from_unix_seconds);
    let instance = key.last_chunk().copied().map(InstanceId::new);
    ends.ok().zip(instance).ok_or(corrupt)
}

fn ends_of_grant(view: &(impl View + ?Sized), grant: &str) -> Result<Vec<Row>, StoreError> {
    let prefix = field(grant);
    let end = after_prefix(&prefix).ok_or(StoreError::Corrupt("lease"))?;
    view.scan(Table::LeaseEnds, &prefix..&end, MAX_LEASES)
}

/// The instances that hold a lease of a grant at `at`.
///
/// # Errors
/// [`StoreError`].
pub fn instances(view: &dyn View, grant: &str, at: Timestamp) -> Result<Vec<InstanceId>, StoreError> {
    let ends = ends_of_grant(view, grant)?;
    let ends = ends.iter().map(lease_end).collect::<Result<Vec<_>, _>>()?;
    Ok(ends.into_iter().filter(|(ends, _)| *ends > at).map(|(_, instance)| instance).collect())
}

/// The leases of an instance that are live at `at`, of whichever grant, whether or not a policy still has it.
///
/// # Errors
/// [`StoreError`].
pub fn leases_of(view: &dyn View, instance: InstanceId, at: Timestamp) -> Result<Vec<Lease>, StoreError> {
    let from = instance.as_bytes();
    leases_in(view, (from, &after_prefix(from).unwrap_or_else(|| AFTER_ALL.to_vec())), at)
}

/// The leases that are live at `at`, of whichever grant; at most [`MAX_LEASES`].
///
/// # Errors
/// [`StoreError`].
pub fn all_live_leases(view: &dyn View, at: Timestamp) -> Result<Vec<Lease>, StoreError> {
    leases_in(view, (&[], AFTER_ALL), at)
}

/// After every key of [`Table::Leases`], which begin with an instance and go on with a length.
const AFTER_ALL: &[u8] = &[u8::MAX; 24];

fn leases_in(view: &dyn View, (from, to): (&[u8], &[u8]), at: Timestamp) -> Result<Vec<Lease>, StoreError> {
    let rows = view.scan(Table::Leases, from..to, MAX_LEASES)?;
    let leases = rows.iter().map(|(_, row)| read::<Lease>("lease", row));
    leases.filter(|lease| lease.as_ref().map_or(true, |lease| lease.ends > at)).collect()
}

/// Takes or renews a lease, and forgets leases that have ended: all of the same grant, and some of others. Presumes that the
/// grant has room.
///
/// # Errors
/// [`StoreError`].
pub fn put_lease(change: &mut dyn Change, lease: &Lease, at: Timestamp) -> Result<(), StoreError> {
    for row in ends_of_grant(change, &lease.grant)? {
        let (ends, instance) = lease_end(&row)?;
        if ends <= at {
            remove_lease(change, &lease.grant, instance)?;
        }
    }
    sweep_leases(change, at)?;
    let ends = lease.ends.unix_seconds().to_be_bytes();
    change.put(Table::LeaseEnds, &lease_end_key(&lease.grant, lease.instance), &ends)?;
    change.put(Table::Leases, &lease_key(&lease.grant, lease.instance), &write("lease", lease)?)
}

/// Looks at the next leases after those of the last time, and forgets those that have ended.
fn sweep_leases(change: &mut dyn Change, at: Timestamp) -> Result<(), StoreError> {
    let from = change.get(Table::Meta, SWEPT)?.unwrap_or_default();
    let rows = change.scan(Table::Leases, &from..AFTER_ALL, SWEPT_LEASES)?;
    for (_, row) in &rows {
        let lease = read::<Lease>("lease", row)?;
        if lease.ends <= at {
            end_lease(change, &lease)?;
        }
    }
    let next =
        rows.last().filter(|_| rows.len() == SWEPT_LEASES).map(|(key, _)| [key.as_slice(), &[0]].concat());
    change.put(Table::Meta, SWEPT, &next.unwrap_or_default())
}

/// Takes a lease away.
///
/// # Errors
/// [`StoreError`].
pub fn end_lease(change: &mut dyn Change, lease: &Lease) -> Result<(), StoreError> {
    remove_lease(change, &lease.grant, lease.instance)
}

fn remove_lease(change: &mut dyn Change, grant: &str, instance: InstanceId) -> Result<(), StoreError> {
    for (table, key) in
        [(Table::Leases, lease_key(grant, instance)), (Table::LeaseEnds, lease_end_key(grant, instance))]
    {
        change.delete(table, &key..&[key.as_slice(), &[0]].concat())?;
    }
    Ok(())
}

// --- Revocations beside the policy

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedRow {
    /// Of what kind; see [`Revoked::KINDS`](anchorhold_key_release::Revoked::KINDS).
    pub kind: String,
    /// Which one.
    pub name: String,
    /// Since when.
    pub since: Timestamp,
}

/// All revocations.
///
/// # Errors
/// [`StoreError`].
pub fn revocations(view: &dyn View) -> Result<Vec<RevokedRow>, StoreError> {
    let rows = view.scan(Table::Revoked, &[]..&[u8::MAX], MAX_REVOKED)?;
    rows.iter().map(|(_, row)| read("revocation", row)).collect()
}

fn revoked_key(row: &RevokedRow) -> Vec<u8> {
    [field(&row.kind).as_slice(), row.name.as_bytes()].concat()
}

/// Whether there is room for a revocation, or it is there already.
///
/// # Errors
/// [`StoreError`].
pub fn can_put_revocation(view: &dyn View, row: &RevokedRow) -> Result<bool, StoreError> {
    let there = view.get(Table::Revoked, &revoked_key(row))?.is_some();
    Ok(there || number(view, REVOCATIONS)? < MAX_REVOKED as u64)
}

/// Adds a revocation; one that is there already stays as it is. Presumes that there is room.
///
/// # Errors
/// [`StoreError`].
pub fn put_revocation(change: &mut dyn Change, row: &RevokedRow) -> Result<(), StoreError> {
    let key = revoked_key(row);
    if change.get(Table::Revoked, &key)?.is_some() {
        return Ok(());
    }
    let count = number(&*change, REVOCATIONS)?;
    change.put(Table::Revoked, &key, &write("revocation", row)?)?;
    change.put(Table::Meta, REVOCATIONS, &(count + 1).to_be_bytes())
}
