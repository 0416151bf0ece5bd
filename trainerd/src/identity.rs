//! The daemon's keys: the account's in a keyring, the overlay's and the X25519 one that data keys are sealed to in its home.

use std::{io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use color_eyre::eyre::{Context, Result, bail, eyre};
use sha2::{Digest, Sha256};
use trainyard_client::{
    data::SealingKey,
    keys::{Backend, Keyring, PrivateKey, generate_mnemonic},
};
use trainyard_overlay::{Keypair, load_or_create_key};

use crate::config::Config;

/// All keys of a daemon.
pub struct Identity {
    /// Signs transactions and attestations.
    pub account: PrivateKey,
    /// The libp2p key.
    pub peer: Keypair,
    /// Opens granted data keys.
    pub sealing: SealingKey,
    /// Seeds the salts of traces; nobody else may know it.
    pub salt_secret: [u8; 32],
}

impl Identity {
    /// Reads the keys; those that do not exist are made. The account's words are printed once, when it is made.
    pub fn load_or_create(home: &Path, config: &Config) -> Result<Self> {
        std::fs::create_dir_all(home).wrap_err_with(|| format!("cannot create {}", home.display()))?;
        let sealing = sealing_key(&home.join("sealing.key"))?;
        let salt_secret = Sha256::new()
            .chain_update(b"trainerd/salts/v1\0")
            .chain_update(*sealing.to_bytes())
            .finalize()
            .into();
        Ok(Self {
            account: account(home, config)?,
            peer: load_or_create_key(home.join("peer.key"))?,
            sealing,
            salt_secret,
        })
    }
}

fn account(home: &Path, config: &Config) -> Result<PrivateKey> {
    let backend: Backend = config
        .keyring_backend
        .parse()
        .map_err(|e| eyre!("keyring_backend: {e}"))?;
    let password = std::env::var("TRAINYARD_KEYRING_PASSWORD").ok();
    let keyring = Keyring::open(&config.keyring_home(home), backend, password);
    let known = keyring.list().wrap_err("cannot read the keyring")?;
    if known.iter().any(|k| k.name == config.key) {
        return Ok(keyring.get(&config.key)?);
    }
    let words = generate_mnemonic();
    let key = PrivateKey::from_mnemonic(&words)?;
    keyring.add(&config.key, &key)?;
    println!(
        "Made the account {} ({}). Write these words down, they are its only copy:\n\n  {}\n",
        config.key,
        key.address(),
        *words
    );
    Ok(key)
}

fn sealing_key(path: &Path) -> Result<SealingKey> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let bytes = hex::decode(text.trim()).ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
            match bytes {
                Some(bytes) => Ok(SealingKey::from_bytes(bytes)),
                None => bail!("{} does not hold 32 bytes in hex", path.display()),
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let key = SealingKey::generate();
            let mut options = std::fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .wrap_err_with(|| format!("cannot write {}", path.display()))?;
            file.write_all(hex::encode(*key.to_bytes()).as_bytes())?;
            file.sync_all()?;
            Ok(key)
        }
        Err(e) => Err(e).wrap_err_with(|| format!("cannot read {}", path.display())),
    }
}
