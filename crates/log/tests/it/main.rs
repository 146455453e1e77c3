//! The read side over real stores: several agents, one metadata store, one bucket.
mod bounds;
mod delete;
mod lookups;
mod peers;
mod read;
mod shared;
mod world;
