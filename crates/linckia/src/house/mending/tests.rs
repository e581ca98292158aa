//! What is taken for damage that others can make good, and when it is taken for the disk's.

use super::*;

fn own() -> RegionName {
    RegionName::parse("a").unwrap()
}

fn corrupt(file: &str) -> linckia_log::Error {
    linckia_log::Error::Corrupt { file: file.to_owned(), offset: 8, sequence: 3, advice: "x" }
}

fn store(source: io::Error) -> linckia_store::Error {
    linckia_store::Error::Engine { action: "read", source: Box::new(source) }
}

#[test]
fn others_make_good_a_store_and_their_own_logs() {
    let check = |error: anyhow::Error, wanted: Option<Damage>| {
        assert_eq!(Damage::of(&error, &own()), wanted, "{error:#}");
    };
    let log = |origin: &str| corrupt(&format!("logs/{origin}/1.segment"));
    let of_b = || Some(Damage::Log("b.0000000000000001".to_owned()));
    check(log("b.0000000000000001").into(), of_b());
    check(linckia_region::Error::from(log("b.0000000000000001")).into(), of_b());
    check(log("a.0000000000000001").into(), None);
    check(corrupt("clock").into(), None);
    let torn = || store(io::Error::new(io::ErrorKind::InvalidData, "checksum"));
    check(torn().into(), Some(Damage::Store));
    check(linckia_region::Error::from(torn()).into(), Some(Damage::Store));
    let applied = linckia_apply::Error::from(torn());
    check(linckia_region::Error::from(applied).into(), Some(Damage::Store));
    check(store(io::ErrorKind::StorageFull.into()).into(), None);
    check(anyhow::anyhow!("the core panicked"), None);
    let row = |source| linckia_apply::Error::Row { table: "states", source };
    let damaged = row(linckia_model::Error::Short("digest"));
    check(linckia_region::Error::from(damaged).into(), Some(Damage::Store));
    let newer = row(linckia_model::Error::Format(9));
    check(linckia_region::Error::from(newer).into(), None);
}

#[test]
fn what_happens_again_and_again_is_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let again = |at: u64| {
        fs::create_dir_all(dir.path().join("store")).unwrap();
        mend(dir.path(), &Damage::Store, at).unwrap()
    };
    assert!((0..TIMES_MAX as u64).all(|time| again(1_000 + time)));
    assert!(dir.path().join("aside/damaged-1000/store").exists());
    assert!(!again(2_000));
    assert!(dir.path().join("store").exists(), "it stays as it is");
    assert!(again(2_000 + WITHIN_MILLISECONDS));
}

#[test]
fn a_log_goes_aside_though_the_process_died_on_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let log = "log/logs/b.0000000000000001";
    fs::create_dir_all(dir.path().join(log)).unwrap();
    begin(dir.path()).unwrap();
    assert!(dir.path().join(log).exists());
    let damage = Damage::Log("b.0000000000000001".to_owned());
    assert!(mend(dir.path(), &damage, 7).unwrap());
    for _ in 0..2 {
        begin(dir.path()).unwrap();
        assert!(!dir.path().join(log).exists());
        assert!(dir.path().join("aside/damaged-7").join(log).exists());
    }
}

#[test]
fn a_program_that_was_replaced_is_started_where_it_lay() {
    let found = |path: &str| in_place_of(PathBuf::from(path));
    assert_eq!(found("/nowhere/linckia (deleted)"), PathBuf::from("/nowhere/linckia"));
    assert_eq!(found("/nowhere/linckia"), PathBuf::from("/nowhere/linckia"));
}
