//! Where a client keeps the keys of its datasets until it grants them: one file per encrypted manifest.
//!
//! `<home>/data-keys/<manifest CID>` holds the key as hex, mode 0600, in a folder of mode 0700.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{DataKey, Error};

/// The dataset keys of a home folder.
#[derive(Clone, Debug)]
pub struct KeyVault {
    folder: PathBuf,
}

impl KeyVault {
    /// The vault of a home folder.
    #[must_use]
    pub fn open(home: &Path) -> Self {
        Self {
            folder: home.join("data-keys"),
        }
    }

    /// Keeps the key of a manifest.
    ///
    /// # Errors
    /// The CID is none, or the disk refuses.
    pub fn put(&self, manifest_cid: &str, key: &DataKey) -> Result<(), Error> {
        let path = self.path(manifest_cid)?;
        let io = |e| Error::io(&path, e);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(io)?;
        // Created with mode 0600, and complete before it has its name.
        let mut file = tempfile::NamedTempFile::new_in(&self.folder).map_err(io)?;
        let text = Zeroizing::new(hex::encode(key));
        file.write_all(text.as_bytes()).map_err(io)?;
        file.as_file().sync_all().map_err(io)?;
        file.persist(&path).map_err(|e| io(e.error))?;
        Ok(())
    }

    /// The key of a manifest, if it is kept here.
    ///
    /// # Errors
    /// The CID is none, the disk refuses, or the file holds no key.
    pub fn get(&self, manifest_cid: &str) -> Result<Option<DataKey>, Error> {
        let path = self.path(manifest_cid)?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(&path, e)),
        };
        let mut key = [0; 32];
        hex::decode_to_slice(text.trim(), &mut key)
            .map_err(|e| Error::input(&path, format!("a dataset key is 64 hex digits: {e}")))?;
        Ok(Some(key))
    }

    fn path(&self, manifest_cid: &str) -> Result<PathBuf, Error> {
        super::manifest::check_cid(manifest_cid).map_err(Error::Options)?;
        Ok(self.folder.join(manifest_cid))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_kept_for_the_owner_only() {
        let home = tempfile::tempdir().unwrap();
        let vault = KeyVault::open(home.path());
        assert_eq!(vault.get("bafkreia").unwrap(), None);
        vault.put("bafkreia", &[7; 32]).unwrap();
        assert_eq!(vault.get("bafkreia").unwrap(), Some([7; 32]));
        let mode = fs::metadata(home.path().join("data-keys/bafkreia"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(vault.get("../bafkreia").is_err());
        fs::write(home.path().join("data-keys/bafkreia"), "short").unwrap();
        assert!(vault.get("bafkreia").unwrap_err().to_string().contains("64 hex digits"));
    }
}
