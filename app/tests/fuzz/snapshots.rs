//! Snapshots of the state from strangers: what is offered, and the chunks it comes in.

use std::{cell::RefCell, sync::LazyLock};

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tendermint_proto::{
    google::protobuf::Timestamp,
    v0_38::{
        abci::{
            RequestApplySnapshotChunk, RequestInfo, RequestOfferSnapshot, Snapshot,
            response_apply_snapshot_chunk::Result as Applied, response_offer_snapshot::Result as Offered,
        },
        types::Header,
    },
};
use trainyard_app::{
    abci::Application as _,
    application::{Application, Config},
    store::{Options, Store},
};
use trainyard_proto::prost::Message;

use crate::{
    harness::fuzz_made,
    mutate::{Draws, mutated},
    support::yard,
};

/// What comes with a snapshot, as the node writes it.
#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(bytes = "vec", tag = "1")]
    block: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    chunks: Vec<Vec<u8>>,
}

/// The state of a small chain as the chunks of a snapshot, and what a light client knows of it.
struct Source {
    block: Vec<u8>,
    height: u64,
    app_hash: Vec<u8>,
    chunks: Vec<Vec<u8>>,
}

/// Chunks of the snapshot; real ones have megabytes.
const CHUNKS: usize = 3;

static SOURCE: LazyLock<Source> = LazyLock::new(|| {
    let chain = yard();
    let pairs: Vec<_> = chain
        .app()
        .store()
        .snapshot()
        .range(b"", None, false)
        .unwrap()
        .collect();
    let chunks = pairs.chunks(pairs.len().div_ceil(CHUNKS)).map(|pairs| {
        let mut chunk = Vec::new();
        for pair in pairs {
            let (key, value) = pair.as_ref().unwrap();
            for part in [key, value] {
                chunk.extend_from_slice(&u32::try_from(part.len()).unwrap().to_be_bytes());
                chunk.extend_from_slice(part);
            }
        }
        chunk
    });
    let block = Header {
        chain_id: chain.chain_id().into(),
        height: i64::try_from(chain.height()).unwrap(),
        time: Some(Timestamp {
            seconds: i64::try_from(chain.time()).unwrap(),
            nanos: 0,
        }),
        ..Header::default()
    };
    Source {
        block: block.encode_to_vec(),
        height: chain.height(),
        app_hash: chain.app_hash().to_vec(),
        chunks: chunks.collect(),
    }
});

/// A node without a chain, in a folder of its own.
struct Empty {
    app: Application,
    _folder: TempDir,
}

fn empty() -> Empty {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        keep_recent: Some(1),
        cache_bytes: 1 << 20,
    };
    let store = Store::open(&folder.path().join("db"), &options).unwrap();
    let app = Application::new(store, Config::default()).unwrap();
    Empty { app, _folder: folder }
}

/// Offers a snapshot with this metadata, and sends these chunks as long as they are taken. Gives the last answer; a node that has
/// taken all of it has the state that the light client knows, and any other has none.
fn restore(node: &RefCell<Empty>, metadata: &[u8], chunks: &[Vec<u8>]) -> Option<Applied> {
    let app = &node.borrow().app;
    let request = RequestOfferSnapshot {
        snapshot: Some(Snapshot {
            height: SOURCE.height,
            format: 1,
            chunks: u32::try_from(chunks.len()).unwrap(),
            hash: Sha256::digest(metadata).to_vec().into(),
            metadata: metadata.to_vec().into(),
        }),
        app_hash: SOURCE.app_hash.clone().into(),
    };
    let offered = app
        .offer_snapshot(request)
        .unwrap_or_else(|e| panic!("the node stops: {e}"));
    if offered.result() != Offered::Accept {
        return None;
    }
    let mut last = None;
    for (index, chunk) in (0..).zip(chunks) {
        let request = RequestApplySnapshotChunk {
            index,
            chunk: chunk.clone().into(),
            sender: "stranger".into(),
        };
        let answer = app
            .apply_snapshot_chunk(request)
            .unwrap_or_else(|e| panic!("the node stops: {e}"));
        last = Some(answer.result());
        if last != Some(Applied::Accept) {
            break;
        }
    }
    last
}

fn hashes(chunks: &[Vec<u8>]) -> Vec<Vec<u8>> {
    chunks.iter().map(|chunk| Sha256::digest(chunk).to_vec()).collect()
}

/// A node that took the whole snapshot has the right state, and makes room for a new one; any other still has nothing.
fn settle(node: &RefCell<Empty>, whole: bool) {
    let info = node.borrow().app.info(&RequestInfo::default());
    if whole {
        assert_eq!(info.last_block_app_hash, SOURCE.app_hash);
        node.replace(empty());
    } else {
        assert_eq!(info.last_block_height, 0);
    }
}

/// The metadata has the hashes of what is sent, as whoever makes up a snapshot would see to; so the content is read.
#[test]
fn chunks_of_a_snapshot_are_put_together() {
    let node = RefCell::new(empty());
    let make = |draws: &mut Draws| {
        let at = draws.below(SOURCE.chunks.len());
        let chunk = if draws.below(8) == 0 {
            SOURCE.chunks[at].clone()
        } else {
            mutated(&SOURCE.chunks, draws)
        };
        [&[u8::try_from(at).unwrap()][..], &chunk].concat()
    };
    fuzz_made("chunks of snapshots", 300, make, |bytes| {
        let mut chunks = SOURCE.chunks.clone();
        chunks[usize::from(bytes[0])] = bytes[1..].to_vec();
        let metadata = Metadata {
            block: SOURCE.block.clone(),
            chunks: hashes(&chunks),
        };
        let last = restore(&node, &metadata.encode_to_vec(), &chunks);
        let whole = chunks == SOURCE.chunks;
        assert_eq!(last == Some(Applied::Accept), whole, "{last:?}");
        settle(&node, whole);
        whole
    });
}

#[test]
fn offers_of_snapshots_are_judged() {
    let node = RefCell::new(empty());
    let metadata = Metadata {
        block: SOURCE.block.clone(),
        chunks: hashes(&SOURCE.chunks),
    };
    let seeds = [metadata.encode_to_vec()];
    let make = |draws: &mut Draws| {
        if draws.below(8) == 0 {
            seeds[0].clone()
        } else {
            mutated(&seeds, draws)
        }
    };
    fuzz_made("offers of snapshots", 300, make, |bytes| {
        let whole = restore(&node, bytes, &SOURCE.chunks) == Some(Applied::Accept);
        settle(&node, whole);
        whole
    });
}
