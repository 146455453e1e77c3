//! SQLite: the suite, and what only a file can do.
use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use futures::future::join_all;
use sh_meta::{MetaStore, OpenError, SqliteStore, conformance::story::*};
use tempfile::TempDir;

pub async fn fresh() -> (TempDir, Arc<dyn MetaStore>) {
    let folder = TempDir::new().unwrap();
    let store = open(&folder.path().join("meta.db"));
    (folder, store)
}

fn open(path: &Path) -> Store {
    Arc::new(SqliteStore::open(path, &env(1)).unwrap())
}

fn refused(path: &Path) -> OpenError {
    SqliteStore::open(path, &env(2))
        .err()
        .expect("it is refused")
}

sh_meta::conformance!(fresh);

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_again_after_it_is_closed_and_opened() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("meta.db");
    let store = open(&path);
    let entry = set(&lane(&store, 1), &head(1), "x").await;
    let identity = store.identity().await.unwrap();
    drop(store);
    let store = open(&path);
    assert_eq!(store.identity().await.unwrap(), identity);
    assert_eq!(store.feed(&Default::default(), 10).await.unwrap(), [entry]);
    assert_eq!(value(&store, &head(1)).await.as_deref(), Some("x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_user_of_the_file_is_refused_and_a_later_one_is_not() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("meta.db");
    let store = open(&path);
    let e = refused(&path);
    assert!(
        matches!(e, OpenError::InUse(_)) && e.to_string().contains("meta.db"),
        "{e}"
    );
    drop(store);
    open(&path);
}

/// The other process holds the lock as a server would, and is killed as a server may be.
#[tokio::test(flavor = "multi_thread")]
async fn another_process_is_refused_until_the_first_is_gone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("meta.db");
    drop(open(&path));
    let mut holder = Command::new("flock")
        .arg(format!("{}.lock", path.display()))
        .args(["sh", "-c", "echo held; exec sleep 100"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 4];
    std::io::Read::read_exact(&mut holder.stdout.take().unwrap(), &mut held).unwrap();
    assert!(matches!(refused(&path), OpenError::InUse(_)));
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("meta.db");
    drop(open(&path));
    let file = rusqlite::Connection::open(&path).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    drop(file);
    let e = refused(&path);
    assert!(
        matches!(e, OpenError::Format(_)) && e.to_string().contains("format 99"),
        "{e}"
    );
}

#[test]
fn a_file_of_another_program_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("contacts.db");
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch("CREATE TABLE contact (name TEXT)")
        .unwrap();
    drop(file);
    let e = refused(&path);
    assert!(
        matches!(e, OpenError::Format(_)) && e.to_string().contains("another program"),
        "{e}"
    );
}

#[test]
fn a_path_that_cannot_be_is_an_error_that_names_it() {
    let e = refused(Path::new("/nowhere/at/all/meta.db"));
    assert!(
        matches!(e, OpenError::Failed(_)) && e.to_string().contains("/nowhere/at/all"),
        "{e}"
    );
}

/// One bad update among those that wait for the writer: only that one fails.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_panics_harms_nobody_but_itself() {
    let (_folder, store) = fresh().await;
    let updates = (1..=20).map(|n| {
        let lane = lane(&store, n);
        tokio::spawn(async move {
            let key = head(n as i32);
            lane.update(locking(&[&key.clone()]), PATIENCE, move |_| {
                assert!(n != 7, "seven is the bad one");
                decide(vec![put(&key, "x")], "")
            })
            .await
            .is_ok()
        })
    });
    let answers: Vec<bool> = join_all(updates)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!((1..=20).zip(answers).all(|(n, ok)| ok == (n != 7)));
    set(&lane(&store, 100), &head(7), "fine").await;
}
