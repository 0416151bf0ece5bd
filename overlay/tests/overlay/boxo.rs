//! Against boxo, the library whose bitswap and UnixFS are Kubo's: `tests/boxo`, built by `scripts/setup`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use trainyard_overlay::{Cid, Multiaddr};

use crate::common::{Chain, node, noise, within};

const MIB: usize = 1 << 20;
const NAME: &str = "boxo-peer";

fn binary() -> PathBuf {
    let cache = std::env::var_os("TRAINYARD_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/trainyard")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    cache
        .map(|cache| cache.join("bin"))
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(NAME))
        .find(|file| file.is_file())
        .unwrap_or_else(|| {
            panic!("{NAME} is neither in the cache folder nor in PATH: run scripts/setup, which builds it")
        })
}

fn peer(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(args).kill_on_drop(true);
    command
}

/// A process that serves files until it is dropped.
struct Server {
    _process: Child,
    cids: Vec<Cid>,
    addr: Multiaddr,
}

/// Adds `files` in a process of boxo's.
async fn serve(options: &[&str], files: &[PathBuf]) -> Server {
    let mut command = peer(&["add"]);
    let mut process = command
        .args(options)
        .args(files)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut cids = Vec::new();
    for _ in files {
        cids.push(line(&mut lines).await.parse().unwrap());
    }
    let addr = line(&mut lines).await.parse().unwrap();
    Server {
        _process: process,
        cids,
        addr,
    }
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    lines.next_line().await.unwrap().expect("the peer says why it ended")
}

/// Fetches `cid` from `addr` by boxo's client.
async fn fetch(cid: Cid, addr: &Multiaddr, to: &Path) -> Vec<u8> {
    let args = [
        "get",
        &cid.to_string(),
        &addr.to_string(),
        to.to_str().expect("a scratch folder's name is text"),
    ];
    let status = peer(&args).status().await.unwrap();
    assert!(status.success(), "{args:?}: {status}");
    std::fs::read(to).unwrap()
}

fn write(folder: &TempDir, sizes: &[usize]) -> Vec<PathBuf> {
    sizes
        .iter()
        .map(|&size| {
            let file = folder.path().join(size.to_string());
            std::fs::write(&file, noise(size, size as u64)).unwrap();
            file
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_travel_from_boxo_to_us() {
    within(60, async {
        let scratch = TempDir::new().unwrap();
        let files = write(&scratch, &[20 * MIB, 50 * MIB]);
        // CIDv0, still Kubo's default, wraps the leaves in UnixFS nodes.
        for options in [&[][..], &["-cid-version=0"][..]] {
            let theirs = serve(options, &files).await;
            let ours = node(&Arc::new(Chain::default())).await;
            let source = ours.overlay.dial(theirs.addr).await.unwrap();
            let mut total = 0;
            for (file, cid) in files.iter().zip(theirs.cids) {
                let to = scratch.path().join("fetched");
                let started = std::time::Instant::now();
                let bytes = ours
                    .overlay
                    .get_file(cid, &to, 64 << 20, &[source], |_| {})
                    .await
                    .unwrap();
                println!("{options:?}: {bytes} bytes from boxo in {:?}", started.elapsed());
                assert!(std::fs::read(&to).unwrap() == std::fs::read(file).unwrap());
                total += bytes;
            }
            let traffic = ours.overlay.bytes_transferred();
            assert!(traffic.bitswap_in >= total, "{traffic:?}");
            assert_eq!(traffic.bitswap_unasked, 0, "no block came twice");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_travel_from_us_to_boxo() {
    within(60, async {
        let scratch = TempDir::new().unwrap();
        let ours = node(&Arc::new(Chain::default())).await;
        for file in write(&scratch, &[0, 1, 20 * MIB, 50 * MIB]) {
            let content = std::fs::read(&file).unwrap();
            let added = ours.overlay.add_file(&file).await.unwrap();
            let started = std::time::Instant::now();
            let to = scratch.path().join("fetched");
            assert!(fetch(added.cid, &ours.overlay.listen_addrs()[0], &to).await == content);
            println!("{} bytes to boxo in {:?}", content.len(), started.elapsed());
        }
        let sent = ours.overlay.bytes_transferred().bitswap_out;
        assert!(sent > 70 * MIB as u64, "{sent}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_compute_the_same_cids() {
    within(60, async {
        let scratch = TempDir::new().unwrap();
        // Empty, one leaf, exactly one, one and a byte, several, as many as one node links to, one more, two levels.
        let chunk = 256 << 10;
        let files = write(
            &scratch,
            &[0, 1, chunk, chunk + 1, 5 * MIB, 174 * chunk, 174 * chunk + 1, 50 * MIB],
        );
        let theirs = serve(&[], &files).await;
        let ours = node(&Arc::new(Chain::default())).await;
        for (file, cid) in files.iter().zip(theirs.cids) {
            let added = ours.overlay.add_file(file).await.unwrap();
            assert_eq!(added.cid, cid, "{}", file.display());
        }
    })
    .await;
}
