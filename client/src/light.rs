//! A light client: from one block that is trusted to any later one by the validators' signatures, and from there to single
//! values of the state by ICS23 proofs. The node it talks to can refuse to answer, but not lie.
//!
//! It moves on by skipping: a later block is trusted when more than a third of a trusted set signed it and more than two
//! thirds of its own; where the set has changed too much, blocks in between are asked for (CometBFT's light client
//! specification). A set is trusted for less time than it takes to withdraw a stake.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ics23::CommitmentProof;
use prost::Message as _;
use tendermint::block::signed_header::SignedHeader;
use tendermint::{Time, validator};
use tendermint_light_client_verifier::options::Options;
use tendermint_light_client_verifier::types::{TrustedBlockState, UntrustedBlockState};
use tendermint_light_client_verifier::{ProdVerifier, Verdict, Verifier as _};

use crate::proof;
use crate::rpc::{self, Client};

/// How long a set of validators is trusted: two weeks, less than the three that an unbonding stake can still be slashed.
pub const TRUSTING_PERIOD: Duration = Duration::from_secs(14 * 24 * 3600);
/// How far a node's clock may be ahead of ours.
const CLOCK_DRIFT: Duration = Duration::from_secs(10);
/// Path of raw keys of the state.
const STORE: &str = "/store/trainyard/key";

/// Why something is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node does not answer, or refuses.
    #[error(transparent)]
    Rpc(#[from] rpc::Error),
    /// The block is not the one that is trusted.
    #[error("the block at height {height} has the hash {found}, the trusted one is {expected}")]
    NotTrusted {
        /// The height.
        height: u64,
        /// The hash of the node's block.
        found: String,
        /// The trusted one.
        expected: String,
    },
    /// A header is not what the validators signed.
    #[error("the header at height {height} cannot be trusted: {reason}")]
    Header {
        /// The height.
        height: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no way from the trusted block to this one.
    #[error("height {height} lies below the trusted height {trusted}")]
    Below {
        /// The height asked for.
        height: u64,
        /// The trusted one.
        trusted: u64,
    },
    /// A value does not belong to the state.
    #[error("the node's proof of {key} at height {height} does not hold: {reason}")]
    Proof {
        /// The key, as text where it is some.
        key: String,
        /// The height of the state.
        height: u64,
        /// What is wrong.
        reason: String,
    },
}

/// A block's header, who signed it, and who signs the next one.
#[derive(Clone, Debug)]
pub struct Block {
    /// The header and its signatures.
    pub signed: SignedHeader,
    /// The set that signed it.
    pub validators: validator::Set,
    /// The set that signs the next one.
    pub next_validators: validator::Set,
}

impl Block {
    /// Its height.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.signed.header.height.value()
    }

    /// Its header's hash, hex.
    #[must_use]
    pub fn hash(&self) -> String {
        self.signed.header.hash().to_string()
    }

    /// The root of the state after the block before it.
    #[must_use]
    pub fn app_hash(&self) -> &[u8] {
        self.signed.header.app_hash.as_bytes()
    }

    fn untrusted(&self) -> UntrustedBlockState<'_> {
        UntrustedBlockState {
            signed_header: &self.signed,
            validators: &self.validators,
            next_validators: Some(&self.next_validators),
        }
    }
}

/// Checks that more than two thirds of a block's own set signed it, and that set and header belong together.
///
/// # Errors
/// What does not hold.
pub fn check_signed(signed: &SignedHeader, validators: &validator::Set) -> Result<(), Error> {
    let untrusted = UntrustedBlockState {
        signed_header: signed,
        validators,
        next_validators: None,
    };
    let verifier = ProdVerifier::default();
    for verdict in [
        verifier.verify_validator_sets(&untrusted),
        verifier.verify_commit(&untrusted),
    ] {
        judged(signed.header.height.value(), verdict)?;
    }
    Ok(())
}

fn judged(height: u64, verdict: Verdict) -> Result<(), Error> {
    let reason = match verdict {
        Verdict::Success => return Ok(()),
        Verdict::NotEnoughTrust(tally) => format!("too few signed it ({tally})"),
        Verdict::Invalid(error) => error.to_string(),
    };
    Err(Error::Header { height, reason })
}

fn now() -> Result<Time, Error> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Time::from_unix_timestamp(seconds, since.subsec_nanos()).map_err(|e| Error::Header {
        height: 0,
        reason: format!("this machine's clock: {e}"),
    })
}

/// A value of the state, or its absence, that the validators vouch for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The height of the state.
    pub height: u64,
    /// The value, if the key has one.
    pub value: Option<Vec<u8>>,
}

/// A light client of one chain.
pub struct Light {
    client: Client,
    trusted: Block,
}

impl Light {
    /// Begins at the block of `height` whose header has the hash `hash` (hex).
    ///
    /// # Errors
    /// The node has another block there, or one that its validators did not sign.
    pub async fn start(client: Client, height: u64, hash: &str) -> Result<Self, Error> {
        let trusted = fetch(&client, height).await?;
        let found = trusted.hash();
        if !found.eq_ignore_ascii_case(hash) {
            return Err(Error::NotTrusted {
                height,
                found,
                expected: hash.into(),
            });
        }
        check_signed(&trusted.signed, &trusted.validators)?;
        let next = trusted.signed.header.next_validators_hash;
        if trusted.next_validators.hash() != next {
            return Err(Error::Header {
                height,
                reason: format!("its next validators are not those with the hash {next}"),
            });
        }
        Ok(Self { client, trusted })
    }

    /// The latest block that is trusted.
    #[must_use]
    pub fn trusted(&self) -> &Block {
        &self.trusted
    }

    /// Verifies the block of a height and trusts it from then on.
    ///
    /// # Errors
    /// The node's block is not signed by those who are trusted, or it lies below the trusted one.
    pub async fn advance(&mut self, height: u64) -> Result<&Block, Error> {
        let trusted = self.trusted.height();
        if height < trusted {
            return Err(Error::Below { height, trusted });
        }
        // Blocks on the way to the last of them, which is tried first; halfway is tried where it is too far.
        let mut way: Vec<Block> = Vec::new();
        if height > trusted {
            way.push(fetch(&self.client, height).await?);
        }
        while let Some(next) = way.pop() {
            match self.verdict(&next)? {
                Verdict::NotEnoughTrust(_) if next.height() > self.trusted.height() + 1 => {
                    let middle = self.trusted.height().midpoint(next.height());
                    way.push(next);
                    way.push(fetch(&self.client, middle).await?);
                }
                verdict => {
                    judged(next.height(), verdict)?;
                    self.trusted = next;
                }
            }
        }
        Ok(&self.trusted)
    }

    fn verdict(&self, next: &Block) -> Result<Verdict, Error> {
        let header = &self.trusted.signed.header;
        let trusted = TrustedBlockState {
            chain_id: &header.chain_id,
            header_time: header.time,
            height: header.height,
            next_validators: &self.trusted.next_validators,
            next_validators_hash: header.next_validators_hash,
        };
        let options = Options {
            trust_threshold: tendermint::trust_threshold::TrustThresholdFraction::ONE_THIRD,
            trusting_period: TRUSTING_PERIOD,
            clock_drift: CLOCK_DRIFT,
        };
        let verifier = ProdVerifier::default();
        Ok(verifier.verify_update_header(next.untrusted(), trusted, &options, now()?))
    }

    /// Verifies the node's latest block and trusts it from then on.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub async fn advance_to_latest(&mut self) -> Result<&Block, Error> {
        let latest = self.client.status().await?.sync_info.latest_block_height.value();
        self.advance(latest.max(self.trusted.height())).await
    }

    /// The value of a raw key in the state that the trusted block vouches for: the one after the block before it.
    ///
    /// # Errors
    /// The node's proof does not hold.
    pub async fn get(&self, key: &[u8]) -> Result<Verified, Error> {
        let height = self.trusted.height().saturating_sub(1);
        let (value, proof) = proven(&self.client, key, height).await?;
        if !proof::holds(&proof, self.trusted.app_hash(), key, value.as_deref()) {
            return Err(wrong_proof(
                key,
                height,
                "it does not lead to the app hash of the header",
            ));
        }
        Ok(Verified { height, value })
    }
}

fn wrong_proof(key: &[u8], height: u64, reason: impl Into<String>) -> Error {
    Error::Proof {
        key: String::from_utf8_lossy(key).escape_debug().to_string(),
        height,
        reason: reason.into(),
    }
}

/// A block with its sets as a node has them.
///
/// # Errors
/// The node does not answer.
pub async fn fetch(client: &Client, height: u64) -> Result<Block, Error> {
    Ok(Block {
        signed: client.signed_header(height).await?,
        validators: client.validator_set(height).await?,
        next_validators: client.validator_set(height.saturating_add(1)).await?,
    })
}

/// A raw key's value at a height and its proof, as a node has them.
///
/// # Errors
/// The node does not answer, or without a proof.
pub async fn proven(client: &Client, key: &[u8], height: u64) -> Result<(Option<Vec<u8>>, CommitmentProof), Error> {
    let answer = client.abci_query(STORE, key.to_vec(), Some(height), true).await?;
    let op = answer.proof.as_ref().and_then(|proof| proof.ops.first());
    let op = op.ok_or_else(|| wrong_proof(key, height, "there is none"))?;
    let proof = CommitmentProof::decode(op.data.as_slice()).map_err(|e| wrong_proof(key, height, e.to_string()))?;
    let exists = matches!(proof.proof, Some(ics23::commitment_proof::Proof::Exist(_)));
    Ok((exists.then_some(answer.value), proof))
}
