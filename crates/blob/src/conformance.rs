//! What every bucket must do, as one suite that each implementation and wrapper runs.
use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use futures::future::join_all;

use crate::{BlobError, Bucket, Expect, ObjectMeta, PutIf};

/// All that [`Bucket`] promises, checked against this one. It works below `conformance/`, which should be empty, and leaves it so.
///
/// # Panics
/// At the first promise that is broken.
pub async fn conformance(bucket: Arc<dyn Bucket>) {
    let b = &*bucket;
    clear(b).await;
    an_object_reads_back_whole(b).await;
    a_put_may_be_repeated_and_overwrites(b).await;
    an_empty_object_is_an_object(b).await;
    a_large_object_of_many_parts_keeps_its_bytes(b).await;
    ranges_come_back_in_the_order_asked(b).await;
    ranges_outside_the_object_are_refused(b).await;
    what_is_absent_is_not_found(b).await;
    a_head_tells_size_date_and_tag(b).await;
    a_listing_is_in_key_order_and_pages(b).await;
    a_listing_takes_any_prefix(b).await;
    deletes_may_be_repeated(b).await;
    more_than_a_thousand_keys_are_deleted_at_once(b).await;
    odd_keys_are_refused(b).await;
    a_conditional_put_stores_only_if_the_condition_holds(b).await;
    one_of_many_creates_wins(&bucket).await;
    one_of_many_replacements_wins(&bucket).await;
    a_reader_sees_one_content_while_others_overwrite(&bucket).await;
    clear(b).await;
}

const ROOT: &str = "conformance/";

fn key(name: &str) -> String {
    format!("{ROOT}{name}")
}

/// Bytes that tell where they are from: any slip of an offset shows.
fn pattern(seed: u64, len: usize) -> Bytes {
    let word = |i: usize| {
        (seed ^ i as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_le_bytes()
    };
    (0..len.div_ceil(8))
        .flat_map(word)
        .take(len)
        .collect::<Vec<u8>>()
        .into()
}

async fn clear(b: &dyn Bucket) {
    loop {
        let found = b.list(ROOT, None, 1000).await.unwrap();
        if found.is_empty() {
            return;
        }
        b.delete(&keys_of(&found)).await.unwrap();
    }
}

fn keys_of(found: &[ObjectMeta]) -> Vec<String> {
    found.iter().map(|meta| meta.key.clone()).collect()
}

fn tag_of(stored: PutIf) -> String {
    match stored {
        PutIf::Stored { tag } => tag,
        PutIf::Lost => panic!("the condition held, but the put was lost"),
    }
}

async fn an_object_reads_back_whole(b: &dyn Bucket) {
    b.put(
        &key("whole"),
        vec!["one ".into(), "two ".into(), "three".into()],
    )
    .await
    .unwrap();
    assert_eq!(b.get_all(&key("whole")).await.unwrap(), "one two three");
}

async fn a_put_may_be_repeated_and_overwrites(b: &dyn Bucket) {
    for content in ["first", "first", "the second, longer", "3"] {
        b.put(&key("again"), vec![content.into()]).await.unwrap();
        assert_eq!(b.get_all(&key("again")).await.unwrap(), content);
    }
}

async fn an_empty_object_is_an_object(b: &dyn Bucket) {
    for (name, parts) in [("empty-0", vec![]), ("empty-1", vec![Bytes::new()])] {
        b.put(&key(name), parts).await.unwrap();
        assert_eq!(b.get_all(&key(name)).await.unwrap(), "");
        assert_eq!(b.head(&key(name)).await.unwrap().unwrap().size, 0);
        let none = std::slice::from_ref(&(0..0));
        assert_eq!(b.get(&key(name), none).await.unwrap(), [Bytes::new()]);
    }
}

async fn a_large_object_of_many_parts_keeps_its_bytes(b: &dyn Bucket) {
    let whole = pattern(1, 9 << 20);
    let parts = (0..whole.len())
        .step_by(4321)
        .map(|at| whole.slice(at..whole.len().min(at + 4321)));
    b.put(&key("large"), parts.collect()).await.unwrap();
    assert_eq!(b.head(&key("large")).await.unwrap().unwrap().size, 9 << 20);
    assert!(b.get_all(&key("large")).await.unwrap() == whole);
}

async fn ranges_come_back_in_the_order_asked(b: &dyn Bucket) {
    let (name, whole) = (key("large"), pattern(1, 9 << 20));
    let size = whole.len() as u64;
    let mut ranges = vec![
        size - 1..size,
        0..1,
        100..100,
        5..4 << 20,
        7..9,
        0..size,
        8 << 20..size,
    ];
    ranges.extend((0..60).map(|i| i * 150_001..i * 150_001 + 77));
    let found = b.get(&name, &ranges).await.unwrap();
    assert_eq!(found.len(), ranges.len());
    for (range, bytes) in ranges.iter().zip(found) {
        assert!(
            bytes == whole[range.start as usize..range.end as usize],
            "{range:?}"
        );
    }
    assert_eq!(b.get(&name, &[]).await.unwrap(), Vec::<Bytes>::new());
}

async fn ranges_outside_the_object_are_refused(b: &dyn Bucket) {
    b.put(&key("short"), vec!["12345".into()]).await.unwrap();
    for range in [3..6, 5..6, 100..200] {
        let refused = b.get(&key("short"), std::slice::from_ref(&range)).await;
        assert!(
            matches!(refused, Err(BlobError::Definite(_))),
            "{range:?}: {refused:?}"
        );
    }
}

async fn what_is_absent_is_not_found(b: &dyn Bucket) {
    let absent = key("absent");
    assert!(matches!(
        b.get_all(&absent).await,
        Err(BlobError::NotFound(_))
    ));
    assert!(matches!(
        b.get(&absent, &[0..1, 5..6]).await,
        Err(BlobError::NotFound(_))
    ));
    assert_eq!(b.head(&absent).await.unwrap(), None);
    assert_eq!(b.list(&absent, None, 10).await.unwrap(), vec![]);
}

async fn a_head_tells_size_date_and_tag(b: &dyn Bucket) {
    let name = key("head");
    b.put(&name, vec!["abc".into()]).await.unwrap();
    let head = b.head(&name).await.unwrap().unwrap();
    assert_eq!((head.key.as_str(), head.size), (name.as_str(), 3));
    assert!(head.modified_ms >= 0 && !head.tag.is_empty());
    let listed = b.list(&name, None, 10).await.unwrap().remove(0);
    assert_eq!(
        (&listed.key, listed.size, &listed.tag),
        (&head.key, head.size, &head.tag)
    );
    // S3's heads are dated to the second, its listings to the millisecond.
    assert!((listed.modified_ms - head.modified_ms).abs() < 1000);
    b.put(&name, vec!["xyz".into()]).await.unwrap();
    assert_ne!(
        b.head(&name).await.unwrap().unwrap().tag,
        head.tag,
        "other content, other tag"
    );
}

/// Names whose order as keys is not their order as files and folders.
const TREE: [&str; 9] = [
    "t/a-b", "t/a.b", "t/a/1", "t/a/2/x", "t/a/2/y", "t/a/3", "t/a0", "t/b/1", "t/c",
];

async fn a_listing_is_in_key_order_and_pages(b: &dyn Bucket) {
    for name in TREE.iter().rev() {
        b.put(&key(name), vec![Bytes::from_static(name.as_bytes())])
            .await
            .unwrap();
    }
    let all: Vec<String> = TREE.iter().map(|name| key(name)).collect();
    assert_eq!(keys_of(&b.list(&key("t/"), None, 100).await.unwrap()), all);
    for page in 1..=4 {
        assert_eq!(
            by_pages(b, &key("t/"), page).await,
            all,
            "in pages of {page}"
        );
    }
    // `after` need not exist, nor have the prefix.
    let after =
        |at: String| async move { keys_of(&b.list(&key("t/"), Some(&at), 100).await.unwrap()) };
    assert_eq!(after(key("t/a/2")).await, all[3..]);
    assert_eq!(after(key("t/a/2/x")).await, all[4..]);
    assert_eq!(after(key("a")).await, all);
    assert_eq!(after(key("u")).await, Vec::<String>::new());
    assert_eq!(b.list(&key("t/"), None, 0).await.unwrap(), vec![]);
}

async fn by_pages(b: &dyn Bucket, prefix: &str, limit: usize) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    loop {
        let page = b
            .list(prefix, keys.last().map(String::as_str), limit)
            .await
            .unwrap();
        assert!(page.len() <= limit);
        if page.is_empty() {
            return keys;
        }
        keys.extend(keys_of(&page));
    }
}

async fn a_listing_takes_any_prefix(b: &dyn Bucket) {
    let count =
        |prefix: &'static str| async move { b.list(&key(prefix), None, 100).await.unwrap().len() };
    assert_eq!(count("t/a").await, 7, "a prefix need not end at a slash");
    assert_eq!(count("t/a/").await, 4);
    assert_eq!(count("t/a/2/x").await, 1);
    assert_eq!(count("t/a/2/x/").await, 0);
}

async fn deletes_may_be_repeated(b: &dyn Bucket) {
    let names = [
        key("t/a/1"),
        key("t/never-was"),
        key("t/c"),
        key("no/such/folder"),
    ];
    for _ in 0..2 {
        b.delete(&names).await.unwrap();
        assert_eq!(b.head(&names[0]).await.unwrap(), None);
        assert_eq!(
            b.list(&key("t/"), None, 100).await.unwrap().len(),
            TREE.len() - 2
        );
    }
    b.delete(&[]).await.unwrap();
}

async fn more_than_a_thousand_keys_are_deleted_at_once(b: &dyn Bucket) {
    let mut names: Vec<String> = (0..1100).map(|i| key(&format!("many/{i}"))).collect();
    let (first, last) = (names[0].clone(), names[1099].clone());
    b.put(&first, vec![]).await.unwrap();
    b.put(&last, vec![]).await.unwrap();
    names.push(first);
    b.delete(&names).await.unwrap();
    assert_eq!(b.list(&key("many/"), None, 10).await.unwrap(), vec![]);
}

async fn odd_keys_are_refused(b: &dyn Bucket) {
    for bad in [
        "", "/abs", "a//b", "../up", "a/../b", "a/", ".tmp/x", "a b", "a%2e",
    ] {
        let refused = b.put(bad, vec![]).await;
        assert!(
            matches!(refused, Err(BlobError::Definite(_))),
            "{bad:?}: {refused:?}"
        );
        let refused = b.put_if(bad, Bytes::new(), Expect::Absent).await;
        assert!(
            matches!(refused, Err(BlobError::Definite(_))),
            "{bad:?}: {refused:?}"
        );
    }
}

async fn a_conditional_put_stores_only_if_the_condition_holds(b: &dyn Bucket) {
    let name = key("conditional");
    let lost = PutIf::Lost;
    let put_if = |content: &'static str, expect: Expect| b.put_if(&name, content.into(), expect);
    assert_eq!(
        put_if("0", Expect::Tag("\"none\"".into())).await.unwrap(),
        lost,
        "nothing to replace"
    );
    let first = tag_of(put_if("1", Expect::Absent).await.unwrap());
    assert_eq!(put_if("2", Expect::Absent).await.unwrap(), lost);
    assert_eq!(b.head(&name).await.unwrap().unwrap().tag, first);
    let second = tag_of(put_if("3", Expect::Tag(first.clone())).await.unwrap());
    assert_ne!(first, second);
    assert_eq!(
        put_if("4", Expect::Tag(first)).await.unwrap(),
        lost,
        "a tag that was replaced"
    );
    assert_eq!(b.get_all(&name).await.unwrap(), "3");
    b.delete(std::slice::from_ref(&name)).await.unwrap();
    assert_eq!(
        put_if("5", Expect::Tag(second)).await.unwrap(),
        lost,
        "a tag that was deleted"
    );
    tag_of(put_if("6", Expect::Absent).await.unwrap());
}

/// Each of `n` writers puts its own number under one condition; returns who says that it has stored. Content never repeats from
/// round to round: to S3, a tag is a hash of the content, and what is stored again bears its old tag.
async fn race(bucket: &Arc<dyn Bucket>, round: u32, expect: Expect, n: u32) -> Vec<String> {
    let attempts = (0..n).map(|i| {
        let (bucket, name, expect) = (bucket.clone(), key("race"), expect.clone());
        tokio::spawn(async move {
            let content = format!("round {round}, writer {i}");
            let done = bucket
                .put_if(&name, content.clone().into(), expect)
                .await
                .unwrap();
            (done != PutIf::Lost).then_some(content)
        })
    });
    join_all(attempts)
        .await
        .into_iter()
        .filter_map(Result::unwrap)
        .collect()
}

async fn one_of_many_creates_wins(bucket: &Arc<dyn Bucket>) {
    let name = key("race");
    let winners = race(bucket, 0, Expect::Absent, 20).await;
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(bucket.get_all(&name).await.unwrap(), winners[0]);
}

async fn one_of_many_replacements_wins(bucket: &Arc<dyn Bucket>) {
    let name = key("race");
    for round in 1..=5 {
        let tag = bucket.head(&name).await.unwrap().unwrap().tag;
        let winners = race(bucket, round, Expect::Tag(tag), 8).await;
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(bucket.get_all(&name).await.unwrap(), winners[0]);
    }
}

async fn a_reader_sees_one_content_while_others_overwrite(bucket: &Arc<dyn Bucket>) {
    reads_while_overwritten(bucket, 300_000).await;
}

/// What [`conformance`] leaves out: ranges so far apart that they are read by several requests come from one content too, while
/// the object is overwritten. Not so where a store's answer may carry the tag of another content than its bytes (versitygw reads
/// the tag by name and the bytes from the open file). No object of ours is overwritten with other content while it is read.
///
/// # Panics
/// When an answer holds two contents.
pub async fn far_ranges_are_of_one_content(bucket: Arc<dyn Bucket>) {
    reads_while_overwritten(&bucket, 3 << 20).await;
}

async fn reads_while_overwritten(bucket: &Arc<dyn Bucket>, size: u64) {
    let name = key("torn");
    let content = move |fill: u8| vec![Bytes::from(vec![fill; size as usize])];
    bucket.put(&name, content(0)).await.unwrap();
    let writer = tokio::spawn({
        let (bucket, name) = (bucket.clone(), name.clone());
        async move {
            for fill in 1..12 {
                bucket.put(&name, content(fill)).await.unwrap();
            }
        }
    });
    while !writer.is_finished() {
        match bucket
            .get(&name, &[0..10, size / 2..size / 2 + 10, size - 10..size])
            .await
        {
            Ok(found) => {
                let seen: BTreeSet<u8> = found.iter().flatten().copied().collect();
                assert_eq!(seen.len(), 1, "two contents in one answer");
            }
            // A store may give up on an object that changes faster than it reads.
            Err(BlobError::Maybe(_)) => {}
            Err(e) => panic!("{e}"),
        }
        // A bucket in memory never waits, and would keep a runtime of one thread from the writer.
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
    bucket.delete(&[name]).await.unwrap();
}
