//! The loop: fetch, print, until the ends that were there at the start.
use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Write},
    time::Instant,
};

use futures::future::try_join_all;
use sh_client::{Admin, Consumer, ConsumerOptions, ConsumerRecord};

use super::{ConsumeArgs, render::Render};
use crate::{
    failure::{Exit, Failure},
    offsets::bounds,
    session::{Session, existing, partitions},
};

pub async fn read(args: ConsumeArgs, session: &Session) -> Result<(), Failure> {
    let client = session.connect().await?;
    let topic = existing(&client, &args.topic).await?;
    let admin = Admin::new(client.clone());
    let from = args.from();
    let places = partitions(&topic, &args.partition)?
        .into_iter()
        .map(async |partition| {
            let bounds = bounds(&admin, &topic.name, partition).await?;
            let offset = from.offset(&admin, &topic.name, bounds).await?;
            Ok::<_, Failure>((partition, offset, bounds.latest))
        });
    let places = try_join_all(places).await?;
    let mut consumer = Consumer::new(
        client,
        ConsumerOptions {
            isolation: args.isolation(),
            ..ConsumerOptions::default()
        },
    );
    let mut ends = BTreeMap::new();
    for (partition, offset, latest) in places {
        if args.follow || offset < latest {
            consumer.assign(&topic.name, partition, offset);
            ends.insert(partition, latest);
        }
    }
    let reading = Reading {
        topic: topic.name.to_string(),
        ends: (!args.follow).then_some(ends),
        left: args.max.unwrap_or(u64::MAX),
        render: args.render(session.output()),
        out: BufWriter::new(io::stdout()),
    };
    reading.run(consumer, session).await
}

struct Reading<W: Write> {
    topic: String,
    /// Where each unfinished partition ended at the start; `None`: read on for ever.
    ends: Option<BTreeMap<i32, i64>>,
    /// Records still wanted.
    left: u64,
    render: Render,
    out: W,
}

impl<W: Write> Reading<W> {
    async fn run(mut self, mut consumer: Consumer, session: &Session) -> Result<(), Failure> {
        let mut progress = Instant::now();
        while !self.is_done() {
            let records = consumer.poll().await?;
            if !records.is_empty() {
                progress = Instant::now();
            }
            for record in records {
                self.take(&record)?;
            }
            self.out.flush()?;
            self.finish_partitions(&mut consumer);
            if self.ends.is_some() && !self.is_done() && progress.elapsed() > session.timeout() {
                return Err(self.stalled());
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.left == 0 || self.ends.as_ref().is_some_and(BTreeMap::is_empty)
    }

    /// Prints a record, unless it came after the end or enough were printed.
    fn take(&mut self, record: &ConsumerRecord) -> Result<(), Failure> {
        let end = self.ends.as_ref().map_or(i64::MAX, |ends| {
            ends.get(&record.partition).copied().unwrap_or(0)
        });
        if self.left > 0 && record.offset < end {
            self.left -= 1;
            self.render.write(record, &mut self.out)?;
        }
        Ok(())
    }

    fn finish_partitions(&mut self, consumer: &mut Consumer) {
        let Some(ends) = &mut self.ends else { return };
        ends.retain(|partition, end| {
            let unfinished = consumer
                .position(&self.topic, *partition)
                .is_some_and(|at| at < *end);
            if !unfinished {
                consumer.unassign(&self.topic, *partition);
            }
            unfinished
        });
    }

    fn stalled(&self) -> Failure {
        let ends = self
            .ends
            .iter()
            .flatten()
            .map(|(p, end)| format!("partition {p} up to {end}"));
        stalled(&ends.collect::<Vec<_>>().join(", "))
    }
}

/// Records that are there, but do not come.
pub fn stalled(which: &str) -> Failure {
    let advice = "an open transaction may hold them back: --uncommitted shows its records";
    Failure::new(
        Exit::Unreachable,
        format!("no record came for the --timeout, but there are more ({which}); {advice}"),
    )
}
