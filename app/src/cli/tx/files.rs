//! Transactions in files and in text: the JSON that the Cosmos SDK's programs write and read too, and the bytes in base64.

use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use color_eyre::eyre::{Result, WrapErr as _, ensure, eyre};
use serde::Serialize;
use trainyard_modules::machine::ante::MAX_TX_BYTES;
use trainyard_proto::cosmos::tx::v1beta1::{AuthInfo, Fee, Tx, TxBody, TxRaw};
use trainyard_proto::prost::{Message as _, Name as _};

use crate::api;

/// Largest text read, bytes: JSON writes a byte of a transaction with up to four letters.
const MAX_TEXT: u64 = 8 * MAX_TX_BYTES as u64;

/// The text of a file, or of stdin where the path is `-`.
pub(super) fn text(path: &Path) -> Result<String> {
    let named = || path.display().to_string();
    let source: Box<dyn std::io::Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).wrap_err_with(named)?)
    };
    let mut text = String::new();
    source
        .take(MAX_TEXT + 1)
        .read_to_string(&mut text)
        .wrap_err_with(named)?;
    ensure!(
        text.len() as u64 <= MAX_TEXT,
        "{}: longer than {MAX_TEXT} bytes",
        named()
    );
    Ok(text)
}

/// A value from a file of JSON.
pub(super) fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_str(&text(path)?).wrap_err_with(|| path.display().to_string())
}

/// A transaction from a file.
pub(super) fn read_tx(path: &Path) -> Result<Tx> {
    let json: serde_json::Value = read(path)?;
    let bytes = api::parse(&Tx::full_name(), &json).map_err(|e| eyre!("{}: {e}", path.display()))?;
    Tx::decode(bytes.as_slice()).wrap_err_with(|| path.display().to_string())
}

/// Prints JSON whatever the output format is: it is for a file.
pub(super) fn print<T: Serialize>(value: &T) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Prints a transaction, signed or not.
pub(super) fn print_tx(tx: &Tx) -> Result<()> {
    print(&shown(tx)?)
}

pub(super) fn shown(tx: &Tx) -> Result<serde_json::Value> {
    api::show(&Tx::full_name(), &tx.encode_to_vec()).map_err(|e| eyre!(e))
}

/// What a transaction must have, whether it is signed or not.
pub(super) fn parts(tx: &Tx) -> Result<(&TxBody, &AuthInfo, &Fee)> {
    let body = tx.body.as_ref().ok_or_else(|| eyre!("the transaction has no body"))?;
    let auth = tx
        .auth_info
        .as_ref()
        .ok_or_else(|| eyre!("the transaction has no auth_info"))?;
    let fee = auth.fee.as_ref().ok_or_else(|| eyre!("the transaction has no fee"))?;
    Ok((body, auth, fee))
}

/// The bytes of a transaction.
pub(super) fn encode(tx: &Tx) -> Result<Vec<u8>> {
    let (body, auth, _) = parts(tx)?;
    Ok(TxRaw {
        body_bytes: body.encode_to_vec(),
        auth_info_bytes: auth.encode_to_vec(),
        signatures: tx.signatures.clone(),
    }
    .encode_to_vec())
}

/// The bytes of a transaction that can be sent.
pub(super) fn encode_signed(tx: &Tx) -> Result<Vec<u8>> {
    ensure!(!tx.signatures.is_empty(), "the transaction is not signed");
    encode(tx)
}

/// A transaction from its bytes in base64, or in hex.
pub(super) fn decode(text: &str, from_hex: bool) -> Result<Tx> {
    let text = text.trim();
    let bytes = if from_hex {
        hex::decode(text.trim_start_matches("0x")).wrap_err("the transaction is not hex")?
    } else {
        STANDARD
            .decode(text)
            .wrap_err("the transaction is not base64 (hex is read with --hex)")?
    };
    Tx::decode(bytes.as_slice()).wrap_err("these bytes are no transaction")
}

/// Bytes in base64.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
