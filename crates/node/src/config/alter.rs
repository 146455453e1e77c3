//! Changing configs: pure functions over what was set before (KIP-339).
use std::collections::{BTreeMap, BTreeSet};

use sh_base::{ErrorCode, Failure};

use super::{BrokerConfig, Kind, broker, check::elements, client_metrics, group, topic};

/// What to do with one config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterOp {
    Set,
    Delete,
    /// Adds elements to a list.
    Append,
    /// Takes elements off a list.
    Subtract,
}

/// One config to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigOp {
    pub name: String,
    pub op: AlterOp,
    pub value: Option<String>,
}

/// How to change the configs of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// Some of them.
    Ops(Vec<ConfigOp>),
    /// All of them: what is not named is no longer set.
    Replace(Vec<(String, Option<String>)>),
}

type Configs = BTreeMap<String, String>;

fn request(text: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::InvalidRequest, text)
}

fn config(text: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::InvalidConfig, text)
}

impl Changes {
    /// The changes as single operations on `old`, after the checks that every kind of resource has.
    fn ops(&self, old: &Configs) -> Result<Vec<ConfigOp>, Failure> {
        let ops = match self {
            Changes::Ops(ops) => ops.clone(),
            Changes::Replace(configs) => replacement(configs, old),
        };
        let mut names = BTreeSet::new();
        if !ops.iter().all(|op| names.insert(&op.name)) || self.repeats() {
            return Err(request("Error due to duplicate config keys"));
        }
        let null = |op: &&ConfigOp| op.op != AlterOp::Delete && op.value.is_none();
        let nulls: Vec<&str> = ops.iter().filter(null).map(|op| op.name.as_str()).collect();
        if !nulls.is_empty() {
            return Err(request(format!(
                "Null value not supported for : {}",
                nulls.join(",")
            )));
        }
        Ok(ops)
    }

    fn repeats(&self) -> bool {
        let mut names = BTreeSet::new();
        matches!(self, Changes::Replace(configs) if !configs.iter().all(|(n, _)| names.insert(n)))
    }
}

/// Replacing everything, as operations: set what is named, delete the rest.
fn replacement(configs: &[(String, Option<String>)], old: &Configs) -> Vec<ConfigOp> {
    let op = |name: &String, op, value: &Option<String>| ConfigOp {
        name: name.clone(),
        op,
        value: value.clone(),
    };
    let named: BTreeMap<&String, &Option<String>> = configs.iter().map(|(n, v)| (n, v)).collect();
    let rest = old.keys().filter(|name| !named.contains_key(name));
    let sets = named
        .iter()
        .map(|(name, value)| op(name, AlterOp::Set, value));
    sets.chain(rest.map(|name| op(name, AlterOp::Delete, &None)))
        .collect()
}

/// The overrides of a topic after a change; `broker` is what an unset list starts from.
pub fn topic_configs(
    old: &Configs,
    changes: &Changes,
    broker: &BrokerConfig,
) -> Result<Configs, Failure> {
    let mut new = old.clone();
    for op in changes.ops(old)? {
        apply(&mut new, &op, |name| {
            let entry = topic::entry(name)?;
            let inherited = entry.broker.and_then(|name| broker.get(name));
            (entry.def.kind == Kind::List).then(|| inherited.or(entry.def.default).unwrap_or(""))
        })
        .map_err(|verb| not_a_list(&op, &verb))?;
    }
    topic::validate(&new).map_err(config)?;
    Ok(new)
}

/// What is set for one group after a change.
pub fn group_configs(
    old: &Configs,
    changes: &Changes,
    broker: &BrokerConfig,
) -> Result<Configs, Failure> {
    let mut new = old.clone();
    for op in changes.ops(old)? {
        apply(&mut new, &op, |_| None).map_err(|verb| not_a_list(&op, &verb))?;
    }
    group::validate(&mut new, broker).map_err(config)?;
    Ok(new)
}

/// What is set for one subscription to metrics of clients after a change. Kafka appends to none of its lists.
pub fn client_metrics_configs(old: &Configs, changes: &Changes) -> Result<Configs, Failure> {
    let mut new = old.clone();
    for op in changes.ops(old)? {
        apply(&mut new, &op, |_| None).map_err(|verb| not_a_list(&op, &verb))?;
    }
    client_metrics::validate(&mut new)?;
    Ok(new)
}

fn not_a_list(op: &ConfigOp, verb: &ListVerb) -> Failure {
    let name = &op.name;
    config(format!(
        "Can't {} to key {name} because its type is not LIST.",
        verb.upper()
    ))
}

/// What is set for one broker, or for all, after a change. Names that mean nothing here are kept, as Kafka keeps them: tools
/// set them, and may read them back.
pub fn broker_configs(
    old: &Configs,
    changes: &Changes,
    broker: &BrokerConfig,
) -> Result<Configs, Failure> {
    let ops = changes.ops(old)?;
    let mut new = old.clone();
    for op in &ops {
        apply(&mut new, op, |name| match broker::definition(name) {
            Some(b) if b.def.kind == Kind::List => Some(broker.get(name).unwrap_or("")),
            _ => None,
        })
        .map_err(|verb| {
            let name = &op.name;
            config(format!(
                "Config value {} is not allowed for config key: {name}",
                verb.lower()
            ))
        })?;
    }
    check_dynamic(&ops)?;
    for (name, value) in &mut new {
        if let Some(b) = broker::definition(name) {
            *value = b.def.parse(value).map_err(request)?;
        }
    }
    Ok(new)
}

/// Only some broker configs may change while the server runs.
fn check_dynamic(ops: &[ConfigOp]) -> Result<(), Failure> {
    let fixed = |op: &&ConfigOp| {
        op.op != AlterOp::Delete && broker::definition(&op.name).is_some_and(|b| b.is_read_only())
    };
    let names: BTreeSet<&str> = ops
        .iter()
        .filter(fixed)
        .map(|op| op.name.as_str())
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let names = Vec::from_iter(names).join(", ");
    Err(request(format!(
        "Cannot update these configs dynamically: [{names}]"
    )))
}

/// An operation that only lists know.
enum ListVerb {
    Append,
    Subtract,
}

impl ListVerb {
    fn upper(&self) -> &'static str {
        match self {
            ListVerb::Append => "APPEND",
            ListVerb::Subtract => "SUBTRACT",
        }
    }
    fn lower(&self) -> &'static str {
        match self {
            ListVerb::Append => "append",
            ListVerb::Subtract => "subtract",
        }
    }
}

/// Applies one operation. `list_default`: what an unset list starts from; `None`, the config is not a list.
fn apply<'a>(
    configs: &mut Configs,
    op: &ConfigOp,
    list_default: impl Fn(&str) -> Option<&'a str>,
) -> Result<(), ListVerb> {
    let name = &op.name;
    let value = op.value.as_deref().unwrap_or_default();
    let verb = match op.op {
        AlterOp::Set => {
            configs.insert(name.clone(), value.to_owned());
            return Ok(());
        }
        AlterOp::Delete => {
            configs.remove(name);
            return Ok(());
        }
        AlterOp::Append => ListVerb::Append,
        AlterOp::Subtract => ListVerb::Subtract,
    };
    let Some(default) = list_default(name) else {
        return Err(verb);
    };
    let old = configs.get(name).map_or(default, String::as_str);
    let mut list: Vec<&str> = elements(old).collect();
    for element in elements(value) {
        match verb {
            ListVerb::Append if !list.contains(&element) => list.push(element),
            ListVerb::Append => {}
            ListVerb::Subtract => list.retain(|e| *e != element),
        }
    }
    let joined = list.join(",");
    configs.insert(name.clone(), joined);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(name: &str, op: AlterOp, value: &str) -> ConfigOp {
        let value = (op != AlterOp::Delete).then(|| value.to_owned());
        ConfigOp {
            name: name.into(),
            op,
            value,
        }
    }

    fn configs(pairs: &[(&str, &str)]) -> Configs {
        pairs
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect()
    }

    fn on_topic(old: &[(&str, &str)], ops: &[ConfigOp]) -> Result<Configs, Failure> {
        let changes = Changes::Ops(ops.to_vec());
        topic_configs(&configs(old), &changes, &BrokerConfig::default())
    }

    fn on_broker(ops: &[ConfigOp]) -> Result<Configs, Failure> {
        broker_configs(
            &configs(&[]),
            &Changes::Ops(ops.to_vec()),
            &BrokerConfig::default(),
        )
    }

    #[test]
    fn the_four_operations() {
        use AlterOp::*;
        let old = [("retention.ms", "1"), ("cleanup.policy", "compact")];
        let new = on_topic(
            &old,
            &[
                op("retention.ms", Delete, ""),
                op("cleanup.policy", Append, "delete,compact"),
            ],
        );
        assert_eq!(new, Ok(configs(&[("cleanup.policy", "compact,delete")])));
        let new = on_topic(&old, &[op("cleanup.policy", Subtract, "compact")]);
        assert_eq!(
            new,
            Ok(configs(&[("cleanup.policy", ""), ("retention.ms", "1")]))
        );
        let new = on_topic(&[], &[op("cleanup.policy", Append, "compact")]);
        assert_eq!(
            new,
            Ok(configs(&[("cleanup.policy", "delete,compact")])),
            "from the default"
        );
    }

    #[test]
    fn replacing_unsets_what_is_not_named() {
        let changes = Changes::Replace(vec![("retention.ms".into(), Some("7".into()))]);
        let old = configs(&[("preallocate", "true")]);
        let new = topic_configs(&old, &changes, &BrokerConfig::default());
        assert_eq!(new, Ok(configs(&[("retention.ms", "7")])));
    }

    #[test]
    fn bad_changes_are_refused_in_kafkas_words() {
        use AlterOp::*;
        let why = |ops: &[ConfigOp]| on_topic(&[], ops).unwrap_err().to_string();
        let set = |v| op("retention.ms", Set, v);
        assert_eq!(
            why(&[set("1"), set("2")]),
            "InvalidRequest: Error due to duplicate config keys"
        );
        let null = ConfigOp {
            name: "retention.ms".into(),
            op: Set,
            value: None,
        };
        assert_eq!(
            why(&[null]),
            "InvalidRequest: Null value not supported for : retention.ms"
        );
        assert_eq!(
            why(&[op("foo", Set, "1")]),
            "InvalidConfig: Unknown topic config name: foo"
        );
        assert_eq!(
            why(&[op("retention.ms", Append, "1")]),
            "InvalidConfig: Can't APPEND to key retention.ms because its type is not LIST."
        );
    }

    #[test]
    fn brokers_keep_what_is_fixed_and_take_the_rest() {
        use AlterOp::*;
        let why = |ops: &[ConfigOp]| on_broker(ops).unwrap_err().to_string();
        assert_eq!(
            why(&[op("num.partitions", Set, "2"), op("node.id", Set, "2")]),
            "InvalidRequest: Cannot update these configs dynamically: [node.id, num.partitions]"
        );
        assert_eq!(
            why(&[op("log.retention.ms", Append, "5")]),
            "InvalidConfig: Config value append is not allowed for config key: log.retention.ms"
        );
        assert_eq!(
            why(&[op("log.segment.bytes", Set, "1")]),
            "InvalidRequest: Invalid value 1 for configuration log.segment.bytes: Value must be at least 1048576"
        );
        let kept = on_broker(&[
            op("log.retention.ms", Set, " 5 "),
            op("their.own", Set, "x"),
        ]);
        assert_eq!(
            kept,
            Ok(configs(&[("log.retention.ms", "5"), ("their.own", "x")]))
        );
    }
}
