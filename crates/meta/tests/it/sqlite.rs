use std::sync::Arc;

use sh_meta::{MetaStore, SqliteStore, conformance::story::env};
use tempfile::TempDir;

async fn fresh() -> (TempDir, Arc<dyn MetaStore>) {
    let folder = TempDir::new().unwrap();
    let store = SqliteStore::open(&folder.path().join("meta.db"), &env(1)).unwrap();
    (folder, Arc::new(store))
}

sh_meta::conformance!(fresh);
