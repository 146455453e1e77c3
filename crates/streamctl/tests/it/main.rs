//! The binary as scripts meet it, against the real server.
mod consume;
mod failures;
mod produce;
mod running;
mod topics;
