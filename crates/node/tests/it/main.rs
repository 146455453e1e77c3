//! Stories of nodes over one memory store: one binary.
mod configs;
mod documents;
mod topics;
mod world;
