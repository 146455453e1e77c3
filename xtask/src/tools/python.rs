//! A virtual environment with the Python client.
use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use super::{debian, once};
use crate::{
    process::{cmd, output},
    workspace::{root, tools_dir},
};

/// Makes the environment and installs `suites/python/requirements.txt` into it.
pub fn install() -> Result<()> {
    let path = root().join("suites/python/requirements.txt");
    let wanted = fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    once("python", &wanted, || {
        make_venv()?;
        let mut pip = std::process::Command::new(interpreter()?);
        pip.args([
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "-r",
        ]);
        output(pip.arg(&path)).map(drop)
    })
}

fn make_venv() -> Result<()> {
    let make = || output(cmd("python3", ["-m", "venv", "--clear"]).arg(venv()?));
    // Debian's Python comes without the part that makes environments.
    make()
        .or_else(|_| debian::install(&["python3-venv"]).and_then(|()| make()))
        .map(drop)
}

fn venv() -> Result<PathBuf> {
    Ok(tools_dir()?.join("python"))
}

/// The environment's interpreter.
pub fn interpreter() -> Result<PathBuf> {
    Ok(venv()?.join("bin/python"))
}
