use std::{
    fs::{self, File},
    path::Path,
    sync::Arc,
    time::Duration,
};

use sh_blob::{
    BlobError, Bucket, Expect, FileBucket, PutIf,
    conformance::{conformance, far_ranges_are_of_one_content},
};
use tempfile::tempdir;

use crate::world;

fn temps(root: &Path) -> Vec<String> {
    let names = fs::read_dir(root.join(".tmp")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "lock").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_keeps_every_promise() {
    let dir = tempdir().unwrap();
    let bucket = Arc::new(FileBucket::open(dir.path(), &world::env()).unwrap());
    conformance(bucket.clone()).await;
    far_ranges_are_of_one_content(bucket).await;
    assert_eq!(
        temps(dir.path()),
        Vec::<String>::new(),
        "nothing is left behind"
    );
}

#[tokio::test]
async fn objects_outlive_the_process() {
    let dir = tempdir().unwrap();
    let root = dir.path().join("made/on/the/way");
    let first = FileBucket::open(&root, &world::env()).unwrap();
    first.put("l0/1/x", vec!["kept".into()]).await.unwrap();
    drop(first);
    let second = FileBucket::open(&root, &world::env()).unwrap();
    assert_eq!(second.get_all("l0/1/x").await.unwrap(), "kept");
}

#[tokio::test]
async fn two_processes_on_one_folder_cannot_both_win() {
    let dir = tempdir().unwrap();
    let [one, other] = [0, 1].map(|_| FileBucket::open(dir.path(), &world::env()).unwrap());
    for i in 0..50 {
        let key = format!("race/{i}");
        let (a, b) = tokio::join!(
            one.put_if(&key, "one".into(), Expect::Absent),
            other.put_if(&key, "other".into(), Expect::Absent)
        );
        let won = [a.unwrap(), b.unwrap()]
            .iter()
            .filter(|r| **r != PutIf::Lost)
            .count();
        assert_eq!(won, 1);
    }
}

#[tokio::test]
async fn a_tag_never_names_two_contents() {
    let dir = tempdir().unwrap();
    let bucket = FileBucket::open(dir.path(), &world::env()).unwrap();
    let mut seen = std::collections::HashSet::new();
    let mut expect = Expect::Absent;
    for i in 0..200 {
        let content = format!("{i:03}");
        let PutIf::Stored { tag } = bucket
            .put_if("cluster.json", content.into(), expect)
            .await
            .unwrap()
        else {
            panic!("nobody else writes")
        };
        assert!(seen.insert(tag.clone()), "{tag} came twice");
        expect = Expect::Tag(tag);
    }
}

#[tokio::test]
async fn a_put_that_fails_says_so_and_leaves_nothing() {
    let dir = tempdir().unwrap();
    let bucket = FileBucket::open(dir.path(), &world::env()).unwrap();
    bucket.put("a/b", vec!["x".into()]).await.unwrap();
    let refused = bucket.put("a", vec!["y".into()]).await;
    assert!(
        matches!(refused, Err(BlobError::Definite(_))),
        "{refused:?}"
    );
    assert_eq!(temps(dir.path()), Vec::<String>::new());
    assert_eq!(bucket.get_all("a/b").await.unwrap(), "x");
}

#[tokio::test]
async fn a_folder_removed_by_hand_is_made_again() {
    let dir = tempdir().unwrap();
    let bucket = FileBucket::open(dir.path(), &world::env()).unwrap();
    bucket.put("a/b", vec!["x".into()]).await.unwrap();
    fs::remove_dir_all(dir.path().join("a")).unwrap();
    let first = bucket.put("a/b", vec!["y".into()]).await;
    assert!(matches!(first, Err(BlobError::Definite(_))));
    bucket.put("a/b", vec!["z".into()]).await.unwrap();
    assert_eq!(bucket.get_all("a/b").await.unwrap(), "z");
}

#[tokio::test]
async fn what_dead_writers_left_is_removed_and_what_live_ones_write_is_not() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join(".tmp")).unwrap();
    let make = |name: &str| {
        let file = File::create(dir.path().join(".tmp").join(name)).unwrap();
        let hour_ago = file.metadata().unwrap().modified().unwrap() - Duration::from_secs(3600);
        file.set_modified(hour_ago).unwrap();
        file
    };
    drop(make("dead.part"));
    drop(make("lock"));
    let live = make("live.part");
    live.lock().unwrap();
    File::create(dir.path().join(".tmp/young.part")).unwrap();
    FileBucket::open(dir.path(), &world::env()).unwrap();
    let mut left = temps(dir.path());
    left.sort();
    assert_eq!(left, ["live.part", "young.part"]);
    assert!(dir.path().join(".tmp/lock").exists());
}

#[tokio::test]
async fn what_is_no_object_is_not_listed() {
    let dir = tempdir().unwrap();
    let bucket = FileBucket::open(dir.path(), &world::env()).unwrap();
    fs::create_dir_all(dir.path().join("l0/empty/folder")).unwrap();
    fs::write(dir.path().join(".tmp/x.part"), "x").unwrap();
    bucket.put("l0/a", vec![]).await.unwrap();
    let found = bucket.list("", None, 10).await.unwrap();
    assert_eq!(
        found.iter().map(|m| m.key.as_str()).collect::<Vec<_>>(),
        ["l0/a"]
    );
}
