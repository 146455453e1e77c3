//! Apache Kafka, with and without fsync, under the same loads.
use std::time::Duration;

use anyhow::Result;

use super::*;

/// Topics of workloads that are over leave the disk at once.
const FREES_THE_DISK: &str = "log.segment.delete.delay.ms=100";

pub(super) async fn kafka(
    stage: &Stage,
    plan: &Plan,
    report: &mut Report,
    name: &str,
) -> Result<()> {
    let settings = match name {
        KAFKA => FREES_THE_DISK.to_owned(),
        _ => format!("{FREES_THE_DISK}\nlog.flush.interval.messages=1"),
    };
    let mut server = stage.kafka(&folder(name), &settings).await?;
    server.name = name.into();
    // Its compiler needs to see the work before it is good at it.
    let warm = Timing {
        warm: Duration::from_secs(if plan.quick { 8 } else { 15 }),
        run: Duration::from_millis(1),
        bytes_max: u64::MAX,
    };
    for shape in [(100, 16), (KIB, 16)] {
        measure::produce(
            &server,
            &throughput("warm", 1, shape.1, shape.0),
            warm,
            false,
        )
        .await?;
    }
    for (record_bytes, partitions) in plan.shapes() {
        if name == KAFKA_FSYNC && partitions >= 1_000 {
            let note = "left out: Apache Kafka with an fsync for each batch and 1,000 partitions, as one request is 32 fsyncs";
            report.notes.push(note.into());
            continue;
        }
        writes_of(&server, plan, report, 1, record_bytes, partitions).await?;
    }
    steady(&server, plan, report, 1, 500.0).await?;
    moderate(&server, plan, report, 1).await?;
    if name == KAFKA {
        // The first time warms its compiler up.
        tail_reads(&server, plan, &mut Report::default()).await?;
        tail_reads(&server, plan, report).await?;
        idle(&server, plan, report).await?;
    }
    java_clients(stage, plan, report, &server).await
}
