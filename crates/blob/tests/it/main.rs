//! Every bucket against the one suite, and against trouble.
mod file;
mod memory;
mod world;
