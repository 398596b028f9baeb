//! Requests that have come and are not in tokens yet.
//!
//! Cutting text and compiling forms takes time that the caller decides on, so requests are taken in turns by tenant, however many one has
//! sent; one whose caller left or whose time is over is not worked on; and reading the line waits for none of it.

use anchorhold_engine::{CacheDomain, Moment, RequestId};
use anchorhold_ipc::WorkKind;
use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The most requests that wait here.
const MAX_WAITING: usize = 4096;

/// A request as it came.
pub(crate) struct Arrived {
    pub(crate) id: RequestId,
    pub(crate) ends_by: Moment,
    pub(crate) kind: WorkKind,
}

impl Arrived {
    fn domain(&self) -> CacheDomain {
        match &self.kind {
            WorkKind::Embed { tenancy, .. }
            | WorkKind::Generate { tenancy, .. }
            | WorkKind::Rerank { tenancy, .. }
            | WorkKind::Tokenize { tenancy, .. }
            | WorkKind::Detokenize { tenancy, .. } => tenancy.domain,
        }
    }
}

/// What became of a cancellation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// The request was here, and goes no further.
    Here,
    /// It is not here; the steps may have it.
    Elsewhere,
}

/// Shared by the thread that reads the line and the one that works on requests.
#[derive(Default)]
pub(crate) struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: HashMap<CacheDomain, VecDeque<Arrived>>,
    /// Tenants with something here, the next first.
    turns: VecDeque<CacheDomain>,
    count: usize,
    /// The request that is worked on, and whether its caller has left meanwhile.
    in_hand: Option<(RequestId, bool)>,
    ended: bool,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panics ends the process.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lays a request down; false when there are too many.
    pub(crate) fn put(&self, arrived: Arrived) -> bool {
        let mut state = self.lock();
        if state.count >= MAX_WAITING {
            return false;
        }
        state.count += 1;
        let domain = arrived.domain();
        let own = state.waiting.entry(domain).or_default();
        own.push_back(arrived);
        if own.len() == 1 {
            state.turns.push_back(domain);
        }
        self.changed.notify_one();
        true
    }

    /// The caller of this request left.
    pub(crate) fn cancel(&self, id: RequestId) -> Cancelled {
        let mut state = self.lock();
        if let Some((in_hand, cancelled)) = &mut state.in_hand
            && *in_hand == id
        {
            *cancelled = true;
            return Cancelled::Here;
        }
        let State { waiting, turns, count, .. } = &mut *state;
        for (domain, own) in waiting.iter_mut() {
            let Some(at) = own.iter().position(|arrived| arrived.id == id) else { continue };
            own.remove(at);
            *count -= 1;
            if own.is_empty() {
                turns.retain(|turn| turn != domain);
            }
            return Cancelled::Here;
        }
        Cancelled::Elsewhere
    }

    /// Takes the next request in hand; waits until there is one. `None` when nothing follows.
    pub(crate) fn take(&self) -> Option<Arrived> {
        let mut state = self.lock();
        loop {
            if state.ended {
                return None;
            }
            if let Some(arrived) = state.next() {
                state.in_hand = Some((arrived.id, false));
                return Some(arrived);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives the request in hand on by `pass`, unless its caller has left. A caller who leaves later is one that the steps know.
    pub(crate) fn hand_on<T>(&self, pass: impl FnOnce() -> T) -> Option<T> {
        let mut state = self.lock();
        let left = state.in_hand.take().is_some_and(|(_, left)| left);
        // Under the lock, so that no cancellation overtakes its request.
        (!left).then(pass)
    }

    /// Nothing follows, and what lies here is not worked on any more.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_one();
    }
}

impl State {
    fn next(&mut self) -> Option<Arrived> {
        let domain = self.turns.pop_front()?;
        let own = self.waiting.get_mut(&domain)?;
        let arrived = own.pop_front()?;
        self.count -= 1;
        if own.is_empty() {
            self.waiting.remove(&domain);
        } else {
            self.turns.push_back(domain);
        }
        Some(arrived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_engine::{Prompt, Sampling, StopRules, Tenancy};

    /// A request of each kind in turn.
    fn arrived(id: u64, tenant: u8) -> Arrived {
        let tenancy = Tenancy { domain: CacheDomain([tenant; 16]), share: 1 };
        let kind = match id % 3 {
            0 => WorkKind::Embed { tenancy, inputs: Vec::new() },
            1 => WorkKind::Rerank { tenancy, query: String::new(), documents: Vec::new() },
            _ => WorkKind::Generate {
                tenancy,
                prompt: Prompt::Text(String::new()),
                sampling: Sampling::default(),
                stop: StopRules::default(),
                choices: 1,
                logprobs: None,
                structure: None,
            },
        };
        Arrived { id: RequestId(id), ends_by: Moment::NEVER, kind }
    }

    fn desk(requests: &[(u64, u8)]) -> Desk {
        let desk = Desk::default();
        assert!(requests.iter().all(|(id, tenant)| desk.put(arrived(*id, *tenant))));
        desk
    }

    fn next(desk: &Desk) -> Option<u64> {
        let id = desk.take()?.id.0;
        desk.hand_on(|| id)
    }

    #[test]
    fn tenants_take_turns_however_many_requests_one_has() {
        let desk = desk(&[(1, 1), (2, 1), (3, 1), (4, 2), (5, 3), (6, 2)]);
        let order: Vec<_> = (0..6).map(|_| next(&desk).unwrap()).collect();
        assert_eq!(order, [1, 4, 5, 2, 6, 3]);
        assert!(desk.put(arrived(7, 1)));
        assert_eq!(next(&desk), Some(7));
    }

    #[test]
    fn who_leaves_is_not_worked_on_and_not_given_on() {
        let desk = desk(&[(1, 1), (2, 2), (3, 1)]);
        assert_eq!(desk.cancel(RequestId(2)), Cancelled::Here);
        assert_eq!(desk.cancel(RequestId(2)), Cancelled::Elsewhere);
        let in_hand = desk.take().unwrap().id;
        assert_eq!(desk.cancel(in_hand), Cancelled::Here);
        assert_eq!(desk.hand_on(|| ()), None, "it was worked on, and goes no further");
        assert_eq!(next(&desk), Some(3));
        assert_eq!(desk.cancel(RequestId(3)), Cancelled::Elsewhere, "the steps have it");
    }

    #[test]
    fn takes_no_more_than_may_wait_and_nothing_after_the_end() {
        let desk = Desk::default();
        let all = u64::try_from(MAX_WAITING).unwrap();
        assert!((0..all).all(|id| desk.put(arrived(id, 1))));
        assert!(!desk.put(arrived(all, 2)));
        assert_eq!(next(&desk), Some(0));
        assert!(desk.put(arrived(all, 2)));
        desk.end();
        assert!(desk.take().is_none());
    }
}
