//! Which room may see which, and which room owns which part.
use super::Member;

/// A room sees only rooms below it, in one layer nobody sees a neighbour but `upkeep`, and no room up to `node` sees
/// the Kafka codec. Tests may see more.
const SEES: [(&str, &[&str]); 18] = [
    ("sh-base", &[]),
    ("sh-blob", &["sh-base"]),
    ("sh-meta", &["sh-base"]),
    ("sh-wire", &["sh-base"]),
    ("sh-log", &["sh-base", "sh-blob", "sh-meta"]),
    ("sh-coord", &["sh-base", "sh-blob", "sh-meta"]),
    ("sh-schema", &["sh-base", "sh-blob", "sh-meta"]),
    ("sh-auth", &["sh-base", "sh-blob", "sh-meta"]),
    ("sh-upkeep", &["sh-base", "sh-blob", "sh-meta", "sh-log"]),
    (
        "sh-node",
        &[
            "sh-base",
            "sh-blob",
            "sh-meta",
            "sh-log",
            "sh-coord",
            "sh-schema",
            "sh-auth",
            "sh-upkeep",
        ],
    ),
    ("sh-kafka", DOOR),
    ("sh-gateway", DOOR),
    ("sh-sql", DOOR),
    ("sh-connect", DOOR),
    ("sh-server", SERVER),
    ("sh-client", &["sh-base", "sh-wire"]),
    ("streamctl", &["sh-base", "sh-wire", "sh-client"]),
    ("xtask", &[]),
];

/// What a door or an engine sees: everything below, and no other door.
const DOOR: &[&str] = &[
    "sh-base",
    "sh-blob",
    "sh-meta",
    "sh-wire",
    "sh-log",
    "sh-coord",
    "sh-schema",
    "sh-auth",
    "sh-upkeep",
    "sh-node",
];

const SERVER: &[&str] = &[
    "sh-base",
    "sh-blob",
    "sh-meta",
    "sh-wire",
    "sh-log",
    "sh-coord",
    "sh-schema",
    "sh-auth",
    "sh-upkeep",
    "sh-node",
    "sh-kafka",
    "sh-gateway",
    "sh-sql",
    "sh-connect",
];

/// See anything: one simulates and breaks every room, the other measures them.
const UNBOUND: [&str; 2] = ["sh-testkit", "sh-bench"];

/// Dependencies that only these rooms may name.
const OWNERS: [(&str, &[&str]); 13] = [
    ("object_store", &["sh-blob"]),
    ("rusqlite", &["sh-meta"]),
    ("tokio-postgres", &["sh-meta"]),
    ("deadpool-postgres", &["sh-meta"]),
    (
        "kafka-protocol",
        &[
            "sh-wire",
            "sh-kafka",
            "sh-client",
            "streamctl",
            "sh-testkit",
            "sh-bench",
        ],
    ),
    ("axum", &["sh-server", "sh-gateway"]),
    ("tonic", &["sh-gateway"]),
    ("prost", &["sh-gateway", "sh-kafka"]),
    ("datafusion", &["sh-sql"]),
    ("iceberg", &["sh-connect"]),
    ("parquet", &["sh-connect"]),
    ("clap", &["sh-server", "streamctl", "sh-testkit"]),
    ("rand", &["sh-server", "streamctl", "sh-testkit"]),
];

/// Rooms that do no I/O, so that nothing in them can wait.
const WITHOUT_TOKIO: [&str; 3] = ["sh-base", "sh-wire", "sh-coord"];

pub fn check(members: &[Member]) -> Vec<String> {
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    members
        .iter()
        .flat_map(|member| check_member(member, &names))
        .collect()
}

fn check_member(member: &Member, names: &[&str]) -> Vec<String> {
    let name = member.name.as_str();
    let rule = SEES
        .iter()
        .find(|(room, _)| *room == name)
        .map(|(_, sees)| *sees);
    if rule.is_none() && !UNBOUND.contains(&name) {
        return vec![format!(
            "{name} has no place in the house: give it a line in xtask/src/tidy/rooms.rs"
        )];
    }
    let broken = |dependency: &&String| {
        let dependency = dependency.as_str();
        let unseen =
            names.contains(&dependency) && rule.is_some_and(|sees| !sees.contains(&dependency));
        let owned = OWNERS
            .iter()
            .any(|(part, rooms)| *part == dependency && !rooms.contains(&name));
        let waits = dependency == "tokio" && WITHOUT_TOKIO.contains(&name);
        unseen || owned || waits
    };
    let sentence = |dependency: &String| format!("{name} must not depend on {dependency}");
    member
        .dependencies
        .iter()
        .filter(broken)
        .map(sentence)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(name: &str, dependencies: &[&str]) -> Vec<String> {
        let rooms = SEES.iter().map(|(room, _)| (*room).to_owned());
        let other = |name| Member {
            name,
            dependencies: Default::default(),
        };
        let mut members: Vec<Member> = rooms.filter(|room| room != name).map(other).collect();
        let dependencies = dependencies.iter().map(|name| (*name).to_owned()).collect();
        members.push(Member {
            name: name.to_owned(),
            dependencies,
        });
        check(&members)
    }

    #[test]
    fn a_room_may_see_the_rooms_below_it() {
        assert!(findings("sh-node", &["sh-log", "sh-base", "tokio"]).is_empty());
    }

    #[test]
    fn a_room_must_not_see_a_room_above_it() {
        assert_eq!(
            findings("sh-log", &["sh-node"]),
            ["sh-log must not depend on sh-node"]
        );
    }

    #[test]
    fn only_upkeep_sees_its_neighbour_log() {
        assert!(findings("sh-upkeep", &["sh-log"]).is_empty());
        assert_eq!(findings("sh-coord", &["sh-log"]).len(), 1);
    }

    #[test]
    fn doors_never_see_each_other() {
        assert_eq!(findings("sh-gateway", &["sh-kafka"]).len(), 1);
    }

    #[test]
    fn no_room_under_the_doors_knows_a_kafka_request() {
        assert_eq!(findings("sh-node", &["sh-wire", "kafka-protocol"]).len(), 2);
    }

    #[test]
    fn a_part_belongs_to_its_room_alone() {
        assert!(findings("sh-blob", &["object_store"]).is_empty());
        assert_eq!(findings("sh-log", &["object_store", "rusqlite"]).len(), 2);
    }

    #[test]
    fn the_vocabulary_cannot_wait() {
        assert_eq!(
            findings("sh-base", &["tokio"]),
            ["sh-base must not depend on tokio"]
        );
    }

    #[test]
    fn the_testkit_sees_everything() {
        assert!(findings("sh-testkit", &["sh-server", "sh-kafka", "sh-client"]).is_empty());
    }

    #[test]
    fn a_new_room_must_be_given_its_place() {
        assert!(findings("sh-attic", &[])[0].contains("no place in the house"));
    }
}
