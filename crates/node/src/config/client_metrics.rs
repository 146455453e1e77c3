//! The configs of one subscription to metrics of clients (ConfigResource CLIENT_METRICS, KIP-714).
use std::collections::BTreeMap;

use sh_base::{ErrorCode, Failure};

use super::{
    Check, ConfigEntry, Definition, Kind, Source, Synonym, check::elements, effective::described,
};

/// The kind of `Key::Config` rows that hold subscriptions.
pub const CLIENT_METRICS: &str = "client-metrics";

type Configs = BTreeMap<String, String>;

pub const INTERVAL: &str = "interval.ms";
pub const MATCH: &str = "match";
pub const METRICS: &str = "metrics";

/// How often clients push where no subscription says otherwise, milliseconds.
pub const INTERVAL_MS_DEFAULT: i32 = 300_000;
const INTERVAL_MS: std::ops::RangeInclusive<i64> = 100..=3_600_000;

/// In Kafka's order.
pub static TABLE: &[Definition] = &[
    Definition {
        name: INTERVAL,
        kind: Kind::Int,
        default: Some("300000"),
        check: Check::Any,
        doc: "How often the clients that match push their metrics, milliseconds; 100 to 3600000.",
    },
    Definition {
        name: MATCH,
        kind: Kind::List,
        default: Some(""),
        check: Check::Any,
        doc: "Which clients are asked: a list of selector=regular expression, all of which must match as a whole. Selectors are client_instance_id, client_id, client_software_name, client_software_version, client_source_address and client_source_port. Empty: all clients.",
    },
    Definition {
        name: METRICS,
        kind: Kind::List,
        default: Some(""),
        check: Check::Any,
        doc: "Prefixes of the names of metrics that are asked for; * asks for all.",
    },
];

/// What a selector of `match` may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Selector {
    InstanceId,
    ClientId,
    SoftwareName,
    SoftwareVersion,
    SourceAddress,
    SourcePort,
}

impl Selector {
    fn named(name: &str) -> Option<Selector> {
        Some(match name {
            "client_instance_id" => Selector::InstanceId,
            "client_id" => Selector::ClientId,
            "client_software_name" => Selector::SoftwareName,
            "client_software_version" => Selector::SoftwareVersion,
            "client_source_address" => Selector::SourceAddress,
            "client_source_port" => Selector::SourcePort,
            _ => return None,
        })
    }
}

/// One element of `match`: a selector, and the expression that must match the whole of what it looks at.
pub fn pattern(element: &str) -> Result<(Selector, regex::Regex), String> {
    let illegal = || format!("Illegal client matching pattern: {element}");
    let (selector, expression) = element.split_once('=').ok_or_else(illegal)?;
    if expression.is_empty() || expression.contains('=') {
        return Err(illegal());
    }
    let selector = Selector::named(selector.trim()).ok_or_else(illegal)?;
    let whole = format!("^(?:{})$", expression.trim());
    let compiled = regex::RegexBuilder::new(&whole)
        .size_limit(EXPRESSION_BYTES_MAX)
        .build();
    Ok((selector, compiled.map_err(|_| illegal())?))
}

/// What one compiled expression may weigh.
const EXPRESSION_BYTES_MAX: usize = 1 << 20;

/// The elements of a list config.
pub fn list<'a>(configs: &'a Configs, name: &str) -> impl Iterator<Item = &'a str> {
    configs
        .get(name)
        .into_iter()
        .flat_map(|value| elements(value))
}

pub fn interval_ms(configs: &Configs) -> i32 {
    let set = configs.get(INTERVAL).and_then(|value| value.parse().ok());
    set.unwrap_or(INTERVAL_MS_DEFAULT)
}

/// Every config of a subscription, described; `own` is what was set.
pub fn entries(own: &Configs) -> Vec<ConfigEntry> {
    let entry = |def: &Definition| {
        let set = own.get(def.name).map(|value| Synonym {
            name: def.name.into(),
            value: Some(value.clone()),
            source: Source::ClientMetrics,
        });
        let value = own.get(def.name).cloned();
        let value = value.or_else(|| def.default.map(str::to_owned));
        described(def, value, set.into_iter().collect())
    };
    TABLE.iter().map(entry).collect()
}

/// Checks what is set for a subscription and brings it in its one form, or says in Kafka's words what is wrong.
pub(super) fn validate(configs: &mut Configs) -> Result<(), Failure> {
    let invalid = |text: String| Failure::new(ErrorCode::InvalidConfig, text);
    let request = |text: String| Failure::new(ErrorCode::InvalidRequest, text);
    for (name, value) in configs.iter_mut() {
        let def = TABLE.iter().find(|def| def.name == name.as_str());
        let def =
            def.ok_or_else(|| request(format!("Unknown client metrics configuration: {name}")))?;
        *value = def.parse(value).map_err(invalid)?;
        if def.kind == Kind::List && elements(value).any(str::is_empty) {
            return Err(invalid(format!(
                "Configuration '{name}' values must not be empty."
            )));
        }
    }
    let interval = i64::from(interval_ms(configs));
    if !INTERVAL_MS.contains(&interval) {
        return Err(request(format!(
            "Invalid value {interval} for interval.ms, interval must be between 100 and 3600000 (1 hour)"
        )));
    }
    list(configs, MATCH).try_for_each(|element| pattern(element).map(drop).map_err(invalid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str) -> Result<String, String> {
        let mut configs = Configs::from([(name.to_owned(), value.to_owned())]);
        validate(&mut configs).map_err(|e| e.message)?;
        Ok(configs.remove(name).unwrap_or_default())
    }

    #[test]
    fn good_values_come_in_their_one_form() {
        assert_eq!(check(INTERVAL, " 100 "), Ok("100".into()));
        assert_eq!(check(METRICS, " a , b"), Ok("a,b".into()));
        assert_eq!(
            check(MATCH, "client_id=a.*,client_source_port=1|2"),
            Ok("client_id=a.*,client_source_port=1|2".into())
        );
        assert_eq!(check(MATCH, ""), Ok(String::new()));
    }

    #[test]
    fn bad_ones_are_refused_in_kafkas_words() {
        for (name, value, why) in [
            (
                INTERVAL,
                "99",
                "Invalid value 99 for interval.ms, interval must be between 100 and 3600000 (1 hour)",
            ),
            (
                INTERVAL,
                "x",
                "Invalid value x for configuration interval.ms: Not a number of type INT",
            ),
            (
                METRICS,
                "a,,b",
                "Configuration 'metrics' values must not be empty.",
            ),
            (
                MATCH,
                "client_id=[",
                "Illegal client matching pattern: client_id=[",
            ),
            (
                MATCH,
                "color=red",
                "Illegal client matching pattern: color=red",
            ),
            (
                MATCH,
                "client_id",
                "Illegal client matching pattern: client_id",
            ),
            (
                MATCH,
                "client_id=a=b",
                "Illegal client matching pattern: client_id=a=b",
            ),
            ("nope", "1", "Unknown client metrics configuration: nope"),
        ] {
            assert_eq!(check(name, value), Err(why.to_owned()));
        }
    }
}
