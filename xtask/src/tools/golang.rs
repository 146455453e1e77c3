//! The two S3 servers, built from their Go modules, and the source of franz-go.
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::once;
use crate::{
    process::{cmd, output},
    workspace::tools_dir,
};

const MINIO: (&str, &str) = (
    "github.com/minio/minio",
    "v0.0.0-20260212201848-7aac2a2c5b7c",
);
const VERSITYGW: (&str, &str) = ("github.com/versity/versitygw/cmd/versitygw", "v1.8.0");
const FRANZ_GO: (&str, &str) = ("github.com/twmb/franz-go", "v1.22.2");

/// Builds MinIO and versitygw: minutes the first time, nothing after that.
pub fn install() -> Result<()> {
    install_program("versitygw", VERSITYGW)?;
    install_program("minio", MINIO)
}

fn install_program(name: &str, (package, version): (&str, &str)) -> Result<()> {
    once(name, version, || {
        let mut install = cmd("go", ["install", &format!("{package}@{version}")]);
        output(install.env("GOBIN", bin()?)).map(drop)
    })
}

fn bin() -> Result<PathBuf> {
    Ok(tools_dir()?.join("bin"))
}

/// The path of a program that [`install`] built.
pub fn program(name: &str) -> Result<PathBuf> {
    Ok(bin()?.join(name))
}

/// A copy of franz-go's source that its own tests can run in: the module cache is read-only.
pub fn franz_go() -> Result<PathBuf> {
    let (module, version) = FRANZ_GO;
    let copy = tools_dir()?.join(format!("franz-go-{version}"));
    once("franz-go", version, || {
        let request = format!("{module}@{version}");
        let text = output(&mut cmd("go", ["mod", "download", "-json", &request]))?;
        let answer: serde_json::Value = serde_json::from_str(&text)?;
        let dir = answer["Dir"]
            .as_str()
            .context("`go mod download` names no folder")?;
        output(&mut cmd("rm", ["-rf", &copy.to_string_lossy()]))?;
        output(&mut cmd(
            "cp",
            ["-r", "--no-preserve=mode", dir, &copy.to_string_lossy()],
        ))
        .map(drop)
    })?;
    Ok(copy)
}
