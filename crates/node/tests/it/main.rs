//! Stories of nodes over one memory store: one binary.
mod configs;
mod topics;
mod world;
