use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Stdio},
};

use serde_json::{Value, json};

use crate::running::{Running, unique, until};

/// A topic of `partitions`, with one record `0`, `1`, ... in each.
fn topic(house: &Running, partitions: usize) -> String {
    let name = unique("t");
    house.ok(&[
        "topic",
        "create",
        &name,
        "--partitions",
        &partitions.to_string(),
    ]);
    for partition in 0..partitions {
        produce(house, &name, partition, &format!("{partition}\n"));
    }
    name
}

fn produce(house: &Running, topic: &str, partition: usize, lines: &str) {
    let partition = partition.to_string();
    house
        .feed(&["produce", topic, "--partition", &partition], lines)
        .ok();
}

/// What the group is given to read, sorted.
fn read(house: &Running, topic: &str, group: &str, args: &[&str]) -> Vec<String> {
    let args = [&["consume", topic, "--group", group], args].concat();
    let mut lines: Vec<String> = house.ok(&args).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn describe(house: &Running, group: &str) -> Value {
    house.json(&["group", "describe", group])[0].clone()
}

/// One field of every partition's line.
fn column(group: &Value, name: &str) -> Vec<Value> {
    let lines = group["offsets"].as_array().unwrap();
    lines.iter().map(|line| line[name].clone()).collect()
}

/// A member that stays until it is interrupted.
struct Follower {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    fn start(house: &Running, topic: &str, group: &str, args: &[&str]) -> Follower {
        let args = [&["consume", topic, "--group", group, "--follow"], args].concat();
        let mut process = house.command(&args).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Follower { process, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// Ctrl-C: it leaves the group, and ends well.
    fn interrupt(mut self) {
        let id = self.process.id().to_string();
        let killed = std::process::Command::new("kill")
            .args(["-INT", &id])
            .status();
        assert!(killed.unwrap().success());
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const PROTOCOLS: [&str; 2] = ["consumer", "classic"];

#[test]
fn a_group_goes_on_where_it_was() {
    for house in Running::both() {
        for protocol in PROTOCOLS {
            let (topic, group) = (topic(&house, 3), unique("g"));
            let args = ["--group-protocol", protocol];
            assert_eq!(read(&house, &topic, &group, &args), ["0", "1", "2"]);
            assert_eq!(read(&house, &topic, &group, &args), [""; 0]);
            produce(&house, &topic, 1, "a\nb\nc\n");
            let two = [&args[..], &["--max", "2"]].concat();
            assert_eq!(read(&house, &topic, &group, &two), ["a", "b"]);
            let described = describe(&house, &group);
            assert_eq!(described["state"], "Empty");
            assert_eq!(described["type"], protocol);
            assert_eq!(column(&described, "current_offset"), [1, 3, 1]);
            assert_eq!(column(&described, "log_end_offset"), [1, 4, 1]);
            assert_eq!(described["total_lag"], 1);
            assert_eq!(read(&house, &topic, &group, &args), ["c"]);
        }
    }
}

#[test]
fn a_group_without_an_offset_begins_where_it_is_told() {
    for house in Running::both() {
        let (topic, group) = (topic(&house, 1), unique("g"));
        assert_eq!(read(&house, &topic, &group, &["--from", "end"]), [""; 0]);
        produce(&house, &topic, 0, "later\n");
        // Now the group has an offset, and --from means nothing.
        assert_eq!(
            read(&house, &topic, &group, &["--from", "beginning"]),
            ["later"]
        );
        house
            .run(&["consume", &topic, "--group", &group, "--from", "-1"])
            .fails(2, "streamctl group reset");
    }
}

#[test]
fn members_share_the_partitions_and_take_over_from_who_leaves() {
    for house in Running::both() {
        for protocol in PROTOCOLS {
            let (topic, group) = (topic(&house, 4), unique("g"));
            let args = ["--group-protocol", protocol];
            let mut first = Follower::start(&house, &topic, &group, &args);
            for _ in 0..4 {
                first.line();
            }
            let mut second = Follower::start(&house, &topic, &group, &args);
            let shared = |sizes: &[usize]| {
                let described = describe(&house, &group);
                let members = described["members"].as_array().unwrap().clone();
                let size = |m: &Value| m["assignment"][&topic].as_array().map_or(0, Vec::len);
                let stable = described["state"] == "Stable";
                let found: Vec<usize> = members.iter().map(size).collect();
                (stable && found == sizes).then_some(members)
            };
            let members = until("two members with two partitions each", || shared(&[2, 2]));
            assert_eq!(members[0]["client_id"], "streamctl");
            // Nothing was read twice: what comes first is what was written last.
            for partition in 0..4 {
                produce(&house, &topic, partition, "new\n");
            }
            for follower in [&mut first, &mut second] {
                assert_eq!(follower.line(), "new");
                assert_eq!(follower.line(), "new");
            }
            first.interrupt();
            until("one member with all", || shared(&[4]));
            produce(&house, &topic, 0, "x\n");
            produce(&house, &topic, 3, "x\n");
            assert_eq!([second.line(), second.line()], ["x", "x"]);
            second.interrupt();
            assert_eq!(describe(&house, &group)["members"], json!([]));
            assert_eq!(describe(&house, &group)["total_lag"], 0);
        }
    }
}

#[test]
fn a_static_member_finds_its_partitions_again() {
    for house in Running::both() {
        for protocol in PROTOCOLS {
            let (topic, group) = (topic(&house, 2), unique("g"));
            let args = ["--group-protocol", protocol, "--instance-id", "one"];
            let mut member = Follower::start(&house, &topic, &group, &args);
            member.line();
            member.line();
            member.interrupt();
            assert_eq!(describe(&house, &group)["members"][0]["instance_id"], "one");
            produce(&house, &topic, 1, "later\n");
            assert_eq!(read(&house, &topic, &group, &args), ["later"]);
        }
    }
}

#[test]
fn describing_names_what_people_look_for() {
    for house in Running::both() {
        let (topic, group) = (topic(&house, 2), unique("g"));
        let mut member = Follower::start(&house, &topic, &group, &[]);
        member.line();
        member.line();
        let text = house.ok(&["group", "describe", &group]);
        let columns =
            "GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID";
        let headings: Vec<&str> = text.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!(headings.join(" "), columns);
        assert!(
            text.starts_with(&format!("group {group}: Stable")),
            "{text}"
        );
        let members = house.ok(&["group", "describe", &group, "--members"]);
        assert!(members.contains(&format!("{topic}:0,1")), "{members}");
        let list = house.json(&["group", "list", "--state", "stable", "--type", "consumer"]);
        let found = list
            .as_array()
            .unwrap()
            .iter()
            .find(|g| g["group"] == *group);
        assert_eq!(found.unwrap()["state"], "Stable");
        let list = house.json(&["group", "list", "--state", "empty"]);
        assert!(
            list.as_array()
                .unwrap()
                .iter()
                .all(|g| g["group"] != *group)
        );
        // An offset outlives its topic; there is no end to lag behind then.
        member.interrupt();
        house.ok(&["topic", "delete", &topic]);
        house
            .run(&["group", "describe", &unique("g")])
            .fails(3, "streamctl group list");
    }
}

#[test]
fn a_reset_shows_first_and_does_it_then() {
    for house in Running::both() {
        let (topic, group) = (topic(&house, 2), unique("g"));
        produce(&house, &topic, 0, "a\nb\nc\n");
        read(&house, &topic, &group, &[]);
        let offsets = || column(&describe(&house, &group), "current_offset");
        let reset = |args: &[&str]| {
            let args = [&["group", "reset", &group], args].concat();
            let plan = house.json(&args);
            let plan = plan["offsets"].as_array().unwrap().clone();
            plan.iter()
                .map(|s| s["new_offset"].clone())
                .collect::<Vec<_>>()
        };
        let text = house.ok(&["group", "reset", &group, "--all-topics", "--to-earliest"]);
        let command = format!("streamctl group reset {group} --all-topics --to-earliest --execute");
        assert!(text.ends_with(&format!("{command}\n")), "{text}");
        assert_eq!(offsets(), [4, 1]);

        assert_eq!(reset(&["--topic", &topic, "--to-offset", "2"]), [2, 1]);
        assert_eq!(reset(&["--all-topics", "--shift-by", "-3"]), [1, 0]);
        assert_eq!(reset(&["--all-topics", "--shift-by", "-99"]), [0, 0]);
        assert_eq!(reset(&["--all-topics", "--shift-by", "99"]), [4, 1]);
        assert_eq!(reset(&["--all-topics", "--to-time", "2013-01-01"]), [0, 0]);
        assert_eq!(
            reset(&["--all-topics", "--to-datetime", "99999999999999"]),
            [4, 1]
        );
        assert_eq!(reset(&["--all-topics", "--by-duration", "PT1H"]), [0, 0]);
        assert_eq!(offsets(), [4, 1], "all of that was dry");

        let file = house.dir.path().join("offsets.csv");
        let file = file.to_str().unwrap();
        reset(&["--all-topics", "--to-current", "--to-file", file]);
        assert_eq!(
            fs::read_to_string(file).unwrap(),
            format!("{topic},0,4\n{topic},1,1\n")
        );
        let one = format!("{topic}:0");
        assert_eq!(reset(&["--topic", &one, "--to-earliest", "--execute"]), [0]);
        assert_eq!(offsets(), [0, 1]);
        assert_eq!(read(&house, &topic, &group, &["--max", "2"]), ["0", "a"]);
        assert_eq!(reset(&["--from-file", file, "--execute"]), [4, 1]);
        assert_eq!(offsets(), [4, 1]);
        house
            .run(&["group", "reset", &group, "--to-earliest"])
            .fails(2, "--all-topics");
        house
            .run(&[
                "group",
                "reset",
                &group,
                "--topic",
                &unique("u"),
                "--to-earliest",
            ])
            .fails(3, "streamctl topic");
    }
}

#[test]
fn a_reset_can_make_a_group() {
    for house in Running::both() {
        let (topic, group) = (topic(&house, 1), unique("g"));
        let args = ["group", "reset", &group, "--topic", &topic, "--to-latest"];
        assert!(house.ok(&args).contains("does not exist: this makes it"));
        house
            .run(&["group", "describe", &group])
            .fails(3, "there is no group");
        house.ok(&[&args[..], &["--execute"]].concat());
        assert_eq!(read(&house, &topic, &group, &[]), [""; 0]);
        house
            .run(&[
                "group",
                "reset",
                &unique("g"),
                "--all-topics",
                "--to-latest",
            ])
            .fails(3, "--topic");
    }
}

#[test]
fn what_has_members_is_left_alone() {
    for house in Running::both() {
        for protocol in PROTOCOLS {
            let (topic, group) = (topic(&house, 1), unique("g"));
            let args = ["--group-protocol", protocol];
            let mut member = Follower::start(&house, &topic, &group, &args);
            member.line();
            house
                .run(&[
                    "group",
                    "reset",
                    &group,
                    "--topic",
                    &topic,
                    "--to-earliest",
                    "--execute",
                ])
                .fails(1, "1 member");
            house
                .run(&["group", "delete", &group])
                .fails(1, "stop its consumers");
            house
                .run(&["group", "delete-offsets", &group, "--topic", &topic])
                .fails(1, "subscribe");
            member.interrupt();
            house.ok(&["group", "delete-offsets", &group, "--topic", &topic]);
            assert_eq!(describe(&house, &group)["offsets"], json!([]));
            house
                .run(&["group", "delete-offsets", &group, "--topic", &topic])
                .fails(3, "no offsets");
            house.ok(&["group", "delete", &group]);
            house
                .run(&["group", "delete", &group])
                .fails(3, "there is no group");
        }
    }
}
