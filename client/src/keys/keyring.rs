//! Where keys are kept: one JSON file per key under `<home>/keyring-<backend>/`.
//!
//! | backend | the private key on disk |
//! |---|---|
//! | `file` | XChaCha20-Poly1305 under a key that argon2id derives from a password; the address is authenticated with it |
//! | `test` | plain, mode 0600: for throw-away networks only |
//!
//! Address and public key are readable without a password. Exports are the `file` form, so they can be moved and imported.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use rand::RngCore as _;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};
use trainyard_proto::address::Address;
use zeroize::Zeroizing;

use super::{Error, PrivateKey, into_zeroizing};

/// Largest key file read, bytes.
const MAX_FILE: u64 = 16 << 10;
/// argon2id's cost for new files: RFC 9106's recommendation for machines with little memory, on one lane.
const MEMORY_KIB: u32 = 64 << 10;
const ITERATIONS: u32 = 3;

/// How keys are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Encrypted with a password.
    File,
    /// In plain text, for tests.
    Test,
}

impl Backend {
    /// `file` or `test`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Test => "test",
        }
    }
}

impl std::str::FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "file" => Ok(Self::File),
            "test" => Ok(Self::Test),
            other => Err(format!("keyring backend {other:?} is not \"file\" or \"test\"")),
        }
    }
}

/// What can be known of a key without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its name in the keyring.
    pub name: String,
    /// The account's address.
    pub address: Address,
    /// The compressed public key.
    pub public_key: [u8; 33],
}

/// A folder of keys.
#[derive(Debug)]
pub struct Keyring {
    folder: PathBuf,
    backend: Backend,
    password: Option<Zeroizing<String>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    version: u32,
    address: String,
    public_key: String,
    secret: Secret,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Secret {
    Plain(String),
    Sealed {
        argon2id_memory_kib: u32,
        argon2id_iterations: u32,
        salt: String,
        nonce: String,
        ciphertext: String,
    },
}

impl Keyring {
    /// The keyring of a home folder. The password is for the `file` backend; listing and showing do without.
    #[must_use]
    pub fn open(home: &Path, backend: Backend, password: Option<String>) -> Self {
        let folder = home.join(format!("keyring-{}", backend.as_str()));
        Self {
            folder,
            backend,
            password: password.map(into_zeroizing),
        }
    }

    /// Stores a key under a new name.
    ///
    /// # Errors
    /// The name is taken or no name, the password is missing or short, or the disk refuses.
    pub fn add(&self, name: &str, key: &PrivateKey) -> Result<KeyInfo, Error> {
        let path = self.path(name)?;
        let secret = match self.backend {
            Backend::File => seal(key, self.password(name)?)?,
            Backend::Test => {
                tracing::warn!(name, "the test keyring stores private keys in plain text");
                Secret::Plain(hex::encode(key.to_bytes()))
            }
        };
        self.write(name, &path, &KeyFile::new(key, secret))?;
        Ok(KeyInfo {
            name: name.into(),
            address: key.address(),
            public_key: key.public_key(),
        })
    }

    /// The private key of that name.
    ///
    /// # Errors
    /// There is none, or the password does not open it.
    pub fn get(&self, name: &str) -> Result<PrivateKey, Error> {
        let path = self.path(name)?;
        let file = self.read(name, &path)?;
        let key = match &file.secret {
            Secret::Plain(text) => PrivateKey::from_hex(text)?,
            sealed @ Secret::Sealed { .. } => open(name, &path, &file.address, sealed, self.password(name)?)?,
        };
        if key.address().to_string() != file.address {
            return Err(file_error(
                &path,
                format!("it says {} but holds the key of {}", file.address, key.address()),
            ));
        }
        Ok(key)
    }

    /// Name, address and public key of one key.
    ///
    /// # Errors
    /// There is none.
    pub fn show(&self, name: &str) -> Result<KeyInfo, Error> {
        let path = self.path(name)?;
        self.read(name, &path)?.info(name, &path)
    }

    /// All keys, by name.
    ///
    /// # Errors
    /// The folder or a file in it cannot be read.
    pub fn list(&self) -> Result<Vec<KeyInfo>, Error> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(io_error(&self.folder, e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(|e| io_error(&self.folder, e))?.file_name();
            if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".json")) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        names
            .iter()
            .filter(|name| check_name(name).is_ok())
            .map(|name| self.show(name))
            .collect()
    }

    /// Deletes a key for good.
    ///
    /// # Errors
    /// There is none, or the disk refuses.
    pub fn delete(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name)?;
        self.read(name, &path)?;
        fs::remove_file(&path).map_err(|e| io_error(&path, e))
    }

    /// Gives a key another name.
    ///
    /// # Errors
    /// There is none, the new name is taken, or the disk refuses.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        let (source, target) = (self.path(from)?, self.path(to)?);
        self.read(from, &source)?;
        // A link is made or refused as one step, so a key in the new place is never overwritten.
        fs::hard_link(&source, &target).map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => Error::Exists(to.into()),
            _ => io_error(&target, e),
        })?;
        fs::remove_file(&source).map_err(|e| io_error(&source, e))
    }

    /// A key as JSON text, encrypted under `password`, for [`Self::import`] elsewhere.
    ///
    /// # Errors
    /// There is none, it does not open, or the password is short.
    pub fn export(&self, name: &str, password: &str) -> Result<String, Error> {
        let key = self.get(name)?;
        let file = KeyFile::new(&key, seal(&key, password)?);
        serde_json::to_string_pretty(&file).map_err(|e| file_error(&self.folder, e.to_string()))
    }

    /// Stores an exported key under a new name.
    ///
    /// # Errors
    /// The text is no export, `password` does not open it, or the name is taken.
    pub fn import(&self, name: &str, exported: &str, password: &str) -> Result<KeyInfo, Error> {
        let path = Path::new("export");
        let file: KeyFile = serde_json::from_str(exported).map_err(|e| file_error(path, e.to_string()))?;
        let key = match &file.secret {
            Secret::Plain(text) => PrivateKey::from_hex(text)?,
            sealed @ Secret::Sealed { .. } => open(name, path, &file.address, sealed, password)?,
        };
        self.add(name, &key)
    }

    fn path(&self, name: &str) -> Result<PathBuf, Error> {
        check_name(name)?;
        Ok(self.folder.join(format!("{name}.json")))
    }

    fn password(&self, name: &str) -> Result<&str, Error> {
        self.password
            .as_ref()
            .map(|p| p.as_str())
            .ok_or_else(|| Error::PasswordNeeded(name.into()))
    }

    fn read(&self, name: &str, path: &Path) -> Result<KeyFile, Error> {
        let length = match fs::metadata(path) {
            Ok(meta) => meta.len(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::Missing {
                    name: name.into(),
                    folder: self.folder.display().to_string(),
                });
            }
            Err(e) => return Err(io_error(path, e)),
        };
        if length > MAX_FILE {
            return Err(file_error(
                path,
                format!("{length} bytes, a key file has at most {MAX_FILE}"),
            ));
        }
        let bytes = Zeroizing::new(fs::read(path).map_err(|e| io_error(path, e))?);
        let file: KeyFile = serde_json::from_slice(&bytes).map_err(|e| file_error(path, e.to_string()))?;
        if file.version != 1 {
            return Err(file_error(
                path,
                format!("version {}, this program reads version 1", file.version),
            ));
        }
        Ok(file)
    }

    fn write(&self, name: &str, path: &Path, file: &KeyFile) -> Result<(), Error> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|e| io_error(&self.folder, e))?;
        let text = Zeroizing::new(serde_json::to_vec_pretty(file).map_err(|e| file_error(path, e.to_string()))?);
        let io = |e| io_error(path, e);
        let mut new = tempfile::NamedTempFile::new_in(&self.folder).map_err(io)?;
        new.as_file()
            .set_permissions(fs::Permissions::from_mode(0o600))
            .map_err(io)?;
        new.write_all(&text).map_err(io)?;
        new.as_file().sync_all().map_err(io)?;
        new.persist_noclobber(path).map_err(|e| match e.error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::Exists(name.into()),
            _ => io_error(path, e.error),
        })?;
        Ok(())
    }
}

impl KeyFile {
    fn new(key: &PrivateKey, secret: Secret) -> Self {
        Self {
            version: 1,
            address: key.address().to_string(),
            public_key: hex::encode(key.public_key()),
            secret,
        }
    }

    fn info(&self, name: &str, path: &Path) -> Result<KeyInfo, Error> {
        let mut public_key = [0; 33];
        hex::decode_to_slice(&self.public_key, &mut public_key)
            .map_err(|e| file_error(path, format!("public key: {e}")))?;
        let address = Address::from_public_key(&public_key);
        if address.to_string() != self.address {
            return Err(file_error(
                path,
                format!("it says {}, its public key is of {address}", self.address),
            ));
        }
        Ok(KeyInfo {
            name: name.into(),
            address,
            public_key,
        })
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.bytes().all(ok) {
        return Err(Error::Name(name.chars().take(64).collect()));
    }
    Ok(())
}

fn seal(key: &PrivateKey, password: &str) -> Result<Secret, Error> {
    let characters = password.chars().count();
    if characters < 8 {
        return Err(Error::ShortPassword(characters));
    }
    let (mut salt, mut nonce) = ([0; 16], XNonce::default());
    OsRng.fill_bytes(&mut salt);
    OsRng.fill_bytes(&mut nonce);
    let refuse = |what: String| Error::File {
        file: "new key".into(),
        what,
    };
    let derived = derive(password, &salt, MEMORY_KIB, ITERATIONS).map_err(refuse)?;
    let address = key.address().to_string();
    let ciphertext = XChaCha20Poly1305::new(Key::from_slice(derived.as_ref()))
        .encrypt(
            &nonce,
            Payload {
                msg: key.to_bytes().as_ref(),
                aad: address.as_bytes(),
            },
        )
        .map_err(|e| refuse(e.to_string()))?;
    Ok(Secret::Sealed {
        argon2id_memory_kib: MEMORY_KIB,
        argon2id_iterations: ITERATIONS,
        salt: hex::encode(salt),
        nonce: hex::encode(nonce),
        ciphertext: hex::encode(ciphertext),
    })
}

fn open(name: &str, path: &Path, address: &str, secret: &Secret, password: &str) -> Result<PrivateKey, Error> {
    let Secret::Sealed {
        argon2id_memory_kib,
        argon2id_iterations,
        salt,
        nonce,
        ciphertext,
    } = secret
    else {
        return Err(file_error(path, "it is not encrypted"));
    };
    let unhex = |what: &str, text: &str| hex::decode(text).map_err(|e| file_error(path, format!("{what}: {e}")));
    let derived = derive(
        password,
        &unhex("salt", salt)?,
        *argon2id_memory_kib,
        *argon2id_iterations,
    )
    .map_err(|what| file_error(path, what))?;
    let nonce: [u8; 24] = unhex("nonce", nonce)?
        .try_into()
        .map_err(|_| file_error(path, "a nonce has 24 bytes"))?;
    let ciphertext = unhex("ciphertext", ciphertext)?;
    let plain = XChaCha20Poly1305::new(Key::from_slice(derived.as_ref()))
        .decrypt(
            &nonce.into(),
            Payload {
                msg: &ciphertext,
                aad: address.as_bytes(),
            },
        )
        .map(Zeroizing::new)
        .map_err(|_| Error::WrongPassword(name.into()))?;
    let bytes = <&[u8; 32]>::try_from(plain.as_slice()).map_err(|_| Error::PrivateKey)?;
    PrivateKey::from_bytes(bytes)
}

fn derive(password: &str, salt: &[u8], memory_kib: u32, iterations: u32) -> Result<Zeroizing<[u8; 32]>, String> {
    // A hostile file must not make us fill the memory or work for hours.
    if memory_kib > 1 << 20 || iterations > 64 {
        return Err(format!(
            "argon2id with {memory_kib} KiB and {iterations} iterations, at most 1048576 and 64 are done"
        ));
    }
    let params = Params::new(memory_kib, iterations, 1, Some(32)).map_err(|e| e.to_string())?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), salt, key.as_mut())
        .map_err(|e| e.to_string())?;
    Ok(key)
}

fn file_error(path: &Path, what: impl Into<String>) -> Error {
    Error::File {
        file: path.display().to_string(),
        what: what.into(),
    }
}

fn io_error(path: &Path, source: std::io::Error) -> Error {
    Error::Io {
        file: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PrivateKey {
        PrivateKey::from_mnemonic(&super::super::generate_mnemonic()).unwrap()
    }

    #[test]
    fn the_test_backend_keeps_keys_for_the_owner_only() {
        let home = tempfile::tempdir().unwrap();
        let ring = Keyring::open(home.path(), Backend::Test, None);
        assert_eq!(ring.list().unwrap(), []);
        let key = key();
        let info = ring.add("alice", &key).unwrap();
        assert_eq!((info.address, info.public_key), (key.address(), key.public_key()));
        assert_eq!(ring.show("alice").unwrap(), info);
        assert_eq!(ring.get("alice").unwrap().address(), key.address());
        let mode = |path: &str| fs::metadata(home.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("keyring-test"), 0o700);
        assert_eq!(mode("keyring-test/alice.json"), 0o600);

        assert!(matches!(ring.add("alice", &key), Err(Error::Exists(_))));
        ring.add("bob", &self::key()).unwrap();
        assert!(matches!(ring.rename("alice", "bob"), Err(Error::Exists(_))));
        ring.rename("alice", "carol").unwrap();
        let names: Vec<String> = ring.list().unwrap().into_iter().map(|k| k.name).collect();
        assert_eq!(names, ["bob", "carol"]);
        ring.delete("carol").unwrap();
        let error = ring.get("carol").unwrap_err().to_string();
        assert!(error.contains("no key \"carol\""), "{error}");
        for bad in ["", "../x", ".x", "a b", &"x".repeat(65)] {
            assert!(matches!(ring.get(bad), Err(Error::Name(_))), "{bad:?}");
        }
    }

    #[test]
    fn the_file_backend_opens_with_its_password_only() {
        let home = tempfile::tempdir().unwrap();
        let open = |password: Option<&str>| Keyring::open(home.path(), Backend::File, password.map(Into::into));
        let key = key();
        open(Some("correct horse")).add("alice", &key).unwrap();

        let text = fs::read_to_string(home.path().join("keyring-file/alice.json")).unwrap();
        assert!(!text.contains(&hex::encode(key.to_bytes())));
        assert_eq!(open(None).show("alice").unwrap().address, key.address());
        assert_eq!(
            open(Some("correct horse")).get("alice").unwrap().address(),
            key.address()
        );
        let error = open(Some("battery staple")).get("alice").unwrap_err().to_string();
        assert_eq!(error, "wrong password for key \"alice\"");
        assert!(matches!(open(None).get("alice"), Err(Error::PasswordNeeded(_))));
        assert!(matches!(
            open(Some("short")).add("bob", &key),
            Err(Error::ShortPassword(5))
        ));
    }

    #[test]
    fn exports_move_between_keyrings() {
        let home = tempfile::tempdir().unwrap();
        let ring = Keyring::open(home.path(), Backend::Test, None);
        let key = key();
        ring.add("alice", &key).unwrap();
        let text = ring.export("alice", "carry me over").unwrap();
        assert!(matches!(
            ring.import("bob", &text, "not that one"),
            Err(Error::WrongPassword(_))
        ));
        assert_eq!(
            ring.import("bob", &text, "carry me over").unwrap().address,
            key.address()
        );
        assert!(ring.import("carol", "{}", "carry me over").is_err());
    }

    #[test]
    fn hostile_key_files_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let ring = Keyring::open(home.path(), Backend::File, Some("correct horse".into()));
        ring.add("alice", &key()).unwrap();
        let path = home.path().join("keyring-file/alice.json");
        let text = fs::read_to_string(&path).unwrap();
        for (from, to, needle) in [
            ("65536", "4294967295", "argon2id with 4294967295 KiB"),
            ("\"version\": 1", "\"version\": 9", "version 9"),
            ("\"version\"", "\"extra\": 1, \"version\"", "extra"),
        ] {
            fs::write(&path, text.replacen(from, to, 1)).unwrap();
            let error = ring.get("alice").unwrap_err().to_string();
            assert!(error.contains(needle), "{error:?} should say {needle:?}");
        }
        fs::write(&path, vec![b' '; 1 << 20]).unwrap();
        assert!(ring.get("alice").unwrap_err().to_string().contains("1048576 bytes"));
    }
}
