//! A receipt: one small file that proves a value of the state, such as a job's result, to someone who knows nothing but the
//! hash of a set of validators, without any node.
//!
//! It holds the value with its ICS23 proof, the header that has the proof's root, the set of validators, and the
//! signatures of those who make more than two thirds of it.

use ics23::{CommitmentProof, commitment_proof};
use prost::Message;
use tendermint::block::CommitSig;
use tendermint::block::signed_header::SignedHeader;
use tendermint::validator;
use tendermint_proto::v0_38::types::{SignedHeader as RawSignedHeader, SimpleValidator};

use crate::light::{self, Block, check_signed};
use crate::proof;
use crate::rpc::Client;

/// Largest receipt that is read, bytes.
pub const MAX_RECEIPT: usize = 64 << 10;
/// Most validators in one.
const MAX_VALIDATORS: usize = 1000;

/// A receipt as it is stored.
#[derive(Clone, PartialEq, Message)]
struct File {
    /// The header above the state, with signatures.
    #[prost(message, optional, tag = "1")]
    header: Option<RawSignedHeader>,
    /// The keys and powers of the set that signed it.
    #[prost(message, repeated, tag = "2")]
    validators: Vec<SimpleValidator>,
    /// The value and its proof.
    #[prost(message, optional, tag = "3")]
    proof: Option<CommitmentProof>,
}

/// Why a receipt proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no receipt.
    #[error("this is no receipt: {0}")]
    Malformed(String),
    /// Somebody else signed it.
    #[error("the receipt is signed by the validators {found}, expected {expected}")]
    Validators {
        /// The hash of the receipt's set, hex.
        found: String,
        /// The hash that is trusted.
        expected: String,
    },
    /// It speaks of another value.
    #[error("the receipt is of the key {found:?}, expected {expected:?}")]
    Key {
        /// The receipt's key.
        found: String,
        /// The key asked for.
        expected: String,
    },
    /// The value is not in the state that was signed.
    #[error("the receipt's proof does not lead to the app hash that the validators signed")]
    Proof,
    /// The header is not signed as it must be, or the node does not answer.
    #[error(transparent)]
    Light(#[from] light::Error),
}

/// What a receipt proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The chain.
    pub chain_id: String,
    /// The height of the state.
    pub height: u64,
    /// Unix seconds of the block that signs it.
    pub time: i64,
    /// The value.
    pub value: Vec<u8>,
}

/// Makes a receipt of a key's value in the latest state, and returns it with the hash (hex) of the set that signed it.
///
/// # Errors
/// The node does not answer, or the key has no value there.
pub async fn export(client: &Client, key: &[u8]) -> Result<(Vec<u8>, String), Error> {
    let latest = client.status().await.map_err(light::Error::from)?;
    let block = light::fetch(client, latest.sync_info.latest_block_height.value()).await?;
    let (value, proof) = light::proven(client, key, block.height().saturating_sub(1)).await?;
    if value.is_none() {
        return Err(Error::Malformed(format!(
            "{} has no value at height {}",
            String::from_utf8_lossy(key).escape_debug(),
            block.height().saturating_sub(1)
        )));
    }
    let hash = block.validators.hash().to_string();
    let validators = block.validators.validators().iter().map(|info| SimpleValidator {
        pub_key: Some(info.pub_key.into()),
        voting_power: info.power.into(),
    });
    let file = File {
        validators: validators.collect(),
        header: Some(fewest_signatures(block)?.into()),
        proof: Some(proof),
    };
    let bytes = file.encode_to_vec();
    // What is handed out holds; a node that lies is found out here.
    verify(&bytes, &hash, key)?;
    Ok((bytes, hash))
}

/// Leaves out signatures that are not needed for two thirds.
fn fewest_signatures(block: Block) -> Result<SignedHeader, Error> {
    let Block {
        mut signed, validators, ..
    } = block;
    let enough = u128::from(validators.total_voting_power().value()) * 2 / 3;
    let mut power = 0_u128;
    for signature in &mut signed.commit.signatures {
        let signer = match signature {
            CommitSig::BlockIdFlagCommit { validator_address, .. } if power <= enough => {
                validators.validator(*validator_address)
            }
            _ => None,
        };
        match signer {
            Some(signer) => power += u128::from(signer.power()),
            None => *signature = CommitSig::BlockIdFlagAbsent,
        }
    }
    check_signed(&signed, &validators)?;
    Ok(signed)
}

/// Checks a receipt of `key` against the hash (hex) of a set of validators.
///
/// # Errors
/// Why it proves nothing.
pub fn verify(bytes: &[u8], validators_hash: &str, key: &[u8]) -> Result<Receipt, Error> {
    let malformed = |what: &dyn std::fmt::Display| Error::Malformed(what.to_string());
    if bytes.len() > MAX_RECEIPT {
        return Err(malformed(&format!(
            "it has {} bytes, at most {MAX_RECEIPT} are read",
            bytes.len()
        )));
    }
    let File {
        header,
        validators,
        proof,
    } = File::decode(bytes).map_err(|e| malformed(&e))?;
    let (Some(header), Some(proof)) = (header, proof) else {
        return Err(malformed(&"header or proof are missing"));
    };
    let signed = SignedHeader::try_from(header).map_err(|e| malformed(&e))?;
    let validators = set(validators)?;
    let found = validators.hash().to_string();
    if !found.eq_ignore_ascii_case(validators_hash) {
        return Err(Error::Validators {
            found,
            expected: validators_hash.into(),
        });
    }
    check_signed(&signed, &validators)?;
    let Some(commitment_proof::Proof::Exist(existence)) = &proof.proof else {
        return Err(malformed(&"its proof is of no value"));
    };
    let text = |key: &[u8]| String::from_utf8_lossy(key).escape_debug().to_string();
    if existence.key != key {
        return Err(Error::Key {
            found: text(&existence.key),
            expected: text(key),
        });
    }
    let header = signed.header();
    if !proof::holds(&proof, header.app_hash.as_bytes(), key, Some(&existence.value)) {
        return Err(Error::Proof);
    }
    Ok(Receipt {
        chain_id: header.chain_id.to_string(),
        height: header.height.value().saturating_sub(1),
        time: header.time.unix_timestamp(),
        value: existence.value.clone(),
    })
}

/// The set out of keys and powers, which its hash covers; addresses follow from the keys.
fn set(validators: Vec<SimpleValidator>) -> Result<validator::Set, Error> {
    let malformed = |what: String| Error::Malformed(what);
    let count = validators.len();
    if count == 0 || count > MAX_VALIDATORS {
        return Err(malformed(format!(
            "it has {count} validators, expected 1 to {MAX_VALIDATORS}"
        )));
    }
    let mut total = 0_u64;
    let mut infos = Vec::with_capacity(count);
    for SimpleValidator { pub_key, voting_power } in validators {
        let key = pub_key.ok_or_else(|| malformed("a validator has no key".into()))?;
        let key = tendermint::PublicKey::try_from(key).map_err(|e| malformed(e.to_string()))?;
        total = total.saturating_add(u64::try_from(voting_power).unwrap_or(u64::MAX));
        let power = tendermint::vote::Power::try_from(voting_power);
        let power = power.ok().filter(|_| total <= validator::Set::MAX_TOTAL_VOTING_POWER);
        let power = power.ok_or_else(|| malformed(format!("a validator has the power {voting_power}")))?;
        infos.push(validator::Info::new(key, power));
    }
    Ok(validator::Set::without_proposer(infos))
}
