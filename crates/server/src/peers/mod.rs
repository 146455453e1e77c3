//! Agents among themselves over HTTP: the door that takes news and lends objects ([`door`]), and the way to others ([`link`]).
//! What is said is `sh_log::peers`' business.
//!
//! ```text
//! POST /internal/hints                        body: news                     204
//! GET  /internal/objects/{id}?part={part}     id as in keys below `l0/`      200, START_HEADER and the bytes
//! ```
//! Both want the headers of a [`sh_log::peers::Pass`]. 401 and 421: not let in. 400: not understood. 404: no such object.
//! 503: not now.
pub mod door;
pub mod link;
#[cfg(test)]
mod tests;

/// Where the first byte of an answer lies in its object.
const START_HEADER: &str = "streamhouse-start";
/// A larger object is not lent: it would fill the cache of who borrows it.
const LOAN_BYTES_MAX: usize = 64 * 1024 * 1024;
