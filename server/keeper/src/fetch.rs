//! One fetch: a fetcher is started, told what to fetch, heard, and gone at the end.

use crate::children;
use crate::required::require;
use crate::run::{Keeper, named};
use crate::settings::{Package, Settings};
use crate::stages::Stage;
use crate::store::{self, Store};
use crate::worker::MAX_OBJECTS;
use anchorhold_audit_log::{Code, EventType, Hash, Model as LoggedModel, Outcome};
use anchorhold_confine::{Phase, Reach, Role};
use anchorhold_ipc::{Confinement, FetchPackage, FetchReport, FromFetcher, Line, ToFetcher};
use anchorhold_rats::{Ed25519PublicKey, Sha256Digest};
use anyhow::{Context as _, anyhow, bail, ensure};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Child;

/// What of an earlier fetch is verified again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recheck {
    No,
    Yes,
}

/// What to fetch.
pub(crate) struct FetchOrder<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) store: &'a Store,
    pub(crate) address: &'a str,
    pub(crate) digest: Sha256Digest,
    pub(crate) version_min: u64,
    pub(crate) owner_key: Ed25519PublicKey,
    pub(crate) recheck: Recheck,
}

/// What is heard before the end.
pub(crate) enum News {
    Started { pid: u32, layers: Confinement },
    Progress { done: u64, total: u64 },
    CacheFailed { code: String, detail: String },
    Fetched { fetched: u64, reused: u64, requests: u64, in_cache: bool },
}

impl News {
    pub(crate) fn stage<'a>(&'a self, model: &'a str) -> Stage<'a> {
        match *self {
            Self::Started { pid, ref layers } => {
                Stage::Fetcher { model, pid, layers: &layers.active, missing: &layers.missing }
            }
            Self::Progress { done, total } => Stage::Fetching { model, done, total },
            Self::CacheFailed { ref code, ref detail } => Stage::CacheFailed { model, code, detail },
            Self::Fetched { fetched, reused, requests, in_cache } => {
                Stage::Fetched { model, fetched, reused, requests, in_cache }
            }
        }
    }
}

/// Why there is no package.
pub(crate) struct FetchFailure {
    pub(crate) code: String,
    pub(crate) detail: String,
}

/// A package as the fetcher handed it over. The worker verifies it; nothing here is believed.
pub(crate) struct Fetched {
    /// The digest that was asked for.
    pub(crate) digest: Sha256Digest,
    manifest: Vec<u8>,
    objects: Vec<String>,
    /// The card, then for each object its segments and its tree.
    files: Vec<OwnedFd>,
    /// While it is held, no other process removes the package from the cache.
    _lock: Option<OwnedFd>,
}

impl Fetched {
    /// Manifest, ids and descriptors, for a worker.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn parts(&self) -> anyhow::Result<(Vec<u8>, Vec<String>, Vec<OwnedFd>)> {
        let files = self.files.iter().map(OwnedFd::try_clone).collect::<Result<_, _>>()?;
        Ok((self.manifest.clone(), self.objects.clone(), files))
    }
}

impl Keeper {
    /// Whether the package of a slot came from a store.
    pub(crate) fn was_fetched(&self, at: usize) -> bool {
        self.slots.get(at).is_some_and(|slot| slot.fetched.is_some())
    }

    /// Fetches the package of a slot, unless it is a directory, or is here already and believed.
    pub(crate) fn fetch(&mut self, at: usize, recheck: Recheck) -> anyhow::Result<()> {
        let slot = self.slots.get_mut(at).context("no such model")?;
        let (Package::Address(address), Some(store)) = (&slot.model.package, &self.settings.store) else {
            return Ok(());
        };
        let key = slot.key.as_ref().context("the lease has ended")?;
        let wanted = key.manifest_digest;
        if recheck == Recheck::No && slot.fetched.as_ref().is_some_and(|fetched| fetched.digest == wanted) {
            return Ok(());
        }
        let (model, version) = (slot.model.clone(), key.version);
        let order = FetchOrder {
            settings: &self.settings,
            store,
            address,
            digest: wanted,
            version_min: version.max(model.version_min),
            owner_key: model.owner_key,
            recheck,
        };
        // What is held of the package is given up first: its lock would keep the cache from making room.
        slot.fetched = None;
        let mut told = Vec::new();
        let ended = fetch(&order, &self.empty, |news| {
            self.stages.tell(&news.stage(&model.id));
            if let News::CacheFailed { code, .. } = news {
                told.push(code.clone());
            }
        });
        for code in told {
            self.record_fetch((&model.id, None), Outcome::Failure, &code)?;
        }
        match ended {
            Ok(fetched) => {
                self.slots.get_mut(at).context("no such model")?.fetched = Some(fetched);
                let named = Some((Hash::new(*wanted.as_bytes()), version));
                self.record_fetch((&model.id, named), Outcome::Success, "fetched")
            }
            Err(failure) => Err(self.fetch_failed(&model.id, &failure)),
        }
    }

    fn fetch_failed(&mut self, model: &str, FetchFailure { code, detail }: &FetchFailure) -> anyhow::Error {
        self.stages.tell(&Stage::FetchFailed { model, code, detail });
        let error = anyhow!("the sealed package of {model} was not fetched: {code}: {detail}");
        match self.record_fetch((model, None), Outcome::Failure, code) {
            Ok(()) => error,
            Err(log) => log.context(error),
        }
    }

    fn record_fetch(
        &self,
        (model, manifest): (&str, Option<(Hash, u64)>),
        outcome: Outcome,
        code: &str,
    ) -> anyhow::Result<()> {
        let recorded = self.record(EventType::ModelFetch, outcome, |event| {
            event.model = named(model).map(|named| LoggedModel {
                manifest: manifest.map(|(digest, _)| digest),
                ver: manifest.map(|(_, version)| version),
                ..named
            });
            event.code = Code::new(code).unwrap_or(Code::from_static("unnamed"));
        });
        recorded.map(drop)
    }
}

/// A fetcher that is killed when it is not needed any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and that is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fetches a package and tells `hear` what happens meanwhile.
fn fetch(order: &FetchOrder<'_>, empty: &Path, mut hear: impl FnMut(&News)) -> Result<Fetched, FetchFailure> {
    let outcome = attempt(order, empty, &mut hear);
    outcome.unwrap_or_else(|error| {
        Err(FetchFailure { code: "fetcher_lost".to_owned(), detail: format!("{error:#}") })
    })
}

fn attempt(
    order: &FetchOrder<'_>,
    empty: &Path,
    hear: &mut impl FnMut(&News),
) -> anyhow::Result<Result<Fetched, FetchFailure>> {
    let store = order.store;
    let folders = (store.cache.as_path(), store::folder_of(order.address));
    let (child, line) = children::fetcher(&store.program, folders, empty)?;
    let running = Running(child);
    let mut line: Line<ToFetcher, FromFetcher> = Line::new(line);
    let (first, _) = line.receive().context("the fetcher ended before it had confined itself")?;
    let FromFetcher::Confined(layers) = first else { bail!("the fetcher did not confine itself") };
    require(order.settings, ("fetcher", &Role::Fetcher(Reach::default())), Phase::Serving, &layers)?;
    hear(&News::Started { pid: running.0.id(), layers });
    let wanted = FetchPackage {
        url: order.address.to_owned(),
        store: store.access()?,
        manifest_digest: *order.digest.as_bytes(),
        version_min: order.version_min,
        owner_key: *order.owner_key.as_bytes(),
        recheck: order.recheck == Recheck::Yes,
        cache_max_bytes: store.cache_max_bytes,
        memory_max_bytes: store.memory_max_bytes,
    };
    line.send(&ToFetcher::Fetch(Box::new(wanted)), &[])?;
    loop {
        let (message, descriptors) = line.receive().context("the fetcher ended while it fetched")?;
        match message {
            FromFetcher::Confined(_) => bail!("the fetcher confined itself twice"),
            FromFetcher::Progress { done, total } => hear(&News::Progress { done, total }),
            FromFetcher::CacheFailed { code, detail } => hear(&News::CacheFailed { code, detail }),
            FromFetcher::Failed { code, detail } => return Ok(Err(FetchFailure { code, detail })),
            FromFetcher::Fetched(report) => {
                let FetchReport { fetched, reused, requests, locked, .. } = report;
                let package = received(order.digest, report, descriptors)?;
                hear(&News::Fetched { fetched, reused, requests, in_cache: locked });
                return Ok(Ok(package));
            }
        }
    }
}

fn received(digest: Sha256Digest, report: FetchReport, mut files: Vec<OwnedFd>) -> anyhow::Result<Fetched> {
    let objects: Vec<String> = report.objects.into_iter().map(|object| object.id).collect();
    ensure!(objects.len() <= MAX_OBJECTS, "the fetcher handed over {} objects", objects.len());
    let wanted = 1 + 2 * objects.len() + usize::from(report.locked);
    ensure!(files.len() == wanted, "the fetcher handed over {} descriptors, wanted {wanted}", files.len());
    let lock = if report.locked { files.pop() } else { None };
    Ok(Fetched { digest, manifest: report.manifest, objects, files, _lock: lock })
}
