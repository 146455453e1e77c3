//! Stories of nodes over one memory store: one binary.
mod configs;
mod groups;
mod topics;
mod troubled;
mod world;
