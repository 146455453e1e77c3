//! The log levels of a running agent, changed as Kafka's broker loggers are (KIP-412). They live as long as the process.
use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use sh_base::{ErrorCode, Failure};

use super::{AlterOp, ConfigEntry, ConfigOp, Source, Synonym};

/// The logger of everything that has no level of its own.
pub const ROOT: &str = "root";
/// One logger for each room.
const ROOMS: &[&str] = &[
    "sh_blob",
    "sh_kafka",
    "sh_log",
    "sh_meta",
    "sh_node",
    "sh_server",
    "sh_wire",
];
/// Kafka's levels; `FATAL` says no more than `ERROR` here.
const LEVELS: &[&str] = &["DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"];

/// Called with a logger's name and its new level.
pub type SetLogLevel = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// The levels in force, and the way to change them.
pub struct Loggers {
    levels: Mutex<BTreeMap<String, String>>,
    set: SetLogLevel,
}

impl Loggers {
    /// All loggers at one level; `set` is called for every change.
    pub fn new(level: &str, set: SetLogLevel) -> Loggers {
        let levels = Mutex::new(BTreeMap::from([(ROOT.to_owned(), level.to_owned())]));
        Loggers { levels, set }
    }

    fn exists(name: &str) -> bool {
        name == ROOT || ROOMS.contains(&name)
    }

    pub fn entries(&self) -> Vec<ConfigEntry> {
        let levels = self.levels.lock();
        let names = std::iter::once(ROOT).chain(ROOMS.iter().copied());
        names
            .map(|name| entry(name, level_of(&levels, name)))
            .collect()
    }

    /// Changes levels, all or none. Kafka's words.
    pub fn alter(&self, ops: &[ConfigOp], validate_only: bool) -> Result<(), Failure> {
        ops.iter().try_for_each(check)?;
        if !validate_only {
            ops.iter().for_each(|op| self.apply(op));
        }
        Ok(())
    }

    fn apply(&self, op: &ConfigOp) {
        let mut levels = self.levels.lock();
        match (&op.op, &op.value) {
            (AlterOp::Set, Some(level)) => levels.insert(op.name.clone(), level.clone()),
            _ => levels.remove(&op.name),
        };
        let level = level_of(&levels, &op.name).to_owned();
        drop(levels);
        (self.set)(&op.name, &level);
    }
}

fn level_of<'a>(levels: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    levels
        .get(name)
        .or_else(|| levels.get(ROOT))
        .map_or("INFO", String::as_str)
}

fn check(op: &ConfigOp) -> Result<(), Failure> {
    let name = &op.name;
    let request = |text: String| Err(Failure::new(ErrorCode::InvalidRequest, text));
    let config = |text: String| Err(Failure::new(ErrorCode::InvalidConfig, text));
    match (op.op, op.value.as_deref()) {
        (AlterOp::Set | AlterOp::Append | AlterOp::Subtract, None) => {
            request(format!("Null value not supported for : {name}"))
        }
        _ if !Loggers::exists(name) => config(format!("Logger {name} does not exist!")),
        (AlterOp::Delete, _) if name == ROOT => request(format!(
            "Removing the log level of the {ROOT} logger is not allowed"
        )),
        (AlterOp::Delete, _) => Ok(()),
        (AlterOp::Set, Some(level)) if LEVELS.contains(&level) => Ok(()),
        (AlterOp::Set, Some(level)) => config(format!(
            "Cannot set the log level of {name} to {level} as it is not a supported log level. \
             Valid log levels are {}",
            LEVELS.join(", ")
        )),
        (AlterOp::Append, _) => not_allowed("APPEND"),
        (AlterOp::Subtract, _) => not_allowed("SUBTRACT"),
    }
}

fn not_allowed(op: &str) -> Result<(), Failure> {
    let text = format!("{op} operation is not allowed for the BROKER_LOGGER resource");
    Err(Failure::new(ErrorCode::InvalidRequest, text))
}

fn entry(name: &str, level: &str) -> ConfigEntry {
    ConfigEntry {
        name: name.into(),
        value: Some(level.into()),
        source: Source::DynamicBrokerLogger,
        synonyms: Vec::<Synonym>::new(),
        kind: None,
        read_only: false,
        sensitive: false,
        doc: Some(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(name: &str, op: AlterOp, value: Option<&str>) -> ConfigOp {
        ConfigOp {
            name: name.into(),
            op,
            value: value.map(str::to_owned),
        }
    }

    #[test]
    fn a_level_is_set_told_and_taken_back() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = told.clone();
        let set: SetLogLevel = Arc::new(move |logger: &str, level: &str| {
            heard.lock().push(format!("{logger}={level}"));
        });
        let loggers = Loggers::new("INFO", set);
        let debug = [op("sh_kafka", AlterOp::Set, Some("DEBUG"))];
        loggers.alter(&debug, true).unwrap();
        assert!(told.lock().is_empty(), "only validated");
        loggers.alter(&debug, false).unwrap();
        loggers
            .alter(&[op("sh_kafka", AlterOp::Delete, None)], false)
            .unwrap();
        assert_eq!(*told.lock(), ["sh_kafka=DEBUG", "sh_kafka=INFO"]);
    }

    #[test]
    fn bad_changes_are_refused_and_nothing_is_changed() {
        let loggers = Loggers::new(
            "INFO",
            Arc::new(|_: &str, _: &str| panic!("nothing changes")),
        );
        let refused = |name, o, value| {
            let ops = [
                op("sh_log", AlterOp::Set, Some("DEBUG")),
                op(name, o, value),
            ];
            loggers.alter(&ops, false).unwrap_err().code
        };
        assert_eq!(
            refused("root", AlterOp::Set, Some("info")),
            ErrorCode::InvalidConfig
        );
        assert_eq!(
            refused("nope", AlterOp::Set, Some("INFO")),
            ErrorCode::InvalidConfig
        );
        assert_eq!(
            refused("root", AlterOp::Delete, None),
            ErrorCode::InvalidRequest
        );
        assert_eq!(
            refused("root", AlterOp::Append, Some("INFO")),
            ErrorCode::InvalidRequest
        );
    }
}
