//! A hostile relay between guest and key broker.
//!
//! It ends the guest's TLS with a key of its own, which the guest was made to pin, reads everything and passes it on to
//! the real broker, changed. It stands for a host that has taken over every channel of the guest.

use crate::broker::Broker;
use anchorhold_channel::client::{Answer, Client, Limits, Pinned, Target};
use anchorhold_channel::{server, tls};
use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::sync::Semaphore;

const MAX_BODY_BYTES: usize = 1024 * 1024;

/// What the relay does to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Sends the guest's request, then sends the very same request again and gives the guest the second answer.
    Replay,
    /// The same, but waits for [`Relay::go_on`] before it sends the request again.
    ReplayLater,
    /// Waits for [`Relay::go_on`] before it passes the guest's request on, unchanged.
    Hold,
    /// Puts another release key in the place of the guest's.
    SwapReleaseKey,
    /// Puts another audit key in the place of the guest's.
    SwapAuditKey,
    /// Puts another TLS key in the place of the guest's.
    SwapTlsKey,
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    /// Where the guest is sent.
    pub url: String,
    /// The certificate that the guest is made to pin.
    pub certificate: PathBuf,
    runtime: Option<tokio::runtime::Runtime>,
    holding: Receiver<()>,
    may_go_on: Arc<Semaphore>,
}

struct Between {
    broker: Client<Pinned>,
    attack: Attack,
    holding: Sender<()>,
    may_go_on: Arc<Semaphore>,
}

impl Relay {
    /// Starts a relay in front of `broker`.
    pub fn start(broker: &Broker, attack: Attack, directory: &Path) -> anyhow::Result<Self> {
        let pem = std::fs::read(&broker.keys.tls_certificate)?;
        let certificate = tls::certificates_from_pem(&pem)?.into_iter().next().context("no certificate")?;
        let target: Target = broker.url()?.parse()?;
        let client = Client::pinned_certificate(target, &certificate, Limits::default())?;
        let (sender, holding) = channel();
        let may_go_on = Arc::new(Semaphore::new(0));
        let between =
            Arc::new(Between { broker: client, attack, holding: sender, may_go_on: Arc::clone(&may_go_on) });
        let own = tls::SelfSigned::generate(&["127.0.0.1".to_owned()])?;
        let path = directory.join("relay.pem");
        std::fs::write(&path, own.certificate_pem())?;
        let config = own.into_server_config()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let url = format!("https://{}", listener.local_addr()?);
        let router = Router::new().fallback(move |request| pass_on(Arc::clone(&between), request));
        runtime.spawn(server::serve(
            listener,
            config,
            router,
            server::Limits::default(),
            std::future::pending(),
        ));
        Ok(Self { url, certificate: path, runtime: Some(runtime), holding, may_go_on })
    }

    /// Waits until the relay holds a release back.
    pub fn wait_until_it_holds(&self, within: Duration) -> anyhow::Result<()> {
        self.holding.recv_timeout(within).context("the relay holds nothing back")
    }

    /// Lets it go on with the release that it holds back, or with the next one.
    pub fn go_on(&self) {
        self.may_go_on.add_permits(1);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

async fn pass_on(between: Arc<Between>, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let answered = async {
        let body = server::read_body(request.into_body(), MAX_BODY_BYTES, Duration::from_secs(10)).await?;
        if path == "/v1/release" {
            between.release(&body).await
        } else {
            Ok(between.broker.post_json(&path, &[], body).await?)
        }
    };
    match answered.await {
        Ok(answer) => {
            let mut response = Response::new(Body::from(answer.body));
            *response.status_mut() = answer.status;
            response
        }
        Err(_) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}

impl Between {
    async fn release(&self, body: &Bytes) -> anyhow::Result<Answer> {
        if self.attack == Attack::Hold {
            self.hold().await?;
        }
        let body = self.change(body)?;
        let answer = self.broker.post_json("/v1/release", &[], body.clone()).await?;
        if !matches!(self.attack, Attack::Replay | Attack::ReplayLater) {
            return Ok(answer);
        }
        // The first answer was for the guest; the relay keeps it, and cannot open it.
        anyhow::ensure!(answer.status.is_success(), "the request itself was refused");
        if self.attack == Attack::ReplayLater {
            self.hold().await?;
        }
        Ok(self.broker.post_json("/v1/release", &[], body).await?)
    }

    async fn hold(&self) -> anyhow::Result<()> {
        self.holding.send(()).context("nobody waits for this relay")?;
        self.may_go_on.acquire().await?.forget();
        Ok(())
    }

    fn change(&self, body: &Bytes) -> anyhow::Result<Bytes> {
        let key = match self.attack {
            Attack::Replay | Attack::ReplayLater | Attack::Hold => return Ok(body.clone()),
            Attack::SwapReleaseKey => "release_key",
            Attack::SwapAuditKey => "audit_key",
            Attack::SwapTlsKey => "tls_key",
        };
        let mut json: Value = serde_json::from_slice(body)?;
        let place = json.pointer_mut(&format!("/keys/{key}")).context("no such key")?;
        let prefix = if self.attack == Attack::SwapReleaseKey { "x25519:" } else { "" };
        *place = Value::from(format!("{prefix}{}", "5a".repeat(32)));
        Ok(Bytes::from(json.to_string()))
    }
}
