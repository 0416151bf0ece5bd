//! One node without CometBFT.

use tempfile::TempDir;
use tendermint_proto::v0_38::abci;
use trainyard_modules::upgrade::Binary;

use crate::{
    application::{Application, Config},
    store::{Options, Store},
};

/// The real application over the real store in a directory of its own.
pub(super) struct Node {
    app: Option<Application>,
    config: Config,
    dir: TempDir,
}

impl Node {
    pub(super) fn new(config: Config) -> Self {
        // Every commit is synced to disk; in memory that costs nothing, and what is tested here does not survive anyway.
        let dir = TempDir::new_in("/dev/shm")
            .or_else(|_| TempDir::new())
            .expect("a temporary directory");
        let mut node = Self { app: None, config, dir };
        node.restart();
        node
    }

    pub(super) fn app(&self) -> &Application {
        self.app.as_ref().expect("a node is open")
    }

    /// Drops the application with all that it had not committed, and opens its store again.
    pub(super) fn restart(&mut self) {
        self.app = None;
        let options = Options {
            cache_bytes: 4 << 20,
            ..Options::default()
        };
        let store = Store::open(self.dir.path(), &options).expect("the store opens");
        self.app = Some(Application::new(store, self.config.clone()).expect("the application starts"));
    }

    /// Opens the store again with another program.
    pub(super) fn install(&mut self, binary: &'static Binary) {
        self.config.binary = binary;
        self.restart();
    }

    /// The committed height and app hash.
    pub(super) fn info(&self) -> (u64, Vec<u8>) {
        let info = self.app().info(&abci::RequestInfo::default());
        let height = u64::try_from(info.last_block_height).expect("a height");
        (height, info.last_block_app_hash.to_vec())
    }
}
