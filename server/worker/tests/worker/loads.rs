//! What a worker tells of what it has to do.

use crate::rig::{Rig, generate, text};
use crate::toy::{BLOCK, counter, reciter};
use anchorhold_engine::GenerationLimits;
use anchorhold_ipc::{Event, Load, WorkKind};
use anchorhold_worker::Limits;

#[test]
fn a_generator_tells_of_its_cache_and_of_what_was_done() {
    let generation = GenerationLimits { cache_tokens: 4 * BLOCK, ..GenerationLimits::default() };
    let mut rig = Rig::keeping(reciter(64, None).0, Limits { generation, ..Limits::default() });
    let idle = rig.load(|load| load.blocks > 0);
    assert_eq!(idle, Load { blocks: 4, ..Load::default() });
    let prompt = "x".repeat(2 * BLOCK + 1);
    for id in [1, 2] {
        rig.submit(id, generate(text(&prompt), 2, &[]));
        rig.read_generation();
    }
    let done = rig.load(|load| load.running == 0 && load.sought == 2 * (2 * BLOCK as u64 + 1));
    assert_eq!((done.found, done.waiting, done.blocks_held, done.put_back), (2 * BLOCK as u64, 0, 0, 0));
}

#[test]
fn an_embedder_tells_who_waits() {
    let (model, watch) = counter(16, 4);
    let mut rig = Rig::serving(model, Limits::default());
    assert_eq!(rig.load(|_| true), Load::default());
    let inputs = || WorkKind::Embed { tenancy: crate::rig::TENANCY, inputs: vec![text("a"), text("b")] };
    let gate = watch.gate.lock().unwrap();
    rig.submit(1, inputs());
    drop(gate);
    assert!(matches!(rig.event(), Event::Embedded { .. }));
    assert_eq!(rig.load(|load| load.waiting == 0), Load::default());
}
