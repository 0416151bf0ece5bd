//! Packing: inputs become shuffled shards and two manifests, one shard in memory at a time.
//!
//! The order of samples is a permutation drawn from the seed, so equal inputs, options and seed give equal plaintext
//! shards and an equal plaintext root. Encryption keys are fresh every time, hence ciphertexts and CIDs are not.

use rand::RngCore as _;
use sha2::{Digest, Sha256};

use super::import::Source;
use super::manifest::{check_name, check_shape};
use super::{DataKey, Encryption, Error, Input, Manifest, Normalisation, ShardInfo, Split, shard};

/// A shard is closed at this many samples …
const SHARD_SAMPLES: usize = 4096;
/// … or at this many bytes of `x`.
const SHARD_BYTES: usize = 4 << 20;

/// What the caller's `add` may fail with.
pub type AddError = Box<dyn std::error::Error + Send + Sync>;

/// Where the two splits come from.
#[derive(Clone, Debug)]
pub enum Inputs {
    /// Each from its own input.
    Given {
        /// The train split.
        train: Input,
        /// The test split; its classes are the train split's.
        test: Input,
    },
    /// Both from one input.
    Fraction {
        /// All samples.
        input: Input,
        /// The test split's share, between 0 and 1.
        test: f64,
    },
}

/// What to pack.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// The dataset's name: 1 to 64 of `a-z 0-9 . _ -`.
    pub name: String,
    /// Where the samples come from.
    pub inputs: Inputs,
    /// Draws the order of samples and what falls into which split.
    pub seed: u64,
    /// Whether the train split is encrypted.
    pub encrypt_train: bool,
    /// Whether the test split is encrypted.
    pub encrypt_test: bool,
    /// How elements become network inputs; by default bytes are scaled to [0, 1] and floats left as they are.
    pub normalisation: Option<Normalisation>,
    /// The shape of a sample, if not the input's own; the number of elements must agree.
    pub shape: Option<Vec<usize>>,
}

/// One packed split.
#[derive(Clone, Debug)]
pub struct PackedSplit {
    /// The manifest.
    pub manifest: Manifest,
    /// Its bytes, as added.
    pub bytes: Vec<u8>,
    /// Its CID.
    pub cid: String,
    /// The key that opens the shards, if they are encrypted.
    pub key: Option<DataKey>,
}

/// A packed dataset.
#[derive(Clone, Debug)]
pub struct Packed {
    /// What workers train on.
    pub train: PackedSplit,
    /// What evaluators score on.
    pub test: PackedSplit,
}

/// Packs a dataset. `add` stores some bytes (a shard, a manifest) and returns their CID.
pub fn pack(options: &PackOptions, add: &mut dyn FnMut(&[u8]) -> Result<String, AddError>) -> Result<Packed, Error> {
    check_name(&options.name)?;
    if let Some(normalisation) = &options.normalisation {
        normalisation.affine()?;
    }
    match &options.inputs {
        Inputs::Given { train, test } => {
            let train = open(options, train, None)?;
            let test = open(options, test, Some(&train.classes))?;
            if (&train.shape, train.dtype) != (&test.shape, test.dtype) {
                return Err(Error::Options(format!(
                    "train samples are {:?} {:?}, test samples {:?} {:?}",
                    train.dtype, train.shape, test.dtype, test.shape
                )));
            }
            let train_order = permutation(train.labels.len(), options.seed, Split::Train);
            let test_order = permutation(test.labels.len(), options.seed, Split::Test);
            Ok(Packed {
                train: pack_split(options, &train, &train_order, Split::Train, add)?,
                test: pack_split(options, &test, &test_order, Split::Test, add)?,
            })
        }
        Inputs::Fraction { input, test } => {
            let source = open(options, input, None)?;
            let order = permutation(source.labels.len(), options.seed, Split::Train);
            let (test, train) = order.split_at(test_count(order.len(), *test)?);
            Ok(Packed {
                train: pack_split(options, &source, train, Split::Train, add)?,
                test: pack_split(options, &source, test, Split::Test, add)?,
            })
        }
    }
}

fn open(options: &PackOptions, input: &Input, classes: Option<&[String]>) -> Result<Source, Error> {
    let mut source = Source::open(input, classes)?;
    if let Some(shape) = &options.shape {
        let bytes = check_shape(shape, source.dtype).map_err(Error::Options)?;
        if bytes != source.row_bytes() {
            return Err(Error::Options(format!(
                "shape {shape:?} does not hold the elements of a sample of shape {:?}",
                source.shape
            )));
        }
        source.shape.clone_from(shape);
    }
    Ok(source)
}

fn test_count(samples: usize, fraction: f64) -> Result<usize, Error> {
    // At most 2^26 samples, so the product is exact enough and fits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let count = (samples as f64 * fraction).round() as usize;
    if !(fraction > 0.0 && fraction < 1.0) || count == 0 || count >= samples {
        return Err(Error::Options(format!(
            "a test fraction of {fraction} of {samples} samples leaves {count} for the test split and {} for the train \
             split; both need at least one",
            samples.saturating_sub(count)
        )));
    }
    Ok(count)
}

/// A permutation of `0..n` (Fisher and Yates) drawn by SHA-256 in counter mode, so that it never changes with a library.
fn permutation(n: usize, seed: u64, split: Split) -> Vec<u32> {
    let mut order: Vec<u32> = (0u32..).take(n).collect();
    let mut hash = [0; 32];
    for (count, left) in (1..n).rev().enumerate() {
        if count % 4 == 0 {
            let prefix = Sha256::new_with_prefix(b"trainyard/shuffle/v1").chain_update(split.as_str());
            hash = prefix
                .chain_update(seed.to_be_bytes())
                .chain_update((count as u64).to_be_bytes())
                .finalize()
                .into();
        }
        let word = hash.as_chunks::<8>().0[count % 4];
        // The bias of the remainder is below 2^-38 for 2^26 samples. The result is at most `left`, so it fits.
        #[allow(clippy::cast_possible_truncation)]
        let at = (u64::from_be_bytes(word) % (left as u64 + 1)) as usize;
        order.swap(left, at);
    }
    order
}

fn pack_split(
    options: &PackOptions,
    source: &Source,
    order: &[u32],
    split: Split,
    add: &mut dyn FnMut(&[u8]) -> Result<String, AddError>,
) -> Result<PackedSplit, Error> {
    let encrypt = match split {
        Split::Train => options.encrypt_train,
        Split::Test => options.encrypt_test,
    };
    let key = encrypt.then(random_key);
    let per_shard = (SHARD_BYTES / source.row_bytes()).clamp(1, SHARD_SAMPLES);
    let mut shards = Vec::new();
    let mut x = Vec::new();
    for (index, chunk) in order.chunks(per_shard).enumerate() {
        let refuse = |what| Error::Shard {
            shard: format!("{}/{split}/{index}", options.name),
            what,
        };
        x.clear();
        for &row in chunk {
            source.read(row as usize, &mut x)?;
        }
        let y: Vec<i64> = chunk
            .iter()
            .map(|&row| i64::from(source.labels[row as usize]))
            .collect();
        let plain = shard::encode(&x, source.dtype, &source.shape, &y).map_err(refuse)?;
        let plain_sha256 = Sha256::digest(&plain).into();
        let stored = match &key {
            Some(key) => shard::seal(&plain, key, &options.name, split, index).map_err(refuse)?,
            None => plain,
        };
        shards.push(ShardInfo {
            cid: add(&stored).map_err(Error::Add)?,
            sha256: Sha256::digest(&stored).into(),
            plain_sha256,
            samples: chunk.len() as u64,
            bytes: stored.len() as u64,
        });
    }
    let manifest = Manifest {
        version: 1,
        name: options.name.clone(),
        split,
        shape: source.shape.clone(),
        dtype: source.dtype,
        normalisation: options
            .normalisation
            .clone()
            .unwrap_or_else(|| Normalisation::default_for(source.dtype)),
        classes: source.classes.clone(),
        samples: order.len() as u64,
        plaintext_root: Manifest::root_of(&shards),
        encryption: if encrypt {
            Encryption::XChaCha20Poly1305
        } else {
            Encryption::None
        },
        shards,
    };
    let bytes = manifest.to_bytes()?;
    let cid = add(&bytes).map_err(Error::Add)?;
    Ok(PackedSplit {
        manifest,
        bytes,
        cid,
        key,
    })
}

/// 32 bytes of the operating system's randomness.
pub(super) fn random_key() -> [u8; 32] {
    let mut key = [0; 32];
    rand::rngs::OsRng.fill_bytes(&mut key);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_is_one_and_never_changes() {
        let order = permutation(10, 7, Split::Train);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        assert_eq!(order, GOLDEN, "equal seeds must give equal datasets in every version");
        assert_ne!(order, permutation(10, 8, Split::Train));
        assert_ne!(order, permutation(10, 7, Split::Test));
        assert_eq!(permutation(1, 7, Split::Train), [0]);
    }

    const GOLDEN: [u32; 10] = [8, 7, 6, 5, 3, 2, 0, 1, 9, 4];

    #[test]
    fn fractions_leave_both_splits_a_sample() {
        assert_eq!(test_count(10, 0.25).unwrap(), 3);
        for bad in [0.0, 1.0, -0.5, 0.01, f64::NAN, f64::INFINITY] {
            assert!(test_count(10, bad).is_err(), "{bad}");
        }
    }
}
