//! A server known by its name, below authorities of the client's own choice.

use super::connection::{self, Connection, Named};
use super::{Error, Limits, Target, pin};
use rustls::ClientConfig;
use std::fmt;
use std::sync::Arc;

/// A client of a server for whose name one of a few given authorities vouches, such as an operator's own store of keys.
/// Mozilla's authorities are not among them.
#[derive(Clone)]
pub struct NamedClient {
    target: Target,
    config: Arc<ClientConfig>,
    limits: Limits,
}

impl NamedClient {
    /// A client of `target` that accepts certificates below the authorities in `pem`, and none else.
    ///
    /// *Establishes*, for each connection, that the peer holds a key that one of them signed for this name. *Presumes*
    /// that the authorities came from where they can be trusted.
    ///
    /// # Errors
    /// [`Error::Tls`] when the text holds no certificate or one that is no authority's.
    pub fn new(target: Target, pem: &[u8], limits: Limits) -> Result<Self, Error> {
        Ok(Self { target, config: pin::config_of_authorities(pem)?, limits })
    }

    /// A new connection.
    ///
    /// # Errors
    /// [`Error::Connect`] and [`Error::Timeout`].
    pub async fn connect(&self) -> Result<Connection<Named>, Error> {
        connection::open_with(&self.target, Arc::clone(&self.config), &self.limits).await
    }
}

impl fmt::Debug for NamedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NamedClient({})", self.target.authority())
    }
}
