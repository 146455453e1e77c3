//! A Postgres of our own, in a temporary folder, on its ordinary durable settings.
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    process::{Held, cmd, free_port, output, scratch_dir},
    tools::debian::postgres_bin,
};

/// A running Postgres with a superuser `streamhouse` who needs no password.
pub struct Postgres {
    port: u16,
    bin: PathBuf,
    dir: PathBuf,
    _held: Held,
}

/// Starts, stops or crashes the server: `$1` is `restart` (the default), `crash` (stops at once, then starts), `stop`,
/// `start`, `pause` and `resume` (SIGSTOP and SIGCONT for all its processes); `hold` starts it and stops it on SIGTERM. Postgres refuses to run as root.
const CONTROL: &str = r#"#!/bin/sh
ctl() {
  set -- '{bin}/pg_ctl' -D '{dir}/data' -l '{dir}/postgres.log' -w -t 60 -s "$@"
  if [ "$(id -u)" = 0 ]; then set -- setpriv --reuid=postgres --regid=postgres --init-groups "$@"; fi
  cd / && "$@" </dev/null >/dev/null
}
signal() {
  server=$(head -1 '{dir}/data/postmaster.pid') && kill -"$1" $server $(ps -o pid= --ppid $server)
}
case "${1:-restart}" in
  restart) ctl restart -m fast ;;
  crash) ctl restart -m immediate ;;
  stop) ctl stop -m fast ;;
  start) ctl start ;;
  pause) signal STOP ;;
  resume) signal CONT ;;
  hold)
    ctl start || exit 1
    trap 'ctl stop -m immediate; exit 0' TERM
    while :; do sleep 1000 & wait $!; done ;;
  *) echo "usage: $0 [restart|crash|stop|start|pause|resume]" >&2; exit 2 ;;
esac
"#;

impl Postgres {
    /// Makes a database cluster and starts it.
    pub fn start() -> Result<Postgres> {
        let (port, bin, dir) = (free_port()?, postgres_bin()?, scratch_dir("postgres")?);
        make_cluster(&bin, &dir, port)?;
        let control = dir.join("control");
        let script = CONTROL
            .replace("{bin}", &bin.to_string_lossy())
            .replace("{dir}", &dir.to_string_lossy());
        fs::write(&control, script)?;
        fs::set_permissions(&control, fs::Permissions::from_mode(0o755))?;
        let mut held = Held::service("Postgres", &cmd(&control.to_string_lossy(), ["hold"]), &dir)?;
        let is_ready = || {
            let mut probe = Command::new(bin.join("pg_isready"));
            output(probe.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])).is_ok()
        };
        held.wait_ready(Duration::from_secs(60), is_ready)?;
        let postgres = Postgres {
            port,
            bin,
            dir,
            _held: held,
        };
        postgres.create_database("streamhouse")?;
        Ok(postgres)
    }

    /// The URL of the database `streamhouse`.
    pub fn url(&self) -> String {
        self.database_url("streamhouse")
    }

    fn database_url(&self, name: &str) -> String {
        format!("postgres://streamhouse@127.0.0.1:{}/{name}", self.port)
    }

    /// Makes a database and returns its URL.
    pub fn create_database(&self, name: &str) -> Result<String> {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args([
            "-q",
            &self.database_url("postgres"),
            "-c",
            &format!("CREATE DATABASE {name}"),
        ]);
        output(&mut psql)?;
        Ok(self.database_url(name))
    }

    /// The certificate of the authority that issued the server's.
    pub fn authority(&self) -> String {
        self.dir.join("ca.crt").display().to_string()
    }

    /// The command that restarts it.
    pub fn control(&self) -> String {
        self.dir.join("control").display().to_string()
    }
}

fn make_cluster(bin: &Path, dir: &Path, port: u16) -> Result<()> {
    let data = dir.join("data");
    let mut initdb = unprivileged(bin.join("initdb"))?;
    initdb.args([
        "--username=streamhouse",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "-D",
    ]);
    make_certificates(dir)?;
    if is_root()? {
        output(cmd("chown", ["-R", "postgres"]).arg(dir))?;
    }
    output(initdb.arg(&data).current_dir("/"))?;
    let tls = format!(
        "ssl = on\nssl_cert_file = '{0}/server.crt'\nssl_key_file = '{0}/server.key'\n",
        dir.display()
    );
    let settings = format!(
        "\nport = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_connections = 300\n{tls}"
    );
    let path = data.join("postgresql.conf");
    let default = fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    fs::write(&path, default + &settings).context("cannot write Postgres' settings")
}

/// An authority, and a certificate of it for `localhost` and 127.0.0.1.
fn make_certificates(dir: &Path) -> Result<()> {
    let new = [
        "req",
        "-x509",
        "-days",
        "30",
        "-nodes",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ];
    let authority = ["-subj", "/CN=tests", "-keyout", "ca.key", "-out", "ca.crt"];
    output(cmd("openssl", new).args(authority).current_dir(dir))?;
    let server = [
        "-subj",
        "/CN=localhost",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        "server.key",
        "-out",
        "server.crt",
    ];
    output(cmd("openssl", new).args(server).current_dir(dir))?;
    let key = fs::Permissions::from_mode(0o600);
    fs::set_permissions(dir.join("server.key"), key).context("cannot protect Postgres' key")
}

fn is_root() -> Result<bool> {
    Ok(output(&mut cmd("id", ["-u"]))?.trim() == "0")
}

/// A command that runs as the user `postgres` if we are root.
fn unprivileged(program: PathBuf) -> Result<Command> {
    if !is_root()? {
        return Ok(Command::new(program));
    }
    let mut command = cmd(
        "setpriv",
        ["--reuid=postgres", "--regid=postgres", "--init-groups"],
    );
    command.arg(program);
    Ok(command)
}
