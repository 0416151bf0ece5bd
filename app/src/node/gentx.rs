//! Gentxs: signed transactions in the genesis, each of which creates a validator.
//!
//! A gentx file is `{"tx": base64}`; the transaction's memo says where the validator's node is, as `id@host:port`.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use trainyard_client::keys::PrivateKey;
use trainyard_client::tx::{Draft, SignerData};
use trainyard_proto::cosmos::crypto::ed25519;
use trainyard_proto::cosmos::staking::v1beta1::{CommissionRates, Description, MsgCreateValidator};
use trainyard_proto::cosmos::tx::v1beta1::{TxBody, TxRaw};
use trainyard_proto::prost::{DecodeError, Message as _};
use trainyard_proto::{any, coin};

use super::genesis::GenesisDoc;
use super::home::Home;
use super::{Error, read, write};

/// Gas of a gentx: several times what creating a validator uses. Nobody pays for it.
const GAS: u64 = 1_000_000;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tx: String,
}

/// Signs a gentx for the validator of `home`, backed by `amount` utrain of the key's account. Returns it in base64.
///
/// # Errors
/// The account is not in the genesis or has less, or the home is damaged.
pub fn sign(
    home: &Home,
    genesis: &GenesisDoc,
    key: &PrivateKey,
    amount: u64,
    moniker: &str,
    peer: &str,
) -> Result<String, Error> {
    let address = key.address();
    let (account_number, balance) = genesis.account(&address)?;
    if amount > balance {
        return Err(Error::Value(format!(
            "{address} has {balance} utrain in the genesis, the stake of {amount} utrain is more"
        )));
    }
    let zero = || "0".to_owned();
    let create = MsgCreateValidator {
        description: Some(Description {
            moniker: moniker.into(),
            ..Description::default()
        }),
        commission: Some(CommissionRates {
            rate: zero(),
            max_rate: zero(),
            max_change_rate: zero(),
        }),
        min_self_delegation: "1".into(),
        validator_address: address.operator(),
        pubkey: Some(any::pack(&ed25519::PubKey {
            key: home.identity()?.consensus_key.to_vec(),
        })),
        value: Some(coin::utrain(amount)),
        ..MsgCreateValidator::default()
    };
    let draft = Draft {
        messages: vec![any::pack(&create)],
        memo: peer.into(),
        gas_limit: GAS,
        ..Draft::default()
    };
    let data = SignerData {
        chain_id: &genesis.chain_id,
        account_number,
        sequence: 0,
    };
    Ok(STANDARD.encode(draft.sign(key, data)))
}

/// Writes a gentx where [`collect`] finds it.
///
/// # Errors
/// The disk refuses.
pub fn save(home: &Home, tx: &str) -> Result<PathBuf, Error> {
    let folder = home.gentxs();
    std::fs::create_dir_all(&folder).map_err(|source| Error::File {
        path: folder.clone(),
        source,
    })?;
    let path = folder.join(format!("gentx-{}.json", home.identity()?.node_id));
    let text = serde_json::json!(File { tx: tx.into() }).to_string();
    write(path.clone(), &(text + "\n"))?;
    Ok(path)
}

/// Puts all gentxs of a home's `config/gentx/` into its genesis, and their nodes into its `persistent_peers`. Returns how
/// many there are.
///
/// # Errors
/// There is none, or one is not valid.
pub fn collect(home: &Home) -> Result<usize, Error> {
    let folder = home.gentxs();
    let failed = |source| Error::File {
        path: folder.clone(),
        source,
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e == "json") {
            paths.push(path);
        }
    }
    paths.sort(); // The same files give the same genesis on every machine.
    let own = home.identity()?.node_id;
    let (mut txs, mut peers) = (Vec::new(), Vec::new());
    for path in paths {
        let text = read(path.clone())?;
        let wrong = |reason: String| Error::Content {
            path: path.clone(),
            reason,
        };
        let file: File = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        let bytes = STANDARD.decode(&file.tx).map_err(|e| wrong(e.to_string()))?;
        let peer = memo(&bytes).map_err(|e| wrong(e.to_string()))?;
        if !peer.is_empty() && !peer.starts_with(&own) {
            peers.push(peer);
        }
        txs.push(file.tx);
    }
    let count = txs.len();
    let mut genesis = GenesisDoc::load(home)?;
    genesis.app_state.genutil.gen_txs = txs;
    genesis.check()?;
    genesis.save(home)?;
    home.set_peers(&peers)?;
    Ok(count)
}

fn memo(tx: &[u8]) -> Result<String, DecodeError> {
    let raw = TxRaw::decode(tx)?;
    Ok(TxBody::decode(raw.body_bytes.as_slice())?.memo)
}

/// Where peers reach the node of a home, as `id@host:port`, with `host` in place of an address that means all interfaces.
///
/// # Errors
/// The home is damaged.
pub fn peer(home: &Home, host: Option<&str>) -> Result<String, Error> {
    let listens = home.listens()?;
    let (own, port) = listens.p2p.rsplit_once(':').unwrap_or((&listens.p2p, "26656"));
    let host = host.unwrap_or(if own == "0.0.0.0" { "127.0.0.1" } else { own });
    Ok(format!("{}@{host}:{port}", home.identity()?.node_id))
}
