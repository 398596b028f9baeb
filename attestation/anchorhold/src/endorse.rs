//! What vendors say about the parts in evidence: from the cache, and from the network for the rest.

use crate::exit::{Exit, Failure};
use crate::output::remark;
use anchorhold_endorsements::{
    BaseUrl, BaseUrlError, Cache, CacheLimits, Config, Endorsed, EndorsementStore, Error, Gathered,
    HttpsTransport, Mirrors, Mode,
};
use anchorhold_rats::{Endorsements, Evidence, Timestamp};
use std::future::Future;
use std::path::PathBuf;

const OFFLINE_HINT: &str = "without --offline what is missing is fetched";
const ONLINE_HINT: &str = "\
the services may be down or out of reach; --pccs, --kds, --rim-service and --ocsp-service name mirrors";
const NO_FOLDER: &str = "there is no folder to keep endorsements in: neither XDG_CACHE_HOME nor HOME is set";

/// Where endorsements come from.
#[derive(clap::Args)]
pub(crate) struct StoreArgs {
    /// Keep what is fetched in this folder, and look there first
    /// [default: $XDG_CACHE_HOME/anchorhold/endorsements, or the same below ~/.cache]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Fetch nothing: what the folder has must do
    #[arg(long)]
    offline: bool,
    /// Ask this PCCS instead of Intel's services
    #[arg(long, value_name = "URL", value_parser = base_url)]
    pccs: Option<BaseUrl>,
    /// Ask this mirror instead of AMD's key distribution service
    #[arg(long, value_name = "URL", value_parser = base_url)]
    kds: Option<BaseUrl>,
    /// Ask this mirror instead of NVIDIA's RIM service
    #[arg(long, value_name = "URL", value_parser = base_url)]
    rim_service: Option<BaseUrl>,
    /// Ask this mirror instead of NVIDIA's OCSP responder
    #[arg(long, value_name = "URL", value_parser = base_url)]
    ocsp_service: Option<BaseUrl>,
}

fn base_url(text: &str) -> Result<BaseUrl, BaseUrlError> {
    BaseUrl::new(text)
}

impl StoreArgs {
    /// Everything that judging `evidence` at `at` needs.
    pub(crate) fn endorse(&self, evidence: &Evidence, at: Timestamp) -> Result<Endorsed, Failure> {
        let store = self.store()?;
        let endorsed = wait(store.endorse(evidence, at))?.map_err(|error| self.failure(&error))?;
        remark_not_kept(&endorsed);
        Ok(endorsed)
    }

    /// What can be had of it; each thing that cannot is a remark.
    pub(crate) fn gather(&self, evidence: &Evidence, at: Timestamp) -> Result<Endorsements, Failure> {
        let store = self.store()?;
        let gathered = wait(store.gather(evidence, at))?;
        let Gathered { endorsed, missing } = match gathered {
            Ok(gathered) => gathered,
            // Evidence that does not say what to ask for is refused by the verifier, which says more about it.
            Err(Error::Evidence(error)) => {
                remark(&format!("anchorhold: warning: no endorsements: {error}"));
                return Ok(Endorsements::default());
            }
            Err(error) => return Err(self.failure(&error)),
        };
        for failure in &missing {
            remark(&format!("anchorhold: warning: endorsement missing: {failure}"));
        }
        if !missing.is_empty() {
            remark(&format!("hint: {}", self.hint()));
        }
        remark_not_kept(&endorsed);
        Ok(endorsed.endorsements)
    }

    fn store(&self) -> Result<EndorsementStore<HttpsTransport>, Failure> {
        let folder = self.cache.clone().map_or_else(default_folder, Ok)?;
        let cache = Cache::open(folder, CacheLimits::default()).map_err(Failure::other)?;
        let transport = HttpsTransport::new().map_err(|e| Failure::other(format!("no TLS: {e}")))?;
        Ok(EndorsementStore::new(self.config(), transport, cache))
    }

    fn config(&self) -> Config {
        let (pccs, kds) = (self.pccs.clone(), self.kds.clone());
        let (rim, ocsp) = (self.rim_service.clone(), self.ocsp_service.clone());
        let mode = if self.offline { Mode::Offline } else { Mode::CacheFirst };
        Config { mode, ..Config::production() }.with_mirrors(Mirrors { pccs, kds, rim, ocsp })
    }

    fn failure(&self, error: &Error) -> Failure {
        match error {
            Error::Missing(_) => Failure::new(Exit::EndorsementsUnavailable, error).hint(self.hint()),
            Error::Evidence(_) | Error::Limits(_) | Error::Cache(_) => Failure::other(error),
        }
    }

    const fn hint(&self) -> &'static str {
        if self.offline { OFFLINE_HINT } else { ONLINE_HINT }
    }
}

/// Adds endorsements to those that are there, each once. Of collateral there is one, and the new one wins.
pub(crate) fn add(there: &mut Endorsements, new: Endorsements) {
    let Endorsements { snp_crls, tdx, rims, ocsp } = new;
    there.tdx = tdx.or(there.tdx.take());
    for (list, items) in [(&mut there.snp_crls, snp_crls), (&mut there.rims, rims), (&mut there.ocsp, ocsp)] {
        for item in items {
            if !list.contains(&item) {
                list.push(item);
            }
        }
    }
}

fn wait<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::other(format!("cannot start: {e}")))?;
    Ok(runtime.block_on(work))
}

fn remark_not_kept(endorsed: &Endorsed) {
    if let Some(error) = endorsed.not_kept {
        remark(&format!("anchorhold: warning: what was fetched could not be kept: {error}"));
    }
}

/// Where the system keeps what can be fetched again (XDG Base Directory Specification).
fn default_folder() -> Result<PathBuf, Failure> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    let caches = caches.ok_or_else(|| Failure::other(NO_FOLDER).hint("name one with --cache"))?;
    Ok(caches.join("anchorhold").join("endorsements"))
}
