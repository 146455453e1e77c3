use crate::running::Running;

#[test]
fn a_topic_lives_from_creation_to_undeletion() {
    let house = Running::start();
    house.ok(&[
        "topic",
        "create",
        "orders",
        "--partitions",
        "3",
        "--config",
        "retention.ms=86400000",
    ]);
    let described = house.json(&["topic", "describe", "orders"]);
    assert_eq!(described["partitions"], 3);
    assert_eq!(described["configs"]["retention.ms"], "86400000");

    house.ok(&[
        "topic",
        "alter",
        "orders",
        "--set",
        "max.message.bytes=2000",
        "--unset",
        "retention.ms",
        "--partitions",
        "5",
    ]);
    let described = house.json(&["topic", "describe", "orders"]);
    assert_eq!(described["partitions"], 5);
    assert_eq!(
        described["configs"],
        serde_json::json!({ "max.message.bytes": "2000" })
    );

    house.feed(&["produce", "orders"], "kept\n").ok();
    house.ok(&["topic", "delete", "orders"]);
    assert_eq!(house.json(&["topic", "list"]), serde_json::json!([]));
    assert_eq!(
        house.json(&["topic", "list", "--deleted"])[0]["name"],
        "orders"
    );
    house
        .run(&["consume", "orders"])
        .fails(3, "there is no topic orders");

    house.ok(&["topic", "undelete", "orders"]);
    assert_eq!(house.ok(&["consume", "orders"]), "kept\n");
}

#[test]
fn a_dry_run_changes_nothing() {
    let house = Running::start();
    house.ok(&["topic", "create", "t", "--dry-run"]);
    assert_eq!(house.json(&["topic", "list"]), serde_json::json!([]));
    house.ok(&["topic", "create", "t", "--partitions", "1"]);
    house.ok(&["topic", "alter", "t", "--partitions", "2", "--dry-run"]);
    assert_eq!(house.json(&["topic", "describe", "t"])["partitions"], 1);
}

#[test]
fn what_is_refused_says_why_and_has_its_exit_code() {
    let house = Running::start();
    house.ok(&["topic", "create", "t"]);
    house
        .run(&["topic", "create", "t"])
        .fails(5, "already exists");
    house.ok(&["topic", "create", "t", "--if-not-exists"]);
    house
        .run(&["topic", "create", "not/a/name"])
        .fails(1, "invalid");
    house
        .run(&["topic", "create", "u", "--config", "retention.ms=soon"])
        .fails(1, "retention.ms");
    house
        .run(&["topic", "describe", "u"])
        .fails(3, "streamctl topic create");
    house
        .run(&["topic", "alter", "u", "--partitions", "3"])
        .fails(3, "no topic u");
    house.run(&["topic", "delete", "u"]).fails(3, "no topic u");
    house.run(&["topic", "undelete", "u"]).fails(3, "u");
    house.run(&["topic", "undelete", "t"]).fails(3, "t");
}

#[test]
fn the_cluster_shows_its_brokers_and_what_they_store() {
    let house = Running::start();
    house.ok(&["topic", "create", "t", "--partitions", "2"]);
    house.feed(&["produce", "t"], "some bytes\n").ok();
    let cluster = house.json(&["cluster"]);
    assert_eq!(cluster["controller"], 0);
    assert_eq!(cluster["brokers"][0]["log_dirs"][0]["partitions"], 2);
    assert!(
        cluster["brokers"][0]["log_dirs"][0]["bytes"]
            .as_i64()
            .unwrap()
            > 10
    );
    assert!(
        house
            .ok(&["cluster"])
            .contains(cluster["cluster_id"].as_str().unwrap())
    );
}
