use kafka_protocol::error::ResponseError;
use serde_json::{Value, json};
use sh_client::{Admin, Client, ConfigResource, Options};

use crate::{
    running::{Running, unique, until},
    writer::Writer,
};

/// A topic with one partition that has one record.
fn topic(house: &Running) -> String {
    let topic = unique("t");
    house.ok(&["topic", "create", &topic, "--partitions", "1"]);
    house.feed(&["produce", &topic], "first\n").ok();
    topic
}

fn one(house: &Running, id: &str) -> Value {
    house.json(&["txn", "describe", id])[0].clone()
}

fn listed(house: &Running, args: &[&str]) -> Vec<Value> {
    let list = house.json(&[&["txn", "list"], args].concat());
    list.as_array().unwrap().clone()
}

#[test]
fn an_open_transaction_is_seen_and_aborted_by_its_id() {
    for house in Running::both() {
        let (topic, id) = (topic(&house), unique("id"));
        let writer = Writer::start(&house, &id);
        assert_eq!(one(&house, &id)["state"], "Empty");
        assert_eq!(writer.write(&topic, 0), Ok(1));

        let open = one(&house, &id);
        assert_eq!(open["state"], "Ongoing");
        assert_eq!(open["producer_id"], writer.producer);
        assert_eq!(open["timeout_ms"], 60_000);
        assert_eq!(open["partitions"], json!({ topic.as_str(): [0] }));
        assert!(open["age_ms"].as_i64().unwrap() >= 0, "{open}");
        let found =
            json!({ "transactional_id": id, "producer_id": writer.producer, "state": "Ongoing" });
        let number = writer.producer.to_string();
        for filter in [
            &["--state", "Ongoing", "--producer-id", &number][..],
            &["--id-pattern", &id],
            &["--older-than", "1ms", "--producer-id", &number],
        ] {
            assert_eq!(
                listed(&house, filter),
                std::slice::from_ref(&found),
                "{filter:?}"
            );
        }
        assert_eq!(
            listed(&house, &["--id-pattern", &id, "--state", "Empty"]),
            [Value::Null; 0]
        );
        assert_eq!(
            listed(&house, &["--id-pattern", &id, "--older-than", "1h"]),
            [Value::Null; 0]
        );
        let producers = house.json(&["txn", "producers", &topic]);
        let starts = producers.as_array().unwrap().iter();
        let starts: Vec<_> = starts
            .map(|p| p["transaction_start_offset"].clone())
            .collect();
        assert!(starts.contains(&json!(1)), "{producers}");
        // It is open, but its coordinator will end it.
        let hanging = [
            "txn",
            "find-hanging",
            "--topic",
            &topic,
            "--older-than",
            "0s",
        ];
        assert_eq!(house.json(&hanging), json!([]));

        house.ok(&["txn", "abort", &id]);
        assert_eq!(one(&house, &id)["start_ms"], Value::Null);
        assert_eq!(house.ok(&["consume", &topic]), "first\n");
        let fenced = writer.write_behind(&topic, 0).unwrap_err();
        assert!(
            matches!(
                fenced,
                ResponseError::InvalidProducerEpoch | ResponseError::ProducerFenced
            ),
            "{fenced:?}"
        );
        house
            .run(&["txn", "abort", &id])
            .fails(1, "no open transaction");
    }
}

#[test]
fn a_transaction_is_aborted_where_it_begins() {
    for house in Running::both() {
        let (topic, id) = (topic(&house), unique("id"));
        let writer = Writer::start(&house, &id);
        assert_eq!(writer.write(&topic, 0), Ok(1));
        let abort = |start: &str| {
            let place = [
                "--topic",
                &topic,
                "--partition",
                "0",
                "--start-offset",
                start,
            ];
            house.run(&[&["txn", "abort"], &place[..]].concat())
        };
        abort("0").fails(3, "streamctl txn producers");
        abort("1").ok();
        assert_eq!(house.ok(&["consume", &topic]), "first\n");
        assert_eq!(
            house.ok(&["consume", &topic, "--uncommitted"]),
            "first\nopen\n"
        );
        abort("1").fails(3, "no open transaction");
    }
}

/// Such a transaction comes from servers that do not ask the coordinator about each batch, which the reference can be
/// told to be. Our server cannot: a batch locks its transaction's row.
#[test]
fn a_transaction_that_no_coordinator_knows_is_found_and_aborted() {
    let house = Running::oracle();
    let (topic, id) = (topic(&house), unique("id"));
    let writer = Writer::start(&house, &id);
    let verify = Verification::off(&house);
    // It hears of its settings a moment later.
    let written = until("a batch that nobody asks about", || {
        writer.write_behind(&topic, 0).ok()
    });
    drop(verify);
    assert_eq!(written, 1);

    let find = [
        "txn",
        "find-hanging",
        "--topic",
        &topic,
        "--older-than",
        "0s",
    ];
    let found = house.json(&find);
    assert_eq!(found[0]["start_offset"], 1, "{found}");
    assert_eq!(found[0]["producer_id"], writer.producer);
    let text = house.ok(&find);
    let command = text.lines().last().unwrap().trim();
    let abort: Vec<&str> = command.split_whitespace().skip(1).collect();
    house.ok(&abort);
    assert_eq!(house.json(&find), json!([]));
    assert_eq!(house.ok(&["consume", &topic]), "first\n");
}

#[test]
fn what_is_not_there_is_told() {
    for house in Running::both() {
        house
            .run(&["txn", "describe", &unique("id")])
            .fails(3, "streamctl txn list");
        house
            .run(&["txn", "abort", &unique("id")])
            .fails(3, "there is no transactional id");
        house
            .run(&["txn", "producers", &unique("t")])
            .fails(3, "there is no topic");
    }
}

/// While it lives, the reference believes producers.
struct Verification {
    runtime: tokio::runtime::Runtime,
    admin: Admin,
}

impl Verification {
    fn off(house: &Running) -> Verification {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let client = runtime.block_on(Client::connect(house.address(), Options::default()));
        let verification = Verification {
            runtime,
            admin: Admin::new(client.unwrap()),
        };
        verification.set(Some("false"));
        verification
    }

    fn set(&self, value: Option<&str>) {
        let name = "transaction.partition.verification.enable".to_owned();
        let change = [(name, value.map(str::to_owned))];
        let altered = self
            .admin
            .alter_configs(&ConfigResource::Cluster, &change, false);
        self.runtime.block_on(altered).unwrap();
    }
}

impl Drop for Verification {
    fn drop(&mut self) {
        self.set(None);
    }
}
