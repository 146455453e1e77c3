//! What clients pushed, as it is shown. Bounded in every direction: names, labels and clients are chosen by strangers.
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    time::Duration,
};

use uuid::Uuid;

use super::shown;

/// Series of all clients of this agent.
const SERIES_MAX: usize = 20_000;
/// Series of one client instance.
const SERIES_OF_INSTANCE_MAX: usize = 1_000;
/// Clients of this agent.
const CLIENTS_MAX: usize = 16_384;
/// Labels of a series, beside those that say whose it is.
const LABELS_MAX: usize = 12;
/// Bytes of a name and of a label's value; what is longer is cut off.
pub const TEXT_BYTES_MAX: usize = 200;
/// Clients that have been silent for so long are no longer shown. Longer than the longest interval.
const SHOWN_MAX: Duration = Duration::from_secs(2 * 3_600);

/// One value that a client pushed.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub metric: String,
    pub kind: SampleKind,
    pub value: f64,
    pub labels: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleKind {
    /// A value as of now.
    Gauge,
    /// What was added since the last push.
    Delta,
    /// What was added since the client began.
    Total,
}

impl SampleKind {
    fn family(self) -> Family {
        match self {
            SampleKind::Gauge => Family::Gauge,
            SampleKind::Delta | SampleKind::Total => Family::Counter,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Family {
    Gauge,
    Counter,
}

impl Family {
    fn name(self) -> &'static str {
        match self {
            Family::Gauge => "streamhouse_client_metric",
            Family::Counter => "streamhouse_client_metric_total",
        }
    }
    fn kind(self) -> &'static str {
        match self {
            Family::Gauge => "gauge",
            Family::Counter => "counter",
        }
    }
}

type Labels = Vec<(String, String)>;
type SeriesKey = (Family, String, Labels);

/// The newest values of each client instance.
#[derive(Default)]
pub(super) struct SeriesTable {
    clients: HashMap<Uuid, Client>,
    /// Series of all of them.
    series: usize,
}

struct Client {
    id: String,
    seen: Duration,
    values: BTreeMap<SeriesKey, f64>,
}

impl SeriesTable {
    /// Takes in a push; answers how many of its samples there was no room for.
    pub fn record(
        &mut self,
        client_id: &str,
        instance: Uuid,
        samples: Vec<Sample>,
        now: Duration,
    ) -> u64 {
        if self.series >= SERIES_MAX || self.clients.len() >= CLIENTS_MAX {
            self.expire(now);
        }
        let SeriesTable { clients, series } = self;
        if clients.len() >= CLIENTS_MAX && !clients.contains_key(&instance) {
            return samples.len() as u64;
        }
        let client = clients.entry(instance).or_insert_with(|| Client {
            id: cut(client_id),
            seen: now,
            values: BTreeMap::new(),
        });
        client.seen = now;
        let mut dropped = 0;
        for sample in samples.into_iter().filter(|s| s.value.is_finite()) {
            let Sample {
                metric,
                kind,
                value,
                labels,
            } = sample;
            let key = (kind.family(), cut(&metric), own_labels(labels));
            let room = *series < SERIES_MAX && client.values.len() < SERIES_OF_INSTANCE_MAX;
            if !client.values.contains_key(&key) {
                if !room {
                    dropped += 1;
                    continue;
                }
                *series += 1;
            }
            let shown = client.values.entry(key).or_default();
            *shown = match kind {
                SampleKind::Delta => *shown + value,
                SampleKind::Gauge | SampleKind::Total => value,
            };
        }
        dropped
    }

    pub fn expire(&mut self, now: Duration) {
        self.clients
            .retain(|_, client| now.saturating_sub(client.seen) <= SHOWN_MAX);
        self.series = self.clients.values().map(|c| c.values.len()).sum();
    }

    /// In Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for family in [Family::Gauge, Family::Counter] {
            let mut headed = false;
            for (instance, client) in &self.clients {
                let of_family = client.values.iter().filter(|((f, ..), _)| *f == family);
                for ((_, metric, labels), value) in of_family {
                    if !headed {
                        let (name, kind) = (family.name(), family.kind());
                        // Writing into a String does not fail.
                        let _ = writeln!(text, "# TYPE {name} {kind}");
                        headed = true;
                    }
                    write_series(
                        &mut text,
                        family,
                        (*instance, &client.id),
                        metric,
                        labels,
                        *value,
                    );
                }
            }
        }
        text
    }
}

fn write_series(
    text: &mut String,
    family: Family,
    (instance, client_id): (Uuid, &str),
    metric: &str,
    labels: &Labels,
    value: f64,
) {
    let instance = shown(instance);
    let who = [
        ("client_id", client_id),
        ("client_instance_id", instance.as_str()),
        ("metric", metric),
    ];
    let labels = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let pairs: Vec<String> = who
        .into_iter()
        .chain(labels)
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    let _ = writeln!(text, "{}{{{}}} {value}", family.name(), pairs.join(","));
}

/// A client's own labels: sorted, each once, with names that Prometheus allows and that do not hide whose series it is.
fn own_labels(labels: Labels) -> Labels {
    let own: BTreeMap<String, String> = labels
        .into_iter()
        .map(|(name, value)| (label_name(&name), cut(&value)))
        .filter(|(name, _)| !matches!(name.as_str(), "client_id" | "client_instance_id" | "metric"))
        .take(LABELS_MAX)
        .collect();
    own.into_iter().collect()
}

fn label_name(name: &str) -> String {
    let legal = |c: char| match c.is_ascii_alphanumeric() {
        true => c,
        false => '_',
    };
    let name: String = cut(name).chars().map(legal).collect();
    match name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => name,
        false => format!("label_{name}"),
    }
}

/// Its first [`TEXT_BYTES_MAX`] bytes, or less if a character would be broken.
pub fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(metric: &str, kind: SampleKind, value: f64) -> Sample {
        Sample {
            metric: metric.into(),
            kind,
            value,
            labels: vec![("node.id".into(), "1\"\n".into())],
        }
    }

    #[test]
    fn deltas_add_up_and_gauges_are_replaced() {
        let mut table = SeriesTable::default();
        let client = Uuid::from_u128(7);
        for _ in 0..2 {
            let samples = vec![
                sample("sent", SampleKind::Delta, 2.0),
                sample("rate", SampleKind::Gauge, 1.5),
            ];
            assert_eq!(table.record("c", client, samples, Duration::ZERO), 0);
        }
        let who = "client_id=\"c\",client_instance_id=\"AAAAAAAAAAAAAAAAAAAABw\"";
        let labels = "node_id=\"1\\\"\\n\"";
        let expected = format!(
            "# TYPE streamhouse_client_metric gauge\n\
             streamhouse_client_metric{{{who},metric=\"rate\",{labels}}} 1.5\n\
             # TYPE streamhouse_client_metric_total counter\n\
             streamhouse_client_metric_total{{{who},metric=\"sent\",{labels}}} 4\n"
        );
        assert_eq!(table.render(), expected);
        table.expire(SHOWN_MAX + Duration::from_secs(1));
        assert_eq!(table.render(), "");
    }

    #[test]
    fn a_client_that_pushes_ever_new_names_is_cut_off() {
        let mut table = SeriesTable::default();
        let samples = |from: usize| {
            (from..from + 1_500)
                .map(|n| sample(&format!("m{n}"), SampleKind::Gauge, 1.0))
                .collect()
        };
        let one = Uuid::from_u128(1);
        assert_eq!(table.record("c", one, samples(0), Duration::ZERO), 500);
        for n in 2..100 {
            table.record("c", Uuid::from_u128(n), samples(0), Duration::ZERO);
        }
        assert_eq!(table.series, SERIES_MAX);
        assert_eq!(
            table.record(
                "c",
                one,
                vec![sample("m0", SampleKind::Gauge, 2.0)],
                Duration::ZERO
            ),
            0
        );
    }

    #[test]
    fn odd_labels_become_legal_ones() {
        let labels = |name: &str| own_labels(vec![(name.to_owned(), "v".to_owned())]);
        assert_eq!(labels("a.b-c"), [("a_b_c".to_owned(), "v".to_owned())]);
        assert_eq!(labels("9"), [("label_9".to_owned(), "v".to_owned())]);
        assert_eq!(labels("client_id"), []);
        assert_eq!(cut(&"ü".repeat(150)).len(), TEXT_BYTES_MAX);
    }
}
