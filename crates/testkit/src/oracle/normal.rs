//! Takes out of an answer what must differ between two clusters: ids, addresses, the time of day.
use std::collections::HashMap;

use super::{batch, tree::Tree};

/// Times this close to the run's start are "now"; scenarios keep their own timestamps further away.
const NOW_MS: i64 = 30 * 60 * 1000;

/// How the nil UUID begins, and the few that the protocol reserves.
const NIL: &str = "00000000-0000-0000-0000-0000000000";

/// The fields that hold broker ids.
const NODES: [&str; 11] = [
    "node_id",
    "broker_id",
    "leader_id",
    "controller_id",
    "replica_id",
    "replica_nodes",
    "isr_nodes",
    "offline_replicas",
    "replicas",
    "eligible_leader_replicas",
    "preferred_read_replica",
];

/// The configs whose values say where and who a broker is.
const OWN: [&str; 7] = [
    "node.id",
    "broker.id",
    "log.dir",
    "log.dirs",
    "metadata.log.dir",
    "listeners",
    "controller.quorum.voters",
];

/// The symbolic names that one peer's ids got, in the order they were seen. Kept for a whole scenario, so that "the same id
/// again" and "another id" stay visible.
pub struct Names {
    pub(super) node: i32,
    host: String,
    port: u16,
    now_ms: i64,
    run: String,
    seen: HashMap<String, String>,
    /// The step that is being written down.
    step: String,
}

impl Names {
    /// `run` is the text that made the run's topic names unique.
    pub fn new(address: &str, node: i32, now_ms: i64, run: &str) -> Names {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
        let port = port.parse().unwrap_or(0);
        let seen = HashMap::new();
        Names {
            node,
            host: host.into(),
            port,
            now_ms,
            run: run.into(),
            seen,
            step: String::new(),
        }
    }

    pub fn normalise(&mut self, step: &str, tree: Tree) -> Tree {
        self.step = step.into();
        self.visit("", tree)
    }

    /// From now on this topic id is called after its topic.
    pub fn learn(&mut self, id: &str, topic: &str) {
        let name = format!("id of {}", topic.replace(&self.run, ""));
        self.seen.entry(id.into()).or_insert(name);
    }

    /// Ids without a topic are called after the step that showed them first, so that one more or less of them changes no
    /// other's name.
    fn symbol(&mut self, kind: &'static str, id: &str) -> Tree {
        let name = format!("{kind} of {}", self.step);
        Tree::leaf(self.seen.entry(id.into()).or_insert(name))
    }

    fn visit(&mut self, field: &str, tree: Tree) -> Tree {
        match tree {
            Tree::Struct(name, fields) => Tree::Struct(name, self.fields(fields)),
            Tree::Tuple(name, items) => Tree::Tuple(
                name,
                items.into_iter().map(|t| self.visit(field, t)).collect(),
            ),
            Tree::List(mut items) if field == "subscribed_topic_names" => {
                items.sort_by_key(Tree::to_string);
                Tree::List(items)
            }
            Tree::List(items) => sorted(items.into_iter().map(|t| self.visit(field, t)).collect()),
            Tree::Map(entries) => Tree::Map(
                entries
                    .into_iter()
                    .map(|(k, v)| (self.visit("", k), self.visit("", v)))
                    .collect(),
            ),
            Tree::Bytes(bytes) if field == "records" => self.visit("", batch::read(&bytes)),
            Tree::Bytes(bytes) => Tree::Bytes(bytes),
            Tree::Text(text) => self.text(field, &text),
            Tree::Leaf(leaf) => self.leaf(field, leaf),
        }
    }

    fn fields(&mut self, fields: Vec<(String, Tree)>) -> Vec<(String, Tree)> {
        let own = fields
            .iter()
            .any(|(n, t)| n == "name" && matches!(t, Tree::Text(t) if OWN.contains(&t.as_str())));
        if let (Some(name), Some(id)) = (named(&fields), id_in(&fields)) {
            self.learn(&id, &name);
        }
        let kept = fields.into_iter().filter(|(n, t)| !is_noise(n, t));
        kept.map(|(name, tree)| {
            let tree = match tree {
                Tree::Text(_) if own && name == "value" => Tree::leaf("OWN"),
                tree => self.visit(&name, tree),
            };
            (name, tree)
        })
        .collect()
    }

    fn text(&mut self, field: &str, text: &str) -> Tree {
        match field {
            "cluster_id" => Tree::leaf("CLUSTER"),
            "log_dir" => Tree::leaf("DIR"),
            "member_id" | "leader" if is_short_uuid(text) => self.symbol("id", text),
            "member_id" | "leader" if uuid_in(text) == Some(0) && text.len() == UUID_LENGTH => {
                self.symbol("id", text)
            }
            "resource_name" if text == self.node.to_string() => Tree::leaf("NODE"),
            _ => Tree::Text(self.plain(text)),
        }
    }

    /// A text without addresses, moments, and what is this run's or this broker's own.
    fn plain(&mut self, text: &str) -> String {
        let mut text = text
            .replace(&format!("{}:{}", self.host, self.port), "ADDRESS")
            .replace(&self.run, "");
        let before = [
            "xpected ",
            "the broker ",
            "node.id=",
            "broker.id=",
            "controller ",
        ];
        for before in before {
            let (own, named) = (format!("{before}{}", self.node), format!("{before}NODE"));
            text = text.replace(&own, &named);
        }
        without_moments(&self.without_ids(text))
    }

    /// Member ids and ids in sentences get their symbol.
    fn without_ids(&mut self, mut text: String) -> String {
        let short = self.seen.iter().filter(|(id, _)| is_short_uuid(id));
        for (id, symbol) in short {
            text = text.replace(id, &format!("<{symbol}>"));
        }
        while let Some(at) = uuid_in(&text) {
            let id = text[at..at + UUID_LENGTH].to_owned();
            let Tree::Leaf(symbol) = self.symbol("id", &id) else {
                break;
            };
            text.replace_range(at..at + UUID_LENGTH, &format!("<{symbol}>"));
        }
        text
    }

    fn leaf(&mut self, field: &str, leaf: String) -> Tree {
        if leaf.len() == 36 && leaf.matches('-').count() == 4 {
            let nil = leaf.starts_with(NIL);
            return if nil {
                Tree::Leaf(leaf)
            } else {
                self.symbol("id", &leaf)
            };
        }
        let number: Option<i64> = leaf.parse().ok();
        match (field, number) {
            ("port", Some(port)) if port == i64::from(self.port) => Tree::leaf("PORT"),
            (field, Some(id)) if NODES.contains(&field) && id == i64::from(self.node) => {
                Tree::leaf("NODE")
            }
            ("producer_id", Some(id)) if id >= 0 => self.symbol("producer", &format!("p{id}")),
            ("session_id", Some(id)) if id != 0 => self.symbol("session", &format!("s{id}")),
            ("finalized_features_epoch" | "total_bytes" | "usable_bytes", Some(n)) if n > 0 => {
                Tree::leaf("SOME")
            }
            (_, Some(n)) if (n - self.now_ms).abs() < NOW_MS => Tree::leaf("NOW"),
            _ => Tree::Leaf(leaf),
        }
    }
}

/// A UUID as Kafka writes its own: 22 characters of base64.
fn is_short_uuid(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    text.len() == 22 && text.bytes().all(fits)
}

const UUID_LENGTH: usize = 36;

/// Where a UUID stands in a text, if one does.
fn uuid_in(text: &str) -> Option<usize> {
    let is_uuid = |window: &[u8]| {
        let fits = |(at, byte): (usize, &u8)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        };
        window.iter().enumerate().all(fits)
    };
    text.as_bytes().windows(UUID_LENGTH).position(is_uuid)
}

fn named(fields: &[(String, Tree)]) -> Option<String> {
    let name = fields
        .iter()
        .find(|(n, _)| ["name", "topic", "topic_name"].contains(&n.as_str()));
    match name {
        Some((_, Tree::Text(name))) if !name.is_empty() => Some(name.clone()),
        _ => None,
    }
}

fn id_in(fields: &[(String, Tree)]) -> Option<String> {
    match fields.iter().find(|(n, _)| n == "topic_id") {
        Some((_, Tree::Leaf(id))) if !id.starts_with(NIL) => Some(id.clone()),
        _ => None,
    }
}

/// Lists whose order no client depends on are sorted by what their elements are about.
fn sorted(mut items: Vec<Tree>) -> Tree {
    if items.iter().all(|i| key(i).is_some()) {
        items.sort_by_key(key);
    }
    Tree::List(items)
}

/// What identifies an element of a list, if anything does. A topic's name is enough; its id serves where there is no name.
pub fn key(tree: &Tree) -> Option<String> {
    const KEYS: [&str; 16] = [
        "api_key",
        "name",
        "topic",
        "topic_name",
        "resource_type",
        "resource_name",
        "partition_index",
        "partition",
        "partition_id",
        "index",
        "node_id",
        "broker_id",
        "replica_id",
        "group_id",
        "key",
        "member_id",
    ];
    let part = |field: &&str| match tree.field(field)? {
        Tree::Text(text) if !text.is_empty() => Some(text.clone()),
        Tree::Leaf(leaf) if leaf != "null" => Some(padded(leaf)),
        _ => None,
    };
    let mut parts: Vec<String> = KEYS.iter().filter_map(part).collect();
    if parts.is_empty() {
        parts.extend(["topic_id"].iter().filter_map(part));
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

fn padded(leaf: &str) -> String {
    leaf.parse::<i64>()
        .map_or_else(|_| leaf.to_owned(), |n| format!("{n:03}"))
}

fn is_noise(name: &str, tree: &Tree) -> bool {
    name == "unknown_tagged_fields" && matches!(tree, Tree::Map(entries) if entries.is_empty())
}

/// Numbers as long as milliseconds since the epoch are moments of the server's clock, or reckoned from one.
fn without_moments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let length = from
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(from.len());
        let (number, after) = from.split_at(length);
        out.push_str(before);
        let moment = matches!(length, 12..=14) || length == 19 && number != i64::MAX.to_string();
        out.push_str(if moment { "MOMENT" } else { number });
        rest = after;
    }
    out + rest
}
