//! The server: settings, wiring, lifecycle, telemetry. The only room that reads the environment and the OS clock.
#![allow(clippy::disallowed_methods)]
pub mod adopt;
mod banner;
mod data_dir;
mod http;
pub mod inspect;
mod jobs;
pub mod os;
mod peers;
pub mod settings;
pub mod start;
pub mod telemetry;
