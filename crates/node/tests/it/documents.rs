//! `docs/kafka-settings.md` is the tables of the code, in words.
use sh_node::config::{Definition, Mutability, broker, topic};

const DOCUMENT: &str = include_str!("../../../../docs/kafka-settings.md");

fn line(def: &Definition, when: &str) -> String {
    let default = match def.default {
        None => "unset".to_owned(),
        Some("") => "empty".to_owned(),
        Some(value) => format!("`{value}`"),
    };
    format!("| `{}` | {default} | {when} | {} |\n", def.name, def.doc)
}

fn tables() -> String {
    let mut text = String::from(
        "## Broker settings\n\n\
         Given at the start with `--set NAME=VALUE` or in the `[kafka]` table of the settings file. *Running*: can also be changed while\n\
         the server runs, for all agents or for one (`kafka-configs --entity-type brokers`).\n\n\
         | name | default | changes | what it does |\n|---|---|---|---|\n",
    );
    for b in broker::TABLE {
        let when = match b.mutability {
            Mutability::ReadOnly => "at the start",
            Mutability::ClusterWide => "running",
            Mutability::Derived => continue,
        };
        text += &line(&b.def, when);
    }
    text += "\n## Topic configs\n\n\
             | name | default | broker setting that is its default | what it does |\n|---|---|---|---|\n";
    for t in topic::TABLE {
        text += &line(
            &t.def,
            &t.broker.map_or(String::new(), |name| format!("`{name}`")),
        );
    }
    text
}

#[test]
fn the_documented_settings_are_those_of_the_code() {
    let written = DOCUMENT
        .find("## Broker settings")
        .map(|at| &DOCUMENT[at..]);
    assert!(
        written == Some(&tables()),
        "put this into docs/kafka-settings.md, after its introduction:\n{}",
        tables()
    );
}
