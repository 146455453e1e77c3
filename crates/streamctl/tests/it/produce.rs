use std::{
    fs,
    time::{Duration, Instant},
};

use crate::running::Running;

/// A server with a topic `t`.
fn with_topic(partitions: &str) -> Running {
    let house = Running::start();
    house.ok(&[
        "topic",
        "create",
        "t",
        "--partitions",
        partitions,
        "--config",
        "retention.ms=-1",
    ]);
    house
}

#[test]
fn lines_come_back_as_they_went_in_whatever_the_acks_and_the_codec() {
    let house = with_topic("1");
    let mut expected = String::new();
    for acks in ["all", "1", "0"] {
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let line = format!("{acks} {codec} \u{e9}\n");
            house
                .feed(
                    &["produce", "t", "--acks", acks, "--compression", codec],
                    &line,
                )
                .ok();
            expected += &line;
            wait_for(&house, expected.lines().count());
        }
    }
    assert_eq!(house.ok(&["consume", "t"]), expected);
}

/// An acks=0 record is there some time later.
fn wait_for(house: &Running, records: usize) {
    let start = Instant::now();
    while house.json(&["offsets", "t"])[0]["latest"] != records {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "record {records} never came"
        );
    }
}

#[test]
fn a_separator_gives_lines_their_keys() {
    let house = with_topic("1");
    house
        .feed(
            &["produce", "t", "--key-separator", "="],
            "a=1\nb=2=3\nalone\n",
        )
        .ok();
    assert_eq!(
        house.ok(&["consume", "t", "--format", "%k -> %v\\n"]),
        "a -> 1\nb -> 2=3\n -> alone\n"
    );
}

#[test]
fn json_lines_bring_key_and_timestamp_along() {
    let house = with_topic("4");
    let line = r#"{"id": "k1", "at": "2013-01-01 10:00:00", "n": 1}"#;
    let args = [
        "produce",
        "t",
        "--format",
        "jsonl",
        "--key",
        "id",
        "--timestamp",
        "at",
        "--partition",
        "3",
    ];
    house.feed(&args, &format!("{line}\n")).ok();
    let record = house.json(&["consume", "t"]);
    assert_eq!(record["key"], "k1");
    assert_eq!(record["timestamp"], 1_357_034_400_000i64);
    assert_eq!(record["partition"], 3);
    assert_eq!(record["value"], line);
}

const CSV: &str = "carrier,note,time\nUA,\"a, b\",2013-01-01T10:00:00Z\nAA,,2013-01-01T11:00:00Z\n";

#[test]
fn csv_rows_become_objects_by_their_header_or_stay_rows() {
    let house = with_topic("1");
    let file = house.dir.path().join("rows.csv");
    fs::write(&file, CSV).unwrap();
    let file = file.to_str().unwrap();
    let args = [
        "produce",
        "t",
        file,
        "--format",
        "csv",
        "--key",
        "carrier",
        "--timestamp",
        "time",
    ];
    house.ok(&args);
    house.ok(&[&args[..], &["--csv-value", "row"]].concat());
    assert_eq!(
        house.ok(&["consume", "t", "--format", "%k %D %v\\n"]),
        "UA 2013-01-01T10:00:00.000Z {\"carrier\":\"UA\",\"note\":\"a, b\",\"time\":\"2013-01-01T10:00:00Z\"}\n\
         AA 2013-01-01T11:00:00.000Z {\"carrier\":\"AA\",\"note\":\"\",\"time\":\"2013-01-01T11:00:00Z\"}\n\
         UA 2013-01-01T10:00:00.000Z UA,\"a, b\",2013-01-01T10:00:00Z\n\
         AA 2013-01-01T11:00:00.000Z AA,,2013-01-01T11:00:00Z\n"
    );
}

#[test]
fn many_rows_keep_their_order_per_key_and_none_is_lost() {
    let house = with_topic("6");
    let rows: String = (0..30_000).map(|n| format!("key{},{n}\n", n % 7)).collect();
    let args = [
        "produce",
        "t",
        "--format",
        "csv",
        "--csv-value",
        "row",
        "--key",
        "key",
        "--output",
        "json",
    ];
    let written = house.feed(&args, &format!("key,n\n{rows}")).ok();
    let written: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written["records"], 30_000);
    let read = house.ok(&["consume", "t"]);
    for key in 0..7 {
        let of = |text: &str| {
            text.lines()
                .filter(|l| l.starts_with(&format!("key{key},")))
                .map(String::from)
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&read), of(&rows), "key {key}");
    }
}

#[test]
fn a_bad_row_is_named_and_what_came_before_it_is_written() {
    let house = with_topic("1");
    let args = ["produce", "t", "--format", "jsonl"];
    house.feed(&args, "{\"n\":1}\n{\"n\":2}\nnonsense\n").fails(
        1,
        "before this, 2 records went through: -: line 3: is not JSON",
    );
    assert_eq!(house.ok(&["consume", "t"]), "{\"n\":1}\n{\"n\":2}\n");
}

#[test]
fn what_cannot_be_written_is_refused_before_anything_is() {
    let house = with_topic("2");
    house
        .run(&["produce", "t", "--key", "id"])
        .fails(2, "--format csv");
    house
        .feed(
            &["produce", "t", "--format", "csv", "--key", "id"],
            "a,b\n1,2\n",
        )
        .fails(2, "the header names a, b");
    house
        .run(&["produce", "t", "no-such-file"])
        .fails(1, "no-such-file cannot be read");
    house
        .run(&["produce", "t", "--partition", "2"])
        .fails(3, "no partition 2");
    house
        .run(&["produce", "nowhere"])
        .fails(3, "no topic nowhere");
    assert_eq!(house.json(&["offsets", "t"])[0]["latest"], 0);
}
