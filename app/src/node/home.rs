//! The files of a node's home folder.
//!
//! ```text
//! config/config.toml app.toml genesis.json gentx/   node_key.json priv_validator_key.json
//! data/              CometBFT's databases, application.db, snapshots/, abci.sock
//! keyring-*/         account keys
//! ```

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::comet_config::{CometConfig, Listens, StateSync, listens, with_persistent_peers, with_state_sync};
use super::genesis::GenesisDoc;
use super::settings::Doors;
use super::{Error, comet, read, settings, write};
use crate::abci::Address;

/// Longest path of a unix socket, bytes: the system's limit is 108, and some are lower.
const MAX_SOCKET_PATH: usize = 100;

/// What CometBFT notes of its last vote before there is one.
const NO_VOTES: &str = "{\"height\": \"0\", \"round\": 0, \"step\": 0}\n";

/// A node's home folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home(PathBuf);

/// Who a node is in its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its id among peers: 40 hex digits.
    pub node_id: String,
    /// The ed25519 public key it votes with.
    pub consensus_key: [u8; 32],
}

impl Home {
    /// The home at a path. Nothing need be there yet.
    ///
    /// # Errors
    /// The path cannot be made absolute.
    pub fn new(path: &Path) -> Result<Self, Error> {
        std::path::absolute(path).map(Self).map_err(|source| Error::File {
            path: path.into(),
            source,
        })
    }

    /// Its path, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn config(&self, file: &str) -> PathBuf {
        self.0.join("config").join(file)
    }

    /// Our settings.
    #[must_use]
    pub fn app_toml(&self) -> PathBuf {
        self.config("app.toml")
    }

    /// CometBFT's settings.
    #[must_use]
    pub fn config_toml(&self) -> PathBuf {
        self.config("config.toml")
    }

    /// The genesis file.
    #[must_use]
    pub fn genesis(&self) -> PathBuf {
        self.config("genesis.json")
    }

    /// Where gentxs are collected from.
    #[must_use]
    pub fn gentxs(&self) -> PathBuf {
        self.config("gentx")
    }

    /// Where databases are.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// The application's state.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.data().join("application.db")
    }

    /// The snapshots that this node offers.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.data().join("snapshots")
    }

    /// Checks that a node lives here.
    ///
    /// # Errors
    /// A file is missing.
    pub fn expect(&self) -> Result<(), Error> {
        for missing in ["config/config.toml", "config/app.toml", "config/genesis.json"] {
            if !self.0.join(missing).is_file() {
                let home = self.0.clone();
                return Err(Error::NoHome { home, missing });
            }
        }
        Ok(())
    }

    /// Makes a node's home: CometBFT's files, changed to fit, our settings and the genesis. The state's cache gets
    /// `cache_mb` MiB; gRPC and REST are served at `doors`.
    ///
    /// # Errors
    /// A node lives here already, CometBFT is not installed, or the disk refuses.
    pub fn create(
        &self,
        config: &CometConfig,
        cache_mb: u16,
        doors: &Doors,
        genesis: &GenesisDoc,
    ) -> Result<(), Error> {
        for found in [
            "config/genesis.json",
            "config/priv_validator_key.json",
            "config/app.toml",
        ] {
            if self.0.join(found).exists() {
                let home = self.0.clone();
                return Err(Error::HomeTaken { home, found });
            }
        }
        comet::init(self)?;
        // An operator who runs CometBFT beside `start --abci-only` needs no flags either.
        let application = Address::Unix(self.socket()?).to_string();
        self.edit_config(|text| config.apply(text, &application))?;
        write(self.app_toml(), &settings::template(config.node_type, cache_mb, doors))?;
        genesis.save(self)
    }

    /// Changes `config.toml`.
    ///
    /// # Errors
    /// The file is not what CometBFT writes, or the disk refuses.
    fn edit_config(&self, edit: impl FnOnce(&str) -> Result<String, String>) -> Result<(), Error> {
        let path = self.config_toml();
        let text = edit(&read(path.clone())?).map_err(|reason| Error::Content {
            path: path.clone(),
            reason,
        })?;
        write(path, &text)
    }

    /// Sets the peers to stay connected to, as `id@host:port`.
    ///
    /// # Errors
    /// `config.toml` is not what CometBFT writes, or the disk refuses.
    pub fn set_peers(&self, peers: &[String]) -> Result<(), Error> {
        self.edit_config(|text| with_persistent_peers(text, peers))
    }

    /// Lets the node start from a snapshot of its peers instead of from block 1.
    ///
    /// # Errors
    /// `config.toml` is not what CometBFT writes, or the disk refuses.
    pub fn set_state_sync(&self, sync: &StateSync) -> Result<(), Error> {
        self.edit_config(|text| with_state_sync(text, sync))
    }

    /// Where the node listens: what `config.toml` says, or CometBFT's variables of the environment over it.
    ///
    /// # Errors
    /// `config.toml` is missing or is not what CometBFT writes.
    pub fn listens(&self) -> Result<Listens, Error> {
        let path = self.config_toml();
        let variable = |name: &str| std::env::var(name).ok();
        listens(&read(path.clone())?, variable).map_err(|reason| Error::Content { path, reason })
    }

    /// Who this node is, from its key files.
    ///
    /// # Errors
    /// They are missing or damaged.
    pub fn identity(&self) -> Result<Identity, Error> {
        #[derive(Deserialize)]
        struct Key {
            value: String,
        }
        #[derive(Deserialize)]
        struct NodeKey {
            priv_key: Key,
        }
        #[derive(Deserialize)]
        struct ValidatorKey {
            pub_key: Key,
        }
        fn json<T: serde::de::DeserializeOwned>(path: PathBuf) -> Result<T, Error> {
            let text = read(path.clone())?;
            serde_json::from_str(&text).map_err(|e| Error::Content {
                path,
                reason: e.to_string(),
            })
        }
        // An ed25519 private key is its seed and, in the second half, its public key.
        fn last_32(path: PathBuf, key: &Key) -> Result<[u8; 32], Error> {
            let bytes = STANDARD.decode(&key.value).unwrap_or_default();
            bytes.last_chunk().copied().ok_or_else(|| Error::Content {
                path,
                reason: format!("a key has {} bytes, expected at least 32", bytes.len()),
            })
        }
        let path = self.config("node_key.json");
        let node: NodeKey = json(path.clone())?;
        let node_key = last_32(path, &node.priv_key)?;
        let path = self.config("priv_validator_key.json");
        let validator: ValidatorKey = json(path.clone())?;
        Ok(Identity {
            node_id: hex::encode(&Sha256::digest(node_key)[..20]),
            consensus_key: last_32(path, &validator.pub_key)?,
        })
    }

    /// Empties the data folder, where nothing runs, but for the child's lock; the votes that CometBFT must not contradict
    /// begin anew.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn forget(&self) -> Result<(), Error> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| Error::File { path, source }
        };
        let data = self.data();
        for entry in fs::read_dir(&data).map_err(failed(&data))? {
            let entry = entry.map_err(failed(&data))?;
            let path = entry.path();
            if entry.file_name() == comet::LOCK {
                continue;
            }
            let folder = entry.file_type().map_err(failed(&path))?.is_dir();
            let removed = if folder {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(failed(&path))?;
        }
        write(data.join("priv_validator_state.json"), NO_VOTES)
    }

    /// The application's socket: in the data folder, or, where that path is too long for a socket, in a private folder
    /// under the system's temporary one.
    ///
    /// # Errors
    /// The private folder cannot be made, or is somebody else's.
    pub fn socket(&self) -> Result<PathBuf, Error> {
        let socket = self.data().join("abci.sock");
        if socket.as_os_str().len() <= MAX_SOCKET_PATH {
            return Ok(socket);
        }
        let digest = Sha256::digest(self.0.as_os_str().as_bytes());
        let folder = std::env::temp_dir().join(format!("trainyard-{}", hex::encode(&digest[..8])));
        let failed = |source| Error::File {
            path: folder.clone(),
            source,
        };
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other.map_err(failed)?,
        }
        let found = fs::symlink_metadata(&folder).map_err(failed)?;
        let owner = fs::metadata(&self.0).map_err(failed)?.uid();
        if !found.is_dir() || found.uid() != owner || found.mode() & 0o077 != 0 {
            return Err(Error::Content {
                path: folder,
                reason: "it is not a folder that only the home's owner can enter; remove it".into(),
            });
        }
        Ok(folder.join("abci.sock"))
    }
}
