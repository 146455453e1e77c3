//! The metrics of OpenTelemetry (OTLP 1.x, `opentelemetry/proto/metrics/v1`), as far as clients push them: gauges, sums, and of
//! histograms their counts and sums. Fields that are not named here are skipped, as Protocol Buffers want it.
use prost::{Message, Oneof};
use sh_base::batch::{Codec, compression::decompress};
use sh_node::telemetry::{Sample, SampleKind, cut};

/// What a push may hold once it is unpacked, bytes (`telemetry.max.bytes` of a client's push is 1 MiB). Decoded, the smallest
/// messages take some thirty times their bytes.
const PLAIN_BYTES_MAX: usize = 1024 * 1024;
/// Values of one push; what comes after them is not looked at.
pub const SAMPLES_MAX: usize = 10_000;
/// Labels of one resource and of one point. Those of the resource are copied to each of its values, so both are bounded here,
/// before `node` keeps fewer of them.
pub const LABELS_MAX: usize = 16;

/// `MetricsData`, and `ExportMetricsServiceRequest`, which is the same on the wire.
#[derive(Clone, PartialEq, Message)]
struct MetricsData {
    #[prost(message, repeated, tag = "1")]
    resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceMetrics {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_metrics: Vec<ScopeMetrics>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeMetrics {
    #[prost(message, repeated, tag = "2")]
    metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(oneof = "Data", tags = "5, 7, 9, 11")]
    data: Option<Data>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Data {
    #[prost(message, tag = "5")]
    Gauge(Gauge),
    #[prost(message, tag = "7")]
    Sum(Sum),
    #[prost(message, tag = "9")]
    Histogram(Histogram),
    #[prost(message, tag = "11")]
    Summary(Summary),
}

#[derive(Clone, PartialEq, Message)]
struct Gauge {
    #[prost(message, repeated, tag = "1")]
    data_points: Vec<NumberDataPoint>,
}

#[derive(Clone, PartialEq, Message)]
struct Sum {
    #[prost(message, repeated, tag = "1")]
    data_points: Vec<NumberDataPoint>,
    #[prost(int32, tag = "2")]
    aggregation_temporality: i32,
    #[prost(bool, tag = "3")]
    is_monotonic: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(message, repeated, tag = "1")]
    data_points: Vec<CountedDataPoint>,
    #[prost(int32, tag = "2")]
    aggregation_temporality: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    data_points: Vec<SummaryDataPoint>,
}

#[derive(Clone, PartialEq, Message)]
struct NumberDataPoint {
    #[prost(message, repeated, tag = "7")]
    attributes: Vec<KeyValue>,
    #[prost(oneof = "Number", tags = "4, 6")]
    value: Option<Number>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Number {
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(sfixed64, tag = "6")]
    Int(i64),
}

#[derive(Clone, PartialEq, Message)]
struct CountedDataPoint {
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "4")]
    count: u64,
    #[prost(double, optional, tag = "5")]
    sum: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryDataPoint {
    #[prost(message, repeated, tag = "7")]
    attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "4")]
    count: u64,
    #[prost(double, tag = "5")]
    sum: f64,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

/// Lists and maps are no labels.
#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3, 4")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Any {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
}

/// `AGGREGATION_TEMPORALITY_DELTA`
const DELTA: i32 = 1;

/// The values of a push, or what is wrong with it.
pub fn decode(codec: Codec, payload: &[u8]) -> Result<Vec<Sample>, String> {
    let plain = decompress(codec, payload, PLAIN_BYTES_MAX).map_err(|e| e.to_string())?;
    let data = MetricsData::decode(plain.as_slice()).map_err(|e| e.to_string())?;
    let samples = data.resource_metrics.into_iter().flat_map(of_resource);
    Ok(samples.take(SAMPLES_MAX).collect())
}

fn of_resource(resource: ResourceMetrics) -> impl Iterator<Item = Sample> {
    let about = resource.resource.map(|r| labels(r.attributes));
    let about = about.unwrap_or_default();
    let metrics = resource.scope_metrics.into_iter().flat_map(|s| s.metrics);
    metrics.flat_map(of_metric).map(move |mut sample| {
        sample.labels.extend(about.iter().cloned());
        sample
    })
}

fn of_metric(Metric { name, data }: Metric) -> Vec<Sample> {
    let name = cut(&name);
    match data {
        Some(Data::Gauge(gauge)) => numbers(&name, SampleKind::Gauge, gauge.data_points),
        // What can go down is a value as of now, if it is told as a whole.
        Some(Data::Sum(sum)) => {
            let kind = match (sum.aggregation_temporality, sum.is_monotonic) {
                (DELTA, _) => SampleKind::Delta,
                (_, true) => SampleKind::Total,
                (_, false) => SampleKind::Gauge,
            };
            numbers(&name, kind, sum.data_points)
        }
        Some(Data::Histogram(histogram)) => {
            let kind = match histogram.aggregation_temporality {
                DELTA => SampleKind::Delta,
                _ => SampleKind::Total,
            };
            let points = histogram.data_points.into_iter();
            points
                .flat_map(|p| counted(&name, kind, p.attributes, p.count, p.sum))
                .collect()
        }
        Some(Data::Summary(summary)) => {
            let points = summary.data_points.into_iter();
            points
                .flat_map(|p| counted(&name, SampleKind::Total, p.attributes, p.count, Some(p.sum)))
                .collect()
        }
        None => Vec::new(),
    }
}

fn numbers(name: &str, kind: SampleKind, points: Vec<NumberDataPoint>) -> Vec<Sample> {
    let sample = |point: NumberDataPoint| {
        let value = match point.value? {
            Number::Double(value) => value,
            Number::Int(value) => value as f64,
        };
        Some(Sample {
            metric: name.to_owned(),
            kind,
            value,
            labels: labels(point.attributes),
        })
    };
    points.into_iter().filter_map(sample).collect()
}

/// Of a histogram: how many values there were, and their sum.
fn counted(
    name: &str,
    kind: SampleKind,
    attributes: Vec<KeyValue>,
    count: u64,
    sum: Option<f64>,
) -> impl Iterator<Item = Sample> {
    let labels = labels(attributes);
    let both = [("count", Some(count as f64)), ("sum", sum)];
    let sample = |(what, value): (&str, Option<f64>)| {
        Some(Sample {
            metric: format!("{name}.{what}"),
            kind,
            value: value?,
            labels: labels.clone(),
        })
    };
    let samples: Vec<Sample> = both.into_iter().filter_map(sample).collect();
    samples.into_iter()
}

fn labels(attributes: Vec<KeyValue>) -> Vec<(String, String)> {
    let label = |KeyValue { key, value }: KeyValue| {
        let value = match value?.value? {
            Any::Text(text) => cut(&text),
            Any::Bool(value) => value.to_string(),
            Any::Int(value) => value.to_string(),
            Any::Double(value) => value.to_string(),
        };
        Some((cut(&key), value))
    };
    let labels = attributes.into_iter().filter_map(label);
    labels.take(LABELS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use sh_base::batch::compression::compress_into;
    use sh_node::telemetry::TEXT_BYTES_MAX;

    use super::*;

    fn attribute(key: &str, value: Any) -> KeyValue {
        KeyValue {
            key: key.into(),
            value: Some(AnyValue { value: Some(value) }),
        }
    }

    fn point(value: Number) -> NumberDataPoint {
        NumberDataPoint {
            attributes: vec![attribute("node_id", Any::Int(1))],
            value: Some(value),
        }
    }

    fn payload() -> Vec<u8> {
        let metric = |name: &str, data| Metric {
            name: name.into(),
            data: Some(data),
        };
        let metrics = vec![
            metric(
                "rate",
                Data::Gauge(Gauge {
                    data_points: vec![point(Number::Double(0.5))],
                }),
            ),
            metric(
                "total",
                Data::Sum(Sum {
                    data_points: vec![point(Number::Int(3))],
                    aggregation_temporality: DELTA,
                    is_monotonic: true,
                }),
            ),
            metric(
                "time",
                Data::Histogram(Histogram {
                    data_points: vec![CountedDataPoint {
                        attributes: vec![],
                        count: 2,
                        sum: Some(7.0),
                    }],
                    aggregation_temporality: 2,
                }),
            ),
        ];
        let resource = ResourceMetrics {
            resource: Some(Resource {
                attributes: vec![attribute("group_id", Any::Text("g".into()))],
            }),
            scope_metrics: vec![ScopeMetrics { metrics }],
        };
        MetricsData {
            resource_metrics: vec![resource],
        }
        .encode_to_vec()
    }

    #[test]
    fn a_push_of_every_codec_is_read() {
        for codec in [
            Codec::None,
            Codec::Gzip,
            Codec::Snappy,
            Codec::Lz4,
            Codec::Zstd,
        ] {
            let packed = match codec {
                Codec::None => payload(),
                _ => compress_into(codec, &payload(), vec![]).unwrap(),
            };
            let samples = decode(codec, &packed).unwrap();
            let shown: Vec<_> = samples
                .iter()
                .map(|s| (s.metric.as_str(), s.kind, s.value))
                .collect();
            let expected = [
                ("rate", SampleKind::Gauge, 0.5),
                ("total", SampleKind::Delta, 3.0),
                ("time.count", SampleKind::Total, 2.0),
                ("time.sum", SampleKind::Total, 7.0),
            ];
            assert_eq!(shown, expected, "{codec:?}");
            let labels = [
                ("node_id".to_owned(), "1".to_owned()),
                ("group_id".to_owned(), "g".to_owned()),
            ];
            assert_eq!(samples[0].labels, labels);
        }
    }

    #[test]
    fn labels_without_end_are_cut_off() {
        let long = "ü".repeat(10_000);
        let attributes =
            (0..100).map(|n| attribute(&format!("{n}{long}"), Any::Text(long.clone())));
        let gauge = Gauge {
            data_points: vec![point(Number::Int(1)); 20],
        };
        let metric = Metric {
            name: long.clone(),
            data: Some(Data::Gauge(gauge)),
        };
        let resource = ResourceMetrics {
            resource: Some(Resource {
                attributes: attributes.take(20).collect(),
            }),
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![metric],
            }],
        };
        let samples: Vec<Sample> = of_resource(resource).collect();
        assert_eq!(samples.len(), 20);
        for sample in samples {
            assert_eq!(sample.metric.len(), TEXT_BYTES_MAX);
            assert_eq!(sample.labels.len(), 1 + LABELS_MAX);
            let texts = sample.labels.iter().flat_map(|(key, value)| [key, value]);
            assert!(texts.map(String::len).all(|len| len <= TEXT_BYTES_MAX));
        }
    }

    #[test]
    fn what_is_no_push_is_refused_and_a_bomb_is_not_unpacked() {
        assert!(decode(Codec::None, b"\x0a\xff").is_err());
        assert!(decode(Codec::Zstd, b"not zstd").is_err());
        let bomb = compress_into(Codec::Gzip, &vec![0; PLAIN_BYTES_MAX + 1], vec![]).unwrap();
        assert!(decode(Codec::Gzip, &bomb).is_err());
    }
}
