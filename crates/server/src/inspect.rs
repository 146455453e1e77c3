//! `streamhouse inspect`: what is on disk, offline.
use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use sh_base::Env;
use sh_blob::BlobSettings;
use sh_log::{AbortedTransaction, Extent, Fate, Head, ProducerState, object, wal};
use sh_meta::Key;

/// Every row of a metadata store, one line each: its key, its version, its value. `only`: keys that begin with this word.
pub async fn meta(url: &str, env: &Env, only: Option<&str>) -> anyhow::Result<()> {
    let store = sh_meta::open(url, env).await?;
    let mut rows = Vec::new();
    store.snapshot(1000, &mut |page| rows.extend(page)).await?;
    for (key, row) in rows {
        let name = format!("{key:?}");
        if only.is_none_or(|word| name.starts_with(word)) {
            println!(
                "{name} v{} {}",
                row.version,
                value_text(&key, &row.value.unwrap_or_default())
            );
        }
    }
    Ok(())
}

/// A value as text: decoded where it is binary, as it is where it is JSON.
fn value_text(key: &Key, value: &Bytes) -> String {
    fn shown<T: std::fmt::Debug, E: std::fmt::Display>(decoded: Result<T, E>) -> String {
        decoded.map_or_else(|e| format!("DAMAGED: {e}"), |v| format!("{v:?}"))
    }
    match key {
        Key::Object(_) => shown(Fate::decode(value)),
        Key::Head(_) => shown(Head::decode(value)),
        Key::Producer(..) => shown(ProducerState::decode(value)),
        Key::Extent(..) => shown(Extent::decode(value)),
        Key::AbortedTransaction(..) => shown(AbortedTransaction::decode(value)),
        Key::Secret(_) => "(secret)".to_owned(),
        _ => String::from_utf8_lossy(value).into_owned(),
    }
}

/// One object, by its file, or by its key in a bucket.
pub async fn object(name: &str, bucket: Option<&str>, env: &Env) -> anyhow::Result<()> {
    let bytes = match bucket {
        Some(url) => {
            let aws = BlobSettings::from_aws_variables(|name| std::env::var(name).ok());
            let bucket = sh_blob::open(url, &aws, env)?;
            bucket.get_all(name).await?
        }
        None => std::fs::read(name)
            .with_context(|| format!("{name} cannot be read"))?
            .into(),
    };
    print!("{}", object::describe(&bytes)?);
    Ok(())
}

/// The records of a WAL folder, oldest first.
pub fn wal(dir: &Path) -> anyhow::Result<()> {
    wal::inspect(dir)?
        .iter()
        .for_each(|line| println!("{line}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let shown = value_text(&Key::Secret("peers".into()), &Bytes::from_static(b"0123"));
        assert_eq!(shown, "(secret)");
    }
}
