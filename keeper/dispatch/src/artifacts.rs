//! Manifests and outputs, under the hash of their content.
//!
//! An artifact's name says what it contains, so it cannot be changed, only added, and whoever reads one checks it.
//! Below the store's root the artifact with hash `ab12...` is `sha256/ab/ab12...`, and what a round was decided from
//! is `rounds/0x....json`, under the root of its snapshot, which vouches for it.

use std::{fmt, path::Path as FilePath, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use keeper_types::{ContentHash, Felt};
use object_store::{ObjectStore, PutPayload, local::LocalFileSystem, memory::InMemory, path::Path};
use url::Url;

/// The largest artifact, in bytes: the largest output that a manifest can ask for.
pub const MAX_ARTIFACT_BYTES: u64 = 1 << 30;

/// A content-addressed store. A handle: clones are the same store.
#[derive(Clone)]
pub struct ArtifactStore {
    store: Arc<dyn ObjectStore>,
    location: String,
}

/// Why an artifact could not be had or kept.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The store's address is not one.
    #[error("`{location}` is not an artifact store: {reason}")]
    Location {
        /// What was given.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such artifact.
    #[error("artifact {hash} is not in {location}: whoever has the content must put it there first")]
    Missing {
        /// The hash.
        hash: ContentHash,
        /// The store.
        location: String,
    },
    /// The artifact is larger than what may be read or kept.
    #[error("artifact {hash} has {bytes} bytes, but at most {max_bytes} are taken")]
    TooLarge {
        /// The hash.
        hash: ContentHash,
        /// The artifact's size.
        bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// What is stored under the hash does not have it.
    #[error("artifact {hash} in {location} is damaged: its content hashes to {found}; put the original there again")]
    Damaged {
        /// The hash that was asked for.
        hash: ContentHash,
        /// The hash of what was found.
        found: ContentHash,
        /// The store.
        location: String,
    },
    /// The store failed.
    #[error("artifact {hash} in {location}: {source}")]
    Store {
        /// The hash.
        hash: ContentHash,
        /// The store.
        location: String,
        /// What the store says.
        source: object_store::Error,
    },
    /// Nobody has put what the round was decided from there.
    #[error("no inputs of a round with the snapshot root {snapshot_root} in {location}")]
    RoundMissing {
        /// The snapshot's root, in hexadecimal.
        snapshot_root: String,
        /// The store.
        location: String,
    },
    /// No round has inputs that large.
    #[error("the inputs of the round with the snapshot root {snapshot_root} are {bytes} bytes long")]
    RoundTooLarge {
        /// The snapshot's root, in hexadecimal.
        snapshot_root: String,
        /// Their length.
        bytes: u64,
    },
    /// The store failed.
    #[error("inputs of the round with the snapshot root {snapshot_root} in {location}: {source}")]
    RoundStore {
        /// The snapshot's root, in hexadecimal.
        snapshot_root: String,
        /// The store.
        location: String,
        /// What the store says.
        source: object_store::Error,
    },
}

impl ArtifactStore {
    /// Opens the store at `location`: a folder's path, which is created where it is missing, a `file://` URL, or
    /// `memory://` for a store that lives as long as the handle.
    ///
    /// # Errors
    /// Fails where the location is of another kind, or the folder cannot be made.
    pub fn open(location: &str) -> Result<Self, ArtifactError> {
        Self::open_with(location, open_folder)
    }

    /// Opens the store at `location` for whoever only reads: a folder that is missing stays missing.
    ///
    /// # Errors
    /// Fails where the location is of another kind, or there is no such folder.
    pub fn open_existing(location: &str) -> Result<Self, ArtifactError> {
        Self::open_with(location, |folder| {
            if folder.is_dir() { at_folder(folder) } else { Err("there is no such folder".to_owned()) }
        })
    }

    /// Whether there is a store at `location`; where there is none, whether one can be made is looked at as far as that
    /// goes without making it.
    ///
    /// # Errors
    /// Fails where the location is of another kind, or the way to it leads through what is no folder.
    pub fn is_made(location: &str) -> Result<bool, ArtifactError> {
        let is_made = std::cell::Cell::new(true);
        Self::open_with(location, |folder| {
            is_made.set(folder.is_dir());
            let made = folder.ancestors().find(|part| part.as_os_str().is_empty() || part.exists());
            match made {
                Some(part) if part.is_file() => Err(format!("{} is no folder", part.display())),
                Some(part) if part.is_dir() => at_folder(part),
                _ => at_folder(FilePath::new(".")),
            }
        })?;
        Ok(is_made.get())
    }

    fn open_with(
        location: &str,
        open_folder: impl Fn(&FilePath) -> Result<LocalFileSystem, String>,
    ) -> Result<Self, ArtifactError> {
        let error = |reason: String| ArtifactError::Location { location: location.to_owned(), reason };
        let store: Arc<dyn ObjectStore> = match Url::parse(location) {
            Ok(url) if url.scheme() == "memory" => Arc::new(InMemory::new()),
            Ok(url) if url.scheme() == "file" => {
                let reason = "expected an absolute path without a host, such as file:///var/lib/ciro/artifacts";
                let folder = url.to_file_path().map_err(|()| error(reason.to_owned()))?;
                Arc::new(open_folder(&folder).map_err(error)?)
            }
            Ok(url) if location.contains("://") => {
                return Err(error(format!("`{}://` is not supported: expected a folder or file://", url.scheme())));
            }
            _ if location.is_empty() => return Err(error("expected a folder or a file:// URL".to_owned())),
            _ => Arc::new(open_folder(FilePath::new(location)).map_err(error)?),
        };
        Ok(Self { store, location: location.to_owned() })
    }

    /// Keeps `bytes` and returns what they are found under. Readers see all of them or none. Putting what is
    /// there already repairs it where it was damaged.
    ///
    /// # Errors
    /// Fails where there are more than [`MAX_ARTIFACT_BYTES`], or the store fails.
    pub async fn put(&self, bytes: Bytes) -> Result<ContentHash, ArtifactError> {
        let hash = ContentHash::of(&bytes);
        let size = bytes.len() as u64;
        if size > MAX_ARTIFACT_BYTES {
            return Err(ArtifactError::TooLarge { hash, bytes: size, max_bytes: MAX_ARTIFACT_BYTES });
        }
        let put = self.store.put(&path_of(hash), PutPayload::from_bytes(bytes)).await;
        put.map(|_| hash).map_err(|source| self.error(hash, source))
    }

    /// The content with this hash, where it has at most `max_bytes` bytes.
    ///
    /// # Errors
    /// Fails where there is no such content, it is larger or damaged, or the store fails.
    pub async fn get(&self, hash: ContentHash, max_bytes: u64) -> Result<Bytes, ArtifactError> {
        let found = self.store.get(&path_of(hash)).await.map_err(|source| self.error(hash, source))?;
        let too_large = |bytes| ArtifactError::TooLarge { hash, bytes, max_bytes };
        if found.meta.size > max_bytes {
            return Err(too_large(found.meta.size));
        }
        // The store may say one size and deliver another.
        let mut content = BytesMut::new();
        let mut chunks = found.into_stream();
        while let Some(chunk) = chunks.try_next().await.map_err(|source| self.error(hash, source))? {
            content.extend_from_slice(&chunk);
            if content.len() as u64 > max_bytes {
                return Err(too_large(content.len() as u64));
            }
        }
        let content = content.freeze();
        match ContentHash::of(&content) {
            found if found == hash => Ok(content),
            found => Err(ArtifactError::Damaged { hash, found, location: self.location.clone() }),
        }
    }

    /// Whether there is content under this hash. Only [`Self::get`] tells whether it is sound.
    ///
    /// # Errors
    /// Fails where the store does.
    pub async fn contains(&self, hash: ContentHash) -> Result<bool, ArtifactError> {
        match self.store.head(&path_of(hash)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(self.error(hash, source)),
        }
    }

    /// Keeps what a round was decided from under the root of its snapshot. Putting it again changes nothing.
    ///
    /// # Errors
    /// Fails where the store does.
    pub async fn put_round(&self, snapshot_root: Felt, bytes: Bytes) -> Result<(), ArtifactError> {
        let size = bytes.len() as u64;
        if size > MAX_ARTIFACT_BYTES {
            // Nobody could read it back.
            return Err(ArtifactError::RoundTooLarge { snapshot_root: format!("{snapshot_root:#066x}"), bytes: size });
        }
        let put = self.store.put(&path_of_round(snapshot_root), PutPayload::from_bytes(bytes)).await;
        put.map(|_| ()).map_err(|source| self.round_error(snapshot_root, source))
    }

    /// What a round was decided from, by the root of its snapshot. Whoever reads it has to check that it gives that
    /// root.
    ///
    /// # Errors
    /// Fails where it is not there, larger than an artifact may be, or the store fails.
    pub async fn round(&self, snapshot_root: Felt) -> Result<Bytes, ArtifactError> {
        let error = |source| self.round_error(snapshot_root, source);
        let found = self.store.get(&path_of_round(snapshot_root)).await.map_err(error)?;
        if found.meta.size > MAX_ARTIFACT_BYTES {
            return Err(ArtifactError::RoundTooLarge {
                snapshot_root: format!("{snapshot_root:#066x}"),
                bytes: found.meta.size,
            });
        }
        found.bytes().await.map_err(error)
    }

    fn round_error(&self, snapshot_root: Felt, source: object_store::Error) -> ArtifactError {
        let (snapshot_root, location) = (format!("{snapshot_root:#066x}"), self.location.clone());
        match source {
            object_store::Error::NotFound { .. } => ArtifactError::RoundMissing { snapshot_root, location },
            source => ArtifactError::RoundStore { snapshot_root, location, source },
        }
    }

    fn error(&self, hash: ContentHash, source: object_store::Error) -> ArtifactError {
        let location = self.location.clone();
        match source {
            object_store::Error::NotFound { .. } => ArtifactError::Missing { hash, location },
            source => ArtifactError::Store { hash, location, source },
        }
    }
}

impl fmt::Debug for ArtifactStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArtifactStore").field("location", &self.location).finish_non_exhaustive()
    }
}

fn open_folder(folder: &FilePath) -> Result<LocalFileSystem, String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("cannot create the folder: {error}"))?;
    at_folder(folder)
}

fn at_folder(folder: &FilePath) -> Result<LocalFileSystem, String> {
    LocalFileSystem::new_with_prefix(folder).map_err(|error| error.to_string())
}

fn path_of_round(snapshot_root: Felt) -> Path {
    Path::from(format!("rounds/{snapshot_root:#066x}.json"))
}

fn path_of(hash: ContentHash) -> Path {
    let digits = hash.to_string();
    Path::from_iter(["sha256", &digits[..2], &digits])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_memory() -> ArtifactStore {
        ArtifactStore::open("memory://").unwrap()
    }

    #[tokio::test]
    async fn what_is_put_is_found_under_its_hash() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("not/yet/there");
        for store in [
            in_memory(),
            ArtifactStore::open(root.to_str().unwrap()).unwrap(),
            ArtifactStore::open(&format!("file://{}", folder.path().display())).unwrap(),
        ] {
            let hash = store.put(Bytes::from_static(b"abc")).await.unwrap();
            assert_eq!(hash, ContentHash::of(b"abc"));
            assert!(store.contains(hash).await.unwrap());
            assert_eq!(store.get(hash, 3).await.unwrap(), "abc");
            assert_eq!(store.put(Bytes::from_static(b"abc")).await.unwrap(), hash);
        }
        let digits = ContentHash::of(b"abc").to_string();
        assert_eq!(std::fs::read(root.join("sha256/ba").join(digits)).unwrap(), b"abc");
    }

    #[tokio::test]
    async fn whoever_only_reads_makes_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("artifacts");
        let location = root.to_str().unwrap();
        let error = ArtifactStore::open_existing(location).unwrap_err().to_string();
        assert_eq!(error, format!("`{location}` is not an artifact store: there is no such folder"));
        assert!(!root.exists());
        let hash = ArtifactStore::open(location).unwrap().put(Bytes::from_static(b"abc")).await.unwrap();
        assert_eq!(ArtifactStore::open_existing(location).unwrap().get(hash, 3).await.unwrap(), "abc");
    }

    #[tokio::test]
    async fn what_is_missing_is_named_with_a_remedy() {
        let (store, hash) = (in_memory(), ContentHash::of(b"abc"));
        assert!(!store.contains(hash).await.unwrap());
        let error = store.get(hash, 3).await.unwrap_err().to_string();
        assert_eq!(
            error,
            format!("artifact {hash} is not in memory://: whoever has the content must put it there first")
        );
    }

    #[tokio::test]
    async fn what_is_too_large_is_not_read() {
        let store = in_memory();
        let hash = store.put(Bytes::from_static(b"abcd")).await.unwrap();
        let error = store.get(hash, 3).await.unwrap_err();
        assert!(matches!(error, ArtifactError::TooLarge { bytes: 4, max_bytes: 3, .. }), "{error}");
    }

    #[tokio::test]
    async fn damage_is_noticed_and_can_be_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(folder.path().to_str().unwrap()).unwrap();
        let hash = store.put(Bytes::from_static(b"abc")).await.unwrap();
        let file = folder.path().join("sha256/ba").join(hash.to_string());
        std::fs::write(&file, b"abd").unwrap();
        let error = store.get(hash, 3).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Damaged { .. }), "{error}");
        store.put(Bytes::from_static(b"abc")).await.unwrap();
        assert_eq!(store.get(hash, 3).await.unwrap(), "abc");
    }

    #[test]
    fn other_locations_are_refused_with_a_reason() {
        for (location, expected) in [
            ("", "expected a folder"),
            ("s3://bucket/prefix", "`s3://` is not supported"),
            ("file://host/path", "expected an absolute path without a host"),
        ] {
            let error = ArtifactStore::open(location).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
