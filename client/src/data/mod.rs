//! Datasets: a manifest and its shards.
//!
//! | file | does |
//! |---|---|
//! | `manifest` | the JSON that describes one split of a dataset, and the bounds it must keep |
//! | `shard` | one safetensors file of samples: written, sealed, checked, read |
//! | `import` | IDX, image folders, CSV and NPZ, each seen as rows that can be read in any order |
//! | `pack` | input → shuffled shards and two manifests, in bounded memory |
//! | `grant` | a dataset key sealed for one recipient (HPKE) |
//! | `vault` | where a client keeps its dataset keys until it grants them |
//!
//! A shard is a safetensors file with the tensors `x` (`u8` or `f32`, `[n, ...shape]`) and `y` (`i64` or `u8`, `[n]`,
//! class labels). Train and test are two manifests; where asked each is encrypted under a random 32-byte key of its own.

mod grant;
mod import;
mod manifest;
mod pack;
mod shard;
mod vault;

pub use grant::{Grant, SealingKey, open_key, seal_key};
pub use import::{Input, LabelColumn};
pub use manifest::{Affine, Dtype, Encryption, MAX_MANIFEST_BYTES, Manifest, Normalisation, ShardInfo, Split};
pub use pack::{AddError, Inputs, PackOptions, Packed, PackedSplit, pack};
pub use shard::{MAX_SHARD_BYTES, Pixels, Samples, read_shard};
pub use vault::KeyVault;

/// A symmetric dataset key: 32 random bytes, used for one split of one packing.
pub type DataKey = [u8; 32];

/// What can go wrong with a dataset; each text names the file or shard, the value found and the bound it broke.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// An input file's content cannot become a dataset.
    #[error("{file}: {what}")]
    Input {
        /// The file.
        file: String,
        /// The value found and the bound it broke.
        what: String,
    },
    /// Options that cannot be met.
    #[error("{0}")]
    Options(String),
    /// A manifest that breaks its format or its bounds.
    #[error("dataset manifest: {0}")]
    Manifest(String),
    /// A shard whose bytes are not the ones the manifest promises.
    #[error("shard {shard}: its bytes have SHA-256 {found}, the manifest says {expected}")]
    ShardHash {
        /// `name/split/index`.
        shard: String,
        /// SHA-256 of the bytes, hex.
        found: String,
        /// SHA-256 in the manifest, hex.
        expected: String,
    },
    /// A shard that does not decrypt: the key is another split's, or the bytes were sealed for another place.
    #[error("shard {shard}: the key does not open it")]
    WrongKey {
        /// `name/split/index`.
        shard: String,
    },
    /// A shard whose content breaks the manifest's promise.
    #[error("shard {shard}: {what}")]
    Shard {
        /// `name/split/index`.
        shard: String,
        /// The value found and the bound it broke.
        what: String,
    },
    /// A key grant that cannot be made or opened.
    #[error("key grant: {0}")]
    Grant(String),
    /// The caller's `add` failed.
    #[error("adding to IPFS: {0}")]
    Add(#[source] AddError),
}

impl Error {
    fn io(file: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io {
            file: file.display().to_string(),
            source,
        }
    }

    fn input(file: &std::path::Path, what: impl Into<String>) -> Self {
        Self::Input {
            file: file.display().to_string(),
            what: what.into(),
        }
    }
}
