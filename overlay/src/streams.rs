//! Direct streams for tensors: one request, one answer, on a stream of its own.
//!
//! ```text
//! request: key length (u16, big endian) · key (UTF-8)
//! answer:  0                                              nothing under this key
//!          1 · length (u64, big endian) · SHA-256 · bytes
//! ```
//!
//! The answer's head is the acknowledgement: a request that gets none is sent again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::swarm::Stream;
use libp2p::{PeerId, StreamProtocol};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use crate::blocks::lock;
use crate::inbound::Incoming;
use crate::serve::Counters;
use crate::{Error, Limits, Overlay};

pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/trainyard/tensors/1");
/// Bytes of a key.
const MAX_KEY: usize = 256;
/// Bytes moved between two looks at the clock.
const CHUNK: usize = 256 << 10;
/// A request without an answer's head is tried this often.
const ATTEMPTS: u32 = 3;
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// A stream slower than this is cut, however steadily it drips.
const MIN_BYTES_PER_SECOND: u64 = 16 << 10;

/// Where a stream's content comes from.
#[derive(Clone, Debug)]
pub enum Body {
    /// From memory.
    Bytes(Bytes),
    /// From a file.
    File(PathBuf),
}

/// What is served under a key.
#[derive(Clone, Debug)]
pub struct StreamBody {
    /// Bytes of content.
    pub len: u64,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
    /// The content.
    pub body: Body,
}

impl StreamBody {
    /// Serves bytes from memory.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> StreamBody {
        let bytes = bytes.into();
        StreamBody {
            len: bytes.len() as u64,
            sha256: Sha256::digest(&bytes).into(),
            body: Body::Bytes(bytes),
        }
    }
}

/// Decides what is served to whom.
#[async_trait]
pub trait StreamHandler: Send + Sync + 'static {
    /// The content under `key` for `peer`, if it may have it. Must answer within seconds: the asker waits 15.
    async fn open(&self, peer: PeerId, key: &str) -> Option<StreamBody>;
}

/// The serving side.
pub(crate) struct StreamServer {
    handler: RwLock<Option<Arc<dyn StreamHandler>>>,
    permits: Semaphore,
    per_peer: Mutex<HashMap<PeerId, usize>>,
    most_per_peer: usize,
    idle: Duration,
    traffic: Arc<Counters>,
}

/// Counts one stream of a peer.
struct Slot<'a>(&'a StreamServer, PeerId);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut per_peer = lock(&self.0.per_peer);
        if let Some(count) = per_peer.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                per_peer.remove(&self.1);
            }
        }
    }
}

impl StreamServer {
    pub(crate) fn new(limits: &Limits, traffic: Arc<Counters>) -> StreamServer {
        StreamServer {
            handler: RwLock::default(),
            permits: Semaphore::new(limits.streams),
            per_peer: Mutex::default(),
            most_per_peer: limits.streams_per_peer,
            idle: limits.stream_idle,
            traffic,
        }
    }

    fn slot(&self, peer: PeerId) -> Option<Slot<'_>> {
        let mut per_peer = lock(&self.per_peer);
        let count = per_peer.entry(peer).or_default();
        if *count >= self.most_per_peer {
            return None;
        }
        *count += 1;
        Some(Slot(self, peer))
    }

    pub(crate) async fn serve(self: Arc<Self>, mut incoming: Incoming) {
        let peer = incoming.peer;
        // Dropping the stream resets it; the asker tries again.
        let (Some(_slot), Ok(_permit)) = (self.slot(peer), self.permits.try_acquire()) else {
            tracing::debug!(%peer, "too many tensor streams: one refused");
            return;
        };
        if let Err(e) = self.answer(peer, &mut incoming.stream).await {
            tracing::debug!(%peer, "tensor stream: {e}");
        }
    }

    async fn answer(&self, peer: PeerId, stream: &mut Stream) -> std::io::Result<()> {
        let key = timeout(self.idle, read_key(stream)).await??;
        let handler = self
            .handler
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        let body = match handler {
            Some(handler) => handler.open(peer, &key).await,
            None => None,
        };
        let Some(StreamBody { len, sha256, body }) = body else {
            timeout(self.idle, stream.write_all(&[0])).await??;
            return stream.close().await;
        };
        let mut head = vec![1];
        head.extend(len.to_be_bytes());
        head.extend(sha256);
        match body {
            Body::Bytes(bytes) => {
                timeout(self.idle, stream.write_all(&head)).await??;
                for chunk in bytes.chunks(CHUNK) {
                    self.send(stream, chunk).await?;
                }
            }
            Body::File(path) => {
                let mut file = tokio::fs::File::open(&path).await?;
                timeout(self.idle, stream.write_all(&head)).await??;
                let mut buffer = vec![0; CHUNK];
                loop {
                    let n = file.read(&mut buffer).await?;
                    if n == 0 {
                        break;
                    }
                    self.send(stream, &buffer[..n]).await?;
                }
            }
        }
        timeout(self.idle, stream.close()).await?
    }

    async fn send(&self, stream: &mut Stream, chunk: &[u8]) -> std::io::Result<()> {
        timeout(self.idle, stream.write_all(chunk)).await??;
        Counters::add(&self.traffic.streams_out, chunk.len());
        Ok(())
    }
}

async fn read_key(stream: &mut Stream) -> std::io::Result<String> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > MAX_KEY {
        return Err(std::io::Error::other(format!(
            "key of {length} bytes, more than the bound of {MAX_KEY}"
        )));
    }
    let mut key = vec![0; length];
    stream.read_exact(&mut key).await?;
    String::from_utf8(key).map_err(std::io::Error::other)
}

/// Where fetched content goes.
enum Target<'a> {
    Memory(Vec<u8>),
    File(tokio::fs::File, &'a Path),
}

impl Overlay {
    /// Serves direct streams from now on; replaces an earlier handler.
    pub fn serve_streams(&self, handler: Arc<dyn StreamHandler>) {
        *self
            .0
            .streams
            .handler
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(handler);
    }

    /// Fetches what `peer` serves under `key`: at most `max_bytes`, its SHA-256 checked. Connects if need be.
    pub async fn fetch_stream(&self, peer: PeerId, key: &str, max_bytes: u64) -> Result<Vec<u8>, Error> {
        let mut target = Target::Memory(Vec::new());
        self.fetch(peer, key, max_bytes, &mut target).await?;
        match target {
            Target::Memory(bytes) => Ok(bytes),
            Target::File(..) => Ok(vec![]),
        }
    }

    /// As [`Overlay::fetch_stream`], into a file, which appears only when it is whole. Gives its bytes.
    pub async fn fetch_stream_to(&self, peer: PeerId, key: &str, max_bytes: u64, path: &Path) -> Result<u64, Error> {
        let part = crate::ipfs::part_of(path);
        let file = tokio::fs::File::create(&part).await.map_err(Error::file(&part))?;
        let fetched = self.fetch(peer, key, max_bytes, &mut Target::File(file, &part)).await;
        match fetched {
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

    async fn fetch(&self, peer: PeerId, key: &str, max_bytes: u64, target: &mut Target<'_>) -> Result<u64, Error> {
        if key.len() > MAX_KEY {
            let (found, bound) = (key.len() as u64, MAX_KEY as u64);
            return Err(Error::TooLarge {
                what: format!("the stream key {key:?}"),
                found,
                bound,
            });
        }
        let (mut stream, len, sha256) = self.open(peer, key).await?;
        if len > max_bytes {
            let what = format!("stream {key:?} from {peer}");
            return Err(Error::TooLarge {
                what,
                found: len,
                bound: max_bytes,
            });
        }
        let failed = |cause: String| Error::Stream {
            peer: Box::new(peer),
            key: key.into(),
            cause,
        };
        let deadline = Instant::now() + self.0.limits.stream_idle + Duration::from_secs(len / MIN_BYTES_PER_SECOND);
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        let mut left = len;
        while left > 0 {
            let most = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            let idle = Instant::now() + self.0.limits.stream_idle;
            let n = match timeout_at(idle.min(deadline), stream.read(&mut buffer[..most])).await {
                Ok(Ok(0)) => return Err(failed(format!("ended after {} of {len} bytes", len - left))),
                Ok(Ok(n)) => n,
                Ok(Err(e)) => return Err(failed(format!("broke after {} of {len} bytes: {e}", len - left))),
                Err(_) => {
                    return Err(failed(format!(
                        "stood still or dripped after {} of {len} bytes",
                        len - left
                    )));
                }
            };
            let chunk = &buffer[..n];
            hasher.update(chunk);
            match target {
                Target::Memory(bytes) => bytes.extend_from_slice(chunk),
                Target::File(file, path) => file.write_all(chunk).await.map_err(Error::file(path))?,
            }
            Counters::add(&self.0.traffic.streams_in, n);
            left -= n as u64;
        }
        if let Target::File(file, path) = target {
            file.flush().await.map_err(Error::file(path))?;
        }
        let found: [u8; 32] = hasher.finalize().into();
        if found != sha256 {
            return Err(Error::Hash {
                what: format!("stream {key:?} from {peer}"),
                found: hex::encode(found),
                expected: hex::encode(sha256),
            });
        }
        Ok(len)
    }

    /// Sends the request until an answer's head comes back.
    async fn open(&self, peer: PeerId, key: &str) -> Result<(Stream, u64, [u8; 32]), Error> {
        let mut last = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(100) * 5u32.pow(attempt - 1)).await;
            }
            self.find_peer(peer).await?;
            match timeout(HEAD_TIMEOUT, self.request(peer, key)).await {
                Ok(Ok(Some(opened))) => return Ok(opened),
                Ok(Ok(None)) => return Err(Error::StreamNotFound { peer, key: key.into() }),
                Ok(Err(e)) => last = e.to_string(),
                Err(_) => last = format!("no answer within {HEAD_TIMEOUT:?}"),
            }
        }
        Err(Error::Stream {
            peer: Box::new(peer),
            key: key.into(),
            cause: format!("{last} ({ATTEMPTS} attempts)"),
        })
    }

    async fn request(&self, peer: PeerId, key: &str) -> std::io::Result<Option<(Stream, u64, [u8; 32])>> {
        let mut control = self.0.control.clone();
        let mut stream = control
            .open_stream(peer, PROTOCOL)
            .await
            .map_err(std::io::Error::other)?;
        let length = u16::try_from(key.len()).map_err(std::io::Error::other)?;
        stream
            .write_all(&[&length.to_be_bytes(), key.as_bytes()].concat())
            .await?;
        stream.flush().await?;
        let mut found = [0];
        stream.read_exact(&mut found).await?;
        match found[0] {
            0 => Ok(None),
            1 => {
                let (mut len, mut sha256) = ([0; 8], [0; 32]);
                stream.read_exact(&mut len).await?;
                stream.read_exact(&mut sha256).await?;
                Ok(Some((stream, u64::from_be_bytes(len), sha256)))
            }
            other => Err(std::io::Error::other(format!(
                "answer starts with {other}, expected 0 or 1"
            ))),
        }
    }
}
