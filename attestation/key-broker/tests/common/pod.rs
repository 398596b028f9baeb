//! A guest of Confidential Containers: the client role of `anchorhold-kbs` with a simulated machine.

use super::{Clock, Site, call, post};
use anchorhold_attester::software::{LaunchConfig, SoftwareGuest};
use anchorhold_kbs::client::{self, Attested, Attesting, AwaitingToken};
use anchorhold_kbs::ear::Jwks;
use anchorhold_kbs::{ProblemBody, Tee, TokenRules, WrittenEvidence, dangerous};
use anchorhold_key_broker::broker::Broker;
use anchorhold_rats::{Measurement, Timestamp};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use std::sync::Arc;
use tower::ServiceExt as _;

pub(crate) const RESOURCES: &str = include_str!("../../../../policies/release/resources.toml");
/// A resource that the policy grants.
pub(crate) const GRANTED: &str = "acme/image-key/1";
/// A resource that it does not.
pub(crate) const OTHERS: &str = "acme/others/1";

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) cookie: Option<String>,
}

impl Came {
    /// Status and last part of the type of a problem.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.cookie, None, "a refusal sets no cookie");
        let body = ProblemBody::from_json(&self.body).unwrap();
        (self.status, body.kind.rsplit('/').next().unwrap().to_owned())
    }
}

/// One request through the router.
pub(crate) async fn send(broker: &Arc<Broker>, request: Request<Body>) -> Came {
    let response = anchorhold_key_broker::router::router(Arc::clone(broker)).oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let cookie = response.headers().get("set-cookie").map(|cookie| cookie.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    Came { status, body: response.into_body().collect().await.unwrap().to_bytes().to_vec(), cookie }
}

pub(crate) async fn attest(broker: &Arc<Broker>, body: Vec<u8>, cookie: &str) -> Came {
    let request = Request::post("/kbs/v0/attest").header("cookie", cookie).body(Body::from(body)).unwrap();
    send(broker, request).await
}

/// Asks for a resource with these headers.
pub(crate) async fn get(broker: &Arc<Broker>, path: &str, headers: &[(&str, &str)]) -> Came {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(broker, request.body(Body::empty()).unwrap()).await
}

pub(crate) async fn resource(broker: &Arc<Broker>, guest: &Attested, name: &str) -> Came {
    get(broker, &format!("/kbs/v0/resource/{name}"), &[("cookie", &guest.cookie_header())]).await
}

/// A broker with the example policy of resources, one resource that it grants, and one that it does not.
pub(crate) fn with_resources() -> (Site, Arc<Broker>) {
    let site = Site::bare();
    let broker = site.open();
    furnish(&broker);
    (site, broker)
}

pub(crate) fn furnish(broker: &Broker) {
    furnish_with(broker, RESOURCES);
}

pub(crate) fn furnish_with(broker: &Broker, policy: &str) {
    super::set_policy(broker, policy).unwrap();
    broker.add_resource(&GRANTED.parse().unwrap(), b"the secret").unwrap();
    broker.add_resource(&OTHERS.parse().unwrap(), b"not theirs").unwrap();
}

/// Takes tokens of this broker about simulated guests.
pub(crate) fn rules(broker: &Broker) -> TokenRules {
    dangerous::any_status(TokenRules::new(Jwks::from_json(broker.token_keys().as_bytes()).unwrap()))
}

pub(crate) struct Pod {
    machine: SoftwareGuest,
    at: Timestamp,
}

/// An attestation ready to be sent.
pub(crate) struct Prepared {
    pub(crate) body: Vec<u8>,
    pub(crate) cookie: String,
    pub(crate) waiting: AwaitingToken,
}

impl Pod {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self::launch(LaunchConfig::new(Measurement::new([0xa1; 48])), clock)
    }

    pub(crate) fn launch(config: LaunchConfig, clock: &Clock) -> Self {
        Self { machine: SoftwareGuest::launch(config, clock.now()).unwrap(), at: clock.now() }
    }

    pub(crate) async fn introduced(&self, broker: &Arc<Broker>) -> Attesting {
        let (body, waiting) = client::begin(Tee::Snp, rules(broker)).unwrap();
        let came = send(broker, Request::post("/kbs/v0/auth").body(Body::from(body)).unwrap()).await;
        assert_eq!(came.status, 200);
        waiting.take(&came.body, came.cookie.as_deref()).unwrap()
    }

    pub(crate) async fn prepared(&self, broker: &Arc<Broker>) -> Prepared {
        self.prepared_with(broker, None).await
    }

    pub(crate) async fn prepared_with(&self, broker: &Arc<Broker>, init_data: Option<&str>) -> Prepared {
        let attesting = self.introduced(broker).await;
        let cookie = attesting.cookie_header();
        let evidence = self.machine.attest(&attesting.digest("").report_data()).unwrap();
        let written = WrittenEvidence::of(&evidence).unwrap();
        let (body, waiting) = attesting.send(&written.primary, "", init_data);
        Prepared { body, cookie, waiting }
    }

    pub(crate) async fn attested(&self, broker: &Arc<Broker>) -> Attested {
        let Prepared { body, cookie, waiting } = self.prepared(broker).await;
        let came = attest(broker, body, &cookie).await;
        assert_eq!(came.status, 200, "{}", String::from_utf8_lossy(&came.body));
        waiting.take(&came.body, came.cookie.as_deref(), self.at).unwrap()
    }

    /// The status and type of the refusal that this machine gets.
    pub(crate) async fn refused(&self, broker: &Arc<Broker>) -> (u16, String) {
        let Prepared { body, cookie, .. } = self.prepared(broker).await;
        attest(broker, body, &cookie).await.problem()
    }
}

/// `POST` without a cookie.
pub(crate) async fn post_problem(broker: &Arc<Broker>, path: &str, body: Vec<u8>) -> (u16, String) {
    let (status, body) = post(broker, path, body).await;
    Came { status, body, cookie: None }.problem()
}

pub(crate) async fn problem_of(broker: &Arc<Broker>, request: Request<Body>) -> (u16, String) {
    let (status, body) = call(broker, request).await;
    Came { status, body, cookie: None }.problem()
}
