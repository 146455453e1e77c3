//! A small disk of its own for an agent, which can be filled to the last byte. Mounting needs root.
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// An ext4 file system in a file, mounted on a loop device; unmounted when dropped.
pub struct Disk {
    mounted: PathBuf,
}

/// Reserved at a time when the disk is filled: nothing has to be written for that.
const RESERVED_CHUNK: u64 = 1 << 30;
/// Written at a time when little is left.
const BALLAST_CHUNK: usize = 1024 * 1024;

impl Disk {
    /// A disk of so many bytes, its image and its mount point under `folder`.
    pub fn mount(folder: &Path, bytes: u64) -> Result<Disk> {
        let (image, mounted) = (folder.join("disk.img"), folder.join("disk"));
        fs::create_dir_all(&mounted)?;
        File::create(&image)?.set_len(bytes)?;
        run(Command::new("mkfs.ext4")
            .args(["-q", "-m", "0"])
            .arg(&image))?;
        run(Command::new("mount")
            .args(["-o", "loop"])
            .args([&image, &mounted]))
        .context("a small disk can be mounted by root only")?;
        Ok(Disk { mounted })
    }

    pub fn path(&self) -> &Path {
        &self.mounted
    }

    /// Leaves no room for anything.
    pub fn fill(&self) -> Result<()> {
        self.reserve();
        let mut ballast = File::options()
            .create(true)
            .append(true)
            .open(self.ballast())?;
        let mut chunk = vec![0; BALLAST_CHUNK];
        while !chunk.is_empty() {
            if ballast.write_all(&chunk).is_err() {
                chunk.truncate(chunk.len() / 2);
            }
        }
        // What could be written shows in the sizes only once it is on the disk.
        let _ = ballast.sync_all();
        Ok(())
    }

    /// Takes most of the room. What does not fit any more is refused, and half as much is tried.
    fn reserve(&self) {
        let (mut taken, mut chunk) = (0, RESERVED_CHUNK);
        while chunk > BALLAST_CHUNK as u64 {
            let range = [
                "--offset",
                &taken.to_string(),
                "--length",
                &chunk.to_string(),
            ];
            match run(Command::new("fallocate").args(range).arg(self.ballast())) {
                Ok(()) => taken += chunk,
                Err(_) => chunk /= 2,
            }
        }
    }

    /// Gives the room back.
    pub fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> PathBuf {
        self.mounted.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(run(Command::new("umount").arg("-l").arg(&self.mounted)));
    }
}

fn run(command: &mut Command) -> Result<()> {
    let out = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{command:?}: {said}");
    Ok(())
}
