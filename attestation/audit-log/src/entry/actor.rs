//! Who acted.

use crate::Hash;
use crate::id::TenantId;
use serde::{Deserialize, Serialize};

/// Who acted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// How it showed who it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthMethod>,
    /// What it is.
    pub kind: ActorKind,
    /// A keyed pseudonym, the same for all entries of one caller in one boot and period. Its key is in no store, and goes with either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pseud: Option<Hash>,
    /// For which tenant it acted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
}

impl Actor {
    /// An actor without a tenant.
    #[must_use]
    pub const fn new(kind: ActorKind) -> Self {
        Self { auth: None, kind, pseud: None, tenant: None }
    }
}

/// What kind of actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActorKind {
    /// A caller of the API.
    Client,
    /// A person who runs the system.
    Operator,
    /// A key broker.
    Broker,
    /// A process that holds one model.
    Worker,
    /// The guest itself.
    System,
}

/// How an actor showed who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// A bearer key.
    ApiKey,
    /// A token of an identity provider.
    Token,
    /// A certificate of the connection.
    Certificate,
    /// Evidence.
    Attestation,
    /// It did not.
    None,
}
