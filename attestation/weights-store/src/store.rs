//! A store behind its address, whatever kind it is of.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3Builder, AwsCredential};
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{
    ClientOptions, GetOptions, GetRange, GetResultPayload, ObjectStore, RetryConfig, StaticCredentialProvider,
};

use crate::credentials::S3Credentials;
use crate::error::{Error, Fault};
use crate::limits::Limits;
use crate::local::LocalStore;
use crate::store_url::{Place, StoreUrl};
use crate::transport::{MaxBody, Transport, Trust, fault_of};

/// How a store is spoken to.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// Who vouches for the store's name.
    pub trust: Trust,
    /// Whether a store without TLS will do.
    pub plain_http: PlainHttp,
    /// Who we are to an S3 store.
    pub identity: Identity,
    /// Where the S3 store is.
    pub s3: S3Options,
}

/// Whether a store may be spoken to without TLS. The package is verified all the same; what is asked for, and a session token,
/// can then be read on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PlainHttp {
    /// It may not.
    #[default]
    Refused,
    /// It may, for instance on the loopback interface.
    DangerouslyAllowed,
}

/// Who we are to an S3 store.
#[derive(Debug, Clone, Default)]
pub enum Identity {
    /// Nobody: requests are not signed.
    #[default]
    Anonymous,
    /// The holder of this access key.
    Key(S3Credentials),
    /// The role of this machine, which the cloud's metadata service knows (IMDSv2).
    Machine {
        /// Where the service is, if not at its usual address.
        endpoint: Option<String>,
    },
}

/// Where an S3 store is.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// The region that requests are signed for.
    pub region: String,
    /// The store's own address, such as `https://s3.example:9000`; Amazon's when there is none.
    pub endpoint: Option<String>,
    /// Where the bucket's name stands.
    pub addressing: Addressing,
}

/// Where the bucket's name stands in an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Addressing {
    /// In front of the path, which every store understands.
    #[default]
    Path,
    /// In front of the host.
    VirtualHost,
}

impl Default for S3Options {
    fn default() -> Self {
        Self { region: "us-east-1".to_owned(), endpoint: None, addressing: Addressing::Path }
    }
}

/// An object or a range of it, as it comes.
pub(crate) struct Piece {
    /// The object's entity tag, if the store has such.
    pub(crate) etag: Option<String>,
    /// Bytes of the whole object.
    pub(crate) size: u64,
    pub(crate) stream: BoxStream<'static, Result<Bytes, Fault>>,
}

/// A store that holds one package.
#[derive(Debug, Clone)]
pub struct Store {
    kind: Kind,
    url: StoreUrl,
}

#[derive(Debug, Clone)]
enum Kind {
    Local(LocalStore),
    Remote(Arc<dyn ObjectStore>),
}

impl Store {
    /// Prepares to speak to the store at `url`; nothing is sent yet. `limits` bound each exchange.
    ///
    /// # Errors
    /// [`Error::Settings`] when the options do not fit the address or each other.
    pub fn open(url: &StoreUrl, options: &StoreOptions, limits: &Limits) -> Result<Self, Error> {
        let kind = match url.place() {
            Place::File(root) => Kind::Local(LocalStore::new(root)),
            Place::Http { plain, authority } => {
                let scheme = if *plain { "http" } else { "https" };
                Kind::Remote(Arc::new(http(&format!("{scheme}://{authority}/"), *plain, options, limits)?))
            }
            Place::S3 { bucket } => Kind::Remote(Arc::new(s3(bucket, options, limits)?)),
        };
        Ok(Self { kind, url: url.clone() })
    }

    /// The address.
    #[must_use]
    pub const fn url(&self) -> &StoreUrl {
        &self.url
    }

    /// A whole file of the package, of at most `limit` bytes.
    pub(crate) async fn whole(&self, file: &str, limit: u64) -> Result<Piece, Fault> {
        let piece = match &self.kind {
            Kind::Local(store) => store.get(file, None, None).await?,
            Kind::Remote(store) => self.get(store.as_ref(), file, limit, GetOptions::new()).await?,
        };
        if piece.size > limit { Err(Fault::TooLong { limit }) } else { Ok(piece) }
    }

    /// A range of a file of the package, which must still be the one that `etag` names.
    pub(crate) async fn range(
        &self,
        file: &str,
        range: Range<u64>,
        etag: Option<&str>,
    ) -> Result<Piece, Fault> {
        match &self.kind {
            Kind::Local(store) => store.get(file, Some(range), etag).await,
            Kind::Remote(store) => {
                let limit = range.end.saturating_sub(range.start);
                // A weak tag names no bytes, so the store could not hold them against it (RFC 9110 section 13.1.1).
                let if_match = etag.filter(|etag| !etag.starts_with("W/")).map(str::to_owned);
                let range = Some(GetRange::Bounded(range));
                let piece = self.get(
                    store.as_ref(),
                    file,
                    limit,
                    GetOptions { if_match, range, ..GetOptions::new() },
                );
                let piece = piece.await?;
                let changed = etag.is_some() && piece.etag.is_some() && etag != piece.etag.as_deref();
                if changed { Err(Fault::Changed) } else { Ok(piece) }
            }
        }
    }

    async fn get(
        &self,
        store: &dyn ObjectStore,
        file: &str,
        limit: u64,
        mut options: GetOptions,
    ) -> Result<Piece, Fault> {
        let prefix = self.url.prefix();
        let path = if prefix.is_empty() { file.to_owned() } else { format!("{prefix}/{file}") };
        let path = Path::parse(path).map_err(|_| Fault::Broken("path not valid".to_owned()))?;
        options.extensions.insert(MaxBody(limit));
        let answer = store.get_opts(&path, options).await.map_err(|error| fault_of(&error))?;
        let (etag, size) = (answer.meta.e_tag, answer.meta.size);
        // The one kind of payload there is without the feature for local files.
        let GetResultPayload::Stream(stream) = answer.payload;
        Ok(Piece { etag, size, stream: stream.map_err(|error| fault_of(&error)).boxed() })
    }
}

/// The attempts of `object_store` are turned off: ours know what was verified already.
fn no_attempts() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

fn transport(options: &StoreOptions, limits: &Limits) -> Result<Transport, Error> {
    let made = Transport::new(&options.trust, limits);
    made.map_err(|error| Error::Settings(format!("certificates of authorities: {error}")))
}

fn settings(error: &object_store::Error) -> Error {
    Error::Settings(error.to_string())
}

fn check_plain(plain: bool, options: &StoreOptions) -> Result<(), Error> {
    if plain && options.plain_http == PlainHttp::Refused {
        return Err(Error::Settings("the store's address is http://, which is not allowed".to_owned()));
    }
    Ok(())
}

fn http(
    base: &str,
    plain: bool,
    options: &StoreOptions,
    limits: &Limits,
) -> Result<object_store::http::HttpStore, Error> {
    check_plain(plain, options)?;
    if !matches!(options.identity, Identity::Anonymous) {
        return Err(Error::Settings("an access key is for s3:// addresses".to_owned()));
    }
    let built = HttpBuilder::new()
        .with_url(base)
        .with_client_options(ClientOptions::new().with_allow_http(plain))
        .with_retry(no_attempts())
        .with_http_connector(transport(options, limits)?)
        .build();
    built.map_err(|error| settings(&error))
}

fn s3(bucket: &str, options: &StoreOptions, limits: &Limits) -> Result<object_store::aws::AmazonS3, Error> {
    let S3Options { region, endpoint, addressing } = &options.s3;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=64).contains(&region.len()) || !region.bytes().all(plain) {
        return Err(Error::Settings("region is not of small letters, digits, '-'".to_owned()));
    }
    let virtual_host = *addressing == Addressing::VirtualHost;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(region)
        .with_virtual_hosted_style_request(virtual_host)
        .with_retry(no_attempts())
        .with_http_connector(transport(options, limits)?);
    let mut may_be_plain = false;
    if let Some(endpoint) = endpoint {
        let Ok((Place::Http { plain, authority }, "")) =
            endpoint.parse::<StoreUrl>().as_ref().map(|url| (url.place().clone(), url.prefix()))
        else {
            return Err(Error::Settings("endpoint is not https://host[:port]".to_owned()));
        };
        check_plain(plain, options)?;
        may_be_plain = plain;
        let scheme = if plain { "http" } else { "https" };
        let before = if virtual_host { format!("{bucket}.") } else { String::new() };
        builder = builder.with_endpoint(format!("{scheme}://{before}{authority}"));
    }
    builder = builder.with_client_options(ClientOptions::new().with_allow_http(may_be_plain));
    builder = match &options.identity {
        Identity::Anonymous => builder.with_skip_signature(true),
        Identity::Key(key) => {
            builder.with_credentials(Arc::new(StaticCredentialProvider::new(AwsCredential {
                key_id: key.key_id().to_owned(),
                secret_key: key.expose_secret().to_owned(),
                token: key.expose_token().map(str::to_owned),
            })))
        }
        Identity::Machine { endpoint: None } => builder,
        Identity::Machine { endpoint: Some(endpoint) } => builder.with_metadata_endpoint(endpoint),
    };
    builder.build().map_err(|error| settings(&error))
}
