//! A bucket of an S3-compatible object store as a place of backups.
//!
//! Over `object_store`, which takes credentials and endpoint from the environment. What always
//! holds: an object is there whole or not at all, which is the store's promise.

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::command::wrong_use;

/// Objects under a prefix of a bucket.
pub(crate) struct Bucket {
    store: Box<dyn ObjectStore>,
    prefix: Path,
    /// As the operator wrote it.
    text: String,
}

/// What is at the bottom of an error: those above it repeat what is below them.
fn cause(error: object_store::Error) -> anyhow::Error {
    anyhow::Error::msg(anyhow::Error::from(error).root_cause().to_string())
}

impl Bucket {
    /// `s3://bucket/prefix`.
    pub(super) fn open(text: &str) -> anyhow::Result<Self> {
        let rest = text.strip_prefix("s3://").unwrap_or(text);
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(wrong_use(format!("{text} names no bucket: write s3://bucket/prefix")));
        }
        // One may be there already; there is none other.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = AmazonS3Builder::from_env().with_bucket_name(bucket).build();
        let store = store.with_context(|| format!("{text} cannot be used"))?;
        Ok(Self::over(Box::new(store), prefix, text))
    }

    fn over(store: Box<dyn ObjectStore>, prefix: &str, text: &str) -> Self {
        let text = text.trim_end_matches('/').to_owned();
        Self { store, prefix: Path::from(prefix), text }
    }

    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.prefix))
    }

    pub(super) fn shown(&self, name: &str) -> String {
        format!("{}/{name}", self.text)
    }

    /// Every name under the prefix, sorted.
    pub(super) async fn list(&self) -> anyhow::Result<Vec<String>> {
        let found: Vec<_> = self
            .store
            .list(Some(&self.prefix))
            .try_collect()
            .await
            .map_err(cause)
            .with_context(|| format!("{} cannot be listed", self.text))?;
        let name = |object: &object_store::ObjectMeta| {
            let parts: Vec<_> = object.location.prefix_match(&self.prefix)?.collect();
            Some(parts.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join("/"))
        };
        let mut names: Vec<String> = found.iter().filter_map(name).collect();
        names.sort_unstable();
        Ok(names)
    }

    pub(super) async fn get(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let read = async { self.store.get(&self.path(name)).await?.bytes().await };
        let bytes = read.await.map_err(cause);
        let bytes = bytes.with_context(|| format!("{} cannot be read", self.shown(name)))?;
        Ok(bytes.to_vec())
    }

    pub(super) async fn put(&self, name: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        let written = self.store.put(&self.path(name), bytes.into()).await;
        written
            .map_err(cause)
            .with_context(|| format!("{} cannot be written", self.shown(name)))?;
        Ok(())
    }

    pub(super) async fn remove(&self, name: &str) -> anyhow::Result<()> {
        let removed = self.store.delete(&self.path(name)).await;
        removed.map_err(cause).with_context(|| format!("{} cannot be removed", self.shown(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_put_is_listed_and_read_and_removed() {
        for prefix in ["", "a/b"] {
            let store = Box::new(object_store::memory::InMemory::new());
            let bucket = Bucket::over(store, prefix, "s3://bucket/a/b/");
            assert!(bucket.list().await.unwrap().is_empty());
            bucket.put("000002/manifest.json", b"two".to_vec()).await.unwrap();
            bucket.put("000001/part-000001", b"one".to_vec()).await.unwrap();
            let names = ["000001/part-000001", "000002/manifest.json"];
            assert_eq!(bucket.list().await.unwrap(), names);
            assert_eq!(bucket.get(names[0]).await.unwrap(), b"one");
            bucket.remove(names[0]).await.unwrap();
            let missing = bucket.get(names[0]).await.unwrap_err().to_string();
            assert_eq!(missing, "s3://bucket/a/b/000001/part-000001 cannot be read");
        }
    }
}
