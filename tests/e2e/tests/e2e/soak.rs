//! The short form of `make soak`.

use crate::support::alone;
use anchorhold_e2e::soak::{Soak, run};
use std::time::Duration;

#[test]
fn callers_who_come_and_leave_lose_no_place_and_get_one_answer_a_question() {
    let _turn = alone();
    let outcome = run(Soak { clients: 64, time: Duration::from_secs(8), seed: 3 }, |_| {}).unwrap();
    assert!(outcome.whole > 20 && outcome.left > 10 && outcome.questions > 10, "{outcome:?}");
}
