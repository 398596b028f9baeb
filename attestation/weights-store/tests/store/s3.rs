//! A real S3 server (crate `s3s-fs`, over a folder, in this process): requests are signed, and it checks the signatures.

use std::fs;
use std::path::Path;

use anchorhold_weights_store::{Addressing, Cache, Identity, S3Credentials, S3Options, StoreOptions, Target};
use hyper_util::rt::{TokioExecutor, TokioIo};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use crate::server::{Reply, Server};
use crate::support::{Fetch, SEGMENT, Sealed, check_ciphertext_only, files, loads, plain};

const KEY_ID: &str = "AKIDOFTHESTORETESTS";
const SECRET: &str = "secret-of-the-store-tests";
const BUCKET: &str = "acme-models";
const PREFIX: &str = "chat/v1";

struct S3 {
    endpoint: String,
    task: tokio::task::JoinHandle<()>,
    _root: tempfile::TempDir,
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server whose bucket holds the package.
async fn serve(sealed: &Sealed) -> S3 {
    let root = tempfile::tempdir().unwrap();
    let bucket = root.path().join(BUCKET).join(PREFIX);
    copy(&sealed.package(), &bucket);
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
    builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
    let service = builder.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let task = tokio::spawn(async move {
        let http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (http, service) = (http.clone(), service.clone());
            connections.spawn(async move {
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    S3 { endpoint, task, _root: root }
}

fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
}

fn key(secret: &str) -> Identity {
    let secret = Zeroizing::new(secret.to_owned());
    Identity::Key(S3Credentials::new(KEY_ID.to_owned(), secret, None).unwrap())
}

fn options(s3: &S3, identity: Identity) -> StoreOptions {
    let s3 = S3Options { endpoint: Some(s3.endpoint.clone()), ..S3Options::default() };
    StoreOptions { identity, s3, ..plain() }
}

fn url() -> String {
    format!("s3://{BUCKET}/{PREFIX}")
}

#[tokio::test(flavor = "multi_thread")]
async fn from_an_s3_server_with_signed_requests() {
    let sealed = Sealed::new();
    let s3 = serve(&sealed).await;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("cache");
    let cache = Cache::open(&root, 1 << 30).unwrap();
    let options = options(&s3, key(SECRET));
    let fetch = Fetch { options, ..Fetch::new(&url(), &sealed, Target::Cache(&cache)) };
    let fetched = fetch.run().await.unwrap();
    assert_eq!(fetched.summary().fetched, fetched.summary().total);
    loads(fetched);
    check_ciphertext_only(&root);
    for path in files(&root) {
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_s3_server_refuses_a_wrong_key_and_the_code_says_so() {
    let sealed = Sealed::new();
    let s3 = serve(&sealed).await;
    let out = tempfile::tempdir().unwrap();
    for (identity, code) in [(key("another"), "SignatureDoesNotMatch"), (Identity::Anonymous, "AccessDenied")]
    {
        let options = options(&s3, identity);
        let fetch = Fetch { options, ..Fetch::new(&url(), &sealed, Target::Folder(out.path())) };
        let (observed, error) = fetch.refused().await;
        assert_eq!(observed, "denied");
        assert!(error.to_string().contains(code), "{error}");
        assert!(!error.to_string().contains("another"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_s3_server_has_no_such_prefix() {
    let sealed = Sealed::new();
    let s3 = serve(&sealed).await;
    let out = tempfile::tempdir().unwrap();
    let options = options(&s3, key(SECRET));
    let url = format!("s3://{BUCKET}/other");
    let fetch = Fetch { options, ..Fetch::new(&url, &sealed, Target::Folder(out.path())) };
    assert_eq!(fetch.refused().await.0, "absent");
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_the_s3_server_notices_another_object_under_the_name() {
    let sealed = Sealed::new();
    let s3 = serve(&sealed).await;
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::set_permissions(&out, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let weights = sealed.weights();
    let object = s3._root.path().join(BUCKET).join(PREFIX).join(weights.path());
    let options = options(&s3, key(SECRET));
    let mut limits = crate::support::limits();
    (limits.in_flight, limits.changes) = (1, 0);
    let fetch = Fetch { options, limits, ..Fetch::new(&url(), &sealed, Target::Folder(&out)) };
    // Once the first segment is here, the object changes: the next range must be refused by the server, not by the hash.
    let original = fs::read(&object).unwrap();
    let changed = std::sync::atomic::AtomicBool::new(false);
    let report = |progress: anchorhold_weights_store::Progress| {
        if progress.done > SEGMENT && !changed.swap(true, std::sync::atomic::Ordering::Relaxed) {
            let mut other = original.clone();
            other[100] ^= 1;
            fs::write(&object, other).unwrap();
        }
    };
    assert_eq!(fetch.report(&report).await.unwrap_err().code(), "changed");
    fs::write(&object, &original).unwrap();
    let rest = fetch.run().await.unwrap();
    assert!(rest.summary().reused > SEGMENT);
    loads(rest);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_of_the_machine_signs_requests() {
    let sealed = Sealed::new();
    let s3 = serve(&sealed).await;
    // The answers of the metadata service, IMDSv2: a token, the role, its key.
    let metadata = Server::start(&sealed.package(), |request| {
        let (body, good) = match request.path.as_str() {
            "/latest/api/token" => ("token".to_owned(), true),
            "/latest/meta-data/iam/security-credentials/" => ("role".to_owned(), request.headers.contains_key("x-aws-ec2-metadata-token")),
            "/latest/meta-data/iam/security-credentials/role" => (
                format!(
                    r#"{{"AccessKeyId":"{KEY_ID}","SecretAccessKey":"{SECRET}","Token":"t","Expiration":"2099-01-01T00:00:00Z"}}"#
                ),
                true,
            ),
            _ => (String::new(), false),
        };
        let status = if good { "200 OK" } else { "400 Bad Request" };
        Reply::Raw(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    })
    .await;
    let out = tempfile::tempdir().unwrap();
    let identity = Identity::Machine { endpoint: Some(metadata.url.clone()) };
    let options = options(&s3, identity);
    let fetch = Fetch { options, ..Fetch::new(&url(), &sealed, Target::Folder(out.path())) };
    loads(fetch.run().await.unwrap());
    // Three requests for the key, which is not asked for with each of the store; the client may begin one again.
    let asked = metadata.requests().len();
    assert!((3..=6).contains(&asked), "{asked} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_settings_that_do_not_fit() {
    let sealed = Sealed::new();
    let out = tempfile::tempdir().unwrap();
    let endpoint = |endpoint: &str, addressing| StoreOptions {
        s3: S3Options { endpoint: Some(endpoint.to_owned()), addressing, ..S3Options::default() },
        ..StoreOptions::default()
    };
    let region = |region: &str| StoreOptions {
        s3: S3Options { region: region.to_owned(), ..S3Options::default() },
        ..StoreOptions::default()
    };
    for options in [
        endpoint("http://127.0.0.1:1", Addressing::Path),
        endpoint("https://host/path", Addressing::Path),
        endpoint("s3://bucket", Addressing::Path),
        endpoint("host", Addressing::VirtualHost),
        region(""),
        region("eu west"),
        region("eu-west-1\r\n"),
    ] {
        let fetch = Fetch { options, ..Fetch::new(&url(), &sealed, Target::Folder(out.path())) };
        assert_eq!(fetch.refused().await.0, "settings");
    }
    let options = StoreOptions { identity: key(SECRET), ..plain() };
    let fetch = Fetch { options, ..Fetch::new("http://127.0.0.1:1", &sealed, Target::Folder(out.path())) };
    assert_eq!(fetch.refused().await.0, "settings");
}
