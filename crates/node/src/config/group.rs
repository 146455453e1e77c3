//! The configs of one group (ConfigResource GROUP, KIP-848): they count before the broker's settings of all groups.
use std::collections::BTreeMap;

use super::{
    BrokerConfig, Check, ConfigEntry, Definition, Kind, Source, Synonym, effective::described,
};

/// The kind of `Key::Config` rows that hold configs of groups.
pub const GROUP: &str = "group";

type Configs = BTreeMap<String, String>;

/// A config of groups, and the broker's setting that it stands for.
pub struct GroupDefinition {
    pub def: Definition,
    pub broker: &'static str,
    /// The broker's bounds for it.
    bounds: [&'static str; 2],
}

const fn interval(
    name: &'static str,
    broker: &'static str,
    bounds: [&'static str; 2],
    (default, least): (&'static str, i64),
    doc: &'static str,
) -> GroupDefinition {
    GroupDefinition {
        def: Definition {
            name,
            kind: Kind::Int,
            default: Some(default),
            check: Check::AtLeast(least),
            doc,
        },
        broker,
        bounds,
    }
}

pub const SESSION: &str = "consumer.session.timeout.ms";
pub const ASSIGNMENT: &str = "consumer.assignment.interval.ms";
pub const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";

/// Those that mean something here, in Kafka's order.
pub static TABLE: &[GroupDefinition] = &[
    interval(
        SESSION,
        "group.consumer.session.timeout.ms",
        [
            "group.consumer.min.session.timeout.ms",
            "group.consumer.max.session.timeout.ms",
        ],
        ("45000", 1),
        "A member of the group that was silent for so long is removed, milliseconds.",
    ),
    interval(
        ASSIGNMENT,
        "group.consumer.assignment.interval.ms",
        [
            "group.consumer.min.assignment.interval.ms",
            "group.consumer.max.assignment.interval.ms",
        ],
        ("1000", 0),
        "The least time between two assignments of the group, milliseconds.",
    ),
    interval(
        HEARTBEAT,
        "group.consumer.heartbeat.interval.ms",
        [
            "group.consumer.min.heartbeat.interval.ms",
            "group.consumer.max.heartbeat.interval.ms",
        ],
        ("5000", 1),
        "How often the members of the group send heartbeats, milliseconds.",
    ),
];

/// What is in force for one group.
pub struct GroupConfigs<'a> {
    pub own: &'a Configs,
    pub broker: &'a BrokerConfig,
}

impl GroupConfigs<'_> {
    /// The value in force, inside of the broker's bounds: these may have changed since the value was set.
    pub fn number(&self, of: &GroupDefinition) -> i64 {
        let own = self
            .own
            .get(of.def.name)
            .and_then(|value| value.parse().ok());
        let value = own.unwrap_or_else(|| self.broker.number(of.broker));
        let [least, most] = of.bounds.map(|bound| self.broker.number(bound));
        value.min(most).max(least)
    }

    pub fn entries(&self) -> Vec<ConfigEntry> {
        let entry = |of: &GroupDefinition| {
            let own = self.own.get(of.def.name).map(|value| Synonym {
                name: of.def.name.into(),
                value: Some(value.clone()),
                source: Source::Group,
            });
            let synonyms: Vec<Synonym> = own
                .into_iter()
                .chain(self.broker.synonyms(of.broker))
                .collect();
            let value = synonyms.first().and_then(|first| first.value.clone());
            described(&of.def, value, synonyms)
        };
        TABLE.iter().map(entry).collect()
    }
}

/// Checks what is set for a group and brings it in its one form, or says in Kafka's words what is wrong.
pub(super) fn validate(configs: &mut Configs, broker: &BrokerConfig) -> Result<(), String> {
    for (name, value) in configs.iter_mut() {
        let of = TABLE.iter().find(|of| of.def.name == name.as_str());
        let of = of.ok_or_else(|| format!("Unknown group config name: {name}"))?;
        *value = of.def.parse(value)?;
    }
    let number = |name: &str| {
        configs
            .get(name)
            .and_then(|value| value.parse::<i64>().ok())
    };
    for of in TABLE {
        let Some(value) = number(of.def.name) else {
            continue;
        };
        let [least, most] = of.bounds;
        let name = of.def.name;
        if value < broker.number(least) {
            return Err(format!("{name} must be greater than or equal to {least}"));
        }
        if value > broker.number(most) {
            return Err(format!("{name} must be less than or equal to {most}"));
        }
    }
    let in_force = |name: &'static str| {
        let of = TABLE.iter().find(|of| of.def.name == name);
        number(name).or_else(|| of.map(|of| broker.number(of.broker)))
    };
    if in_force(SESSION) <= in_force(HEARTBEAT) {
        return Err(format!("{SESSION} must be greater than {HEARTBEAT}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configs(pairs: &[(&str, &str)]) -> Configs {
        pairs
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect()
    }

    #[test]
    fn bad_values_are_refused_in_kafkas_words() {
        let broker = BrokerConfig::default();
        let bounds = "group.consumer.max.session.timeout.ms";
        let too_long = format!("{SESSION} must be less than or equal to {bounds}");
        let cases = [
            (SESSION, "50000", Ok(())),
            (SESSION, "70000", Err(too_long)),
            (
                SESSION,
                "x",
                Err(format!(
                    "Invalid value x for configuration {SESSION}: Not a number of type INT"
                )),
            ),
            (
                "nope",
                "1",
                Err("Unknown group config name: nope".to_owned()),
            ),
        ];
        for (name, value, expected) in cases {
            let got = validate(&mut configs(&[(name, value)]), &broker);
            assert_eq!(got, expected, "{name}={value}");
        }
    }

    #[test]
    fn a_group_s_own_value_counts_inside_of_the_broker_s_bounds() {
        let own = configs(&[(SESSION, "50000")]);
        let broker = BrokerConfig::default();
        let number = |broker: &BrokerConfig| GroupConfigs { own: &own, broker }.number(&TABLE[0]);
        assert_eq!(number(&broker), 50_000);
        assert_eq!(
            number(&broker.with("group.consumer.max.session.timeout.ms", "46000")),
            46_000
        );
    }
}
