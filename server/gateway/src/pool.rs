//! The models that answer, and the lines to their workers.

use crate::flight::{Patience, Worker};
use crate::metrics::Metrics;
use anchorhold_ipc::{Load, ModelInfo};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Every model that ever answered, by id. The lock is held for single map operations.
#[derive(Debug)]
pub(crate) struct Pool {
    models: Mutex<BTreeMap<String, Entry>>,
    metrics: Arc<Metrics>,
    patience: Patience,
    /// True once what still runs is to end.
    ending: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Entry {
    info: ModelInfo,
    /// Seconds since 1970.
    created: u64,
    /// Absent while the model's worker is gone.
    worker: Option<Arc<Worker>>,
}

/// What became of a look for a model.
pub(crate) enum Found {
    Ready(Arc<Worker>),
    Away,
    Unknown,
}

impl Pool {
    pub(crate) fn new(metrics: Arc<Metrics>, patience: Patience, ending: watch::Receiver<bool>) -> Self {
        Self { models: Mutex::new(BTreeMap::new()), metrics, patience, ending }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // A panic while the lock is held leaves a whole map behind.
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes on the worker at the other end of `socket`; an older one for the same model is closed.
    pub(crate) fn add(self: &Arc<Self>, info: ModelInfo, socket: OwnedFd) {
        let pool = Arc::downgrade(self);
        let lost = move |worker: &Worker| {
            if let Some(pool) = pool.upgrade() {
                pool.forget(worker);
            }
        };
        // Without threads or descriptors there is no worker: the model stays away until the keeper sends another.
        let between = self.metrics.between_texts(&info.id);
        let Ok(worker) =
            Worker::start((info.clone(), between), socket, (self.patience, self.ending.clone()), lost)
        else {
            return;
        };
        let created = crate::words::unix_seconds();
        let mut models = self.lock();
        let old = models.insert(info.id.clone(), Entry { info, created, worker: Some(Arc::clone(&worker)) });
        if old.is_some() {
            self.metrics.worker_restarts.inc();
        }
        if let Some(old) = old.and_then(|entry| entry.worker) {
            old.close();
        }
        self.count(&models);
        drop(models);
        // The line may have broken before the worker was in the map, when nobody could forget it.
        if worker.is_lost() {
            self.forget(&worker);
        }
    }

    /// The keeper says that this model's worker is gone.
    pub(crate) fn remove(&self, model: &str) {
        let mut models = self.lock();
        if let Some(worker) = models.get_mut(model).and_then(|entry| entry.worker.take()) {
            worker.close();
        }
        self.count(&models);
    }

    /// The model is to go: its worker finishes what it has and takes nothing more.
    pub(crate) fn retire(&self, model: &str) {
        let mut models = self.lock();
        if let Some(worker) = models.get_mut(model).and_then(|entry| entry.worker.take()) {
            worker.retire();
        }
        self.count(&models);
    }

    fn forget(&self, worker: &Worker) {
        let mut models = self.lock();
        if let Some(entry) = models.get_mut(&worker.info.id) {
            entry.worker.take_if(|current| std::ptr::eq(Arc::as_ptr(current), worker));
        }
        self.count(&models);
    }

    fn count(&self, models: &BTreeMap<String, Entry>) {
        let ready = models.values().filter(|entry| entry.worker.is_some()).count();
        self.metrics.models_ready.set(i64::try_from(ready).unwrap_or(i64::MAX));
    }

    pub(crate) fn find(&self, model: &str) -> Found {
        match self.lock().get(model) {
            Some(Entry { worker: Some(worker), .. }) => Found::Ready(Arc::clone(worker)),
            Some(_) => Found::Away,
            None => Found::Unknown,
        }
    }

    /// Every known model and since when it answers, by id.
    pub(crate) fn list(&self) -> Vec<(ModelInfo, u64)> {
        self.lock().values().map(|entry| (entry.info.clone(), entry.created)).collect()
    }

    /// What the worker of each model told last, by id; of one whose worker is gone, that there is nothing to do.
    pub(crate) fn loads(&self) -> Vec<(String, Load)> {
        let load = |entry: &Entry| entry.worker.as_ref().map_or_else(Load::default, |worker| worker.load());
        self.lock().iter().map(|(id, entry)| (id.clone(), load(entry))).collect()
    }

    /// Every known model and whether it answers now, by id.
    pub(crate) fn states(&self) -> Vec<(ModelInfo, bool)> {
        self.lock().values().map(|entry| (entry.info.clone(), entry.worker.is_some())).collect()
    }

    /// Whether at least one model answers, and all of `expected` do.
    pub(crate) fn ready(&self, expected: &[String]) -> bool {
        let models = self.lock();
        let answers = |model: &String| models.get(model).is_some_and(|entry| entry.worker.is_some());
        models.values().any(|entry| entry.worker.is_some()) && expected.iter().all(answers)
    }
}
