//! Start, failure and end.

use crate::rig::{Rig, confinement, generate, load_order, report, serving, text};
use crate::toy::{counter, reciter};
use anchorhold_ipc::{Event, FromWorker, Line, LineError, ToWorker, pair};
use anchorhold_worker::{Exit, Limits, LoadFailure, Sockets, quiet_panics, run};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::atomic::Ordering;

#[test]
fn loads_what_the_keeper_hands_over() {
    let (model, _) = counter(8, 2);
    let (ours, theirs) = pair().unwrap();
    let mut rig = Rig::begin(Limits::default(), move |order, descriptors| {
        assert_eq!(ToWorker::Load(Box::new(order)), load_order());
        assert_eq!(descriptors.len(), 2);
        Ok((model, report()))
    });
    rig.keeper.send(&load_order(), &[ours.as_fd(), theirs.as_fd()]).unwrap();
    assert_eq!(rig.keeper.receive().unwrap().0, FromWorker::Confined(confinement()));
    assert!(matches!(rig.keeper.receive().unwrap().0, FromWorker::Loaded { .. }));
    assert_eq!(rig.exit_without_gateway(), Exit::Ended);
}

#[test]
fn a_refused_package_is_told_and_ends_with_status_1() {
    let failure = LoadFailure { code: "segment".into(), detail: "segment 3 does not match the tree".into() };
    let mut rig = Rig::begin(Limits::default(), move |_, _| Err(failure));
    rig.keeper.send(&load_order(), &[]).unwrap();
    rig.keeper.receive().unwrap();
    let FromWorker::LoadFailed { code, detail } = rig.keeper.receive().unwrap().0 else { panic!() };
    assert_eq!((code.as_str(), detail.as_str()), ("segment", "segment 3 does not match the tree"));
    assert!(matches!(rig.gateway.receive(), Err(LineError::Closed)), "nothing is served");
    let exit = rig.exit();
    assert_eq!((exit, exit.status()), (Exit::LoadFailed, 1));
}

#[test]
fn a_wipe_before_the_load_loads_nothing() {
    let mut rig = Rig::begin(Limits::default(), |_, _| panic!("loaded"));
    rig.keeper.send(&ToWorker::Wipe, &[]).unwrap();
    let exit = rig.exit();
    assert_eq!((exit, exit.status()), (Exit::Ended, 0));
}

#[test]
fn a_wipe_ends_a_worker_that_generates_though_nobody_reads() {
    let (model, watch) = reciter(1_000_000, None);
    let mut rig = Rig::serving(model, Limits::default());
    rig.submit(1, generate(text("go"), 0, &[]));
    assert!(matches!(rig.event(), Event::Delta { .. }));
    rig.keeper.send(&ToWorker::Wipe, &[]).unwrap();
    assert_eq!(rig.exit(), Exit::Ended);
    assert!(watch.dropped.load(Ordering::SeqCst), "the model is gone");
}

#[test]
fn ends_when_the_keeper_or_the_gateway_is_gone() {
    let exits: [fn(Rig) -> Exit; 2] = [Rig::exit_without_keeper, Rig::exit_without_gateway];
    for exit in exits {
        let (model, watch) = reciter(1_000_000, None);
        let mut rig = Rig::serving(model, Limits::default());
        rig.submit(1, generate(text("go"), 0, &[]));
        assert!(matches!(rig.event(), Event::Delta { .. }));
        assert_eq!(exit(rig), Exit::Ended);
        assert!(watch.dropped.load(Ordering::SeqCst), "the model is gone");
    }
}

#[test]
fn ends_when_the_gateway_breaks_the_framing() {
    let (model, watch) = reciter(64, None);
    let (control, keeper) = pair().unwrap();
    let (data, gateway) = pair().unwrap();
    let mut keeper: Line<ToWorker, FromWorker> = Line::new(keeper);
    keeper.send(&load_order(), &[]).unwrap();
    let mut gateway = UnixStream::from(gateway);
    gateway.write_all(&[0, 0, 0, 1, 99]).unwrap();
    let sockets = Sockets::new(control, data).unwrap();
    let exit =
        run(sockets, (confinement(), || Ok(serving())), Limits::default(), |_, _| Ok((model, report())))
            .unwrap();
    assert_eq!(exit, Exit::Ended);
    assert!(watch.dropped.load(Ordering::SeqCst));
}

/// With as much under way as the gateway leaves unread, so that the steps wait for the line.
#[test]
fn ends_while_it_generates_when_the_gateway_breaks_the_framing() {
    for broken in [u32::MAX.to_be_bytes().as_slice(), &[0, 0, 0, 1, 99]] {
        let (model, watch) = reciter(1_000_000, None);
        let mut rig = Rig::serving(model, Limits::default());
        rig.submit(1, generate(text("go"), 0, &[]));
        assert!(matches!(rig.event(), Event::Delta { .. }));
        rustix::io::write(rig.socket(), broken).unwrap();
        assert_eq!(rig.exit(), Exit::Ended);
        assert!(watch.dropped.load(Ordering::SeqCst), "the model is gone");
    }
}

#[test]
fn a_panic_ends_the_process_and_quotes_nothing() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lives::panics_while_serving", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(said.contains("panic at ") && said.contains("toy.rs"), "{said}");
    assert!(!said.contains("the prompt") && !said.contains("STOP"), "{said}");
    assert_eq!(child.status.signal(), Some(6), "aborted");
}

#[test]
#[ignore = "the child process of a_panic_ends_the_process_and_quotes_nothing"]
fn panics_while_serving() {
    quiet_panics();
    let (model, watch) = reciter(64, None);
    watch.panics.store(true, Ordering::SeqCst);
    let mut rig = Rig::serving(model, Limits::default());
    rig.submit(1, generate(text("go"), 0, &[]));
    rig.event();
}
