//! What every store must do, held against each of them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests stop at a surprise"
)]

mod common;

use anchorhold_key_broker::layout::Layout;
use anchorhold_key_broker::store::embedded::Embedded;
use anchorhold_key_broker::store::postgres::{Postgres, SettingsError};
use anchorhold_key_broker::store::{Change, Store, StoreError, Table, View, look_up};
use common::cluster::Cluster;
use common::simulated::Simulated;
use std::path::Path;
use std::sync::Arc;

fn put(store: &dyn Store, table: Table, key: &[u8], value: &[u8]) {
    store.write(&mut |change| change.put(table, key, value)).unwrap();
}

fn get(store: &dyn Store, table: Table, key: &[u8]) -> Option<Vec<u8>> {
    look_up(store, |view| view.get(table, key)).unwrap()
}

fn refused() -> StoreError {
    StoreError::Corrupt("refused by the test")
}

/// The whole contract of [`Store`].
fn conforms(store: &Arc<dyn Store>) {
    rows_are_kept_by_table_and_in_order(&**store);
    a_failed_change_leaves_nothing(&**store);
    changes_see_themselves_and_looks_do_not(&**store);
    changes_are_one_after_the_other(store);
}

fn rows_are_kept_by_table_and_in_order(store: &dyn Store) {
    assert_eq!(get(store, Table::Meta, b"a"), None);
    for key in [b"b".as_slice(), b"a", b"\xff\xff", b"", b"a\0", b"ab"] {
        put(store, Table::Models, key, key);
    }
    put(store, Table::Nodes, b"a", b"elsewhere");
    put(store, Table::Models, b"b", b"again");
    assert_eq!(get(store, Table::Models, b"b").unwrap(), b"again");
    assert_eq!(get(store, Table::Models, b"").unwrap(), b"");
    let scan = |from: &[u8], to: &[u8], limit| {
        let rows = look_up(store, |view| view.scan(Table::Models, from..to, limit)).unwrap();
        rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(
        scan(b"", b"\xff\xff", 9),
        [b"".to_vec(), b"a".into(), b"a\0".into(), b"ab".into(), b"b".into()]
    );
    assert_eq!(scan(b"a", b"b", 2), [b"a".to_vec(), b"a\0".into()]);
    assert_eq!(scan(b"a\0", b"a\0", 9), Vec::<Vec<u8>>::new());
    assert_eq!(scan(b"a", b"z", 0), Vec::<Vec<u8>>::new());
    let mut gone = 0;
    store
        .write(&mut |change| {
            gone = change.delete(Table::Models, b"a"..b"b")?;
            Ok(())
        })
        .unwrap();
    assert_eq!(gone, 3);
    assert_eq!(scan(b"", b"\xff\xff\xff", 9), [b"".to_vec(), b"b".into(), b"\xff\xff".into()]);
    assert_eq!(get(store, Table::Nodes, b"a").unwrap(), b"elsewhere");
    let large = vec![0xa5; 300_000];
    put(store, Table::Policy, b"large", &large);
    assert_eq!(get(store, Table::Policy, b"large").unwrap(), large);
}

fn a_failed_change_leaves_nothing(store: &dyn Store) {
    put(store, Table::Leases, b"kept", b"1");
    let outcome = store.write(&mut |change| {
        change.put(Table::Leases, b"kept", b"2")?;
        change.put(Table::Leases, b"new", b"3")?;
        change.delete(Table::Leases, b"a"..b"z")?;
        Err(refused())
    });
    assert!(matches!(outcome, Err(StoreError::Corrupt("refused by the test"))));
    assert_eq!(get(store, Table::Leases, b"kept").unwrap(), b"1");
    assert_eq!(get(store, Table::Leases, b"new"), None);
    assert!(matches!(store.read(&mut |_| Err(refused())), Err(StoreError::Corrupt(_))));
}

fn changes_see_themselves_and_looks_do_not(store: &dyn Store) {
    store
        .write(&mut |change: &mut dyn Change| {
            change.put(Table::Revoked, b"x", b"1")?;
            let view: &dyn View = &*change;
            assert_eq!(view.get(Table::Revoked, b"x")?.unwrap(), b"1");
            assert_eq!(view.scan(Table::Revoked, b"a"..b"z", 9)?.len(), 1);
            Ok(())
        })
        .unwrap();
    assert_eq!(get(store, Table::Revoked, b"x").unwrap(), b"1");
}

fn changes_are_one_after_the_other(store: &Arc<dyn Store>) {
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let store = Arc::clone(store);
            std::thread::spawn(move || {
                for _ in 0..25 {
                    store
                        .write(&mut |change| {
                            let count = change.get(Table::Secrets, b"count")?.map_or(0, |count| count[0]);
                            change.put(Table::Secrets, b"count", &[count + 1])
                        })
                        .unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(get(&**store, Table::Secrets, b"count").unwrap(), [100]);
}

#[test]
fn the_embedded_store_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::of(folder.path());
    let store: Arc<dyn Store> = Arc::new(Embedded::open_or_create(layout.embedded()).unwrap());
    conforms(&store);
    drop(store);
    let store = Embedded::open(layout.embedded()).unwrap();
    assert_eq!(get(&store, Table::Secrets, b"count").unwrap(), [100]);
}

#[test]
fn the_simulated_store_conforms() {
    conforms(&(Arc::new(Simulated::default()) as Arc<dyn Store>));
}

fn settings(folder: &Path, text: &str) -> Result<Postgres, SettingsError> {
    let path = folder.join("store.toml");
    std::fs::write(&path, text).unwrap();
    Postgres::from_file(&path)
}

#[test]
fn the_database_conforms_and_keeps_what_it_acknowledged_across_a_crash() {
    let Some(cluster) = Cluster::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = settings(folder.path(), &cluster.settings()).unwrap();
    store.create_tables().unwrap();
    store.create_tables().unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    conforms(&store);
    cluster.crash();
    assert!(matches!(store.read(&mut |_| Ok(())), Err(StoreError::Unreachable(_))));
    assert!(matches!(store.write(&mut |_| Ok(())), Err(StoreError::Unreachable(_))));
    cluster.up();
    assert_eq!(get(&*store, Table::Secrets, b"count").unwrap(), [100]);
    put(&*store, Table::Secrets, b"count", &[1]);
}

#[test]
fn refuses_a_database_that_acknowledges_early() {
    let Some(cluster) = Cluster::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    for setting in ["synchronous_commit", "full_page_writes", "fsync"] {
        cluster.sql(&format!("ALTER SYSTEM SET {setting} = off"));
        cluster.sql("SELECT pg_reload_conf()");
        // The server's processes hear of it one after the other.
        let store = loop {
            let store = settings(folder.path(), &cluster.settings()).unwrap();
            if store.read(&mut |_| Ok(())).is_err() {
                break store;
            }
        };
        let error = store.read(&mut |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains(&format!("{setting} is off")), "{error}");
        cluster.sql(&format!("ALTER SYSTEM RESET {setting}"));
        cluster.sql("SELECT pg_reload_conf()");
    }
}

#[test]
fn a_database_over_the_network_must_show_its_certificate() {
    let Some(cluster) = Cluster::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let over_tls = cluster.settings_over_tls(cluster.port);
    let store = settings(folder.path(), &over_tls).unwrap();
    store.create_tables().unwrap();
    assert_eq!(get(&store, Table::Meta, b"x"), None);
    let without = over_tls.lines().filter(|line| !line.starts_with("ca_file")).collect::<Vec<_>>().join("\n");
    assert!(matches!(settings(folder.path(), &without), Err(SettingsError::NoAuthority)));
    let other = anchorhold_channel::tls::SelfSigned::generate(&["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("other.pem"), other.certificate_pem()).unwrap();
    let other = format!("{without}\nca_file = \"other.pem\"\n");
    let store = settings(folder.path(), &other).unwrap();
    assert!(matches!(store.read(&mut |_| Ok(())), Err(StoreError::Unreachable(_))));
    let name = over_tls.replace("\"localhost\"", "\"127.0.0.2\"");
    let store = settings(folder.path(), &name).unwrap();
    assert!(matches!(store.read(&mut |_| Ok(())), Err(StoreError::Unreachable(_))));
}

#[test]
fn refuses_settings_of_another_shape() {
    let folder = tempfile::tempdir().unwrap();
    let good = "host = \"/run\"\nport = 1\nuser = \"u\"\ndatabase = \"d\"\n";
    assert!(settings(folder.path(), good).is_ok());
    for bad in [
        good.replace("port = 1\n", ""),
        good.replace("port = 1", "port = 70000"),
        format!("{good}password = \"p\"\n"),
        String::new(),
    ] {
        assert!(matches!(settings(folder.path(), &bad), Err(SettingsError::Malformed(_))), "{bad}");
    }
    let missing = format!("{good}password_file = \"none\"\n");
    assert!(matches!(settings(folder.path(), &missing), Err(SettingsError::File { .. })));
    std::fs::write(folder.path().join("empty.pem"), "").unwrap();
    let empty = format!("{good}ca_file = \"empty.pem\"\n");
    assert!(matches!(settings(folder.path(), &empty), Err(SettingsError::Authority)));
}
