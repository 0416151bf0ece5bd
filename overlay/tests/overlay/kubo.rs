//! Against a whole Kubo, whose binary `TRAINYARD_IPFS` names. `boxo.rs` runs always, against the libraries Kubo is made of.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::common::{Chain, node, noise, within};

const MIB: usize = 1 << 20;

struct Kubo {
    binary: PathBuf,
    repo: TempDir,
    daemon: Option<Child>,
}

impl Kubo {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("IPFS_PATH", self.repo.path()).args(args).kill_on_drop(true);
        command
    }

    async fn run(&self, args: &[&str]) -> Vec<u8> {
        let output = self.command(args).output().await.unwrap();
        assert!(
            output.status.success(),
            "ipfs {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    async fn text(&self, args: &[&str]) -> String {
        String::from_utf8(self.run(args).await).unwrap().trim().into()
    }

    async fn start(binary: &Path) -> Kubo {
        let mut kubo = Kubo {
            binary: binary.into(),
            repo: TempDir::new().unwrap(),
            daemon: None,
        };
        kubo.run(&["init", "--profile=test"]).await;
        kubo.run(&["config", "--json", "Addresses.Swarm", r#"["/ip4/127.0.0.1/tcp/0"]"#])
            .await;
        kubo.run(&["config", "--json", "Bootstrap", "[]"]).await;
        kubo.run(&["config", "Routing.Type", "none"]).await;
        let mut daemon = kubo
            .command(&["daemon"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(daemon.stdout.take().unwrap()).lines();
        while !lines
            .next_line()
            .await
            .unwrap()
            .expect("the daemon starts")
            .contains("Daemon is ready")
        {}
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        kubo.daemon = Some(daemon);
        kubo
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubo's binary, named by TRAINYARD_IPFS"]
async fn blocks_travel_to_and_from_kubo() {
    let binary = std::env::var_os("TRAINYARD_IPFS").expect("TRAINYARD_IPFS names Kubo's `ipfs` binary");
    within(120, async {
        let kubo = Kubo::start(Path::new(&binary)).await;
        println!("{}", kubo.text(&["version"]).await);
        let node = node(&Arc::new(Chain::default())).await;
        let scratch = TempDir::new().unwrap();
        // Same CIDs, at every shape of tree: empty, one leaf, exactly one, several, two levels.
        for (size, seed) in [(0, 1), (12, 2), (256 << 10, 3), (MIB + 1, 4), (50 * MIB, 5)] {
            let content = noise(size, seed);
            let path = scratch.path().join(size.to_string());
            std::fs::write(&path, &content).unwrap();
            let theirs = kubo
                .text(&[
                    "add",
                    "-Q",
                    "--only-hash",
                    "--cid-version=1",
                    "--raw-leaves",
                    path.to_str().unwrap(),
                ])
                .await;
            let ours = node.overlay.add_bytes(content).await.unwrap();
            assert_eq!(ours.cid.to_string(), theirs, "{size} bytes");
        }
        // Ours to Kubo.
        let addr = node.overlay.listen_addrs()[0].to_string();
        kubo.run(&["swarm", "connect", &addr]).await;
        let content = noise(50 * MIB, 5);
        let cid = node.overlay.add_bytes(content.clone()).await.unwrap().cid;
        let started = std::time::Instant::now();
        assert!(kubo.run(&["cat", &cid.to_string()]).await == content);
        println!("us to Kubo: 50 MiB in {:?}", started.elapsed());

        // Kubo to us, CIDv0 with wrapped leaves included.
        for args in [&["--cid-version=1", "--raw-leaves"][..], &["--cid-version=0"][..]] {
            let content = noise(50 * MIB, 6);
            let path = scratch.path().join("theirs");
            std::fs::write(&path, &content).unwrap();
            let cid = kubo
                .text(&[&["add", "-Q"], args, &[path.to_str().unwrap()]].concat())
                .await
                .parse()
                .unwrap();
            let before = node.overlay.bytes_transferred();
            let started = std::time::Instant::now();
            let to = scratch.path().join("ours");
            let bytes = node.overlay.get_file(cid, &to, 64 << 20, &[], |_| {}).await.unwrap();
            println!("Kubo to us: {bytes} bytes in {:?}", started.elapsed());
            assert!(std::fs::read(&to).unwrap() == content);
            let after = node.overlay.bytes_transferred();
            assert_eq!(after.bitswap_unasked, before.bitswap_unasked, "no block came twice");
        }
    })
    .await;
}
