//! A full disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use trainyard_app::testing::network::Network;

use super::PATIENCE;
use super::replay::replay;

/// A small file system in memory.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one; `None` where this process may not.
    fn mount(path: &Path, mib: u32) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(path)
            .status();
        mounted.is_ok_and(|s| s.success()).then(|| Self(path.into()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Fills a file system to the last byte.
fn fill(file: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(file).unwrap();
    let block = vec![1; 64 << 10];
    while file.write_all(&block).is_ok() {}
    let _ = file.sync_all();
}

/// Runs a node with `full`, a folder of its home, on a small file system; fills that, sees the node stop, makes room.
async fn stops_and_resumes(full: &str) {
    let mut network = Network::make(env!("CARGO_BIN_EXE_trainyard"), 1, |_| {});
    let node = &mut network.nodes[0];
    let folder = node.home.path().join(full);
    let keep = node.home.data().join("priv_validator_state.json");
    let state = std::fs::read(&keep).unwrap();
    // Dropped before the network, which deletes the folder.
    let Some(_tmpfs) = Tmpfs::mount(&folder, 24) else {
        eprintln!("skipped: mounting a tmpfs for {full} needs root");
        return;
    };
    std::fs::write(&keep, state).unwrap(); // The mount may have covered it.
    node.start(&[]);
    node.wait_height(3, PATIENCE).await;
    let filler = folder.join("filler");
    fill(&filler);
    assert_eq!(node.wait_exit(PATIENCE).code(), Some(1), "{}", node.log());
    assert!(
        node.log().contains("error: ") && node.log().contains("disk is full"),
        "{}",
        node.log()
    );

    std::fs::remove_file(&filler).unwrap();
    node.start(&[]);
    node.wait_height(8, PATIENCE).await;
    assert!(replay(node).await.heights >= 8);
    assert_eq!(node.stop().code(), Some(0), "{}", node.log());
}

#[tokio::test]
async fn the_node_stops_when_the_state_finds_no_room_and_resumes() {
    stops_and_resumes("data/application.db").await;
}

#[tokio::test]
async fn the_node_stops_when_cometbft_finds_no_room_and_resumes() {
    stops_and_resumes("data").await;
}
