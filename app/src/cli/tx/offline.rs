//! Transactions as files, which several people sign one after another.
//!
//! A file is the JSON of `cosmos.tx.v1beta1.Tx`, as other chains' programs write it. `tx … --generate-only` makes one; `tx sign`
//! signs it for one key, or gives one of the signatures of a multisig account; `tx multisign` puts those together; `tx broadcast`
//! sends what is signed; `tx encode` and `tx decode` turn it into its bytes and back.

use std::path::PathBuf;

use clap::Subcommand;
use color_eyre::eyre::{Result, WrapErr as _, bail, ensure, eyre};
use serde::{Deserialize, Serialize};
use trainyard_client::keys::verify_digest;
use trainyard_client::rpc::Client;
use trainyard_client::signer::Gas;
use trainyard_client::tx::hash;
use trainyard_proto::address::Address;
use trainyard_proto::amino;
use trainyard_proto::any::Any;
use trainyard_proto::coin::utrain;
use trainyard_proto::cosmos::crypto::multisig::v1beta1::MultiSignature;
use trainyard_proto::cosmos::tx::signing::v1beta1::SignMode;
use trainyard_proto::cosmos::tx::v1beta1::mode_info::{Multi, Single, Sum};
use trainyard_proto::cosmos::tx::v1beta1::{AuthInfo, Fee, ModeInfo, SignDoc, SignerInfo, Tx, TxBody};
use trainyard_proto::keys::{PublicKey, bit_array};
use trainyard_proto::prost::Message;

use super::files::{base64, decode, encode, encode_signed, parts, print, print_tx, read, read_tx, shown};
use super::{How, TxOptions, hand_over};
use crate::cli::{Global, keys};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Sign a transaction from a file, as --from
    Sign {
        /// The file
        file: PathBuf,
        /// The multisig account it is for; prints a signature for `tx multisign`
        #[arg(long, value_name = "ADDRESS")]
        multisig: Option<Address>,
        /// What is signed: the bytes, or the text that devices show
        #[arg(long, value_name = "MODE", default_value = "direct")]
        sign_mode: Mode,
    },
    /// Put the signatures of a multisig account together
    Multisign {
        /// The transaction
        file: PathBuf,
        /// The account's keys, as `keys multisig` prints them in JSON
        keys: PathBuf,
        /// What `tx sign --multisig` printed, of each who signed
        #[arg(required = true)]
        signatures: Vec<PathBuf>,
    },
    /// Send a signed transaction from a file
    Broadcast {
        /// The file; - is stdin
        file: PathBuf,
    },
    /// Print the bytes of a transaction from a file, in base64
    Encode {
        /// The file; - is stdin
        file: PathBuf,
    },
    /// Print the transaction that bytes are
    Decode {
        /// In base64
        bytes: String,
        /// In hex instead
        #[arg(long, short = 'x')]
        hex: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Mode {
    Direct,
    AminoJson,
}

/// One signature of a multisig account, and what it is over apart from the transaction.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    chain_id: String,
    account_number: u64,
    sequence: u64,
    /// Of who signed, hex.
    public_key: String,
    /// Hex.
    signature: String,
}

/// The keys of a multisig account, as `keys multisig` prints them.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::cli) struct Keys {
    pub(in crate::cli) address: String,
    pub(in crate::cli) threshold: u32,
    /// Compressed, hex.
    pub(in crate::cli) public_keys: Vec<String>,
}

impl Keys {
    pub(in crate::cli) fn public_key(&self) -> Result<PublicKey> {
        let mut keys = Vec::new();
        for key in &self.public_keys {
            keys.push(PublicKey::Single(public_key(key)?));
        }
        let threshold = self.threshold;
        Ok(PublicKey::read(&PublicKey::Multisig { threshold, keys }.pack())?)
    }
}

/// A compressed public key in hex.
pub(in crate::cli) fn public_key(text: &str) -> Result<[u8; 33]> {
    let mut key = [0; 33];
    hex::decode_to_slice(text, &mut key).wrap_err_with(|| format!("{text:?} is no public key: 66 hex digits"))?;
    Ok(key)
}

/// Prints an unsigned transaction.
pub(super) async fn generate(
    global: &Global,
    options: &TxOptions,
    how: &How,
    build: impl FnOnce(Address) -> Result<Vec<Any>>,
) -> Result<()> {
    let from = options
        .from
        .as_deref()
        .ok_or_else(|| eyre!("whose is it? give --from"))?;
    let from = global.account(from)?;
    let granter = options
        .fee_granter
        .as_deref()
        .map(|name| global.account(name))
        .transpose()?;
    let mut fee = Fee {
        granter: granter.map(|granter| granter.to_string()).unwrap_or_default(),
        ..Fee::default()
    };
    let body = TxBody {
        messages: build(from)?,
        memo: options.memo.clone(),
        timeout_height: options.timeout_height,
        ..TxBody::default()
    };
    let mut price = options.gas_prices.offline();
    fee.gas_limit = match options.gas()? {
        Gas::Limit(limit) => limit,
        Gas::Auto { .. } if how.offline => bail!("--offline asks no node what gas is needed: give --gas a number"),
        Gas::Auto { percent } => {
            let client = global.client()?;
            let asked = client.gas_price().await?;
            let fair = options.gas_prices.of(asked);
            price = fair.ok_or_else(|| eyre!("the node asks {asked} per unit of gas; give --gas-prices to pay it"))?;
            Gas::with_reserve(simulate(&client, from, &body, &fee).await?, percent)
        }
    };
    let paid = options.fees.unwrap_or_else(|| price.fee(fee.gas_limit));
    fee.amount = if paid == 0 { Vec::new() } else { vec![utrain(paid)] };
    print_tx(&Tx {
        body: Some(body),
        auth_info: Some(AuthInfo {
            fee: Some(fee),
            ..AuthInfo::default()
        }),
        signatures: Vec::new(),
    })
}

/// The gas that a transaction would use for an account whose key need not be here.
async fn simulate(client: &Client, from: Address, body: &TxBody, fee: &Fee) -> Result<u64> {
    let account = client.account(&from).await?;
    let account = account.ok_or_else(|| eyre!("account {from} is not on the chain"))?;
    let tx = Tx {
        body: Some(body.clone()),
        auth_info: Some(AuthInfo {
            signer_infos: vec![SignerInfo {
                public_key: account.pub_key,
                mode_info: Some(single(Mode::Direct)),
                sequence: account.sequence,
            }],
            fee: Some(fee.clone()),
            ..AuthInfo::default()
        }),
        signatures: vec![Vec::new()],
    };
    Ok(client.simulate(encode(&tx)?).await?)
}

/// For which chain, and as which account, a transaction is signed.
async fn place(global: &Global, how: &How, account: Address) -> Result<(String, u64, u64)> {
    match (how.account_number.zip(how.sequence), &global.chain_id) {
        (Some((number, sequence)), Some(chain_id)) => return Ok((chain_id.clone(), number, sequence)),
        (Some(_), None) => bail!("without a node, give --chain-id too"),
        (None, _) if how.offline => bail!("--offline asks no node: give --account-number and --sequence"),
        (None, _) => {}
    }
    let client = global.client()?;
    let found = client.account(&account).await?;
    let found = found.ok_or_else(|| eyre!("account {account} is not on the chain"))?;
    Ok((
        global.chain_id(&client).await?,
        how.account_number.unwrap_or(found.account_number),
        how.sequence.unwrap_or(found.sequence),
    ))
}

pub(super) async fn run(global: &Global, options: &TxOptions, how: &How, command: Command) -> Result<()> {
    match command {
        Command::Sign {
            file,
            multisig,
            sign_mode,
        } => {
            let tx = read_tx(&file)?;
            let from = options.from.as_deref().ok_or_else(|| eyre!("who signs? give --from"))?;
            let name = keys::name_of(global, from)?;
            let key = keys::unlocked(global, &name)?.get(&name)?;
            let account = multisig.unwrap_or(key.address());
            let (chain_id, number, sequence) = place(global, how, account).await?;
            if multisig.is_none() {
                let sign = |bytes: &[u8]| key.sign(bytes).to_vec();
                return print_tx(&sign_alone(
                    tx,
                    key.public_key(),
                    sign,
                    sign_mode,
                    &chain_id,
                    number,
                    sequence,
                )?);
            }
            let signature = key.sign(&text(&tx, &chain_id, number, sequence)?);
            print(&Signature {
                chain_id,
                account_number: number,
                sequence,
                public_key: hex::encode(key.public_key()),
                signature: hex::encode(signature),
            })
        }
        Command::Multisign { file, keys, signatures } => {
            let keys: Keys = read(&keys)?;
            let mut parts = Vec::new();
            for path in signatures {
                parts.push(read::<Signature>(&path)?);
            }
            print_tx(&combine(read_tx(&file)?, &keys.public_key()?, &parts)?)
        }
        Command::Broadcast { file } => {
            let tx = encode_signed(&read_tx(&file)?)?;
            hand_over(global, options, how.broadcast_mode, tx).await
        }
        Command::Encode { file } => {
            println!("{}", base64(&encode(&read_tx(&file)?)?));
            Ok(())
        }
        Command::Decode { bytes, hex } => global.print(&shown(&decode(&bytes, hex)?)?),
    }
}

/// The text of a transaction that devices show.
fn text(tx: &Tx, chain_id: &str, number: u64, sequence: u64) -> Result<Vec<u8>> {
    let (body, _, fee) = parts(tx)?;
    Ok(amino::sign_bytes(body, fee, chain_id, number, sequence)?)
}

fn single(mode: Mode) -> ModeInfo {
    let mode = match mode {
        Mode::Direct => SignMode::Direct,
        Mode::AminoJson => SignMode::LegacyAminoJson,
    };
    ModeInfo {
        sum: Some(Sum::Single(Single { mode: mode.into() })),
    }
}

/// The transaction with the one signature it needs.
fn sign_alone(
    mut tx: Tx,
    key: [u8; 33],
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
    mode: Mode,
    chain_id: &str,
    number: u64,
    sequence: u64,
) -> Result<Tx> {
    let auth = tx
        .auth_info
        .as_mut()
        .ok_or_else(|| eyre!("the transaction has no auth_info"))?;
    auth.signer_infos = vec![SignerInfo {
        public_key: Some(PublicKey::Single(key).pack()),
        mode_info: Some(single(mode)),
        sequence,
    }];
    let bytes = match mode {
        Mode::AminoJson => text(&tx, chain_id, number, sequence)?,
        Mode::Direct => {
            let (body, auth, _) = parts(&tx)?;
            SignDoc {
                body_bytes: body.encode_to_vec(),
                auth_info_bytes: auth.encode_to_vec(),
                chain_id: chain_id.into(),
                account_number: number,
            }
            .encode_to_vec()
        }
    };
    tx.signatures = vec![sign(&bytes)];
    Ok(tx)
}

/// The transaction with the signatures of enough of a multisig account's keys. Each is verified.
fn combine(mut tx: Tx, key: &PublicKey, given: &[Signature]) -> Result<Tx> {
    let PublicKey::Multisig { threshold, keys } = key else {
        bail!("the account has one key");
    };
    let first = given.first().ok_or_else(|| eyre!("there are no signatures"))?;
    let bytes = text(&tx, &first.chain_id, first.account_number, first.sequence)?;
    let mut present = vec![None; keys.len()];
    for one in given {
        let same = (&one.chain_id, one.account_number, one.sequence)
            == (&first.chain_id, first.account_number, first.sequence);
        ensure!(same, "the signatures are for different chains, accounts or sequences");
        let by = public_key(&one.public_key)?;
        let at = keys.iter().position(|key| *key == PublicKey::Single(by));
        let at = at.ok_or_else(|| eyre!("{} is none of the account's keys", one.public_key))?;
        let signature = hex::decode(&one.signature).wrap_err("a signature is not hex")?;
        ensure!(
            verify_digest(&by, &hash(&bytes), &signature),
            "the signature by {} is not one of this transaction",
            one.public_key
        );
        present[at] = Some(signature);
    }
    let bits: Vec<bool> = present.iter().map(Option::is_some).collect();
    let signatures: Vec<Vec<u8>> = present.into_iter().flatten().collect();
    let enough = usize::try_from(*threshold).is_ok_and(|threshold| signatures.len() >= threshold);
    ensure!(
        enough,
        "{} of the account's keys signed, {threshold} must",
        signatures.len()
    );
    let modes = vec![single(Mode::AminoJson); signatures.len()];
    let auth = tx
        .auth_info
        .as_mut()
        .ok_or_else(|| eyre!("the transaction has no auth_info"))?;
    auth.signer_infos = vec![SignerInfo {
        public_key: Some(key.pack()),
        mode_info: Some(ModeInfo {
            sum: Some(Sum::Multi(Multi {
                bitarray: Some(bit_array(&bits)),
                mode_infos: modes,
            })),
        }),
        sequence: first.sequence,
    }];
    tx.signatures = vec![MultiSignature { signatures }.encode_to_vec()];
    Ok(tx)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trainyard_client::keys::PrivateKey;

    fn key(byte: u8) -> PrivateKey {
        PrivateKey::from_bytes(&[byte; 32]).unwrap()
    }

    fn unsigned() -> Tx {
        Tx {
            // An empty body has no bytes, and would be read as none.
            body: Some(TxBody {
                memo: "for three".into(),
                ..TxBody::default()
            }),
            auth_info: Some(AuthInfo {
                fee: Some(Fee::default()),
                ..AuthInfo::default()
            }),
            signatures: Vec::new(),
        }
    }

    fn signature(by: u8, sequence: u64) -> Signature {
        let bytes = text(&unsigned(), "c", 3, sequence).unwrap();
        Signature {
            chain_id: "c".into(),
            account_number: 3,
            sequence,
            public_key: hex::encode(key(by).public_key()),
            signature: hex::encode(key(by).sign(&bytes)),
        }
    }

    #[test]
    fn signatures_are_put_together_in_the_order_of_the_keys() {
        let keys = Keys {
            address: String::new(),
            threshold: 2,
            public_keys: [1, 2, 3].map(|byte| hex::encode(key(byte).public_key())).to_vec(),
        };
        let keys = keys.public_key().unwrap();
        let given = [signature(3, 7), signature(1, 7)];
        let tx = combine(unsigned(), &keys, &given).unwrap();
        let (_, auth, _) = parts(&tx).unwrap();
        let Some(Sum::Multi(multi)) = &auth.signer_infos[0].mode_info.as_ref().unwrap().sum else {
            panic!("no multisignature");
        };
        assert_eq!(multi.bitarray, Some(bit_array(&[true, false, true])));
        let all = MultiSignature::decode(tx.signatures[0].as_slice()).unwrap().signatures;
        assert_eq!(hex::encode(&all[0]), given[1].signature);
        assert!(encode_signed(&tx).is_ok() && encode_signed(&unsigned()).is_err());
        // A file of it says the same, and so does its text.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), shown(&tx).unwrap().to_string()).unwrap();
        assert_eq!(read_tx(file.path()).unwrap(), tx);
        let bytes = encode(&tx).unwrap();
        assert_eq!(decode(&base64(&bytes), false).unwrap(), tx);
        assert_eq!(decode(&hex::encode(bytes), true).unwrap(), tx);

        let refused = |given: &[Signature]| combine(unsigned(), &keys, given).unwrap_err().to_string();
        assert!(refused(&given[..1]).contains("1 of the account's keys signed, 2 must"));
        assert!(refused(&[signature(1, 7), signature(2, 8)]).contains("different chains"));
        assert!(refused(&[signature(1, 7), signature(4, 7)]).contains("none of the account's keys"));
        let mut forged = signature(2, 7);
        forged.signature.clone_from(&given[0].signature);
        assert!(refused(&[signature(1, 7), forged]).contains("not one of this transaction"));
    }
}
