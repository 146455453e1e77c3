//! Consumers: one thread a connection, one fetch in flight, batches found by their headers alone.
use std::{
    io::{BufReader, Write},
    sync::Arc,
    thread,
    time::Instant,
};

use anyhow::{Result, ensure};

use crate::{
    gauge::{Effort, Generator, Latencies, Run, latencies, note},
    produce::Departures,
    wire,
};

/// A load of fetch requests.
#[derive(Clone, Debug)]
pub struct ConsumeLoad {
    pub topic: String,
    pub partitions: i32,
    pub connections: usize,
    pub partition_bytes_max: i32,
    /// At the end of its partitions a reader begins again.
    pub again: bool,
    /// Records of one batch, all alike: an offset over this is the number of its request.
    pub records_per_batch: i64,
    /// Whether what is read is what the run counts; else it follows producers who are.
    pub counts: bool,
}

/// What the consumers of a run saw.
pub struct Consumed {
    /// From the moment a request was meant to leave to the arrival of its records.
    pub latencies: Latencies,
    pub generator: Generator,
}

impl ConsumeLoad {
    /// Reads until the run is over, or, without `again`, until `ends` are reached.
    pub fn run(
        &self,
        address: &str,
        run: &Arc<Run>,
        ends: &[i64],
        departures: Option<&Arc<Departures>>,
    ) -> Result<Consumed> {
        let begun = Instant::now();
        let mut consumed = Consumed {
            latencies: latencies(),
            generator: Generator::default(),
        };
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.connections)
                .map(|index| {
                    scope.spawn(move || {
                        let mut seen = latencies();
                        if let Err(error) =
                            self.read(index, address, run, ends, departures, &mut seen)
                        {
                            run.blame(format!("{error:#}"));
                        }
                        (seen, Effort::of_this_thread().unwrap_or_default())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        for result in results {
            let Ok((seen, effort)) = result else {
                run.blame("a consumer's thread panicked".into());
                continue;
            };
            consumed.latencies.add(&seen)?;
            consumed.generator.add(effort, begun.elapsed());
        }
        Ok(consumed)
    }

    fn read(
        &self,
        index: usize,
        address: &str,
        run: &Run,
        ends: &[i64],
        departures: Option<&Arc<Departures>>,
        seen: &mut Latencies,
    ) -> Result<()> {
        // Where there are fewer partitions than connections, several read the same.
        let mine = |p: i32| {
            p as usize % self.connections == index
                || self.partitions as usize <= index
                    && p as usize == index % self.partitions as usize
        };
        let mut at: Vec<(i32, i64)> = (0..self.partitions)
            .filter(|p| mine(*p))
            .map(|p| (p, 0))
            .collect();
        let stream = wire::connect(address)?;
        let mut write = stream.try_clone()?;
        let mut read = BufReader::with_capacity(256 * 1024, stream);
        let (mut answer, mut read_last) = (Vec::new(), true);
        while self.goes_on(run, read_last) {
            let end = |p: i32| ends.get(p as usize).copied().unwrap_or(i64::MAX);
            let mut wanted: Vec<_> = at.iter().filter(|(p, o)| *o < end(*p)).copied().collect();
            if wanted.is_empty() {
                if !self.again {
                    return Ok(());
                }
                at.iter_mut().for_each(|(_, offset)| *offset = 0);
                wanted = at.clone();
            }
            // Who was served last comes last, as in any consumer.
            let turn = wanted.len();
            wanted.rotate_left(answer.len() % turn.max(1));
            write.write_all(&wire::fetch(&self.topic, &wanted, self.partition_bytes_max))?;
            let length = wire::answer(&mut read, &mut answer)?;
            read_last = self.take(&answer[..length], &mut at, run, departures, seen)?;
        }
        Ok(())
    }

    /// Who follows producers reads until nothing is left of what they wrote: the last records are the slowest.
    fn goes_on(&self, run: &Run, read_last: bool) -> bool {
        match self.counts {
            true => !run.is_over(),
            false => read_last || !run.is_all_answered(),
        }
    }

    fn take(
        &self,
        answer: &[u8],
        at: &mut [(i32, i64)],
        run: &Run,
        departures: Option<&Arc<Departures>>,
        seen: &mut Latencies,
    ) -> Result<bool> {
        let mut any = false;
        for fetched in wire::fetched(answer)? {
            if fetched.error != 0 {
                run.refused(fetched.error);
                continue;
            }
            let Some((partition, offset)) = at.iter_mut().find(|(p, _)| *p == fetched.partition)
            else {
                continue;
            };
            for (base, offsets) in wire::batches(fetched.records) {
                ensure!(
                    base <= *offset || departures.is_none(),
                    "partition {partition} jumps from {offset} to {base}"
                );
                *offset = base + offsets;
                any = true;
                if self.counts {
                    run.count(offsets as u64, 0);
                }
                if let Some(departures) = departures {
                    let number = (base / self.records_per_batch) as usize;
                    let left = departures[*partition as usize].lock().get(number).copied();
                    if let Some(left) = left.filter(|left| run.covers(*left)) {
                        note(seen, left.elapsed());
                    }
                }
            }
            if self.counts {
                run.count(0, fetched.records.len() as u64);
            }
        }
        Ok(any)
    }
}
