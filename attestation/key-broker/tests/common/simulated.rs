//! A store in memory that fails on command, as a disk or a database can fail.

use anchorhold_key_broker::store::{Change, Keys, Look, Row, Store, StoreError, Table, View, Work};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What goes wrong with the next change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The store is out of reach: nothing happens.
    Unreachable,
    /// The change is durable, and the answer is lost.
    AnswerLost,
    /// The change is lost, and so is the answer.
    ChangeLost,
}

type Place = (Table, Vec<u8>);
type Rows = BTreeMap<Place, Vec<u8>>;

/// The rows, and what goes wrong next.
#[derive(Default)]
struct Inside {
    rows: Rows,
    fault: Option<Fault>,
    unreadable: bool,
    writes: u64,
    /// What happens after so many more looks.
    hook: Option<(usize, Box<dyn FnOnce() + Send>)>,
}

impl std::fmt::Debug for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inside({} rows)", self.rows.len())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Simulated(Mutex<Inside>);

impl Simulated {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fail_next(&self, fault: Fault) {
        self.lock().fault = Some(fault);
    }

    pub(crate) fn set_unreadable(&self, unreadable: bool) {
        self.lock().unreadable = unreadable;
    }

    /// Runs `hook` right after `looks` more looks at the store, as if somebody else came in between.
    pub(crate) fn after_reads(&self, looks: usize, hook: impl FnOnce() + Send + 'static) {
        self.lock().hook = Some((looks, Box::new(hook)));
    }

    pub(crate) fn forget_hook(&self) {
        self.lock().hook = None;
    }

    /// The rows as they are now: a disk image.
    pub(crate) fn image(&self) -> Self {
        let rows = self.lock().rows.clone();
        Self(Mutex::new(Inside { rows, ..Inside::default() }))
    }

    pub(crate) fn writes(&self) -> u64 {
        self.lock().writes
    }
}

fn refused() -> StoreError {
    StoreError::Unreachable("simulated".into())
}

impl Store for Simulated {
    fn read(&self, look: Look<'_>) -> Result<(), StoreError> {
        let mut inside = self.lock();
        if inside.unreadable {
            return Err(refused());
        }
        look(&Reading(&inside.rows))?;
        let hook = match inside.hook.take() {
            Some((0, hook)) => Some(hook),
            Some((looks, hook)) => {
                inside.hook = Some((looks - 1, hook));
                None
            }
            None => None,
        };
        drop(inside);
        if let Some(hook) = hook {
            hook();
        }
        Ok(())
    }

    fn write(&self, work: Work<'_>) -> Result<(), StoreError> {
        let mut inside = self.lock();
        let fault = inside.fault.take();
        if inside.unreadable || fault == Some(Fault::Unreachable) {
            return Err(refused());
        }
        inside.writes += 1;
        let mut writing = Writing { rows: &mut inside.rows, undo: Vec::new() };
        let outcome = work(&mut writing);
        if outcome.is_err() || fault == Some(Fault::ChangeLost) {
            writing.roll_back();
        }
        outcome.and_then(|()| match fault {
            Some(_) => Err(StoreError::Uncertain("simulated".into())),
            None => Ok(()),
        })
    }
}

struct Reading<'a>(&'a Rows);

fn scan(rows: &Rows, table: Table, keys: Keys<'_>, limit: usize) -> Vec<Row> {
    if keys.start >= keys.end {
        return Vec::new();
    }
    rows.range((table, keys.start.to_vec())..(table, keys.end.to_vec()))
        .take(limit)
        .map(|((_, key), value)| (key.clone(), value.clone()))
        .collect()
}

impl View for Reading<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(&(table, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, keys: Keys<'_>, limit: usize) -> Result<Vec<Row>, StoreError> {
        Ok(scan(self.0, table, keys, limit))
    }
}

struct Writing<'a> {
    rows: &'a mut Rows,
    undo: Vec<(Place, Option<Vec<u8>>)>,
}

impl Writing<'_> {
    fn roll_back(&mut self) {
        while let Some((key, old)) = self.undo.pop() {
            match old {
                Some(old) => self.rows.insert(key, old),
                None => self.rows.remove(&key),
            };
        }
    }
}

impl View for Writing<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Reading(self.rows).get(table, key)
    }

    fn scan(&self, table: Table, keys: Keys<'_>, limit: usize) -> Result<Vec<Row>, StoreError> {
        Ok(scan(self.rows, table, keys, limit))
    }
}

impl Change for Writing<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let key = (table, key.to_vec());
        let old = self.rows.insert(key.clone(), value.to_vec());
        self.undo.push((key, old));
        Ok(())
    }

    fn delete(&mut self, table: Table, keys: Keys<'_>) -> Result<u64, StoreError> {
        let gone = scan(self.rows, table, keys, usize::MAX);
        for (key, value) in &gone {
            let key = (table, key.clone());
            self.rows.remove(&key);
            self.undo.push((key, Some(value.clone())));
        }
        Ok(gone.len() as u64)
    }
}
