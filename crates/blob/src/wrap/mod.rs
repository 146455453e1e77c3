//! Buckets around buckets: each adds one thing and keeps every promise of the trait.
mod hedged;
mod metered;
mod retrying;

pub use hedged::Hedged;
pub use metered::Metered;
pub use retrying::{RetryLimits, Retrying};
