//! Loading a model into a worker of its own.

use super::{Happening, Keeper, named};
use crate::children::Apart;
use crate::cpus;
use crate::fetch::Recheck;
use crate::required::require;
use crate::settings::{Model, Package};
use crate::stages::{Memory, Stage};
use crate::start::warn;
use crate::worker::{self, LoadFailure, LoadOrder, Source, with_group};
use anchorhold_audit_log::{Code, EventType, Hash, Model as LoggedModel, Outcome};
use anchorhold_confine::Phase;
use anchorhold_ipc::{HeldProcess, LoadReport};
use anchorhold_rats::RuntimeEvent;
use anyhow::{Context as _, bail};

impl Keeper {
    /// Starts the worker of a slot and loads its model. A package that was fetched and is not as signed any more is fetched
    /// again where it is not, once.
    ///
    /// # Errors
    /// The package could not be fetched, or the worker could not be confined, or refused the package, or ended.
    pub(crate) fn load(&mut self, at: usize) -> anyhow::Result<()> {
        self.fetch(at, Recheck::No)?;
        match self.try_load(at)? {
            Ok(()) => Ok(()),
            Err(failure) if failure.may_be_rot() && self.was_fetched(at) => {
                let model = self.slots.get(at).context("no such model")?.model.clone();
                // The refusal is logged, and what follows is another attempt.
                let _ = self.load_failed(&model, failure);
                self.fetch(at, Recheck::Yes)?;
                self.try_load(at)?.map_err(|failure| self.load_failed(&model, failure))
            }
            Err(failure) => {
                let model = self.slots.get(at).context("no such model")?.model.clone();
                Err(self.load_failed(&model, failure))
            }
        }
    }

    /// Starts a worker for the model and has it load: what it says of a package that it refuses is the inner error.
    fn try_load(&mut self, at: usize) -> anyhow::Result<Result<(), LoadFailure>> {
        let slot = self.slots.get_mut(at).context("no such model")?;
        let key = slot.key.as_ref().context("the lease has ended")?;
        let model = slot.model.clone();
        // Measured before anything is decrypted, so that no evidence leaves out what may be in memory.
        let event = RuntimeEvent::model(&model.id, key.version, &key.manifest_digest);
        self.identity.attester.measure(event).context("measuring the model")?;
        let source = match (&model.package, &slot.fetched) {
            (Package::Directory(directory), _) => Source::Directory(directory),
            (Package::Address(_), Some(fetched)) => Source::Fetched(fetched),
            (Package::Address(_), None) => bail!("the package was not fetched"),
        };
        let apart = Apart {
            beginning: &self.beginning,
            role: self.settings.worker.role(),
            category: u16::try_from(at)?,
            group: self.groups.as_ref().map_err(String::as_str).and_then(|groups| {
                groups.get(at).map(|share| &share.group).ok_or("none was made for this model")
            }),
        };
        let workers = self.workers.clone();
        let born = |pid| workers.add(pid, &model.id);
        let (starting, layers) = worker::Starting::start(&self.settings, &self.empty, &apart, born)?;
        self.stages.tell(&Stage::Worker {
            model: &model.id,
            pid: starting.id(),
            layers: &layers.active,
            missing: &layers.missing,
        });
        let (settings, at_now) = (&self.settings.worker, self.clock.wall());
        let order = LoadOrder {
            model: &model,
            source,
            key,
            threads: settings.threads,
            cpus: cpus::share(&self.cpus, settings.threads, at),
            keep_prefixes: settings.keep_prefixes,
            precision: settings.precision,
            at: at_now,
        };
        let (loaded, report, serving) = match starting.load(&order) {
            Ok(loaded) => loaded,
            Err(failure) => return Ok(Err(failure)),
        };
        let serving = with_group(serving, Ok(Ok(apart.group.is_ok())));
        require(&self.settings, ("worker", &apart.role), Phase::Serving, &serving)?;
        let held = HeldProcess::new(&format!("worker {}", model.id), &serving);
        self.held.retain(|other| other.process != held.process);
        self.held.push(held);
        slot.generation += 1;
        let ended = Happening::WorkerGone { slot: at, generation: slot.generation };
        let (running, data) = loaded.watch(self.happenings.clone(), ended)?;
        slot.running = Some(running);
        slot.ready = Some((report.model.clone(), Some(data)));
        self.tell_loaded(at, &model.id, &report)?;
        Ok(Ok(()))
    }

    /// Makes an entry of a model that is loaded, and says what it took.
    fn tell_loaded(&mut self, at: usize, model: &str, report: &LoadReport) -> anyhow::Result<()> {
        let manifest = Hash::new(report.model.manifest_digest);
        let version = report.model.version;
        let memory = Memory::from(report);
        let index = self.record(EventType::ModelLoad, Outcome::Success, |event| {
            event.model = named(model).map(|named| LoggedModel {
                manifest: Some(manifest),
                ver: Some(version),
                ..named
            });
        })?;
        if let Some(slot) = self.slots.get_mut(at) {
            slot.logged = index + 1;
        }
        let gigabytes_per_s = report.bytes as f64 / 1e3 / (report.micros.max(1)) as f64;
        if let Some(warning) = memory.warning(model) {
            warn(&warning);
        }
        self.stages.tell(&Stage::Loaded {
            model,
            bytes: report.bytes,
            load_ms: report.micros as f64 / 1e3,
            gigabytes_per_s,
            memory,
        });
        Ok(())
    }

    fn load_failed(&mut self, model: &Model, failure: LoadFailure) -> anyhow::Error {
        let at = self.slots.iter().position(|slot| slot.model.id == model.id);
        // The log refuses only when it is poisoned, and what follows is refused because of it.
        let _ = at.map(|at| self.look_at_share(at));
        let (code, detail) = match failure {
            LoadFailure::Refused { code, detail } => (code, detail),
            LoadFailure::Broken(error) => ("worker_lost".to_owned(), format!("{error:#}")),
        };
        self.stages.tell(&Stage::LoadFailed { model: &model.id, code: &code, detail: &detail });
        let recorded = self.record(EventType::ModelReject, Outcome::Denied, |event| {
            event.model = named(&model.id);
            event.code = Code::new(&code).unwrap_or(Code::from_static("unnamed"));
        });
        let error = anyhow::anyhow!("the sealed package of {} was refused: {code}: {detail}", model.id);
        match recorded {
            Ok(_) => error,
            Err(log) => log.context(error),
        }
    }
}
