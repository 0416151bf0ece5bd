//! One shard: a safetensors file of samples, optionally sealed.
//!
//! Sealing is XChaCha20-Poly1305. A key seals the shards of exactly one packing of one split (it is drawn inside
//! [`super::pack`] and never reused), so the 24-byte nonce is 16 zero bytes and the shard's index as a big-endian u64:
//! no nonce repeats under a key. The associated data binds the manifest's name, the split and the index, so a
//! ciphertext cannot be moved to another place in the dataset.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype as TensorType, TensorView};
use sha2::{Digest, Sha256};

use super::manifest::MAX_SAMPLE_BYTES;
use super::{DataKey, Dtype, Encryption, Error, Manifest, Split};

/// Largest shard accepted, bytes as stored: one sample of the largest size, its label and the headers.
pub const MAX_SHARD_BYTES: u64 = MAX_SAMPLE_BYTES as u64 + (1 << 20);

/// The stored elements of a batch of samples, row-major `[n, ...shape]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// Unsigned bytes.
    U8(Vec<u8>),
    /// Single precision.
    F32(Vec<f32>),
}

/// The samples of one shard, checked: labels lie inside the classes, every normalised element is finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// Elements as stored, `[n, ...shape]`.
    pub x: Pixels,
    /// Labels, `[n]`, each an index into the manifest's classes.
    pub y: Vec<i64>,
    affine: super::Affine,
}

impl Samples {
    /// How many samples.
    pub fn len(&self) -> usize {
        self.y.len()
    }

    /// Whether there are none (a shard of an opened manifest never is empty).
    pub fn is_empty(&self) -> bool {
        self.y.is_empty()
    }

    /// The network's inputs: every element normalised, f32, `[n, ...shape]`.
    pub fn normalised(&self) -> Vec<f32> {
        match &self.x {
            Pixels::U8(x) => x.iter().map(|&v| self.affine.apply(f32::from(v))).collect(),
            Pixels::F32(x) => x.iter().map(|&v| self.affine.apply(v)).collect(),
        }
    }
}

/// The plaintext of a shard: safetensors bytes of `x` `[n, ...shape]` (little-endian bytes given) and `y` `[n]` i64.
pub(super) fn encode(x: &[u8], dtype: Dtype, shape: &[usize], y: &[i64]) -> Result<Vec<u8>, String> {
    let labels: Vec<u8> = y.iter().flat_map(|v| v.to_le_bytes()).collect();
    let full: Vec<usize> = std::iter::once(y.len()).chain(shape.iter().copied()).collect();
    let kind = match dtype {
        Dtype::U8 => TensorType::U8,
        Dtype::F32 => TensorType::F32,
    };
    let x = TensorView::new(kind, full, x).map_err(|e| e.to_string())?;
    let y = TensorView::new(TensorType::I64, vec![y.len()], &labels).map_err(|e| e.to_string())?;
    safetensors::serialize([("x", x), ("y", y)], None).map_err(|e| e.to_string())
}

fn nonce(index: usize) -> XNonce {
    let mut nonce = XNonce::default();
    nonce[16..].copy_from_slice(&(index as u64).to_be_bytes());
    nonce
}

fn associated_data(name: &str, split: Split, index: usize) -> String {
    // The name cannot contain a slash, so the three parts cannot run into each other.
    format!("trainyard/shard/v1/{name}/{split}/{index}")
}

/// Encrypts shard `index` of a split.
pub(super) fn seal(plain: &[u8], key: &DataKey, name: &str, split: Split, index: usize) -> Result<Vec<u8>, String> {
    let aad = associated_data(name, split, index);
    XChaCha20Poly1305::new(Key::from_slice(key))
        .encrypt(
            &nonce(index),
            Payload {
                msg: plain,
                aad: aad.as_bytes(),
            },
        )
        .map_err(|_| format!("a shard of {} bytes is too large to encrypt", plain.len()))
}

/// Checks, decrypts and reads shard `index` of a manifest from its stored `bytes`.
///
/// The key is needed exactly if the manifest says the shards are encrypted.
pub fn read_shard(manifest: &Manifest, index: usize, bytes: &[u8], key: Option<&DataKey>) -> Result<Samples, Error> {
    let shard = || manifest.shard_name(index);
    let refuse = |what: String| Error::Shard { shard: shard(), what };
    let Some(info) = manifest.shards.get(index) else {
        return Err(refuse(format!(
            "no such shard, the manifest has {}",
            manifest.shards.len()
        )));
    };
    if bytes.len() as u64 != info.bytes {
        return Err(refuse(format!(
            "{} bytes, the manifest says {}",
            bytes.len(),
            info.bytes
        )));
    }
    check_hash(bytes, &info.sha256, &shard)?;
    let opened;
    let plain = match (manifest.encryption, key) {
        (Encryption::None, _) => bytes,
        (Encryption::XChaCha20Poly1305, None) => return Err(refuse("it is encrypted and no key was given".into())),
        (Encryption::XChaCha20Poly1305, Some(key)) => {
            let aad = associated_data(&manifest.name, manifest.split, index);
            opened = XChaCha20Poly1305::new(Key::from_slice(key))
                .decrypt(
                    &nonce(index),
                    Payload {
                        msg: bytes,
                        aad: aad.as_bytes(),
                    },
                )
                .map_err(|_| Error::WrongKey { shard: shard() })?;
            opened.as_slice()
        }
    };
    check_hash(plain, &info.plain_sha256, &shard)?;
    decode(manifest, info.samples, plain).map_err(refuse)
}

fn check_hash(bytes: &[u8], expected: &[u8; 32], shard: &impl Fn() -> String) -> Result<(), Error> {
    let found: [u8; 32] = Sha256::digest(bytes).into();
    if found == *expected {
        return Ok(());
    }
    Err(Error::ShardHash {
        shard: shard(),
        found: hex::encode(found),
        expected: hex::encode(expected),
    })
}

fn decode(manifest: &Manifest, samples: u64, plain: &[u8]) -> Result<Samples, String> {
    let file = SafeTensors::deserialize(plain).map_err(|e| format!("not a safetensors file: {e}"))?;
    if file.len() != 2 {
        return Err(format!("{} tensors, a shard has x and y", file.len()));
    }
    let n = usize::try_from(samples).map_err(|e| e.to_string())?;
    let x = file.tensor("x").map_err(|e| e.to_string())?;
    let y = file.tensor("y").map_err(|e| e.to_string())?;
    let expected: Vec<usize> = std::iter::once(n).chain(manifest.shape.iter().copied()).collect();
    if x.shape() != expected || y.shape() != [n] {
        return Err(format!(
            "x has shape {:?} and y {:?}, the manifest says {expected:?} and [{n}]",
            x.shape(),
            y.shape()
        ));
    }

    let affine = manifest.normalisation.affine().map_err(|e| e.to_string())?;
    let x = match (manifest.dtype, x.dtype()) {
        (Dtype::U8, TensorType::U8) => Pixels::U8(x.data().to_vec()),
        (Dtype::F32, TensorType::F32) => {
            let (words, _) = x.data().as_chunks::<4>();
            let values: Vec<f32> = words.iter().map(|w| f32::from_le_bytes(*w)).collect();
            if let Some(at) = values.iter().position(|&v| !affine.apply(v).is_finite()) {
                return Err(format!("x[{at}] is {} and not finite after normalisation", values[at]));
            }
            Pixels::F32(values)
        }
        (stated, found) => return Err(format!("x is {found:?}, the manifest says {stated:?}")),
    };

    let y: Vec<i64> = match y.dtype() {
        TensorType::U8 => y.data().iter().map(|&v| i64::from(v)).collect(),
        TensorType::I64 => {
            let (words, _) = y.data().as_chunks::<8>();
            words.iter().map(|w| i64::from_le_bytes(*w)).collect()
        }
        found => return Err(format!("y is {found:?}, labels are I64 or U8")),
    };
    let classes = manifest.classes.len();
    if let Some(at) = y
        .iter()
        .position(|&v| usize::try_from(v).map_or(true, |v| v >= classes))
    {
        return Err(format!("y[{at}] is {}, labels are 0..{classes}", y[at]));
    }
    Ok(Samples { x, y, affine })
}
