//! Running other programs: in the foreground, or held so that they never outlive us.
use std::{
    ffi::OsStr,
    fs::File,
    io::{BufRead, BufReader, Read, Seek},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// A command with its arguments.
pub fn cmd<I, A>(program: &str, args: I) -> Command
where
    I: IntoIterator<Item = A>,
    A: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command.args(args);
    command
}

fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs a command on our own terminal, after printing it.
pub fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    ensure!(status.success(), "`{}` ended with {status}", shown(command));
    Ok(())
}

/// Runs a command silently and returns its standard output; an error carries all that it said.
pub fn output(command: &mut Command) -> Result<String> {
    let out = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        bail!(
            "`{}` ended with {}\n{text}{said}",
            shown(command),
            out.status
        );
    }
    Ok(text)
}

/// Whether a program of this name can be started.
pub fn exists(program: &str) -> bool {
    cmd("sh", ["-c", "command -v \"$0\" >/dev/null", program])
        .status()
        .is_ok_and(|status| status.success())
}

/// A folder of our own below the system's temporary folder.
pub fn scratch_dir(name: &str) -> Result<PathBuf> {
    let unique = format!("streamhouse-{name}-{}-{}", std::process::id(), free_port()?);
    let dir = std::env::temp_dir().join(unique);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// Ports below those that systems give to outgoing connections, which might take one before its service does.
const PORTS: std::ops::Range<u32> = 10_000..32_000;

/// A TCP port of 127.0.0.1 that nobody listened on a moment ago, another one at each call.
pub fn free_port() -> Result<u16> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(211);
    for _ in PORTS {
        let call = first.wrapping_add(CALLS.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(PORTS.start + call % (PORTS.end - PORTS.start))?;
        if std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!(
        "no port of 127.0.0.1 between {} and {} is free",
        PORTS.start,
        PORTS.end
    )
}

/// Whether somebody accepts connections on this port of 127.0.0.1.
pub fn accepts(port: u16) -> bool {
    std::net::TcpStream::connect_timeout(
        &(std::net::Ipv4Addr::LOCALHOST, port).into(),
        Duration::from_secs(1),
    )
    .is_ok()
}

/// A running program that ends when this value is dropped, or when we end in any way, `kill -9` included: it is held
/// by a pipe, and a small shell at the other end ends the whole process group when the pipe closes.
pub struct Held {
    name: String,
    child: Child,
    pipe: Option<ChildStdin>,
    /// Open for reading: it outlives the folder it was in.
    log: File,
}

/// Runs `"$@"` until it ends or standard input does; then removes the folder `$1`, unless that name is empty.
const HOLD: &str = r#"
exec 3<&0; dir=$1; shift
trap : TERM
"$@" </dev/null 3<&- & child=$!
( trap '' TERM; read -r _ <&3; kill -TERM -- -$$; sleep 10; kill -KILL -- -$$ ) >/dev/null 2>&1 & guard=$!
wait $child; code=$?
while kill -0 $child 2>/dev/null; do wait $child; code=$?; done
{ kill -KILL $guard; wait $guard; } 2>/dev/null
[ -z "$dir" ] || rm -rf -- "$dir"
exit $code
"#;

fn hold(command: &Command, dir: Option<&Path>) -> Command {
    let mut held = cmd("bash", ["-c", HOLD, "hold"]);
    held.arg(dir.unwrap_or(Path::new("")));
    held.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => held.env(key, value),
            None => held.env_remove(key),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        held.current_dir(dir);
    }
    held.process_group(0).stdin(Stdio::piped());
    held
}

impl Held {
    /// Starts a service whose files are in `dir`, which goes when the service does.
    pub fn service(name: &str, command: &Command, dir: &Path) -> Result<Held> {
        let path = dir.join("service.log");
        let file =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let log = File::open(&path)?;
        let mut child = hold(command, Some(dir))
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let pipe = child.stdin.take();
        Ok(Held {
            name: name.to_owned(),
            child,
            pipe,
            log,
        })
    }

    /// Waits until `ready` says yes. Fails with the end of the service's log when it stops or takes too long.
    pub fn wait_ready(&mut self, limit: Duration, ready: impl Fn() -> bool) -> Result<()> {
        let start = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} stopped at its start with {status}:\n{}",
                    self.name,
                    self.tail()
                );
            }
            if start.elapsed() > limit {
                bail!(
                    "{} is not ready after {limit:?}. The end of its log:\n{}",
                    self.name,
                    self.tail()
                );
            }
            thread::sleep(Duration::from_millis(100));
        }
        println!(
            "started {} ({:.1} s)",
            self.name,
            start.elapsed().as_secs_f64()
        );
        Ok(())
    }

    /// The last lines that the service wrote.
    pub fn tail(&self) -> String {
        let mut bytes = Vec::new();
        let _ = (&self.log)
            .rewind()
            .and_then(|()| (&self.log).read_to_end(&mut bytes));
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Whether the service has ended by itself.
    pub fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for a service that ends by itself.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.child.wait();
    }
}

/// Runs a command to its end, at most `limit`, with its output handed to `line` as it comes.
pub fn run_bounded(
    command: &Command,
    limit: Duration,
    mut line: impl FnMut(&str),
) -> Result<ExitStatus> {
    let mut held = hold(command, None);
    let (reader, writer) = std::io::pipe().context("no pipe")?;
    let mut child = held
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    // The command keeps the pipe's write ends: without this the reader below would never see its end.
    drop(held);
    let pipe = child.stdin.take();
    let (done, finished) = std::sync::mpsc::channel::<()>();
    let timer = thread::spawn(move || {
        let late = finished
            .recv_timeout(limit)
            .is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Timeout);
        drop(pipe);
        late
    });
    for text in BufReader::new(reader).split(b'\n') {
        line(&String::from_utf8_lossy(&text?));
    }
    let status = child.wait()?;
    drop(done);
    let late = timer.join().unwrap_or(false);
    ensure!(!late, "`{}` was not done after {limit:?}", shown(command));
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_service_ends_when_it_is_dropped_and_takes_its_folder_along() {
        let dir = scratch_dir("held").unwrap();
        let held = Held::service("sleeper", &cmd("sleep", ["1000"]), &dir).unwrap();
        let start = Instant::now();
        drop(held);
        assert!(start.elapsed() < Duration::from_secs(5));
        assert!(!dir.exists());
    }

    #[test]
    fn a_service_that_stops_at_once_is_reported_and_not_waited_for() {
        let dir = scratch_dir("broken").unwrap();
        let mut held = Held::service("broken", &cmd("false", [""; 0]), &dir).unwrap();
        let error = held
            .wait_ready(Duration::from_secs(60), || false)
            .unwrap_err();
        assert!(
            error.to_string().contains("broken stopped at its start"),
            "{error}"
        );
    }

    #[test]
    fn a_bounded_command_hands_over_its_lines_and_its_exit_status() {
        let mut lines = Vec::new();
        let script = cmd("sh", ["-c", "echo one; echo two >&2; exit 3"]);
        let status = run_bounded(&script, Duration::from_secs(30), |l| {
            lines.push(l.to_owned())
        });
        assert_eq!(status.unwrap().code(), Some(3));
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn a_bounded_command_that_takes_too_long_is_ended_with_its_children() {
        let script = cmd("sh", ["-c", "sleep 1000 & sleep 1000"]);
        let start = Instant::now();
        let result = run_bounded(&script, Duration::from_millis(300), |_| ());
        assert!(result.is_err());
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
