//! Content from `ipfs://`, `http(s)://…#sha256=` and `file://`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use cid::Cid;
use libp2p::PeerId;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::ipfs::{Progress, part_of};
use crate::{Error, Overlay, unixfs};

/// How long a web server may stand still.
const IDLE: Duration = Duration::from_secs(30);

/// Where content comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `ipfs://<cid>`
    Ipfs(Cid),
    /// `http(s)://…#sha256=<64 hexadecimal digits>`
    Web {
        /// The address, without the fragment.
        url: String,
        /// What its content must hash to.
        sha256: [u8; 32],
    },
    /// `file://<absolute path>`
    File(PathBuf),
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(uri: &str) -> Result<Source, Error> {
        let refuse = |cause: &str| Error::Source {
            uri: uri.chars().take(256).collect(),
            cause: cause.into(),
        };
        if let Some(cid) = uri.strip_prefix("ipfs://") {
            return unixfs::parse_cid(cid).map(Source::Ipfs);
        }
        if let Some(path) = uri.strip_prefix("file://") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Source::File(path))
            } else {
                Err(refuse("its path is not absolute"))
            };
        }
        if uri.starts_with("http://") || uri.starts_with("https://") {
            let (url, hash) = uri
                .split_once("#sha256=")
                .ok_or_else(|| refuse("it must end in #sha256=<64 hexadecimal digits>"))?;
            let mut sha256 = [0; 32];
            hex::decode_to_slice(hash, &mut sha256).map_err(|_| refuse("its #sha256= is not 64 hexadecimal digits"))?;
            return Ok(Source::Web {
                url: url.into(),
                sha256,
            });
        }
        Err(refuse("it must start with ipfs://, https://, http:// or file://"))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Ipfs(cid) => write!(f, "ipfs://{cid}"),
            Source::Web { url, sha256 } => write!(f, "{url}#sha256={}", hex::encode(sha256)),
            Source::File(path) => write!(f, "file://{}", path.display()),
        }
    }
}

impl Overlay {
    /// Fetches a source into a file, which appears only when it is whole and checked. Gives its bytes.
    pub async fn fetch_source(
        &self,
        source: &Source,
        path: &Path,
        max_bytes: u64,
        providers: &[PeerId],
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<u64, Error> {
        let cid = match source {
            Source::Ipfs(cid) => *cid,
            Source::Web { .. } | Source::File(_) => {
                let part = part_of(path);
                let copied = match source {
                    Source::Web { url, sha256 } => download(url, sha256, &part, max_bytes, &mut progress).await,
                    Source::File(from) => copy(from, &part, max_bytes, &mut progress).await,
                    Source::Ipfs(_) => Ok(0),
                };
                return match copied {
                    Ok(bytes) => {
                        tokio::fs::rename(&part, path).await.map_err(Error::file(path))?;
                        Ok(bytes)
                    }
                    Err(e) => {
                        // The error to report is the fetch's own.
                        let _ = tokio::fs::remove_file(&part).await;
                        Err(e)
                    }
                };
            }
        };
        self.get_file(cid, path, max_bytes, providers, progress).await
    }
}

async fn download(
    url: &str,
    sha256: &[u8; 32],
    to: &Path,
    max_bytes: u64,
    progress: &mut (impl FnMut(Progress) + Send),
) -> Result<u64, Error> {
    let failed = |cause: String| Error::Source { uri: url.into(), cause };
    let too_large = |found| Error::TooLarge {
        what: url.into(),
        found,
        bound: max_bytes,
    };
    let client = reqwest::Client::builder()
        .connect_timeout(IDLE)
        .read_timeout(IDLE)
        .build()
        .map_err(|e| failed(e.to_string()))?;
    let mut response = timeout(IDLE, client.get(url).send())
        .await
        .map_err(|_| failed(format!("no answer within {IDLE:?}")))?
        .and_then(reqwest::Response::error_for_status)
        .map_err(|e| failed(e.to_string()))?;
    let total = response.content_length().unwrap_or(0);
    if total > max_bytes {
        return Err(too_large(total));
    }
    let mut file = tokio::fs::File::create(to).await.map_err(Error::file(to))?;
    let (mut hasher, mut done) = (Sha256::new(), 0);
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|e| failed(format!("after {done} bytes: {e}")))?
    {
        done += chunk.len() as u64;
        if done > max_bytes {
            return Err(too_large(done));
        }
        hasher.update(&chunk);
        file.write_all(&chunk).await.map_err(Error::file(to))?;
        progress(Progress { done, total });
    }
    file.flush().await.map_err(Error::file(to))?;
    let found: [u8; 32] = hasher.finalize().into();
    if found != *sha256 {
        return Err(Error::Hash {
            what: url.into(),
            found: hex::encode(found),
            expected: hex::encode(sha256),
        });
    }
    Ok(done)
}

async fn copy(
    from: &Path,
    to: &Path,
    max_bytes: u64,
    progress: &mut (impl FnMut(Progress) + Send),
) -> Result<u64, Error> {
    let mut source = tokio::fs::File::open(from).await.map_err(Error::file(from))?;
    let total = source.metadata().await.map_err(Error::file(from))?.len();
    let mut file = tokio::fs::File::create(to).await.map_err(Error::file(to))?;
    let (mut buffer, mut done) = (vec![0; 1 << 20], 0);
    loop {
        let n = source.read(&mut buffer).await.map_err(Error::file(from))?;
        if n == 0 {
            break;
        }
        done += n as u64;
        if done > max_bytes {
            return Err(Error::TooLarge {
                what: from.display().to_string(),
                found: done,
                bound: max_bytes,
            });
        }
        file.write_all(&buffer[..n]).await.map_err(Error::file(to))?;
        progress(Progress { done, total });
    }
    file.flush().await.map_err(Error::file(to))?;
    Ok(done)
}
