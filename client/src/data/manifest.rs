//! The manifest of one split, and the bounds it must keep.
//!
//! The bytes are compact JSON with the fields in the order below, so equal manifests have equal bytes and equal CIDs.

use serde::{Deserialize, Serialize};
use trainyard_exact::merkle;

use super::Error;

/// The version this code writes and reads.
const VERSION: u32 = 1;
/// Largest manifest accepted, bytes.
pub const MAX_MANIFEST_BYTES: usize = 16 << 20;
/// Most bytes one sample's `x` may have.
pub(super) const MAX_SAMPLE_BYTES: usize = 64 << 20;
/// Most classes.
pub(super) const MAX_CLASSES: usize = 65_536;
/// Most bytes of a class name.
pub(super) const MAX_CLASS_BYTES: usize = 128;
/// Most shards of a manifest.
const MAX_SHARDS: usize = 32_768;
/// Most samples of a manifest.
pub(super) const MAX_SAMPLES: u64 = 1 << 26;
const MAX_RANK: usize = 8;
const MAX_NAME: usize = 64;

/// Which part of a dataset a manifest describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What workers train on.
    Train,
    /// What evaluators score on; workers never see it.
    Test,
}

impl Split {
    /// `train` or `test`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The element type of `x` as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Unsigned bytes, as pixels are.
    U8,
    /// IEEE 754 single precision, little-endian.
    F32,
}

impl Dtype {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F32 => 4,
        }
    }
}

/// How the shards are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encryption {
    /// Not at all.
    #[serde(rename = "none")]
    None,
    /// XChaCha20-Poly1305 per shard; nonce and associated data as `shard` documents.
    #[serde(rename = "xchacha20poly1305")]
    XChaCha20Poly1305,
}

/// What turns a stored element into a network input: `(x · scale − mean) / std`, in f32, in this order of operations.
///
/// Decimal strings, because a float in JSON has no one spelling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// Multiplied first.
    pub scale: String,
    /// Subtracted second.
    pub mean: String,
    /// Divided by last.
    pub std: String,
}

/// [`Normalisation`] as numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Multiplied first.
    pub scale: f32,
    /// Subtracted second.
    pub mean: f32,
    /// Divided by last.
    pub std: f32,
}

impl Affine {
    /// `(x · scale − mean) / std`.
    pub fn apply(&self, x: f32) -> f32 {
        (x * self.scale - self.mean) / self.std
    }
}

impl Normalisation {
    /// The usual choice where none is given: bytes to [0, 1], floats as they are.
    pub fn default_for(dtype: Dtype) -> Self {
        let scale = match dtype {
            Dtype::U8 => "0.003921568627451",
            Dtype::F32 => "1",
        };
        Self {
            scale: scale.into(),
            mean: "0".into(),
            std: "1".into(),
        }
    }

    /// The three numbers. `scale` and `std` lie in [1e-9, 1e9], `|mean|` is at most 1e9.
    pub fn affine(&self) -> Result<Affine, Error> {
        let number = |name: &str, text: &str, min: f32| -> Result<f32, Error> {
            let value = (text.len() <= 32).then(|| text.parse::<f32>().ok()).flatten();
            value.filter(|v| (min..=1e9).contains(v)).ok_or_else(|| {
                Error::Manifest(format!(
                    "normalisation {name} is {text:?}, not a decimal number in [{min:e}, 1e9]"
                ))
            })
        };
        Ok(Affine {
            scale: number("scale", &self.scale, 1e-9)?,
            mean: number("mean", &self.mean, -1e9)?,
            std: number("std", &self.std, 1e-9)?,
        })
    }
}

/// One shard of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardInfo {
    /// Where the bytes are (IPFS).
    pub cid: String,
    /// SHA-256 of the bytes as stored: of the ciphertext if encrypted.
    #[serde(with = "hex32")]
    pub sha256: [u8; 32],
    /// SHA-256 of the plaintext.
    #[serde(with = "hex32")]
    pub plain_sha256: [u8; 32],
    /// Samples inside.
    pub samples: u64,
    /// Bytes as stored.
    pub bytes: u64,
}

/// One split of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format version, 1.
    pub version: u32,
    /// The dataset's name: 1 to 64 of `a-z 0-9 . _ -`.
    pub name: String,
    /// Which part this is.
    pub split: Split,
    /// Shape of one sample, without the batch dimension; images are `[channels, height, width]`.
    pub shape: Vec<usize>,
    /// Element type of `x`.
    pub dtype: Dtype,
    /// How an element becomes a network input.
    pub normalisation: Normalisation,
    /// Class names; a label is an index into them.
    pub classes: Vec<String>,
    /// Samples in all shards together.
    pub samples: u64,
    /// Merkle root over the shards' `plain_sha256`, in order.
    #[serde(with = "hex32")]
    pub plaintext_root: [u8; 32],
    /// How the shards are encrypted.
    pub encryption: Encryption,
    /// The shards, in order.
    pub shards: Vec<ShardInfo>,
}

impl Manifest {
    /// Reads and checks a manifest.
    pub fn open(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(Error::Manifest(format!(
                "{} bytes, at most {MAX_MANIFEST_BYTES} are read",
                bytes.len()
            )));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| Error::Manifest(e.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        serde_json::to_vec(self).map_err(|e| Error::Manifest(e.to_string()))
    }

    /// Elements of one sample's `x`.
    pub fn sample_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// `name/split/index`, as errors name a shard.
    pub(super) fn shard_name(&self, index: usize) -> String {
        format!("{}/{}/{index}", self.name, self.split)
    }

    /// The Merkle root of these shards' plaintexts.
    pub(super) fn root_of(shards: &[ShardInfo]) -> [u8; 32] {
        merkle::root(&shards.iter().map(|s| s.plain_sha256).collect::<Vec<_>>())
    }

    fn check(&self) -> Result<(), Error> {
        let refuse = |what: String| Err(Error::Manifest(what));
        if self.version != VERSION {
            return refuse(format!(
                "version {}, this program reads version {VERSION}",
                self.version
            ));
        }
        check_name(&self.name)?;
        check_shape(&self.shape, self.dtype).map_err(Error::Manifest)?;
        self.normalisation.affine()?;
        if self.classes.is_empty() || self.classes.len() > MAX_CLASSES {
            return refuse(format!("{} classes, outside 1..={MAX_CLASSES}", self.classes.len()));
        }
        if let Some(long) = self.classes.iter().find(|c| c.len() > MAX_CLASS_BYTES) {
            return refuse(format!(
                "a class name of {} bytes, at most {MAX_CLASS_BYTES} are allowed",
                long.len()
            ));
        }
        if self.shards.is_empty() || self.shards.len() > MAX_SHARDS {
            return refuse(format!("{} shards, outside 1..={MAX_SHARDS}", self.shards.len()));
        }
        let mut samples = 0u64;
        for (index, shard) in self.shards.iter().enumerate() {
            check_cid(&shard.cid).map_err(|what| Error::Manifest(format!("shard {index}: {what}")))?;
            if shard.bytes == 0 || shard.bytes > super::MAX_SHARD_BYTES {
                return refuse(format!(
                    "shard {index}: {} bytes, outside 1..={}",
                    shard.bytes,
                    super::MAX_SHARD_BYTES
                ));
            }
            if shard.samples == 0 || shard.samples > MAX_SAMPLES {
                return refuse(format!(
                    "shard {index}: {} samples, outside 1..={MAX_SAMPLES}",
                    shard.samples
                ));
            }
            samples = samples.saturating_add(shard.samples);
        }
        if samples != self.samples || samples > MAX_SAMPLES {
            return refuse(format!(
                "{} samples stated, its shards hold {samples}, at most {MAX_SAMPLES} are allowed",
                self.samples
            ));
        }
        let root = Self::root_of(&self.shards);
        if root != self.plaintext_root {
            return refuse(format!(
                "plaintext root {} stated, its shards give {}",
                hex::encode(self.plaintext_root),
                hex::encode(root)
            ));
        }
        Ok(())
    }
}

/// A dataset's name: 1 to 64 of `a-z 0-9 . _ -`.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(ok) {
        return Err(Error::Manifest(format!(
            "the name {:?} is not 1 to {MAX_NAME} of a-z 0-9 . _ -",
            name.chars().take(MAX_NAME).collect::<String>()
        )));
    }
    Ok(())
}

/// A CID as text: letters and digits, at most 128.
pub(super) fn check_cid(cid: &str) -> Result<(), String> {
    if cid.is_empty() || cid.len() > 128 || !cid.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(format!("{:?} is not a CID", cid.chars().take(128).collect::<String>()));
    }
    Ok(())
}

/// A sample's shape: rank 1 to 8, no empty dimension, at most 64 MiB. Returns the bytes of one sample.
pub(super) fn check_shape(shape: &[usize], dtype: Dtype) -> Result<usize, String> {
    if shape.is_empty() || shape.len() > MAX_RANK {
        return Err(format!("a sample of rank {}, outside 1..={MAX_RANK}", shape.len()));
    }
    let bytes = shape
        .iter()
        .try_fold(dtype.size(), |product, &dim| product.checked_mul(dim));
    bytes
        .filter(|b| (1..=MAX_SAMPLE_BYTES).contains(b))
        .ok_or_else(|| format!("a sample of shape {shape:?} is empty or larger than {MAX_SAMPLE_BYTES} bytes"))
}

/// 32 bytes as lowercase hex.
mod hex32 {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(&text, &mut bytes)
            .map_err(|e| serde::de::Error::custom(format!("a hash is 64 hex digits: {e}")))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let shards = vec![ShardInfo {
            cid: "bafkreia".into(),
            sha256: [1; 32],
            plain_sha256: [2; 32],
            samples: 3,
            bytes: 99,
        }];
        Manifest {
            version: 1,
            name: "tiny".into(),
            split: Split::Train,
            shape: vec![1, 2, 2],
            dtype: Dtype::U8,
            normalisation: Normalisation::default_for(Dtype::U8),
            classes: vec!["a".into(), "b".into()],
            samples: 3,
            plaintext_root: Manifest::root_of(&shards),
            encryption: Encryption::None,
            shards,
        }
    }

    #[test]
    fn bytes_are_deterministic_and_reopen() {
        let bytes = manifest().to_bytes().unwrap();
        assert_eq!(Manifest::open(&bytes).unwrap(), manifest());
        assert_eq!(bytes, manifest().to_bytes().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.starts_with(r#"{"version":1,"name":"tiny","split":"train","shape":[1,2,2],"dtype":"u8","#),
            "{text}"
        );
    }

    #[test]
    fn hostile_manifests_are_refused_with_the_value_and_the_bound() {
        type Spoil = fn(&mut Manifest);
        let spoil: [(Spoil, &str); 10] = [
            (|m| m.version = 2, "version 2"),
            (|m| m.name = "../etc".into(), "../etc"),
            (|m| m.shape = vec![usize::MAX, 2], "larger than 67108864 bytes"),
            (|m| m.shape = vec![1; 9], "rank 9"),
            (|m| m.shape = vec![0], "empty"),
            (|m| m.normalisation.std = "0".into(), "std is \"0\""),
            (|m| m.normalisation.mean = "NaN".into(), "mean is \"NaN\""),
            (|m| m.samples = 4, "4 samples stated, its shards hold 3"),
            (|m| m.shards[0].plain_sha256 = [0; 32], "plaintext root"),
            (|m| m.shards[0].cid = "a/../b".into(), "not a CID"),
        ];
        for (spoil, needle) in spoil {
            let mut bad = manifest();
            spoil(&mut bad);
            let error = Manifest::open(&serde_json::to_vec(&bad).unwrap())
                .unwrap_err()
                .to_string();
            assert!(error.contains(needle), "{error:?} should say {needle:?}");
        }
        let text = String::from_utf8(manifest().to_bytes().unwrap()).unwrap();
        let extra = text.replacen("{", r#"{"surprise":1,"#, 1);
        assert!(
            Manifest::open(extra.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("surprise")
        );
        assert!(Manifest::open(b"\xff").is_err());
    }
}
