//! From the keeper's order to a fetched package, and from every end of the fetch to a word for the keeper.

use anchorhold_ipc::{
    FetchPackage, FetchReport, FromFetcher, LineError, LineWriter, ObjectDescriptors, StoreAccess,
    StoreIdentity,
};
use anchorhold_weights_store::{
    Addressing, Cache, Error, FetchedPackage, Identity, Limits, Order, Pin, PlainHttp, Progress, Recheck,
    S3Credentials, S3Options, Store, StoreOptions, StoreUrl, Target, Trust, fetch,
};
use rustls::pki_types::CertificateDer;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The keeper hears of progress at most this often.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// Tells the keeper how far the fetch is. The lock guards the line, for the time of one message.
struct Teller {
    line: Mutex<(LineWriter<FromFetcher>, Option<Instant>)>,
}

impl Teller {
    fn progress(&self, Progress { done, total }: Progress) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if line.1.is_none_or(|last| last.elapsed() >= TELL_EVERY) {
            line.1 = Some(Instant::now());
            // A keeper that is gone takes this process with it.
            let _ = line.0.send(&FromFetcher::Progress { done, total }, &[]);
        }
    }

    fn say(&self, message: &FromFetcher) -> Result<(), LineError> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).0.send(message, &[])
    }
}

/// Fetches the package into the cache or, when the cache's disk does not work, into memory, and tells how it ended.
///
/// # Errors
/// The line broke.
pub(crate) async fn carry_out(
    wanted: &FetchPackage,
    cache: &Path,
    line: LineWriter<FromFetcher>,
) -> Result<(), LineError> {
    let teller = Teller { line: Mutex::new((line, None)) };
    match attempt(wanted, cache, &teller).await {
        Ok(package) => hand_over(package, &teller),
        Err(error) => {
            teller.say(&FromFetcher::Failed { code: error.code().to_owned(), detail: error.to_string() })
        }
    }
}

async fn attempt(wanted: &FetchPackage, cache: &Path, teller: &Teller) -> Result<FetchedPackage, Error> {
    let limits = limits(&wanted.store);
    let url: StoreUrl = wanted.url.parse()?;
    let store = Store::open(&url, &options(&wanted.store)?, &limits)?;
    let order = Order {
        owner_key: &wanted.owner_key,
        pin: Pin::Release { digest: wanted.manifest_digest, min_version: wanted.version_min },
        recheck: if wanted.recheck { Recheck::Everything } else { Recheck::Nothing },
        limits: &limits,
    };
    let report = |progress| teller.progress(progress);
    let into_cache = async {
        let cache = Cache::open(cache, wanted.cache_max_bytes)?;
        fetch(&store, &order, Target::Cache(&cache), &report).await
    };
    let refused = match into_cache.await {
        Err(error) if error.is_of_the_cache() && wanted.memory_max_bytes > 0 => error,
        ended => return ended,
    };
    let (code, detail) = (refused.code().to_owned(), refused.to_string());
    // A keeper that does not hear this is gone, and this process with it.
    let _ = teller.say(&FromFetcher::CacheFailed { code, detail });
    fetch(&store, &order, Target::Memory { limit: wanted.memory_max_bytes }, &report).await
}

fn hand_over(package: FetchedPackage, teller: &Teller) -> Result<(), LineError> {
    let summary = package.summary();
    let manifest = package.manifest_bytes().to_vec();
    let ids = package.manifest().objects().iter().map(|object| object.id().to_string());
    let objects = ids.map(|id| ObjectDescriptors { id }).collect();
    let (files, lock) = package.into_files();
    let of_objects = files.objects.iter().flat_map(|object| [object.data.as_fd(), object.tree.as_fd()]);
    let mut descriptors = vec![files.card.as_fd()];
    descriptors.extend(of_objects.chain(lock.as_ref().map(|lock| lock.as_fd())));
    let report = FetchReport {
        manifest,
        objects,
        locked: lock.is_some(),
        fetched: summary.fetched,
        reused: summary.reused,
        requests: summary.requests,
    };
    let mut line = teller.line.lock().unwrap_or_else(PoisonError::into_inner);
    line.0.send(&FromFetcher::Fetched(report), &descriptors)
}

fn limits(access: &StoreAccess) -> Limits {
    Limits {
        in_flight: access.in_flight.into(),
        range_len: access.range_len,
        total: Duration::from_secs(access.total_s),
        ..Limits::default()
    }
}

fn options(access: &StoreAccess) -> Result<StoreOptions, Error> {
    let identity = match &access.identity {
        StoreIdentity::Anonymous => Identity::Anonymous,
        StoreIdentity::Machine => Identity::Machine { endpoint: None },
        StoreIdentity::Key(text) => {
            let key = S3Credentials::parse(&text.0);
            Identity::Key(key.map_err(|error| Error::Settings(format!("access key: {error}")))?)
        }
    };
    let authorities = access.authorities.iter().cloned().map(CertificateDer::from);
    let trust = match access.authorities.len() {
        0 => Trust::Public,
        _ => Trust::Only(authorities.collect()),
    };
    let plain_http = if access.plain_http { PlainHttp::DangerouslyAllowed } else { PlainHttp::Refused };
    let addressing = if access.virtual_host { Addressing::VirtualHost } else { Addressing::Path };
    let s3 = S3Options { region: access.region.clone(), endpoint: access.endpoint.clone(), addressing };
    Ok(StoreOptions { trust, plain_http, identity, s3 })
}
