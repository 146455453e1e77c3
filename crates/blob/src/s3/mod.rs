//! S3 and what speaks its protocol, over object_store.
//!
//! One call here is one request to the store, or a few (a listing of many pages, ranges far apart): object_store's own retries
//! are off, for they neither share a budget nor tell a lost race from a repeated request. [`crate::Retrying`] does both.
mod http;
mod outcome;
mod ranges;

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, GetResult, ObjectStore, ObjectStoreExt, PutMode,
    PutPayload, RetryConfig, UpdateVersion,
    aws::{AmazonS3, AmazonS3Builder},
    list::{PaginatedListOptions, PaginatedListStore},
    path::Path,
};

use self::outcome::{mutation, not_found, read};
use crate::{BlobError, BlobSettings, Bucket, Expect, ObjectMeta, OpenError, PutIf, keys};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The last resort of a request that nobody waits for any more; callers have shorter bounds.
const ABANDONED_TIMEOUT: Duration = Duration::from_secs(300);
/// S3 closes idle connections after 20 seconds or so; a request on a closing one costs a retry.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);
const POOL_IDLE_PER_HOST_MAX: usize = 128;
/// What one listing request returns at most, by S3's rules.
const LIST_PAGE_MAX: usize = 1000;
/// How often a read of several ranges starts again because the object was overwritten meanwhile.
const TORN_READS_MAX: usize = 3;

/// A bucket, or the part of one below a prefix.
pub(crate) struct S3Bucket {
    store: AmazonS3,
    /// Empty, or ends with `/`.
    prefix: String,
}

impl S3Bucket {
    pub(crate) fn open(
        bucket: &str,
        prefix: &str,
        settings: &BlobSettings,
    ) -> Result<Self, OpenError> {
        if !prefix.is_empty() {
            keys::check(prefix).map_err(|_| OpenError::Prefix(prefix.into()))?;
        }
        // Another room may have chosen the process's TLS provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = builder(bucket, settings)
            .build()
            .map_err(|e| OpenError::S3(outcome::describe(&e)))?;
        let prefix = if prefix.is_empty() {
            String::new()
        } else {
            format!("{prefix}/")
        };
        Ok(S3Bucket { store, prefix })
    }

    fn path(&self, key: &str) -> Result<Path, BlobError> {
        keys::check(key)?;
        Path::parse(format!("{}{key}", self.prefix)).map_err(|e| BlobError::Definite(e.to_string()))
    }

    fn meta(&self, found: object_store::ObjectMeta) -> Option<ObjectMeta> {
        Some(ObjectMeta {
            key: found.location.as_ref().strip_prefix(&self.prefix)?.into(),
            size: found.size,
            modified_ms: found.last_modified.timestamp_millis(),
            tag: found.e_tag.unwrap_or_default(),
        })
    }

    async fn put_with(
        &self,
        key: &str,
        payload: PutPayload,
        mode: PutMode,
    ) -> object_store::Result<Option<String>> {
        let path = Path::from(format!("{}{key}", self.prefix));
        Ok(self
            .store
            .put_opts(&path, payload, mode.into())
            .await?
            .e_tag)
    }

    async fn get_range(&self, path: &Path, range: Range<u64>) -> object_store::Result<GetResult> {
        self.store
            .get_opts(path, GetOptions::new().with_range(Some(range)))
            .await
    }

    /// The bytes of each of these spans, and whether all were read from one content.
    async fn get_spans(
        &self,
        key: &str,
        spans: &[Range<u64>],
    ) -> Result<(Vec<Bytes>, bool), BlobError> {
        let path = self.path(key)?;
        let one = |span: Range<u64>| {
            let path = &path;
            async move {
                let found = self
                    .get_range(path, span.clone())
                    .await
                    .map_err(|e| read(key, e))?;
                if found.range != span {
                    return Err(BlobError::beyond(key, &span));
                }
                let tag = found.meta.e_tag.clone();
                Ok((found.bytes().await.map_err(|e| read(key, e))?, tag))
            }
        };
        let (bytes, tags): (Vec<_>, Vec<_>) = try_join_all(spans.iter().cloned().map(one))
            .await?
            .into_iter()
            .unzip();
        let same = tags.windows(2).all(|pair| pair[0] == pair[1]);
        Ok((bytes, same))
    }

    async fn list_page(
        &self,
        prefix: &str,
        after: Option<String>,
        limit: usize,
    ) -> Result<(Vec<ObjectMeta>, bool), BlobError> {
        let options = PaginatedListOptions {
            offset: after,
            max_keys: Some(limit),
            ..Default::default()
        };
        let page = self
            .store
            .list_paginated(Some(prefix), options)
            .await
            .map_err(|e| read(prefix, e))?;
        let found = page
            .result
            .objects
            .into_iter()
            .filter_map(|object| self.meta(object));
        Ok((found.collect(), page.page_token.is_some()))
    }
}

fn builder(bucket: &str, settings: &BlobSettings) -> AmazonS3Builder {
    let client = ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout(ABANDONED_TIMEOUT)
        .with_pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .with_pool_max_idle_per_host(POOL_IDLE_PER_HOST_MAX)
        .with_allow_http(settings.http_allowed());
    let retry = RetryConfig {
        max_retries: 0,
        backoff: BackoffConfig::default(),
        retry_timeout: ABANDONED_TIMEOUT,
    };
    let builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_http_connector(http::Connector)
        .with_client_options(client)
        .with_retry(retry)
        // SHA-256 of all that is uploaded is half a core-second per GiB. TLS and the objects' own checksums guard the bytes.
        .with_unsigned_payload(true)
        .with_virtual_hosted_style_request(!settings.path_style_wanted());
    settings
        .s3_config()
        .into_iter()
        .fold(builder, |b, (key, value)| b.with_config(key, value))
}

#[async_trait]
impl Bucket for S3Bucket {
    async fn put(&self, key: &str, parts: Vec<Bytes>) -> Result<(), BlobError> {
        keys::check(key)?;
        let payload = PutPayload::from_iter(parts);
        self.put_with(key, payload, PutMode::Overwrite)
            .await
            .map_err(|e| mutation(key, e))?;
        Ok(())
    }

    async fn get(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BlobError> {
        if let Some(odd) = ranges.iter().find(|range| range.start > range.end) {
            return Err(BlobError::beyond(key, odd));
        }
        let spans = ranges::merge(ranges);
        if spans.is_empty() {
            // No bytes are asked for, but an absent object is still an error.
            let found = self.head(key).await?;
            return found
                .map(|_| vec![Bytes::new(); ranges.len()])
                .ok_or_else(|| BlobError::NotFound(key.into()));
        }
        for _ in 0..TORN_READS_MAX {
            let (bytes, same) = self.get_spans(key, &spans).await?;
            if same {
                return Ok(ranges::split(ranges, &spans, &bytes));
            }
        }
        Err(BlobError::Maybe(format!(
            "{key} was overwritten while it was read"
        )))
    }

    async fn get_all(&self, key: &str) -> Result<Bytes, BlobError> {
        let found = self
            .store
            .get(&self.path(key)?)
            .await
            .map_err(|e| read(key, e))?;
        found.bytes().await.map_err(|e| read(key, e))
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, BlobError> {
        match self.store.head(&self.path(key)?).await {
            Ok(found) => Ok(self.meta(found)),
            Err(e) if not_found(&e) => Ok(None),
            Err(e) => Err(read(key, e)),
        }
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, BlobError> {
        let full = format!("{}{prefix}", self.prefix);
        let mut after = after.map(str::to_string);
        let mut found = Vec::new();
        while found.len() < limit {
            let start = after.map(|key| format!("{}{key}", self.prefix));
            let (page, more) = self
                .list_page(&full, start, LIST_PAGE_MAX.min(limit - found.len()))
                .await?;
            found.extend(page);
            after = found.last().map(|last: &ObjectMeta| last.key.clone());
            if !more || after.is_none() {
                break;
            }
        }
        Ok(found)
    }

    async fn delete(&self, keys: &[String]) -> Result<(), BlobError> {
        let paths: Vec<_> = keys
            .iter()
            .map(|key| self.path(key))
            .collect::<Result<_, _>>()?;
        let mut deleted = self
            .store
            .delete_stream(stream::iter(paths.into_iter().map(Ok)).boxed());
        loop {
            match deleted.try_next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(e) if not_found(&e) => {}
                Err(e) => return Err(mutation("some objects", e)),
            }
        }
    }

    async fn put_if(&self, key: &str, bytes: Bytes, expect: Expect) -> Result<PutIf, BlobError> {
        keys::check(key)?;
        let mode = match expect {
            Expect::Absent => PutMode::Create,
            Expect::Tag(tag) => PutMode::Update(UpdateVersion {
                e_tag: Some(tag),
                version: None,
            }),
        };
        match self.put_with(key, bytes.into(), mode).await {
            Ok(Some(tag)) => Ok(PutIf::Stored { tag }),
            Ok(None) => Err(BlobError::Maybe(format!("the store gave no tag for {key}"))),
            Err(e) if outcome::lost(&e) => Ok(PutIf::Lost),
            Err(e) => Err(mutation(key, e)),
        }
    }
}

/// Shared so that its connections are.
pub(crate) fn open(
    bucket: &str,
    prefix: &str,
    settings: &BlobSettings,
) -> Result<Arc<dyn Bucket>, OpenError> {
    Ok(Arc::new(S3Bucket::open(bucket, prefix, settings)?))
}
