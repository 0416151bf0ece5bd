//! Content by CID: adding, getting, providing, pinning.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cid::Cid;
use libp2p::PeerId;
use libp2p::kad::RecordKey;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Duration, timeout};

use crate::blocks::BATCH;
use crate::discovery::Request;
use crate::exchange::{Input, Session};
use crate::swarm::Command;
use crate::unixfs::Walk;
use crate::{Added, BlockStore, Error, Overlay, unixfs};

/// While a fetch has no source, the DHT is asked for providers this often.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long the peers at hand may answer before the DHT is asked.
const LOOK_FIRST: Duration = Duration::from_millis(500);
/// Providers connected to per look.
const PROVIDERS: usize = 8;

/// How far a fetch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Content bytes written.
    pub done: u64,
    /// Content bytes in the whole file; 0 before its root is known.
    pub total: u64,
}

/// The name a file has until it is whole.
pub(crate) fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Aborts a task when dropped.
struct Abort(JoinHandle<()>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A block on its way.
enum Slot {
    Held(Bytes),
    Asked(oneshot::Receiver<Bytes>),
}

/// Where a file's content goes.
enum Sink<'a> {
    Memory(Vec<u8>),
    File(tokio::io::BufWriter<tokio::fs::File>, &'a Path),
    /// Only the blocks are wanted.
    Nowhere,
}

impl Sink<'_> {
    async fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        match self {
            Sink::Memory(bytes) => bytes.extend_from_slice(data),
            Sink::File(file, path) => file.write_all(data).await.map_err(Error::file(path))?,
            Sink::Nowhere => {}
        }
        Ok(())
    }
}

fn key_of(cid: &Cid) -> RecordKey {
    RecordKey::new(&cid.hash().to_bytes())
}

impl Overlay {
    /// The block store this node serves from.
    pub fn blocks(&self) -> &BlockStore {
        &self.0.store
    }

    /// Adds bytes as a file: CIDv1, raw leaves, pinned.
    pub async fn add_bytes(&self, bytes: Vec<u8>) -> Result<Added, Error> {
        let added = self.0.store.blocking(move |store| store.add_bytes(&bytes)).await?;
        self.announce(added.cid).await;
        Ok(added)
    }

    /// Adds a file: CIDv1, raw leaves, pinned.
    pub async fn add_file(&self, path: impl AsRef<Path>) -> Result<Added, Error> {
        let path = path.as_ref().to_owned();
        let added = self.0.store.blocking(move |store| store.add_file(path)).await?;
        self.announce(added.cid).await;
        Ok(added)
    }

    /// Tells peers that already asked for a root that it is here now.
    async fn announce(&self, root: Cid) {
        self.0.exchange.tell(Input::Stored(vec![root])).await;
    }

    /// Gets a file's content into memory: at most `max_bytes`, every block checked against its CID.
    ///
    /// Blocks come from the local store, else from connected peers, `providers`, and who the DHT says provides it.
    pub async fn get_bytes(&self, cid: Cid, max_bytes: u64, providers: &[PeerId]) -> Result<Vec<u8>, Error> {
        let mut sink = Sink::Memory(Vec::new());
        self.get(cid, max_bytes, providers, &mut sink, |_| {}).await?;
        match sink {
            Sink::Memory(bytes) => Ok(bytes),
            _ => Ok(vec![]),
        }
    }

    /// As [`Overlay::get_bytes`], into a file, which appears only when it is whole. Gives its bytes.
    ///
    /// A fetch that was interrupted goes on where it stopped: blocks already held are not fetched again.
    pub async fn get_file(
        &self,
        cid: Cid,
        path: impl AsRef<Path>,
        max_bytes: u64,
        providers: &[PeerId],
        progress: impl FnMut(Progress) + Send,
    ) -> Result<u64, Error> {
        let path = path.as_ref();
        let part = part_of(path);
        let file = tokio::fs::File::create(&part).await.map_err(Error::file(&part))?;
        let mut sink = Sink::File(tokio::io::BufWriter::with_capacity(1 << 20, file), &part);
        let got = self.get(cid, max_bytes, providers, &mut sink, progress).await;
        let flushed = match (&mut sink, &got) {
            (Sink::File(file, part), Ok(_)) => file.flush().await.map_err(Error::file(part)),
            _ => Ok(()),
        };
        match flushed.and(got) {
            Ok(bytes) => {
                tokio::fs::rename(&part, path).await.map_err(Error::file(path))?;
                Ok(bytes)
            }
            Err(e) => {
                // The error to report is the fetch's own.
                let _ = tokio::fs::remove_file(&part).await;
                Err(e)
            }
        }
    }

    /// Fetches every block of a file into the local store, to serve it from here. Gives its bytes.
    pub async fn mirror(&self, cid: Cid, max_bytes: u64, providers: &[PeerId]) -> Result<u64, Error> {
        self.get(cid, max_bytes, providers, &mut Sink::Nowhere, |_| {}).await
    }

    async fn get(
        &self,
        root: Cid,
        max_bytes: u64,
        providers: &[PeerId],
        sink: &mut Sink<'_>,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<u64, Error> {
        unixfs::check_cid(&root)?;
        let _live = self.0.store.live(root);
        let session = std::sync::Arc::new(self.0.exchange.session());
        let mut seeker = None;
        let mut fetched: Vec<(Cid, Bytes)> = Vec::new();
        let mut fetched_bytes = 0;
        let mut slots: HashMap<Cid, Slot> = HashMap::new();
        let mut walk = Walk::new(root, max_bytes);
        let mut done = 0;
        let result = loop {
            let Some(next) = walk.upcoming(1).next() else {
                break Ok(done);
            };
            if slots.len() <= self.0.limits.window / 2 {
                let asked = self.fill(&walk, &fetched, &session, &mut slots).await?;
                if asked && seeker.is_none() {
                    seeker = Some(Abort(self.seek(root, providers.to_vec(), session.clone())));
                }
            }
            let block = match slots.remove(&next) {
                Some(Slot::Held(block)) => block,
                Some(Slot::Asked(mut block)) => {
                    let stall = self.0.limits.stall;
                    match timeout(stall, &mut block).await {
                        Ok(Ok(block)) => {
                            fetched_bytes += block.len();
                            fetched.push((next, block.clone()));
                            block
                        }
                        Ok(Err(_)) => break Err(Error::Closed),
                        Err(_) => {
                            break Err(Error::Stalled {
                                root: Box::new(root),
                                block: Box::new(next),
                                waited: stall,
                                asked: session.asked(),
                                connected: self.0.peers.borrow().len(),
                            });
                        }
                    }
                }
                // The same block twice in one window: it was taken a moment ago.
                None => match self.held(next, &fetched).await? {
                    Some(block) => block,
                    None => {
                        slots.insert(next, Slot::Asked(session.want(next).await));
                        continue;
                    }
                },
            };
            match walk.visit(&block) {
                Ok(data) => {
                    if !data.is_empty() {
                        done += data.len() as u64;
                        if let Err(e) = sink.write(&data).await {
                            break Err(e);
                        }
                    }
                    progress(Progress { done, total: walk.size });
                }
                Err(e) => break Err(e),
            }
            if fetched_bytes >= BATCH {
                fetched_bytes = 0;
                self.store_blocks(std::mem::take(&mut fetched), false).await?;
            }
        };
        drop(seeker);
        // What came is kept also when the fetch failed: the next one goes on from it.
        if !fetched.is_empty() {
            self.store_blocks(fetched, true).await?;
        }
        result
    }

    /// Looks up or asks for the upcoming blocks that are not on their way; says whether any had to be asked for.
    async fn fill(
        &self,
        walk: &Walk,
        fetched: &[(Cid, Bytes)],
        session: &Session,
        slots: &mut HashMap<Cid, Slot>,
    ) -> Result<bool, Error> {
        let mut new = Vec::new();
        for cid in walk.upcoming(self.0.limits.window) {
            if !slots.contains_key(&cid) && !new.contains(&cid) {
                new.push(cid);
            }
        }
        let lookup = new.clone();
        let held = self.0.store.blocking(move |store| store.get_many(&lookup)).await?;
        let mut asked = false;
        for (cid, held) in new.into_iter().zip(held) {
            let held = held.or_else(|| fetched.iter().find(|(c, _)| *c == cid).map(|(_, block)| block.clone()));
            let slot = match held {
                Some(block) => Slot::Held(block),
                None => {
                    asked = true;
                    Slot::Asked(session.want(cid).await)
                }
            };
            slots.insert(cid, slot);
        }
        Ok(asked)
    }

    async fn held(&self, cid: Cid, fetched: &[(Cid, Bytes)]) -> Result<Option<Bytes>, Error> {
        match fetched.iter().rev().find(|(c, _)| *c == cid) {
            Some((_, block)) => Ok(Some(block.clone())),
            None => self.0.store.blocking(move |store| store.get(&cid)).await,
        }
    }

    /// Writes fetched blocks and tells peers that wait for them.
    async fn store_blocks(&self, blocks: Vec<(Cid, Bytes)>, durable: bool) -> Result<(), Error> {
        let cids = blocks.iter().map(|(cid, _)| *cid).collect();
        self.0
            .store
            .blocking(move |store| store.put_many(&blocks, durable))
            .await?;
        self.0.exchange.tell(Input::Stored(cids)).await;
        Ok(())
    }

    /// Connects to the named providers at once, and to those the DHT names while the session has no source.
    fn seek(&self, root: Cid, providers: Vec<PeerId>, session: std::sync::Arc<Session>) -> JoinHandle<()> {
        let overlay = self.clone();
        self.0.tasks.spawn(async move {
            overlay.reach(&providers).await;
            tokio::time::sleep(LOOK_FIRST).await;
            loop {
                if session.sources() == 0 {
                    match overlay.providers(root).await {
                        Ok(found) => overlay.reach(&found).await,
                        Err(_) => return,
                    }
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        })
    }

    async fn reach(&self, peers: &[PeerId]) {
        let me = self.peer_id();
        let dials = peers
            .iter()
            .filter(|peer| **peer != me)
            .take(PROVIDERS)
            .map(|&peer| async move {
                if let Err(e) = self.find_peer(peer).await {
                    tracing::debug!(%peer, "provider not reached: {e}");
                }
            });
        futures::future::join_all(dials).await;
    }

    /// Announces in the DHT that this node has the DAG below `cid`.
    pub async fn provide(&self, cid: Cid) -> Result<(), Error> {
        self.ask(|reply| {
            Command::Kad(Request::Provide {
                key: key_of(&cid),
                reply,
            })
        })
        .await?
    }

    /// Peers that the DHT says have `cid`.
    pub async fn providers(&self, cid: Cid) -> Result<Vec<PeerId>, Error> {
        self.ask(|reply| {
            Command::Kad(Request::Providers {
                key: key_of(&cid),
                reply,
            })
        })
        .await
    }

    /// Keeps the DAG below `cid`, also what of it is fetched later.
    pub async fn pin(&self, cid: Cid) -> Result<(), Error> {
        self.0.store.blocking(move |store| store.pin(&cid)).await
    }

    /// Takes a pin back and stops announcing the DAG; says whether there was one.
    pub async fn unpin(&self, cid: Cid) -> Result<bool, Error> {
        self.0
            .commands
            .send(Command::Kad(Request::Unprovide { key: key_of(&cid) }))
            .await
            .map_err(|_| Error::Closed)?;
        self.0.store.blocking(move |store| store.unpin(&cid)).await
    }

    /// All pinned roots.
    pub async fn pins(&self) -> Result<Vec<Cid>, Error> {
        self.0.store.blocking(BlockStore::pins).await
    }

    /// Removes every block below no pin and no running fetch; gives the number removed.
    pub async fn collect_garbage(&self) -> Result<u64, Error> {
        self.0.store.blocking(BlockStore::collect_garbage).await
    }
}
