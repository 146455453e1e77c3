//! Logs and metrics.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use sh_node::config::SetLogLevel;
use tracing_subscriber::{
    EnvFilter, Registry, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

/// Changes what is logged while the server runs.
pub type LogControl = reload::Handle<EnvFilter, Registry>;

/// Kafka's log levels, and ours.
fn level(kafka: &str) -> &'static str {
    match kafka {
        "TRACE" => "trace",
        "DEBUG" => "debug",
        "WARN" => "warn",
        "ERROR" | "FATAL" => "error",
        _ => "info",
    }
}

/// What AlterConfigs of a broker logger calls: a logger is a room, or `root`.
pub fn level_setter(start: String, control: LogControl) -> SetLogLevel {
    let filters = Mutex::new((start, BTreeMap::<String, &'static str>::new()));
    Arc::new(move |logger, to| {
        let Ok(mut filters) = filters.lock() else {
            return;
        };
        if logger == "root" {
            filters.0 = level(to).to_owned();
        } else {
            filters.1.insert(logger.to_owned(), level(to));
        }
        let rooms = filters
            .1
            .iter()
            .map(|(room, level)| format!(",{room}={level}"));
        let text = filters.0.clone() + &rooms.collect::<String>();
        match EnvFilter::try_new(&text).map(|filter| control.reload(filter)) {
            Ok(Ok(())) => tracing::info!(filter = %text, "what is logged was changed"),
            _ => tracing::warn!(filter = %text, "what is logged could not be changed"),
        }
    })
}

/// Starts logging to standard error.
pub fn logs(filter: &str) -> anyhow::Result<LogControl> {
    let filter = EnvFilter::try_new(filter).map_err(|e| {
        anyhow::anyhow!("log filter {filter:?} is wrong: {e}; try info, or info,sh_log=debug")
    })?;
    let (filter, control) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(true);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()?;
    Ok(control)
}

/// Starts the metrics recorder; the handle renders them in Prometheus' text format.
pub fn metrics() -> anyhow::Result<PrometheusHandle> {
    const SECONDS: [f64; 14] = [
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ];
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?;
    Ok(builder.install_recorder()?)
}
