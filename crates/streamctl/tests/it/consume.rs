use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use serde_json::json;

use crate::running::Running;

/// Ten records of partition 0, one second apart from 1970-01-01T00:00:01Z on.
fn ten_seconds() -> Running {
    let house = Running::start();
    house.ok(&[
        "topic",
        "create",
        "t",
        "--partitions",
        "2",
        "--config",
        "retention.ms=-1",
    ]);
    let rows: String = (1..=10)
        .map(|n| format!("{{\"n\":{n},\"at\":{}}}\n", n * 1000))
        .collect();
    house
        .feed(
            &[
                "produce",
                "t",
                "--partition",
                "0",
                "--format",
                "jsonl",
                "--timestamp",
                "at",
            ],
            &rows,
        )
        .ok();
    house
}

fn offsets(house: &Running, args: &[&str]) -> String {
    let args = [&["consume", "t", "--format", "%o "], args].concat();
    house.ok(&args).trim_end().to_owned()
}

#[test]
fn reading_begins_where_it_is_told_and_ends_at_the_end() {
    let house = ten_seconds();
    assert_eq!(offsets(&house, &[]), "0 1 2 3 4 5 6 7 8 9");
    assert_eq!(offsets(&house, &["--from", "end"]), "");
    assert_eq!(
        offsets(&house, &["--from", "7", "--partition", "0"]),
        "7 8 9"
    );
    assert_eq!(offsets(&house, &["--from", "-2"]), "8 9");
    assert_eq!(
        offsets(&house, &["--from-time", "1970-01-01 00:00:08.5"]),
        "8 9"
    );
    assert_eq!(offsets(&house, &["--from-time", "2013-01-01"]), "");
    assert_eq!(offsets(&house, &["--max", "3"]), "0 1 2");
    assert_eq!(offsets(&house, &["--partition", "1"]), "");
    house
        .run(&["consume", "t", "--from", "11"])
        .fails(1, "offsets 0 to 10");
    house
        .run(&["consume", "t", "--partition", "2"])
        .fails(3, "no partition 2");
}

#[test]
fn offsets_are_shown_with_the_one_a_time_has() {
    let house = ten_seconds();
    let lines = house.json(&["offsets", "t", "--at", "1970-01-01T00:00:05Z"]);
    assert_eq!(
        lines[0],
        json!({ "partition": 0, "earliest": 0, "latest": 10, "at": { "offset": 4, "timestamp": 5000 } })
    );
    assert_eq!(lines[1]["at"], json!({ "offset": null, "timestamp": null }));
    assert!(house.ok(&["offsets", "t"]).contains("10"));
}

#[test]
fn following_sees_what_comes_later() {
    let house = ten_seconds();
    let mut follower = house
        .command(&["consume", "t", "--follow", "--from", "-1", "--max", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.next().unwrap().contains("\"n\":10"));
    house
        .feed(&["produce", "t", "--partition", "1"], "later\n")
        .ok();
    assert_eq!(lines.next().unwrap(), "later");
    assert!(follower.wait().unwrap().success());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let house = ten_seconds();
    let rows: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
    house
        .feed(&["produce", "t", "--partition", "1"], &rows)
        .ok();
    let mut reader = house
        .command(&["consume", "t"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(reader.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    drop(out);
    assert!(reader.wait().unwrap().success());
}
