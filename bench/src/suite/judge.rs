//! What our numbers are held against Kafka's, of the same run.
use super::*;

/// Adds the bars that need both.
pub(super) fn judge(report: &mut Report) {
    let busy = named(1, KIB, 16);
    let (ours, kafka, fsync) = (
        report.find(LOCAL, &busy).cloned(),
        report.find(KAFKA, &busy).cloned(),
        report.find(KAFKA_FSYNC, &busy).cloned(),
    );
    if let (Some(ours), Some(kafka)) = (&ours, &kafka) {
        let cpu = (ours.cpu_seconds_per_gib, kafka.cpu_seconds_per_gib);
        if let (Some(a), Some(b)) = cpu {
            report.bar(
                "CPU per GiB written against Kafka's, acks=1",
                format!("{a:.2} against {b:.2} core-seconds"),
                "at most a third",
                a <= b / 3.0,
            );
        }
        if let (Some(a), Some(b)) = (ours.peak_mib, kafka.peak_mib) {
            report.bar(
                "memory against Kafka's",
                format!("{a:.0} against {b:.0} MiB"),
                "at most a quarter",
                a <= b / 4.0,
            );
        }
    }
    if let (Some(a), Some(b)) = (
        report
            .find(CLOUD, &named(-1, KIB, 16))
            .and_then(|m| m.cpu_seconds_per_gib),
        kafka.as_ref().and_then(|m| m.cpu_seconds_per_gib),
    ) {
        report.bar(
            "CPU per GiB written to S3, acks=all, against Kafka's",
            format!("{a:.2} against {b:.2} core-seconds"),
            "at most a third",
            a <= b / 3.0,
        );
    }
    if let (Some(a), Some(b)) = (&ours, &fsync) {
        let times = a.mib_per_second / b.mib_per_second;
        report.bar(
            "throughput against Kafka that fsyncs, acks=1",
            format!("{times:.1} times"),
            "3 times",
            times >= 3.0,
        );
    }
    let java = |server| report.find(server, JAVA_PRODUCER).map(|m| m.mib_per_second);
    if let (Some(a), Some(b)) = (java(LOCAL), java(KAFKA_FSYNC)) {
        report.bar(
            format!("{JAVA_PRODUCER} against Kafka that fsyncs"),
            format!("{a:.1} against {b:.1} MiB/s, {:.1} times", a / b),
            "3 times",
            a >= 3.0 * b,
        );
    }
    let tail = report.find(LOCAL, TAIL).and_then(|m| m.cpu_seconds_per_gib);
    if let Some(cost) = tail {
        report.bar(
            "tail reads from memory",
            format!("{:.2} GiB per core-second", 1.0 / cost),
            "above 1",
            cost < 1.0,
        );
    }
    if let (Some(a), Some(b)) = (
        tail,
        report.find(KAFKA, TAIL).and_then(|m| m.cpu_seconds_per_gib),
    ) {
        report.bar(
            "CPU per GiB read against Kafka's",
            format!("{a:.2} against {b:.2} core-seconds"),
            "at most Kafka's",
            a <= b,
        );
    }
    for workload in [JAVA_PRODUCER, JAVA_CONSUMER] {
        let rate = |server| report.find(server, workload).map(|m| m.mib_per_second);
        if let (Some(a), Some(b)) = (rate(LOCAL), rate(KAFKA)) {
            report.bar(
                format!("{workload} against Kafka without fsync"),
                format!("{a:.1} against {b:.1} MiB/s"),
                "at least Kafka's",
                a >= b,
            );
        }
    }
}
