//! A transport without a network: answers by path, in order; the last one stays.

use crate::ocsp_responder;
use anchorhold_endorsements::{Answer, Request, Transport, TransportError};
use bytes::Bytes;
use http::{HeaderMap, Method};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone)]
pub(crate) enum Step {
    Answer(Answer),
    After(Duration, Answer),
    Fail(TransportError),
    Never,
}

#[derive(Clone, Default)]
pub(crate) struct Script(Arc<State>);

#[derive(Default)]
struct State {
    routes: Mutex<HashMap<String, VecDeque<Step>>>,
    asked: Mutex<Vec<String>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

pub(crate) fn answer(status: u16, body: &[u8]) -> Answer {
    Answer { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body) }
}

pub(crate) fn with_header(mut answer: Answer, name: &'static str, value: &str) -> Answer {
    answer.headers.insert(name, value.parse().unwrap());
    answer
}

pub(crate) fn good(body: &[u8]) -> Step {
    Step::Answer(answer(200, body))
}

pub(crate) fn status(status: u16) -> Step {
    Step::Answer(answer(status, b""))
}

impl Script {
    /// Sets what is answered at `path`, beginning with the next request.
    pub(crate) fn set(&self, path: impl Into<String>, steps: impl Into<VecDeque<Step>>) {
        self.0.routes.lock().unwrap().insert(path.into(), steps.into());
    }

    /// Paths in the order in which they were asked for, and forgets them.
    pub(crate) fn take_in_order(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.asked.lock().unwrap())
    }

    /// The same, sorted, for what is asked at once.
    pub(crate) fn take_asked(&self) -> Vec<String> {
        let mut asked = self.take_in_order();
        asked.sort();
        asked
    }

    pub(crate) fn most_under_way(&self) -> usize {
        self.0.most_under_way.load(Ordering::SeqCst)
    }

    fn step(&self, path: &str) -> Step {
        self.0.asked.lock().unwrap().push(path.to_owned());
        let mut routes = self.0.routes.lock().unwrap();
        match routes.get_mut(path) {
            Some(steps) if steps.len() > 1 => steps.pop_front().unwrap(),
            Some(steps) => steps.front().cloned().unwrap(),
            None => status(404),
        }
    }
}

impl Transport for Script {
    async fn send(&self, request: &Request) -> Result<Answer, TransportError> {
        let path = request.url.path_and_query().unwrap().as_str().to_owned();
        let step = self.step(&path);
        if request.method == Method::POST && matches!(&step, Step::Answer(Answer { status: 404, .. })) {
            return Ok(answer(200, &ocsp_responder::respond(&request.body)));
        }
        let under_way = self.0.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        let outcome = match step {
            Step::Answer(answer) => Ok(answer),
            Step::After(wait, answer) => {
                tokio::time::sleep(wait).await;
                Ok(answer)
            }
            Step::Fail(error) => Err(error),
            Step::Never => std::future::pending().await,
        };
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
        outcome
    }
}
