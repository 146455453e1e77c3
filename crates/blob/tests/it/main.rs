//! Every bucket against the one suite, and against trouble.
mod file;
mod hostile;
mod memory;
mod opening;
mod probing;
mod proxy;
mod s3;
mod troubled;
mod world;
mod wrappers;
