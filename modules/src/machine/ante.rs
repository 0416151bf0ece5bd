//! What every transaction must satisfy before its messages run.
//!
//! In this order: size · canonical encoding · messages known and valid · timeout height · signers · gas limit · fee · public
//! keys · sequences · signatures. The effects (fee paid, public key kept, sequence raised) stay even when the messages fail.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use trainyard_proto::{
    address::Address,
    any::Any,
    coin,
    cosmos::{
        auth::v1beta1::{Params, QueryParamsRequest, QueryParamsResponse},
        tx::{
            signing::v1beta1::SignMode,
            v1beta1::{AuthInfo, Fee, SignerInfo, TxBody, TxRaw, mode_info::Sum},
        },
    },
    keys::{MAX_KEYS, PublicKey},
    prost::Message,
};

use super::{Mode, router, signatures::Signed};
use crate::{
    auth::ACCOUNTS,
    bank::{self, transfer},
    context::{Ctx, Event, Value},
    crypto,
    error::{Error, SdkError},
    feegrant, fees, gas,
    state::State,
};

/// Largest transaction, bytes. Room for a post with a long spec; data and models never travel on chain.
pub const MAX_TX_BYTES: usize = 256 * 1024;
/// Largest gas limit of one transaction.
pub const MAX_GAS: u64 = 50_000_000;
/// Most messages of one transaction.
pub const MAX_MESSAGES: usize = 64;
/// Longest memo, bytes.
const MAX_MEMO: usize = 256;

/// A decoded transaction whose stateless checks have passed.
pub struct Tx {
    /// Who signs each message.
    pub(super) senders: Vec<Address>,
    /// Who must sign, each once, in the order of their first message; then who pays the fee, if no message is theirs.
    pub signers: Vec<Address>,
    /// Who pays the fee.
    payer: Address,
    /// Who pays it in their place.
    granter: Option<Address>,
    pub(super) body: TxBody,
    pub(super) auth: AuthInfo,
    pub(super) raw: TxRaw,
    pub(super) fee: Fee,
}

fn unparsable(what: &str, error: &dyn std::fmt::Display) -> Error {
    SdkError::TxDecode(format!("{what}: {error}")).into()
}

fn bad_gas_limit(found: u64) -> Error {
    SdkError::InvalidRequest(format!("gas limit is {found}, expected 1 to {MAX_GAS}")).into()
}

impl Tx {
    /// Decodes a transaction and checks all that needs no state.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_TX_BYTES {
            return Err(SdkError::TxTooLarge {
                found: bytes.len(),
                max: MAX_TX_BYTES,
            }
            .into());
        }
        let raw = TxRaw::decode(bytes).map_err(|e| unparsable("tx", &e))?;
        // Bytes outside of what is signed would give one transaction many hashes.
        if raw.encode_to_vec() != bytes {
            return Err(SdkError::TxDecode("tx is not canonically encoded".into()).into());
        }
        let body = TxBody::decode(raw.body_bytes.as_slice()).map_err(|e| unparsable("tx body", &e))?;
        let auth = AuthInfo::decode(raw.auth_info_bytes.as_slice()).map_err(|e| unparsable("auth info", &e))?;
        if !body.extension_options.is_empty() {
            return Err(SdkError::UnknownRequest("extension options are not supported".into()).into());
        }
        if body.memo.len() > MAX_MEMO {
            return Err(SdkError::MemoTooLarge {
                found: body.memo.len(),
                max: MAX_MEMO,
            }
            .into());
        }
        let count = body.messages.len();
        if count == 0 || count > MAX_MESSAGES {
            let log = format!("tx has {count} messages, expected 1 to {MAX_MESSAGES}");
            return Err(SdkError::InvalidRequest(log).into());
        }
        let (mut senders, mut signers) = (Vec::with_capacity(count), Vec::with_capacity(1));
        for message in &body.messages {
            let signer = (router::find(&message.type_url)?.check)(&message.value)?;
            senders.push(signer);
            if !signers.contains(&signer) {
                signers.push(signer);
            }
        }
        let fee = auth
            .fee
            .clone()
            .ok_or_else(|| Error::from(SdkError::InvalidRequest("tx has no fee".into())))?;
        if fee.gas_limit > MAX_GAS {
            return Err(bad_gas_limit(fee.gas_limit));
        }
        let payer = if fee.payer.is_empty() {
            signers[0]
        } else {
            fee.payer.parse()?
        };
        // Whoever pays signs, even where no message needs it.
        if !signers.contains(&payer) {
            signers.push(payer);
        }
        let granter = match fee.granter.as_str() {
            "" => None,
            text => Some(text.parse()?).filter(|granter| *granter != payer),
        };
        coin::parse_utrain_list(&fee.amount)?;
        Ok(Self {
            senders,
            signers,
            payer,
            granter,
            body,
            auth,
            raw,
            fee,
        })
    }

    /// Messages.
    #[must_use]
    pub fn messages(&self) -> &[Any] {
        &self.body.messages
    }

    /// Gas limit.
    #[must_use]
    pub fn gas_limit(&self) -> u64 {
        self.fee.gas_limit
    }
}

/// The gas that a transaction asks for, for those who fill a block; none where no fee can be read. Nothing else is checked.
#[must_use]
pub fn gas_limit(bytes: &[u8]) -> u64 {
    let raw = TxRaw::decode(bytes).unwrap_or_default();
    let auth = AuthInfo::decode(raw.auth_info_bytes.as_slice()).unwrap_or_default();
    auth.fee.map_or(0, |fee| fee.gas_limit)
}

/// `/cosmos.auth.v1beta1.Query/Params`: the bounds above and the price of checking, which are the program's.
///
/// # Errors
/// None.
pub fn query_params(_: &mut State<'_>, _: QueryParamsRequest) -> Result<QueryParamsResponse, Error> {
    Ok(QueryParamsResponse {
        params: Some(Params {
            max_memo_characters: MAX_MEMO as u64,
            tx_sig_limit: MAX_KEYS as u64,
            tx_size_cost_per_byte: gas::TX_BYTE,
            sig_verify_cost_ed25519: 0, // No account has such a key.
            sig_verify_cost_secp256k1: gas::SIGNATURE,
        }),
    })
}

/// Verifies signatures; the application remembers verdicts between `CheckTx` and `FinalizeBlock`.
pub trait Verifier {
    /// Whether `signature` is one over the SHA-256 digest by the compressed key.
    fn verify(&self, digest: &[u8; 32], signature: &[u8], public_key: &[u8; 33]) -> bool;
}

/// Verifies each time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Direct;

impl Verifier for Direct {
    fn verify(&self, digest: &[u8; 32], signature: &[u8], public_key: &[u8; 33]) -> bool {
        crypto::verify_digest(digest, signature, public_key)
    }
}

/// Checks a decoded transaction against the state and takes its fee. `bytes` is its length.
///
/// # Errors
/// What is wrong; the caller drops the effects then.
pub fn ante(ctx: &mut Ctx<'_, '_>, tx: &Tx, bytes: usize, mode: Mode, verifier: &dyn Verifier) -> Result<(), Error> {
    // CosmJS simulates with a gas limit of 0.
    if tx.fee.gas_limit == 0 && mode != Mode::Simulate {
        return Err(bad_gas_limit(0));
    }
    ctx.state
        .gas
        .charge(gas::TX_BYTE.saturating_mul(bytes as u64), "tx size")?;
    let height = ctx.block.height;
    if tx.body.timeout_height > 0 && height > tx.body.timeout_height {
        return Err(SdkError::TimeoutHeight {
            height,
            timeout: tx.body.timeout_height,
        }
        .into());
    }
    let (infos, signatures) = (tx.auth.signer_infos.len(), tx.raw.signatures.len());
    let expected = tx.signers.len();
    if signatures != expected || infos != expected {
        let log = format!("tx has {signatures} signatures and {infos} signer infos, its messages need {expected}");
        return Err(SdkError::Unauthorized(log).into());
    }
    let fee = coin::parse_utrain_list(&tx.fee.amount)?;
    let base_fee = fees::BASE_FEE.get(ctx.state)?;
    let price = match mode {
        Mode::Check {
            min_gas_price_micro, ..
        } => base_fee.max(min_gas_price_micro),
        Mode::Simulate => 0,
        Mode::Deliver => base_fee,
    };
    let need = required_fee(tx.fee.gas_limit, price);
    if fee < need {
        return Err(SdkError::InsufficientFee { got: fee, need }.into());
    }
    take_fee(ctx, tx, fee, mode)?;
    for ((signer, info), signature) in tx.signers.iter().zip(&tx.auth.signer_infos).zip(&tx.raw.signatures) {
        check_signer(ctx, tx, *signer, info, signature, mode, verifier)?;
    }
    Ok(())
}

/// Asks the verifier about the signatures of a transaction on a state before it, and reads what it will most likely read, for
/// those who remember both: the transaction itself is judged when its turn comes. Threads may do this for many at once.
///
/// # Errors
/// The store failed.
pub fn look_ahead(state: &mut State<'_>, chain_id: &str, tx: &Tx, verifier: &dyn Verifier) -> Result<(), Error> {
    for ((signer, info), signature) in tx.signers.iter().zip(&tx.auth.signer_infos).zip(&tx.raw.signatures) {
        let Some(account) = ACCOUNTS.get(state, signer)? else {
            continue;
        };
        let key = account.pub_key.as_ref().or(info.public_key.as_ref());
        let Some(Ok(key)) = key.map(PublicKey::read) else {
            continue;
        };
        let signed = Signed {
            tx,
            chain_id,
            account_number: account.account_number,
            sequence: info.sequence,
            verifier,
            again: false,
        };
        // Its verdict is what the verifier remembers.
        let _ = signed.check(&mut state.gas, &key, info.mode_info.as_ref(), signature);
    }
    let receiver = |message: &Any| (router::find(&message.type_url).ok()?.receiver)(&message.value);
    for receiver in tx.messages().iter().filter_map(receiver) {
        ACCOUNTS.get(state, &receiver)?;
        bank::balance(state, &receiver)?;
    }
    for payer in tx.signers.iter().chain(&tx.granter) {
        bank::balance(state, payer)?;
    }
    Ok(())
}

fn take_fee(ctx: &mut Ctx<'_, '_>, tx: &Tx, fee: u64, mode: Mode) -> Result<(), Error> {
    if ACCOUNTS.get(ctx.state, &tx.payer)?.is_none() {
        return Err(SdkError::UnknownAddress(tx.payer.to_string()).into());
    }
    let from = tx.granter.unwrap_or(tx.payer);
    let fee = if mode == Mode::Simulate && fee == 0 {
        // Clients learn the gas before they know the fee; taking one is part of what they want to know.
        bank::balance(ctx.state, &from)?.min(1)
    } else {
        fee
    };
    if let Some(granter) = tx.granter {
        feegrant::spend(ctx, granter, tx.payer, fee, tx.messages())?;
    }
    transfer(ctx, from, Address::of_module(bank::FEE_COLLECTOR), fee)?;
    ctx.emit(Event::new("tx").with("fee", Value::Utrain(fee)).with("fee_payer", from));
    Ok(())
}

/// Fee for a gas limit at a price in millionths of a utrain, rounded up.
#[must_use]
pub fn required_fee(gas_limit: u64, price_micro: u64) -> u64 {
    let wide = (u128::from(gas_limit) * u128::from(price_micro)).div_ceil(1_000_000);
    u64::try_from(wide).unwrap_or(u64::MAX)
}

fn check_signer(
    ctx: &mut Ctx<'_, '_>,
    tx: &Tx,
    signer: Address,
    info: &SignerInfo,
    signature: &[u8],
    mode: Mode,
    verifier: &dyn Verifier,
) -> Result<(), Error> {
    let mut account = ACCOUNTS
        .get(ctx.state, &signer)?
        .ok_or_else(|| SdkError::UnknownAddress(signer.to_string()))?;
    let wrong_key = |log: String| Error::from(SdkError::InvalidPubKey(log));
    // What is given and not on file yet is kept with the account, and amino JSON does not sign it.
    let new = info
        .public_key
        .as_ref()
        .filter(|given| mode != Mode::Simulate && account.pub_key.as_ref() != Some(given));
    if let Some(given) = new {
        let key = PublicKey::read(given).map_err(|e| wrong_key(e.to_string()))?;
        if key.pack() != *given {
            return Err(wrong_key(format!("public key of {signer} is not canonically encoded")));
        }
        if key.address() != signer {
            return Err(wrong_key(format!("public key does not belong to signer {signer}")));
        }
    }
    if account.pub_key.is_none() {
        account.pub_key.clone_from(&info.public_key);
    }
    let key = account.pub_key.as_ref().map(PublicKey::read);
    let key = match key {
        Some(Ok(key)) if key.address() != signer => {
            return Err(wrong_key(format!("public key does not belong to signer {signer}")));
        }
        Some(Ok(key)) => Some(key),
        Some(Err(error)) if mode != Mode::Simulate => return Err(wrong_key(error.to_string())),
        None if mode != Mode::Simulate => {
            return Err(wrong_key(format!("{signer} has no public key on file or in the tx")));
        }
        _ => None,
    };
    if info.sequence != account.sequence {
        return Err(SdkError::WrongSequence {
            expected: account.sequence,
            got: info.sequence,
        }
        .into());
    }
    let signed = Signed {
        tx,
        chain_id: &ctx.block.chain_id,
        account_number: account.account_number,
        sequence: account.sequence,
        verifier,
        again: !mode.verifies(),
    };
    if mode == Mode::Simulate {
        // Signatures may be missing; they will cost what they cost, at most. Texts to sign are about as long as the bytes.
        let keys = key.as_ref().map_or(1, PublicKey::count) as u64;
        let direct = matches!(
            info.mode_info.as_ref().and_then(|mode| mode.sum.as_ref()),
            Some(Sum::Single(single)) if single.mode() == SignMode::Direct
        );
        let each = if direct {
            gas::SIGNED_BYTE
        } else {
            gas::SIGNED_TEXT_BYTE
        };
        let bytes = (tx.raw.body_bytes.len() + tx.raw.auth_info_bytes.len()) as u64;
        let signature = gas::SIGNATURE.saturating_add(each.saturating_mul(bytes));
        ctx.state.gas.charge(signature.saturating_mul(keys), "signature")?;
    } else if let Some(key) = &key {
        signed.check(&mut ctx.state.gas, key, info.mode_info.as_ref(), signature)?;
    }
    ctx.emit(Event::new("tx").with("acc_seq", format!("{}/{}", account.address, account.sequence)));
    if mode != Mode::Simulate {
        ctx.emit(Event::new("tx").with("signature", STANDARD.encode(signature)));
    }
    account.sequence = account.sequence.saturating_add(1);
    ACCOUNTS.set(ctx.state, &signer, &account)
}
