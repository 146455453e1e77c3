//! The servers that are measured, and what is read off them: processor time, peak memory, their own counters.
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use sh_client::{Client, Options};
use sh_testkit::torture::agent::{Agent, free_port};
use tokio::time::sleep;

/// A broker and what is known of its process.
pub struct Server {
    /// As reports name it.
    pub name: String,
    pub address: String,
    process: Process,
}

enum Process {
    Ours(Box<Agent>),
    Kafka(Held),
    /// Somebody else's, with a process id if it runs on this machine.
    Elsewhere(Option<u32>),
}

/// A child that does not outlive its holder.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Readings of one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Processor time of the server; `None` where its process is not known.
    pub cpu: Option<Duration>,
    /// Its counters, by name and labels.
    pub metrics: BTreeMap<String, f64>,
}

impl Sample {
    /// How much the counters of a name, with `label` among their labels, have grown since `earlier`.
    pub fn growth(&self, earlier: &Sample, name: &str, label: &str) -> Option<f64> {
        let sum = |sample: &Sample| {
            let series = sample.metrics.range(name.to_owned()..);
            let own = series.take_while(|(series, _)| series.starts_with(name));
            own.filter(|(series, _)| {
                series[name.len()..].starts_with('{') || series.len() == name.len()
            })
            .filter(|(series, _)| series.contains(label))
            .map(|(_, value)| value)
            .sum::<f64>()
        };
        (!self.metrics.is_empty()).then(|| sum(self) - sum(earlier))
    }
}

impl Server {
    /// Starts our server with its data under `folder`.
    pub async fn ours(
        name: &str,
        binary: &str,
        folder: &Path,
        arguments: &[String],
        environment: &[(&str, &str)],
    ) -> Result<Server> {
        let mut agent = Agent::new(binary, folder, arguments)?.env(environment);
        agent.start().await?;
        Ok(Server {
            name: name.into(),
            address: agent.address(),
            process: Process::Ours(Box::new(agent)),
        })
    }

    /// Starts Apache Kafka with its logs under `folder`; `settings` are added to its properties.
    pub async fn kafka(name: &str, jars: &Path, folder: &Path, settings: &str) -> Result<Server> {
        let port = free_port()?;
        fs::create_dir_all(folder)?;
        let properties = folder.join("server.properties");
        let text = include_str!("../../suites/oracle/server.properties")
            .replace("{port}", &port.to_string())
            .replace("{controller}", &free_port()?.to_string())
            .replace("{dir}", &folder.display().to_string());
        fs::write(&properties, format!("{text}\n{settings}\n"))?;
        let id = output(java(jars, "kafka.tools.StorageTool").arg("random-uuid"))?;
        let id = id
            .lines()
            .last()
            .context("Kafka made no cluster id")?
            .trim()
            .to_owned();
        let mut format = java(jars, "kafka.tools.StorageTool");
        output(format.args(["format", "-t", &id, "-c"]).arg(&properties))?;
        let log = fs::File::create(folder.join("server.log"))?;
        let broker = java(jars, "kafka.Kafka")
            .arg(&properties)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run java")?;
        let server = Server {
            name: name.into(),
            address: format!("127.0.0.1:{port}"),
            process: Process::Kafka(Held(broker)),
        };
        server.wait_until_it_answers().await?;
        Ok(server)
    }

    /// A server that runs already.
    pub fn elsewhere(address: &str, pid: Option<u32>) -> Server {
        Server {
            name: address.into(),
            address: address.into(),
            process: Process::Elsewhere(pid),
        }
    }

    async fn wait_until_it_answers(&self) -> Result<()> {
        for _ in 0..900 {
            if let Ok(client) = self.client().await
                && client.refresh(None).await.is_ok()
            {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
        bail!("{} does not answer on {}", self.name, self.address)
    }

    pub async fn client(&self) -> Result<Client> {
        Ok(Client::connect(&self.address, Options::default()).await?)
    }

    /// Stops our server and starts it again on the same data, with cold caches; says how long it took to be ready.
    pub async fn restart(&mut self) -> Result<Duration> {
        let Process::Ours(agent) = &mut self.process else {
            bail!("{} is not ours to restart", self.name);
        };
        agent.drain().await?;
        let begun = Instant::now();
        agent.start().await?;
        Ok(begun.elapsed())
    }

    pub fn pid(&self) -> Option<u32> {
        match &self.process {
            Process::Ours(agent) => agent.pid().ok(),
            Process::Kafka(held) => Some(held.0.id()),
            Process::Elsewhere(pid) => *pid,
        }
    }

    pub async fn sample(&self) -> Result<Sample> {
        let metrics = match &self.process {
            Process::Ours(agent) => parse(&agent.get("/metrics").await?),
            _ => BTreeMap::new(),
        };
        let cpu = self.pid().map(cpu).transpose()?;
        Ok(Sample { cpu, metrics })
    }

    /// From now on [`Server::peak_bytes`] counts anew.
    pub fn forget_peak(&self) {
        if let Some(pid) = self.pid() {
            // Where the kernel does not let us, the peak is that of the whole life: larger, never smaller.
            drop(fs::write(format!("/proc/{pid}/clear_refs"), "5"));
        }
    }

    /// The most memory that was resident.
    pub fn peak_bytes(&self) -> Option<u64> {
        status(self.pid()?, "VmHWM:")
    }

    /// What is resident.
    pub fn resident_bytes(&self) -> Option<u64> {
        status(self.pid()?, "VmRSS:")
    }
}

fn status(pid: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().split(' ').next()?.parse::<u64>().ok()? * 1024)
}

/// Processor time of all threads of a process. `/proc/PID/stat` counts in ticks of 10 ms.
fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat
        .rsplit_once(") ")
        .context("no stat")?
        .1
        .split(' ')
        .collect();
    let ticks = |n: usize| -> Result<u64> { Ok(fields.get(n).context("a short stat")?.parse()?) };
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

fn parse(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// A command that runs a class of Kafka's jars.
pub fn java(jars: &Path, class: &str) -> Command {
    let mut java = Command::new("java");
    java.args([
        "-Xmx1g",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp",
    ])
    .arg(jars.join("*"))
    .arg(class)
    .stdin(Stdio::null());
    java
}

/// What a command printed; an error if it failed.
pub fn output(command: &mut Command) -> Result<String> {
    let out = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let (said, complained) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    ensure!(
        out.status.success(),
        "{command:?} failed:\n{said}{complained}"
    );
    Ok(said.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_of_one_name_and_its_labels_only() {
        let sample = |n: f64| Sample {
            cpu: None,
            metrics: parse(&format!(
                "# TYPE a counter\na{{op=\"put\"}} {n}\na{{op=\"get\"}} 7\na_b 100\n"
            )),
        };
        let (before, after) = (sample(1.0), sample(4.0));
        assert_eq!(after.growth(&before, "a", ""), Some(3.0));
        assert_eq!(after.growth(&before, "a", "get"), Some(0.0));
        assert_eq!(Sample::default().growth(&before, "a", ""), None);
    }
}
