//! A dataset split in memory: fetched by CID, checked, decrypted.

use color_eyre::eyre::{Context, Result, ensure};
use trainyard_client::data::{Affine, DataKey, Manifest, Pixels, Samples, read_shard};
use trainyard_overlay::{Cid, Overlay, PeerId};
use trainyard_proto::job::DataRef;

/// Largest manifest fetched, bytes.
const MAX_MANIFEST: u64 = 16 << 20;

/// A split whose shards are all here.
pub struct Dataset {
    manifest: Manifest,
    shards: Vec<Samples>,
    /// Index of the first sample of each shard, ascending.
    firsts: Vec<usize>,
    affine: Affine,
}

/// Fetches and checks the manifest of a split against what the job says of it.
pub async fn fetch_manifest(overlay: &Overlay, data: &DataRef, providers: &[PeerId]) -> Result<Manifest> {
    let cid: Cid = data
        .manifest_cid
        .parse()
        .wrap_err_with(|| format!("manifest CID {:?}", data.manifest_cid))?;
    let bytes = overlay
        .get_bytes(cid, MAX_MANIFEST, providers)
        .await
        .wrap_err("cannot fetch the manifest")?;
    let manifest = Manifest::open(&bytes)?;
    ensure!(
        manifest.plaintext_root.as_slice() == data.plaintext_root,
        "the manifest's plaintext root is {}, the job's is {}",
        hex::encode(manifest.plaintext_root),
        hex::encode(&data.plaintext_root)
    );
    ensure!(
        manifest.samples == data.samples,
        "the manifest has {} samples, the job says {}",
        manifest.samples,
        data.samples
    );
    Ok(manifest)
}

impl Dataset {
    /// Fetches all shards of a manifest.
    pub async fn fetch(
        overlay: &Overlay,
        manifest: Manifest,
        key: Option<&DataKey>,
        providers: &[PeerId],
    ) -> Result<Self> {
        let mut shards = Vec::with_capacity(manifest.shards.len());
        for (index, info) in manifest.shards.iter().enumerate() {
            let cid: Cid = info
                .cid
                .parse()
                .wrap_err_with(|| format!("CID of shard {index}: {:?}", info.cid))?;
            let bytes = overlay
                .get_bytes(cid, info.bytes, providers)
                .await
                .wrap_err_with(|| format!("cannot fetch shard {index} of {}", manifest.shards.len()))?;
            shards.push(read_shard(&manifest, index, &bytes, key)?);
        }
        Self::new(manifest, shards)
    }

    /// A split of shards that are here, in the manifest's order.
    pub fn new(manifest: Manifest, shards: Vec<Samples>) -> Result<Self> {
        let mut first = 0;
        let firsts = shards.iter().map(|shard| {
            first += shard.len();
            first - shard.len()
        });
        let firsts = firsts.collect();
        let affine = manifest.normalisation.affine()?;
        Ok(Self {
            manifest,
            shards,
            firsts,
            affine,
        })
    }

    /// Number of samples; an opened manifest has at least one.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.shards.iter().map(Samples::len).sum()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.manifest.classes.len()
    }

    /// The inputs, f32 `[indices, ...sample]` normalised, and labels of some samples. Every index must be below [`Self::len`].
    pub fn gather(&self, indices: &[u32]) -> (Vec<f32>, Vec<i64>) {
        let size = self.manifest.sample_elements();
        let mut x = Vec::with_capacity(indices.len() * size);
        let mut y = Vec::with_capacity(indices.len());
        for index in indices {
            let index = *index as usize;
            let shard = self.firsts.partition_point(|first| *first <= index) - 1;
            let at = index - self.firsts[shard];
            let samples = &self.shards[shard];
            let range = at * size..(at + 1) * size;
            match &samples.x {
                Pixels::U8(bytes) => x.extend(bytes[range].iter().map(|v| self.affine.apply(f32::from(*v)))),
                Pixels::F32(values) => x.extend(values[range].iter().map(|v| self.affine.apply(*v))),
            }
            y.push(samples.y[at]);
        }
        (x, y)
    }
}
