use std::sync::Arc;

use sh_meta::{MemoryStore, MetaStore};

async fn fresh() -> ((), Arc<dyn MetaStore>) {
    ((), Arc::new(MemoryStore::default()))
}

sh_meta::conformance!(fresh);
