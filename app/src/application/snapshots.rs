//! Snapshots of the state for others to start from: taken at heights that all nodes take them at, offered, restored.
//!
//! A snapshot is the pairs of a height in the order of their keys, cut into chunks: byte for byte the same on every node.
//! Its metadata has the SHA-256 of every chunk, so that a bad one is noticed at once and asked for elsewhere; whether all
//! of it is the state is known at the end, from the app hash that CometBFT's light client vouches for.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use prost::Message;
use sha2::{Digest, Sha256};
use tendermint_proto::v0_38::abci;

use super::{Application, BLOCK_NOTE, Fatal, convert, lock};
use crate::store::{Pair, Restore, Snapshot, StoreError};

/// The form of snapshots described above.
const FORMAT: u32 = 1;
/// Bytes from which on a chunk is full. With one more pair it stays below the 16 MB that CometBFT passes on.
const CHUNK: usize = if cfg!(test) { 2 << 10 } else { 8 << 20 };
/// Largest chunk taken from others, bytes.
const MAX_CHUNK: usize = 16_000_000;
const METADATA_FILE: &str = "metadata";
const UNFINISHED: &str = "part";

/// Which snapshots a node takes.
#[derive(Clone, Debug)]
pub struct SnapshotConfig {
    /// Where they lie, a folder for each.
    pub folder: PathBuf,
    /// Heights that this divides get one; 0 none.
    pub interval: u64,
    /// How many are kept, the newest ones.
    pub keep: usize,
}

/// What comes with a snapshot.
#[derive(Clone, PartialEq, Message)]
struct Metadata {
    /// The block, as the store notes it.
    #[prost(bytes = "vec", tag = "1")]
    block: Vec<u8>,
    /// SHA-256 of every chunk.
    #[prost(bytes = "vec", repeated, tag = "2")]
    chunks: Vec<Vec<u8>>,
}

/// A snapshot on its way in.
pub(super) struct Incoming {
    metadata: Metadata,
    app_hash: [u8; 32],
    restore: Restore,
    next: usize,
}

/// The snapshot that is being taken, and the one that comes in.
#[derive(Default)]
pub(super) struct Snapshots {
    taking: Mutex<Option<JoinHandle<()>>>,
    /// Whoever takes one gives up.
    stop: Arc<AtomicBool>,
    incoming: Mutex<Option<Incoming>>,
}

/// A process that ends while a thread reads its database crashes: who takes a snapshot is waited for.
impl Drop for Snapshots {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let thread = lock(&self.taking).take();
        if let Some(thread) = thread {
            let _ = thread.join(); // It has said what went wrong.
        }
    }
}

impl Application {
    /// After a commit: begins a snapshot in a thread of its own if one is due. One that fails is missing, no more.
    pub(super) fn snapshot_if_due(&self, height: u64) {
        let Some(config) = self.config.snapshots.clone() else {
            return;
        };
        if config.interval == 0 || !height.is_multiple_of(config.interval) {
            return;
        }
        let (Ok(snapshot), Ok(Some(block))) = (self.store.hold(height), self.store.note(BLOCK_NOTE)) else {
            return;
        };
        let mut taking = lock(&self.snapshots.taking);
        if taking.as_ref().is_some_and(|thread| !thread.is_finished()) {
            tracing::warn!(target: "node", height, "no snapshot: the one before is still being taken");
            return;
        }
        let stop = Arc::clone(&self.snapshots.stop);
        *taking = Some(std::thread::spawn(move || {
            match take(&config, &snapshot, block, &stop).and_then(|chunks| {
                forget(&config)?;
                Ok(chunks)
            }) {
                Ok(chunks) => tracing::info!(target: "node", height, chunks, "snapshot taken"),
                Err(error) => tracing::warn!(target: "node", height, %error, "no snapshot"),
            }
        }));
    }

    /// Heights of the snapshots that it offers, newest first.
    pub fn snapshot_heights(&self) -> Vec<u64> {
        let folder = self.config.snapshots.as_ref().map(|config| config.folder.as_path());
        folder.map(heights).unwrap_or_default()
    }

    /// `ListSnapshots`.
    pub(super) fn list_snapshots(&self) -> abci::ResponseListSnapshots {
        let Some(config) = &self.config.snapshots else {
            return abci::ResponseListSnapshots::default();
        };
        let snapshots = heights(&config.folder).into_iter().filter_map(|height| {
            let metadata = fs::read(config.folder.join(height.to_string()).join(METADATA_FILE)).ok()?;
            let chunks = Metadata::decode(metadata.as_slice()).ok()?.chunks.len();
            Some(abci::Snapshot {
                height,
                format: FORMAT,
                chunks: u32::try_from(chunks).ok()?,
                hash: Sha256::digest(&metadata).to_vec().into(),
                metadata: metadata.into(),
            })
        });
        abci::ResponseListSnapshots {
            snapshots: snapshots.collect(),
        }
    }

    /// `LoadSnapshotChunk`; an empty one where there is none.
    pub(super) fn load_snapshot_chunk(
        &self,
        request: &abci::RequestLoadSnapshotChunk,
    ) -> abci::ResponseLoadSnapshotChunk {
        let file = self.config.snapshots.as_ref().filter(|_| request.format == FORMAT);
        let file = file.map(|c| {
            c.folder
                .join(request.height.to_string())
                .join(request.chunk.to_string())
        });
        let chunk = file.and_then(|file| fs::read(file).ok()).unwrap_or_default();
        abci::ResponseLoadSnapshotChunk { chunk: chunk.into() }
    }

    /// `OfferSnapshot`: whether to start from it.
    ///
    /// # Errors
    /// The store failed.
    pub(super) fn offer_snapshot(
        &self,
        request: &abci::RequestOfferSnapshot,
    ) -> Result<abci::ResponseOfferSnapshot, Fatal> {
        use abci::response_offer_snapshot::Result as Answer;
        let answer = |answer: Answer| abci::ResponseOfferSnapshot { result: answer.into() };
        let Some(offered) = &request.snapshot else {
            return Ok(answer(Answer::Reject));
        };
        if offered.format != FORMAT {
            return Ok(answer(Answer::RejectFormat));
        }
        match self.judge(offered, &request.app_hash) {
            Ok((metadata, app_hash)) => {
                let mut incoming = lock(&self.snapshots.incoming);
                *incoming = None; // Its attempt is over before the next one begins.
                *incoming = Some(Incoming {
                    metadata,
                    app_hash,
                    restore: self.store.restore(offered.height)?,
                    next: 0,
                });
                tracing::info!(target: "node", height = offered.height, chunks = offered.chunks, "restoring a snapshot");
                Ok(answer(Answer::Accept))
            }
            Err(reason) => {
                tracing::warn!(target: "node", height = offered.height, reason, "refused a snapshot");
                Ok(answer(Answer::Reject))
            }
        }
    }

    fn judge(&self, offered: &abci::Snapshot, app_hash: &[u8]) -> Result<(Metadata, [u8; 32]), String> {
        let hash: [u8; 32] = Sha256::digest(&offered.metadata).into();
        if offered.hash != hash[..] {
            return Err("its hash is not that of its metadata".into());
        }
        let metadata = Metadata::decode(&*offered.metadata).map_err(|e| format!("its metadata: {e}"))?;
        let (listed, chunks) = (metadata.chunks.len(), offered.chunks);
        if u32::try_from(listed) != Ok(chunks) {
            return Err(format!("it has {chunks} chunks and the hashes of {listed}"));
        }
        let block = convert::decode_block(&metadata.block).map_err(|e| e.to_string())?;
        let expected = self.config.chain_id.as_ref().unwrap_or(&block.chain_id);
        if block.chain_id != *expected || block.height != offered.height {
            return Err(format!(
                "it is of chain {:?} at height {}, expected {expected:?} at height {}",
                block.chain_id, block.height, offered.height
            ));
        }
        let app_hash = app_hash
            .try_into()
            .map_err(|_| format!("the app hash has {} bytes", app_hash.len()))?;
        Ok((metadata, app_hash))
    }

    /// `ApplySnapshotChunk`: the next chunk; with the last one the state must be the expected one.
    ///
    /// # Errors
    /// The store failed.
    pub(super) fn apply_snapshot_chunk(
        &self,
        request: &abci::RequestApplySnapshotChunk,
    ) -> Result<abci::ResponseApplySnapshotChunk, Fatal> {
        use abci::response_apply_snapshot_chunk::Result as Answer;
        let answer = |answer: Answer| abci::ResponseApplySnapshotChunk {
            result: answer.into(),
            ..Default::default()
        };
        let mut slot = lock(&self.snapshots.incoming);
        let Some(incoming) = slot.as_mut() else {
            return Ok(answer(Answer::Abort));
        };
        let index = usize::try_from(request.index).unwrap_or(usize::MAX);
        let expected = incoming.metadata.chunks.get(incoming.next);
        let hash: [u8; 32] = Sha256::digest(&request.chunk).into();
        if index != incoming.next || request.chunk.len() > MAX_CHUNK || expected.is_none_or(|found| *found != hash) {
            tracing::warn!(
                target: "node", chunk = index, sender = request.sender,
                "refused a chunk of a snapshot: its SHA-256 is not the snapshot's; asking others for it"
            );
            return Ok(abci::ResponseApplySnapshotChunk {
                result: Answer::Retry.into(),
                refetch_chunks: vec![request.index],
                reject_senders: vec![request.sender.clone()],
            });
        }
        let put = match pairs(&request.chunk) {
            Some(pairs) => incoming.restore.put(pairs),
            None => Err(StoreError::Unsorted),
        };
        incoming.next += 1;
        let last = incoming.next == incoming.metadata.chunks.len();
        let restored = match put {
            Ok(()) if !last => return Ok(answer(Answer::Accept)),
            Ok(()) => {
                let Some(Incoming {
                    metadata,
                    app_hash,
                    restore,
                    ..
                }) = slot.take()
                else {
                    return Ok(answer(Answer::Abort));
                };
                let block = convert::decode_block(&metadata.block)?;
                let done = restore.finish(app_hash, vec![(BLOCK_NOTE.into(), metadata.block)]);
                done.map(|_| block)
            }
            Err(error) => Err(error),
        };
        match restored {
            Ok(block) => {
                tracing::info!(target: "node", height = block.height, "snapshot restored");
                self.start_from(block);
                Ok(answer(Answer::Accept))
            }
            Err(error @ (StoreError::Unsorted | StoreError::WrongHash { .. })) => {
                tracing::warn!(target: "node", %error, "refused a snapshot");
                *slot = None;
                Ok(answer(Answer::RejectSnapshot))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes a snapshot; returns how many chunks it has.
fn take(config: &SnapshotConfig, snapshot: &Snapshot, block: Vec<u8>, stop: &AtomicBool) -> Result<usize, io::Error> {
    let target = config.folder.join(snapshot.height().to_string());
    let part = target.with_extension(UNFINISHED);
    if part.exists() {
        fs::remove_dir_all(&part)?;
    }
    fs::create_dir_all(&part)?;
    let mut chunks = Vec::new();
    let mut chunk = Vec::new();
    let mut close = |chunk: &mut Vec<u8>| -> Result<(), io::Error> {
        let mut file = fs::File::create(part.join(chunks.len().to_string()))?;
        file.write_all(chunk)?;
        file.sync_all()?;
        chunks.push(Sha256::digest(&*chunk).to_vec());
        chunk.clear();
        Ok(())
    };
    let rows = snapshot.range(&[], None, false).map_err(io::Error::other)?;
    for pair in rows {
        let (key, value) = pair.map_err(io::Error::other)?;
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("the node stops"));
        }
        for part in [key, value] {
            chunk.extend_from_slice(&u32::try_from(part.len()).map_err(io::Error::other)?.to_be_bytes());
            chunk.extend_from_slice(&part);
        }
        if chunk.len() >= CHUNK {
            close(&mut chunk)?;
        }
    }
    close(&mut chunk)?; // Perhaps empty: there is always one.
    let metadata = Metadata { block, chunks };
    fs::write(part.join(METADATA_FILE), metadata.encode_to_vec())?;
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    fs::rename(&part, &target)?;
    Ok(metadata.chunks.len())
}

/// Deletes the oldest ones.
fn forget(config: &SnapshotConfig) -> Result<(), io::Error> {
    for height in heights(&config.folder).into_iter().skip(config.keep.max(1)) {
        fs::remove_dir_all(config.folder.join(height.to_string()))?;
    }
    Ok(())
}

/// Heights of the snapshots in a folder, newest first.
fn heights(folder: &Path) -> Vec<u64> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut heights: Vec<u64> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    heights.sort_unstable_by(|a, b| b.cmp(a));
    heights
}

/// The pairs in a chunk; none where it is damaged.
fn pairs(chunk: &[u8]) -> Option<Vec<Pair>> {
    let mut rest = chunk;
    let mut take = || -> Option<Vec<u8>> {
        let (length, tail) = rest.split_first_chunk()?;
        let (part, tail) = tail.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        rest = tail;
        Some(part.to_vec())
    };
    let mut pairs = Vec::new();
    let mut read = 0;
    while read < chunk.len() {
        let (key, value) = (take()?, take()?);
        read += 8 + key.len() + value.len();
        pairs.push((key, value));
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use abci::response_apply_snapshot_chunk::Result as Applied;
    use abci::response_offer_snapshot::Result as Offered;
    use tempfile::TempDir;

    use super::super::Config;
    use super::*;
    use crate::store::{Options, Store};
    use crate::testing::Chain;

    const CHAIN_ID: &str = "trainyard-snapshots";

    fn application(dir: &TempDir, chain_id: &str) -> Application {
        let config = Config {
            chain_id: Some(chain_id.into()),
            snapshots: Some(SnapshotConfig {
                folder: dir.path().join("snapshots"),
                interval: 2,
                keep: 1,
            }),
            ..Config::default()
        };
        let options = Options {
            keep_recent: Some(1),
            cache_bytes: 4 << 20,
        };
        Application::new(Store::open(&dir.path().join("db"), &options).unwrap(), config).unwrap()
    }

    fn block(app: &Application, height: i64) -> Vec<u8> {
        let request = abci::RequestFinalizeBlock {
            height,
            ..Default::default()
        };
        let hash = app.finalize_block(request).unwrap().app_hash.to_vec();
        app.commit().unwrap();
        hash
    }

    /// A chain of four blocks; its snapshot is of the fourth.
    fn source(dir: &TempDir) -> (Application, abci::Snapshot, Vec<u8>) {
        let app = application(dir, CHAIN_ID);
        let names: Vec<String> = (0..40).map(|i| format!("name{i}")).collect();
        let genesis = Chain::builder().fund_all(names.iter().map(String::as_str), 5);
        let genesis = genesis.chain_id(CHAIN_ID).to_genesis();
        app.init_chain(abci::RequestInitChain {
            chain_id: CHAIN_ID.into(),
            app_state_bytes: serde_json::to_vec(&genesis).unwrap().into(),
            initial_height: 1,
            ..Default::default()
        })
        .unwrap();
        let mut hash = Vec::new();
        for height in 1..=4 {
            hash = block(&app, height);
            until_taken(&app);
        }
        let mut snapshots = app.list_snapshots().snapshots;
        assert_eq!(snapshots.len(), 1, "one is kept");
        (app, snapshots.remove(0), hash)
    }

    fn offer(app: &Application, snapshot: &abci::Snapshot, app_hash: &[u8]) -> Offered {
        let request = abci::RequestOfferSnapshot {
            snapshot: Some(snapshot.clone()),
            app_hash: app_hash.to_vec().into(),
        };
        app.offer_snapshot(&request).unwrap().result()
    }

    fn apply(
        from: &Application,
        to: &Application,
        height: u64,
        chunk: u32,
        bend: bool,
    ) -> abci::ResponseApplySnapshotChunk {
        let request = abci::RequestLoadSnapshotChunk {
            height,
            format: FORMAT,
            chunk,
        };
        let mut bytes = from.load_snapshot_chunk(&request).chunk.to_vec();
        if bend {
            bytes[20] ^= 1;
        }
        let request = abci::RequestApplySnapshotChunk {
            index: chunk,
            chunk: bytes.into(),
            sender: "peer".into(),
        };
        to.apply_snapshot_chunk(&request).unwrap()
    }

    /// Waits for the snapshot that is being taken, if one is.
    fn until_taken(app: &Application) {
        let taking = lock(&app.snapshots.taking).take();
        taking.map_or(Ok(()), JoinHandle::join).unwrap();
    }

    #[test]
    fn a_snapshot_becomes_the_same_state_and_the_chain_goes_on() {
        let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let (from, snapshot, hash) = source(&here);
        assert_eq!(snapshot.height, 4);
        assert!(snapshot.chunks > 2, "{} chunks test too little", snapshot.chunks);
        let to = application(&there, CHAIN_ID);
        assert_eq!(offer(&to, &snapshot, &hash), Offered::Accept);
        for chunk in 0..snapshot.chunks {
            // A chunk that is not the one of the snapshot is asked for again, elsewhere.
            let refused = apply(&from, &to, 4, chunk, true);
            assert_eq!(refused.result(), Applied::Retry);
            assert_eq!(
                (refused.refetch_chunks, refused.reject_senders),
                (vec![chunk], vec!["peer".to_string()])
            );
            assert_eq!(apply(&from, &to, 4, chunk, false).result(), Applied::Accept);
        }
        assert_eq!(to.info(&Default::default()), from.info(&Default::default()));
        assert_eq!(to.export().unwrap(), from.export().unwrap());
        assert_eq!(block(&to, 5), block(&from, 5));
        // Byte for byte the same snapshots, from then on.
        let both = [&from, &to].map(|app| {
            block(app, 6);
            until_taken(app);
            app.list_snapshots()
        });
        assert_eq!(both[0], both[1]);
        let reopened = {
            drop(to);
            application(&there, CHAIN_ID)
        };
        assert_eq!(reopened.last_block().unwrap().height, 6);
    }

    #[test]
    fn what_is_not_the_state_is_refused_and_leaves_nothing() {
        let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let (from, snapshot, hash) = source(&here);
        let stranger = application(&TempDir::new().unwrap(), "another-chain");
        assert_eq!(offer(&stranger, &snapshot, &hash), Offered::Reject);
        let to = application(&there, CHAIN_ID);
        let bent = |change: fn(&mut abci::Snapshot)| {
            let mut snapshot = snapshot.clone();
            change(&mut snapshot);
            offer(&to, &snapshot, &hash)
        };
        assert_eq!(bent(|s| s.format = 2), Offered::RejectFormat);
        assert_eq!(bent(|s| s.chunks += 1), Offered::Reject);
        assert_eq!(bent(|s| s.height += 1), Offered::Reject);
        assert_eq!(bent(|s| s.metadata = vec![7; 90].into()), Offered::Reject);
        // All chunks are those of the metadata, but the light client knows another app hash.
        assert_eq!(offer(&to, &snapshot, &[7; 32]), Offered::Accept);
        let last = (0..snapshot.chunks).map(|chunk| apply(&from, &to, 4, chunk, false).result());
        assert_eq!(last.last(), Some(Applied::RejectSnapshot));
        assert_eq!(to.info(&Default::default()).last_block_height, 0);
        // A node that goes down in the middle begins anew.
        assert_eq!(offer(&to, &snapshot, &hash), Offered::Accept);
        assert_eq!(apply(&from, &to, 4, 0, false).result(), Applied::Accept);
        drop(to);
        let to = application(&there, CHAIN_ID);
        assert_eq!(to.store().snapshot().range(&[], None, false).unwrap().count(), 0);
        assert_eq!(apply(&from, &to, 4, 1, false).result(), Applied::Abort);
        assert_eq!(offer(&to, &snapshot, &hash), Offered::Accept);
        for chunk in 0..snapshot.chunks {
            assert_eq!(apply(&from, &to, 4, chunk, false).result(), Applied::Accept);
        }
        assert_eq!(offer_again(&to, &snapshot, &hash), "the store is at height 4");
    }

    fn offer_again(app: &Application, snapshot: &abci::Snapshot, app_hash: &[u8]) -> String {
        let request = abci::RequestOfferSnapshot {
            snapshot: Some(snapshot.clone()),
            app_hash: app_hash.to_vec().into(),
        };
        let error = app.offer_snapshot(&request).unwrap_err().to_string();
        error.split(';').next().unwrap_or_default().to_owned()
    }

    #[test]
    fn the_last_block_is_taken_back_once() {
        let dir = TempDir::new().unwrap();
        let (app, _, hash) = source(&dir);
        assert_eq!(block(&app, 5).len(), 32);
        // Only the latest height is kept: there is nothing to go back to.
        assert!(app.rollback().is_err());
        drop(app);
        let config = Config::default();
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path(), &Options::default()).unwrap();
        let genesis = Chain::builder().chain_id(CHAIN_ID).to_genesis();
        let app = Application::new(store, config).unwrap();
        app.init_chain(abci::RequestInitChain {
            chain_id: CHAIN_ID.into(),
            app_state_bytes: serde_json::to_vec(&genesis).unwrap().into(),
            initial_height: 1,
            ..Default::default()
        })
        .unwrap();
        let hashes: Vec<_> = (1..=3).map(|height| block(&app, height)).collect();
        assert_ne!(hashes[2], hash);
        assert_eq!(app.rollback().unwrap().height, 2);
        assert_eq!(app.info(&Default::default()).last_block_app_hash, hashes[1]);
        assert!(
            app.rollback()
                .unwrap_err()
                .to_string()
                .contains("no block to go back to")
        );
        assert_eq!(block(&app, 3), hashes[2]);
    }
}
