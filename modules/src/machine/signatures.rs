//! Whether the key of an account signed a transaction: in SIGN_MODE_DIRECT over its bytes, or in
//! SIGN_MODE_LEGACY_AMINO_JSON over its text; one key, or enough of those of a multisig account.

use sha2::{Digest, Sha256};
use trainyard_proto::{
    amino,
    cosmos::{
        crypto::multisig::v1beta1::MultiSignature,
        tx::{
            signing::v1beta1::SignMode,
            v1beta1::{
                ModeInfo, SignDoc,
                mode_info::{Multi, Sum},
            },
        },
    },
    keys::{PublicKey, bits},
    prost::Message,
};

use super::ante::{Tx, Verifier};
use crate::{
    error::{Error, SdkError},
    gas::{self, Gas},
};

/// What a signer signed.
pub(super) struct Signed<'a> {
    pub(super) tx: &'a Tx,
    pub(super) chain_id: &'a str,
    pub(super) account_number: u64,
    pub(super) sequence: u64,
    pub(super) verifier: &'a dyn Verifier,
    /// Seen before: the forms are checked and paid for, the signatures were verified then.
    pub(super) again: bool,
}

fn unauthorized(log: impl Into<String>) -> Error {
    SdkError::Unauthorized(log.into()).into()
}

impl Signed<'_> {
    /// Refuses what the key did not sign. Charges for each signature.
    pub(super) fn check(
        &self,
        gas: &mut Gas,
        key: &PublicKey,
        mode: Option<&ModeInfo>,
        signature: &[u8],
    ) -> Result<(), Error> {
        match (key, mode.and_then(|mode| mode.sum.as_ref())) {
            (PublicKey::Single(key), Some(Sum::Single(single))) => {
                gas.charge(gas::SIGNATURE, "signature")?;
                let bytes = self.bytes(single.mode())?;
                // Each of many signers has the whole transaction hashed, or written out, again.
                let each = match single.mode() {
                    SignMode::LegacyAminoJson => gas::SIGNED_TEXT_BYTE,
                    _ => gas::SIGNED_BYTE,
                };
                gas.charge(each.saturating_mul(bytes.len() as u64), "signature")?;
                if self.again || self.verifier.verify(&Sha256::digest(bytes).into(), signature, key) {
                    return Ok(());
                }
                Err(SdkError::Signature {
                    number: self.account_number,
                    chain_id: self.chain_id.to_string(),
                }
                .into())
            }
            (PublicKey::Multisig { threshold, keys }, Some(Sum::Multi(multi))) => {
                self.check_each(gas, *threshold, keys, multi, signature)
            }
            (PublicKey::Single(_), _) => Err(unauthorized("the account has one key, which gives one signature")),
            (PublicKey::Multisig { .. }, _) => Err(unauthorized(
                "the account has several keys, which give a multisignature",
            )),
        }
    }

    fn check_each(
        &self,
        gas: &mut Gas,
        threshold: u32,
        keys: &[PublicKey],
        multi: &Multi,
        signature: &[u8],
    ) -> Result<(), Error> {
        let present = multi.bitarray.as_ref().and_then(bits).unwrap_or_default();
        if present.len() != keys.len() {
            let (found, expected) = (present.len(), keys.len());
            return Err(unauthorized(format!(
                "the multisignature is of {found} keys, the account has {expected}"
            )));
        }
        let signatures = MultiSignature::decode(signature)
            .ok()
            .filter(|decoded| decoded.encode_to_vec() == signature)
            .ok_or_else(|| unauthorized("the multisignature does not decode"))?
            .signatures;
        let (set, modes) = (present.iter().filter(|set| **set).count(), multi.mode_infos.len());
        if set != signatures.len() || set != modes {
            let found = signatures.len();
            return Err(unauthorized(format!(
                "the multisignature says that {set} keys signed, it has {found} signatures and {modes} modes"
            )));
        }
        if usize::try_from(threshold).map_or(true, |threshold| set < threshold) {
            return Err(unauthorized(format!(
                "{set} of the account's keys signed, {threshold} must"
            )));
        }
        let signers = keys.iter().zip(present).filter(|(_, set)| *set).map(|(key, _)| key);
        for ((key, mode), signature) in signers.zip(&multi.mode_infos).zip(&signatures) {
            self.check(gas, key, Some(mode), signature)?;
        }
        Ok(())
    }

    /// The bytes that are signed in a mode.
    fn bytes(&self, mode: SignMode) -> Result<Vec<u8>, Error> {
        let Tx {
            body, auth, raw, fee, ..
        } = self.tx;
        match mode {
            SignMode::Direct => Ok(SignDoc {
                body_bytes: raw.body_bytes.clone(),
                auth_info_bytes: raw.auth_info_bytes.clone(),
                chain_id: self.chain_id.to_string(),
                account_number: self.account_number,
            }
            .encode_to_vec()),
            SignMode::LegacyAminoJson => {
                #[allow(deprecated)] // What is deprecated and has no effect could otherwise be put in unsigned.
                if auth.tip.is_some() {
                    return Err(unauthorized("amino JSON has no place for tips"));
                }
                // What the text does not show, another could put in or leave out, and so change what it costs.
                if body.encode_to_vec() != raw.body_bytes || auth.encode_to_vec() != raw.auth_info_bytes {
                    return Err(unauthorized(
                        "amino JSON signs a text, whose tx must be canonically encoded",
                    ));
                }
                let (number, sequence) = (self.account_number, self.sequence);
                amino::sign_bytes(body, fee, self.chain_id, number, sequence).map_err(|e| unauthorized(e.to_string()))
            }
            other => Err(unauthorized(format!(
                "{} is not supported, only SIGN_MODE_DIRECT and SIGN_MODE_LEGACY_AMINO_JSON",
                other.as_str_name()
            ))),
        }
    }
}
