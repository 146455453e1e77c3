use serde_json::Value;

use crate::running::{Outcome, streamctl};

fn run(args: &[&str]) -> Outcome {
    Outcome::of(streamctl(args).output().unwrap())
}

#[test]
fn an_address_where_nobody_listens_is_told_at_once() {
    run(&["cluster", "--bootstrap", "127.0.0.1:1"]).fails(4, "cannot connect to 127.0.0.1:1");
    run(&["topic", "undelete", "t", "--http", "127.0.0.1:1"])
        .fails(4, "cannot reach http://127.0.0.1:1");
}

#[test]
fn errors_are_json_where_that_was_asked_for() {
    let outcome = run(&["cluster", "--bootstrap", "127.0.0.1:1", "--output", "json"]);
    let error: Value = serde_json::from_str(&outcome.err).unwrap();
    assert_eq!(error["exit_code"], 4);
    assert!(error["error"].as_str().unwrap().contains("127.0.0.1:1"));
}

#[test]
fn a_wrong_command_line_is_2() {
    for args in [
        &["topic", "alter", "t"][..],
        &["consume", "t", "--format", "%q"],
        &["produce", "t", "--acks", "2"],
        &["tpic"],
        &["group", "reset", "g", "--topic", "t"],
        &[
            "group",
            "reset",
            "g",
            "--topic",
            "t",
            "--to-latest",
            "--to-earliest",
        ],
        &["group", "reset", "g", "--topic", "t:x", "--to-latest"],
        &["group", "reset", "g", "--topic", "t", "--by-duration", "5"],
        &["group", "describe"],
        &["txn", "abort"],
        &["txn", "abort", "--topic", "t"],
        &["consume", "t", "--group", "g", "--partition", "0"],
        &["consume", "t", "--instance-id", "i"],
    ] {
        assert_eq!(run(args).code, 2, "{args:?}");
    }
}

#[test]
fn every_shell_gets_its_completion() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            run(&["completion", shell]).ok().contains("undelete"),
            "{shell}"
        );
    }
}
