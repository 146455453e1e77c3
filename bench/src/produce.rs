//! Producers: one thread a connection, requests encoded once.
//!
//! *Closed*: so many requests in flight, the next one as soon as an answer comes; for throughput. *Open*: at a fixed rate,
//! whatever the server does; a request's latency counts from the moment it was meant to leave, so that a server that stalls
//! is charged for all that had to wait (no coordinated omission).
use std::{
    collections::VecDeque,
    io::{BufReader, Write},
    net::TcpStream,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    gauge::{Effort, Generator, Latencies, Run, latencies, note},
    wire,
};

/// A load of produce requests.
#[derive(Clone, Debug)]
pub struct ProduceLoad {
    pub topic: String,
    pub partitions: i32,
    pub acks: i16,
    pub record_bytes: usize,
    pub records_per_batch: usize,
    /// Partitions that one request writes to.
    pub batches_per_request: usize,
    pub connections: usize,
    pub pace: Pace,
}

#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// Requests in flight on a connection.
    Closed(usize),
    /// Requests per second, of all connections together.
    Open(f64),
}

/// When each request of each partition was meant to leave: a reader finds it by the offset.
pub type Departures = Vec<Mutex<Vec<Instant>>>;

/// What the producers of a run saw.
pub struct Produced {
    pub latencies: Latencies,
    pub generator: Generator,
    /// Answered requests of each connection, over the whole run.
    pub answered: Vec<u64>,
}

struct Worker {
    run: Arc<Run>,
    departures: Option<Arc<Departures>>,
    frames: Vec<(Bytes, Vec<i32>)>,
    records: u64,
    bytes: u64,
    index: usize,
    latencies: Latencies,
    answered: u64,
    late: Latencies,
}

/// A request that was sent: when it was meant to be.
type InFlight = VecDeque<Instant>;

impl ProduceLoad {
    /// Bytes of the batches of one request.
    pub fn request_bytes(&self) -> Result<u64> {
        let batch = wire::batch(self.records_per_batch, self.record_bytes, 0)?;
        Ok((batch.len() * self.batches_per_request) as u64)
    }

    pub fn request_records(&self) -> u64 {
        (self.records_per_batch * self.batches_per_request) as u64
    }

    /// Runs until the run is over, and all that was sent is answered.
    pub fn run(
        &self,
        address: &str,
        run: &Arc<Run>,
        departures: Option<&Arc<Departures>>,
    ) -> Result<Produced> {
        let now_ms = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)?
            .as_millis() as i64;
        let batch = wire::batch(self.records_per_batch, self.record_bytes, now_ms)?;
        let begun = Instant::now();
        let mut threads = Vec::new();
        for index in 0..self.connections {
            let stream = wire::connect(address)?;
            let worker = Worker {
                run: run.clone(),
                departures: departures.cloned(),
                frames: self.frames(index, &batch),
                records: self.request_records(),
                bytes: (batch.len() * self.batches_per_request) as u64,
                index,
                latencies: latencies(),
                answered: 0,
                late: latencies(),
            };
            let (pace, connections) = (self.pace, self.connections);
            let builder = thread::Builder::new().stack_size(256 * 1024);
            threads.push(builder.spawn(move || match pace {
                Pace::Closed(in_flight) => worker.closed(stream, in_flight),
                Pace::Open(rate) => worker.open(stream, rate / connections as f64, connections),
            })?);
        }
        let mut produced = Produced {
            latencies: latencies(),
            generator: Generator::default(),
            answered: Vec::new(),
        };
        let mut late = latencies();
        for thread in threads {
            let Ok((worker, efforts)) = thread.join() else {
                run.blame("a producer's thread panicked".into());
                continue;
            };
            produced.latencies.add(&worker.latencies)?;
            late.add(&worker.late)?;
            produced.answered.push(worker.answered);
            for effort in efforts {
                produced.generator.add(effort, begun.elapsed());
            }
        }
        produced.generator.late_p99 = Duration::from_micros(late.value_at_quantile(0.99));
        Ok(produced)
    }

    /// The requests that a connection sends in turn. Its partitions are its own where there are enough of them.
    fn frames(&self, index: usize, batch: &Bytes) -> Vec<(Bytes, Vec<i32>)> {
        let own: Vec<i32> = (0..self.partitions)
            .filter(|p| *p as usize % self.connections == index % self.partitions.max(1) as usize)
            .collect();
        let own = if own.is_empty() {
            (0..self.partitions).collect()
        } else {
            own
        };
        let wide = self.batches_per_request.min(own.len());
        own.chunks(wide)
            .filter(|chunk| chunk.len() == wide)
            .map(|chunk| {
                (
                    wire::produce(&self.topic, chunk, self.acks, batch),
                    chunk.to_vec(),
                )
            })
            .collect()
    }
}

impl Worker {
    fn send(&self, stream: &mut TcpStream, number: usize, intended: Instant) -> Result<()> {
        let (frame, partitions) = &self.frames[number % self.frames.len()];
        if let Some(departures) = &self.departures {
            for partition in partitions {
                departures[*partition as usize].lock().push(intended);
            }
        }
        stream.write_all(frame)?;
        Ok(())
    }

    fn answered(&mut self, intended: Instant, answer: &[u8]) -> Result<()> {
        let error = wire::produced(answer)?;
        if error != 0 {
            self.run.refused(error);
            return Ok(());
        }
        self.answered += 1;
        self.run.count(self.records, self.bytes);
        if self.run.covers(intended) {
            note(&mut self.latencies, intended.elapsed());
        }
        Ok(())
    }

    fn closed(mut self, stream: TcpStream, in_flight: usize) -> (Worker, Vec<Effort>) {
        let run = self.run.clone();
        if let Err(error) = self.closed_loop(stream, in_flight) {
            run.blame(format!("{error:#}"));
        }
        let effort = Effort::of_this_thread().unwrap_or_default();
        (self, vec![effort])
    }

    fn closed_loop(&mut self, stream: TcpStream, in_flight: usize) -> Result<()> {
        let mut write = stream.try_clone()?;
        let mut read = BufReader::with_capacity(64 * 1024, stream);
        let (mut waiting, mut answer, mut number) = (InFlight::new(), Vec::new(), 0);
        loop {
            while !self.run.is_over() && waiting.len() < in_flight {
                let now = Instant::now();
                self.send(&mut write, number, now)?;
                waiting.push_back(now);
                number += 1;
            }
            let Some(intended) = waiting.pop_front() else {
                return Ok(());
            };
            let length = wire::answer(&mut read, &mut answer)?;
            self.answered(intended, &answer[..length])?;
        }
    }

    /// A thread writes on time, this one reads.
    fn open(mut self, stream: TcpStream, rate: f64, connections: usize) -> (Worker, Vec<Effort>) {
        let run = self.run.clone();
        let (tell, told) = std::sync::mpsc::channel();
        let read = stream.try_clone();
        let writer_of = Worker {
            run: run.clone(),
            departures: self.departures.clone(),
            frames: std::mem::take(&mut self.frames),
            records: 0,
            bytes: 0,
            index: self.index,
            latencies: latencies(),
            answered: 0,
            late: latencies(),
        };
        let writer = thread::spawn(move || {
            let mut writer = writer_of;
            if let Err(error) = writer.write_on_time(stream, rate, connections, &tell) {
                writer.run.blame(format!("{error:#}"));
            }
            (writer.late, Effort::of_this_thread().unwrap_or_default())
        });
        let reading = || -> Result<()> {
            let mut read = BufReader::with_capacity(64 * 1024, read?);
            let mut answer = Vec::new();
            while let Ok(intended) = told.recv() {
                let length = wire::answer(&mut read, &mut answer)?;
                self.answered(intended, &answer[..length])?;
            }
            Ok(())
        };
        if let Err(error) = reading() {
            run.blame(format!("{error:#}"));
        }
        let mut efforts = vec![Effort::of_this_thread().unwrap_or_default()];
        if let Ok((late, effort)) = writer.join() {
            self.late = late;
            efforts.push(effort);
        }
        (self, efforts)
    }

    fn write_on_time(
        &mut self,
        mut stream: TcpStream,
        rate: f64,
        connections: usize,
        tell: &std::sync::mpsc::Sender<Instant>,
    ) -> Result<()> {
        let interval = Duration::from_secs_f64(1.0 / rate);
        // Connections take turns, so that they do not all speak at once.
        let mut intended =
            Instant::now() + interval.mul_f64(self.index as f64 / connections as f64);
        let mut number = 0;
        while !self.run.is_over() {
            let wait = intended.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                thread::sleep(wait);
                // Late by itself only where it was early before: else the server did not read.
                note(&mut self.late, intended.elapsed());
            }
            let _ = tell.send(intended);
            self.send(&mut stream, number, intended)?;
            number += 1;
            intended += interval;
        }
        Ok(())
    }
}
