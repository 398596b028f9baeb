//! Which servers requests are sent to, and which not.

use crate::support::{MEASUREMENT, OTHER, Party, Says, Server, accepting, at, serve, target};
use anchorhold_channel::authenticator;
use anchorhold_channel::client::{Client, Limits, Pinned, connect_unverified_for_attestation};
use anchorhold_channel::document::{self, nonce_of_query};
use anchorhold_client::history::RollbackRule;
use anchorhold_client::{History, RequestError, Settings, Standing, VerifiedUpstream};
use axum::Router;
use axum::body::Bytes;
use axum::extract::RawQuery;
use axum::routing::{get, post};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn watch(server: &Server, party: &Party) -> VerifiedUpstream<Party> {
    VerifiedUpstream::new(server.target(), party.clone(), Settings::default(), None)
}

fn question() -> Request<Full<Bytes>> {
    Request::post("/v1/chat/completions").body(Full::from("question")).unwrap()
}

async fn ask(upstream: &VerifiedUpstream<Party>) -> Result<Bytes, RequestError> {
    let (response, _) = upstream.request(question()).await?;
    Ok(response.into_body().collect().await.unwrap().to_bytes())
}

async fn refused(upstream: &VerifiedUpstream<Party>) -> (Standing, String) {
    match ask(upstream).await {
        Err(RequestError::NotAttested(reason)) => (reason.standing, reason.code.clone()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn requests_go_over_attested_connections_that_are_kept() {
    let server = Server::start(Says::default()).await;
    let upstream = watch(&server, &Party::new());
    for _ in 0..3 {
        assert_eq!(ask(&upstream).await.unwrap(), "question");
    }
    // One authenticator for the verification's connection, one for that of the requests.
    assert_eq!(server.guest.signed.load(Ordering::SeqCst), 2);
    let snapshot = upstream.snapshot();
    assert_eq!((snapshot.verdict, snapshot.simulated), (Standing::Accepted, Some(true)));
    assert_eq!(snapshot.measurement.unwrap(), MEASUREMENT.to_string());
    assert_eq!((snapshot.since, snapshot.checked, snapshot.next_check), (at(), at(), at().plus_seconds(300)));
}

#[tokio::test]
async fn it_is_a_tower_service_for_paths_of_the_upstream_alone() {
    use tower::Service as _;
    let server = Server::start(Says::default()).await;
    let mut upstream = watch(&server, &Party::new());
    let absolute = format!("{}/v1/chat/completions", server.target());
    let request = Request::post(absolute).body(Full::from("question")).unwrap();
    assert_eq!(upstream.call(request).await.unwrap().status(), 200);
    let elsewhere = Request::get("https://other.example/").body(Full::default()).unwrap();
    assert!(matches!(upstream.call(elsewhere).await, Err(RequestError::Request)));
}

#[tokio::test]
async fn another_measurement_gets_no_request() {
    let server = Server::start(Says { measurement: OTHER, ..Says::default() }).await;
    let upstream = watch(&server, &Party::new());
    assert_eq!(refused(&upstream).await, (Standing::NotAcceptable, "snp_measurement".to_owned()));
    assert_eq!(server.guest.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_upstream_that_comes_back_as_the_same_image_is_judged_again_and_asked() {
    let party = Party::new();
    let server = Server::start(Says::default()).await;
    let upstream = watch(&server, &party);
    ask(&upstream).await.unwrap();
    let server = Server::start_on(server.stop().await, Says::default()).await;
    assert_eq!(ask(&upstream).await.unwrap(), "question");
    assert_eq!(server.guest.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn case_04_an_upstream_that_comes_back_as_another_image_gets_no_request() {
    let party = Party::new();
    let server = Server::start(Says::default()).await;
    let upstream = watch(&server, &party);
    ask(&upstream).await.unwrap();
    let other = Says { measurement: OTHER, ..Says::default() };
    let server = Server::start_on(server.stop().await, other).await;
    assert_eq!(refused(&upstream).await, (Standing::NotAcceptable, "snp_measurement".to_owned()));
    assert_eq!(server.guest.asked.load(Ordering::SeqCst), 0);
    // Nor does one whose measurement the policy accepts from now on, before it was judged again.
    party.trusts(Ok(accepting(OTHER)));
    assert_eq!(refused(&upstream).await.0, Standing::NotAcceptable);
    party.pass(10);
    assert_eq!(ask(&upstream).await.unwrap(), "question");
}

/// A relay with the stolen TLS key that passes on document and authenticators, and reads what it gets.
async fn relay(server: &Server) -> (std::net::SocketAddr, Arc<AtomicBool>) {
    let to = server.target();
    let passed_on = {
        let to = to.clone();
        move |body: Bytes| async move {
            let upstream = connect_unverified_for_attestation(&to, &Limits::default()).await.unwrap();
            let pinned = Client::<Pinned>::pinned(to, upstream.tls_key(), Limits::default());
            pinned.post_json(authenticator::PATH, &[], body).await.unwrap().body
        }
    };
    let shown = move |RawQuery(query): RawQuery| async move {
        let nonce = nonce_of_query(query.as_deref()).unwrap();
        let mut upstream = connect_unverified_for_attestation(&to, &Limits::default()).await.unwrap();
        upstream.fetch_document(&nonce).await.unwrap()
    };
    let has_read = Arc::new(AtomicBool::new(false));
    let reads = Arc::clone(&has_read);
    let router = Router::new()
        .route(document::PATH, get(shown))
        .route(authenticator::PATH, post(passed_on))
        .fallback(move || async move { reads.store(true, Ordering::SeqCst) });
    let (address, end, _task) = serve("127.0.0.1:0".parse().unwrap(), Arc::clone(&server.tls), router).await;
    // It lives as long as the test.
    std::mem::forget(end);
    (address, has_read)
}

#[tokio::test]
async fn case_04_a_relay_with_the_stolen_tls_key_gets_no_request() {
    let server = Server::start(Says::default()).await;
    let (address, has_read) = relay(&server).await;
    let upstream = VerifiedUpstream::new(target(address), Party::new(), Settings::default(), None);
    assert_eq!(refused(&upstream).await, (Standing::NotAuthentic, "authenticator".to_owned()));
    assert!(!has_read.load(Ordering::SeqCst));
}

#[tokio::test]
async fn nothing_is_sent_once_the_look_is_overdue_or_the_evidence_has_ended() {
    let party = Party::new();
    let server = Server::start(Says::default()).await;
    let upstream = watch(&server, &party);
    ask(&upstream).await.unwrap();
    party.trusts(Err("the policy expired".to_owned()));
    party.pass(599);
    ask(&upstream).await.unwrap();
    party.pass(1);
    assert_eq!(upstream.snapshot().verdict, Standing::Lapsed);
    // A request looks again, and there is nothing in force to judge by.
    assert_eq!(refused(&upstream).await, (Standing::NoPolicy, "no_policy".to_owned()));
    party.trusts(Ok(accepting(MEASUREMENT)));
    party.pass(10);
    let expires = upstream.verify().await.expires.unwrap();
    party.go_to(expires);
    assert_eq!(refused(&upstream).await.0, Standing::Lapsed);
    party.pass(10);
    let ended = (Standing::NotAuthentic, "snp_certificate_validity".to_owned());
    assert_eq!(refused(&upstream).await, ended);
}

#[tokio::test]
async fn the_next_look_is_before_the_evidence_ends() {
    let party = Party::new();
    let server = Server::start(Says::default()).await;
    let upstream = watch(&server, &party);
    let expires = upstream.verify().await.expires.unwrap();
    party.go_to(expires.plus_seconds(-100));
    assert_eq!(upstream.verify().await.next_check, expires.plus_seconds(-60));
}

#[tokio::test]
async fn a_connector_gives_hyper_attested_connections_to_the_target_until_the_verdict_changes() {
    use hyper_util::client::legacy;
    use hyper_util::rt::TokioExecutor;
    let party = Party::new();
    let server = Server::start(Says::default()).await;
    let upstream = watch(&server, &party);
    let connector = upstream.connector().await.unwrap();
    let client = || {
        let builder = legacy::Client::builder(TokioExecutor::new());
        builder.build::<_, Full<Bytes>>(connector.clone())
    };
    let get = |uri: String| Request::get(uri).body(Full::default()).unwrap();
    let path = format!("{}/healthz", server.target());
    assert_eq!(client().request(get(path.clone())).await.unwrap().status(), 200);
    for elsewhere in ["https://localhost:1/", "http://127.0.0.1/", "https://models.example/"] {
        assert!(client().request(get(elsewhere.to_owned())).await.unwrap_err().is_connect(), "{elsewhere}");
    }
    party.trusts(Err("the policy expired".to_owned()));
    upstream.verify().await;
    let error = client().request(get(path)).await.unwrap_err();
    assert!(error.is_connect());
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the attestation has ended");
}

#[tokio::test]
async fn a_rollback_is_told_or_refused_as_the_settings_say() {
    let folder = tempfile::TempDir::new().unwrap();
    let party = Party::new();
    let server = Server::start(Says::default()).await;
    let with = |rollback, name: &str| {
        let history = History::open(&folder.path().join(name)).unwrap();
        let settings = Settings { rollback, ..Settings::default() };
        VerifiedUpstream::new(server.target(), party.clone(), settings, Some(history))
    };
    let (told, strict) = (with(RollbackRule::Warn, "told"), with(RollbackRule::Refuse, "strict"));
    let first = told.verify().await;
    assert_eq!((first.rollbacks.len(), first.history.unwrap().entries), (0, 1));
    assert_eq!(first.news(None).len(), 1);
    strict.verify().await;
    server.guest.say(Says { version: 2, tree_size: 11, ..Says::default() });
    let second = told.verify().await;
    let codes: Vec<_> = second.rollbacks.iter().map(|rollback| rollback.code()).collect();
    assert_eq!(codes, ["rollback_model_version", "rollback_tree_size"]);
    assert_eq!((second.verdict, second.history.unwrap().entries), (Standing::Accepted, 2));
    assert_eq!(second.news(Some(&first)).len(), 2);
    assert!(told.verify().await.news(Some(&second)).is_empty(), "what was told is not told again");
    let second = strict.verify().await;
    assert_eq!(second.verdict, Standing::Rollback);
    assert_eq!(second.reason.unwrap().code, "rollback_model_version");
    assert_eq!(second.history.unwrap().entries, 1, "what is refused is not remembered as accepted");
    assert_eq!(refused(&strict).await.0, Standing::Rollback);
    assert_eq!(server.guest.asked.load(Ordering::SeqCst), 0);
    // It may come forward again.
    server.guest.say(Says { version: 4, tree_size: 13, ..Says::default() });
    party.pass(10);
    ask(&strict).await.unwrap();
}

#[tokio::test]
async fn many_who_wait_for_a_verdict_share_one_look() {
    let server = Server::start(Says::default()).await;
    let upstream = watch(&server, &Party::new());
    let looks: Vec<_> = (0..8).map(|_| upstream.clone()).collect();
    let looks =
        looks.into_iter().map(|upstream| tokio::spawn(async move { upstream.verify().await.verdict }));
    for look in looks.collect::<Vec<_>>() {
        assert_eq!(look.await.unwrap(), Standing::Accepted);
    }
    assert_eq!(server.guest.signed.load(Ordering::SeqCst), 1);
}
