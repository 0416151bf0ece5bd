//! Our own messages as Amino's JSON, written from their bytes by a table that the build makes of the `.proto` files: a new message,
//! or a new field, has its text at once. `trainyard.job.v1.MsgPostJob` is `trainyard/job/MsgPostJob`.
//!
//! The rules are the SDK's for messages without annotations: a field that has its default is left out, 64-bit numbers are texts,
//! shorter ones and enums numbers, bytes base64.
//!
//! A text must say what the bytes do. So bytes are taken in one form only, the one that protobuf libraries write: fields in order,
//! each once, none with its default, numbers as short as they can be, nothing unknown.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::{
    bytes::Buf,
    encoding::{WireType, decode_key, decode_varint, encoded_len_varint},
};

use super::{AminoError, Json};
use crate::any::Any;

/// What a field holds.
enum Kind {
    Text,
    Bytes,
    Bool,
    /// 64 bits.
    Unsigned,
    /// Up to 32 bits, unsigned.
    Small,
    /// Up to 32 bits, with a sign, and enums.
    SmallSigned,
    /// A message, by its full name.
    Message(&'static str),
}

/// A field: tag, name, what it holds, whether many.
type Field = (u32, &'static str, Kind, bool);

include!(concat!(env!("OUT_DIR"), "/amino.rs"));

/// The text of one of our messages; `None` for any other.
pub(super) fn message(any: &Any) -> Option<Result<Json, AminoError>> {
    let name = any.type_url.strip_prefix('/')?;
    let (module, message) = name.strip_prefix("trainyard.")?.split_once(".v1.")?;
    let fields = fields(name).filter(|_| message.starts_with("Msg"))?;
    let text = object(fields, &mut any.value.as_slice());
    Some(text.map(|value| Json::typed(&format!("trainyard/{module}/{message}"), value)))
}

fn fields(name: &str) -> Option<&'static [Field]> {
    let at = MESSAGES.binary_search_by(|(found, _)| (*found).cmp(name)).ok()?;
    Some(MESSAGES[at].1)
}

fn wrong(what: &str) -> AminoError {
    AminoError::Decode(format!("{what}; amino JSON needs bytes in canonical form"))
}

fn object(fields: &'static [Field], bytes: &mut &[u8]) -> Result<Json, AminoError> {
    let mut found: BTreeMap<&'static str, Json> = BTreeMap::new();
    let mut last = 0;
    while bytes.has_remaining() {
        let before = bytes.len();
        let (tag, wire) = decode_key(bytes).map_err(|e| wrong(&e.to_string()))?;
        let key = u64::from(tag) << 3;
        let Some((_, name, kind, many)) = fields.iter().find(|field| field.0 == tag) else {
            return Err(wrong(&format!("field {tag} is not known")));
        };
        // The three lowest bits of a key do not change its length.
        if before - bytes.len() != encoded_len_varint(key) {
            return Err(wrong(&format!("the key of {name} is longer than it need be")));
        }
        let packed = *many && !matches!(kind, Kind::Text | Kind::Bytes | Kind::Message(_));
        if tag < last || (tag == last && (packed || !many)) {
            return Err(wrong(&format!("{name} is out of order")));
        }
        last = tag;
        let expected = match kind {
            Kind::Text | Kind::Bytes | Kind::Message(_) => WireType::LengthDelimited,
            _ if packed => WireType::LengthDelimited,
            _ => WireType::Varint,
        };
        if wire != expected {
            return Err(wrong(&format!("{name} is of another kind")));
        }
        let value = if packed {
            let mut part = slice(name, bytes)?;
            let mut items = Vec::new();
            while part.has_remaining() {
                items.push(number(name, kind, &mut part)?);
            }
            if items.is_empty() {
                return Err(wrong(&format!("{name} is empty")));
            }
            Json::List(items)
        } else {
            let value = value(name, kind, bytes, *many)?;
            match (*many, found.remove(name)) {
                (true, Some(Json::List(mut items))) => {
                    items.push(value);
                    Json::List(items)
                }
                (true, _) => Json::List(vec![value]),
                (false, _) => value,
            }
        };
        found.insert(name, value);
    }
    Ok(Json::Object(found))
}

/// One value. An empty one may stand in a list, and an empty message anywhere.
fn value(name: &str, kind: &Kind, bytes: &mut &[u8], listed: bool) -> Result<Json, AminoError> {
    let (json, empty) = match kind {
        Kind::Text => {
            let part = slice(name, bytes)?;
            let text = std::str::from_utf8(part).map_err(|e| wrong(&format!("{name}: {e}")))?;
            (Json::text(text), part.is_empty())
        }
        Kind::Bytes => {
            let part = slice(name, bytes)?;
            (Json::Text(STANDARD.encode(part)), part.is_empty())
        }
        Kind::Message(of) => {
            let fields = fields(of).ok_or_else(|| wrong(&format!("{name} is a message without a form")))?;
            (object(fields, &mut slice(name, bytes)?)?, false)
        }
        _ => {
            let json = number(name, kind, bytes)?;
            let empty = json == Json::Number(0) || json == Json::text(0);
            (json, empty)
        }
    };
    if empty && !listed {
        return Err(wrong(&format!("{name} is written with its default")));
    }
    Ok(json)
}

fn number(name: &str, kind: &Kind, bytes: &mut &[u8]) -> Result<Json, AminoError> {
    let before = bytes.len();
    let raw = decode_varint(bytes).map_err(|e| wrong(&format!("{name}: {e}")))?;
    if before - bytes.len() != encoded_len_varint(raw) {
        return Err(wrong(&format!("{name} is longer than it need be")));
    }
    let large = || wrong(&format!("{name} is {raw}, out of its range"));
    // Negative numbers are the same bits of 64.
    let signed = i64::from_le_bytes(raw.to_le_bytes());
    Ok(match kind {
        Kind::Bool if raw == 1 => Json::True,
        Kind::Unsigned => Json::text(raw),
        Kind::Small => Json::Number(u32::try_from(raw).map_err(|_| large())?.into()),
        Kind::SmallSigned => Json::Number(i32::try_from(signed).map_err(|_| large())?.into()),
        _ => return Err(large()),
    })
}

fn slice<'a>(name: &str, bytes: &mut &'a [u8]) -> Result<&'a [u8], AminoError> {
    let before = bytes.len();
    let length = decode_varint(bytes).map_err(|e| wrong(&format!("{name}: {e}")))?;
    if before - bytes.len() != encoded_len_varint(length) {
        return Err(wrong(&format!("the length of {name} is longer than it need be")));
    }
    let split = usize::try_from(length)
        .ok()
        .and_then(|length| bytes.split_at_checked(length));
    let (head, tail) = split.ok_or_else(|| wrong(&format!("{name} is cut short")))?;
    *bytes = tail;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::{
        any,
        coin::utrain,
        job::{DataSplit, KeyGrant, MsgGrantKeys, MsgJoinJob},
        registry::{MsgRegister, MsgUpdateMembers, Role, VerificationClass},
    };

    fn text(any: &Any) -> Result<String, AminoError> {
        let mut out = String::new();
        message(any).expect("one of ours")?.write(&mut out);
        Ok(out)
    }

    #[test]
    fn every_kind_of_field_has_its_form() {
        let register = MsgRegister {
            owner: "train1a".into(),
            roles: vec![Role::Worker.into(), Role::Evaluator.into()],
            bond: Some(utrain(5)),
            x25519_key: vec![1, 2, 255],
            classes: vec![VerificationClass::Exact.into()],
            moniker: "a & b".into(),
            ..MsgRegister::default()
        };
        let expected = r#"{"type":"trainyard/registry/MsgRegister","value":{"bond":{"amount":"5","denom":"utrain"},"classes":[1],"moniker":"a \u0026 b","owner":"train1a","roles":[1,2],"x25519_key":"AQL/"}}"#;
        let found = text(&any::pack(&register)).unwrap();
        assert!(found.contains(r#""roles":[1,2],"x25519_key":"AQL/"}}"#), "{found}");
        assert_eq!(found, expected);
        let grant = |recipient: &str| KeyGrant {
            recipient: recipient.into(),
            sealed_key: Vec::new(),
        };
        let keys = MsgGrantKeys {
            client: "train1a".into(),
            job_id: u64::MAX,
            split: DataSplit::Test.into(),
            grants: vec![grant("train1b"), grant("")],
        };
        assert_eq!(
            text(&any::pack(&keys)).unwrap(),
            r#"{"type":"trainyard/job/MsgGrantKeys","value":{"client":"train1a","grants":[{"recipient":"train1b"},{}],"job_id":"18446744073709551615","split":2}}"#
        );
        let members = MsgUpdateMembers {
            admit: vec!["a".into(), String::new()],
            ..MsgUpdateMembers::default()
        };
        assert_eq!(
            text(&any::pack(&members)).unwrap(),
            r#"{"type":"trainyard/registry/MsgUpdateMembers","value":{"admit":["a",""]}}"#
        );
    }

    #[test]
    fn only_one_form_of_bytes_is_signed() {
        let good = MsgJoinJob {
            worker: "w".into(),
            job_id: 7,
            ..MsgJoinJob::default()
        };
        let url = any::type_url::<MsgJoinJob>();
        let any = |value: Vec<u8>| Any {
            type_url: url.clone(),
            value,
        };
        let bytes = good.encode_to_vec();
        assert_eq!(bytes, [10, 1, b'w', 16, 7]);
        assert!(text(&any(bytes.clone())).is_ok());
        for (wrong, words) in [
            (vec![16, 7, 10, 1, b'w'], "out of order"),
            (vec![10, 1, b'w', 16, 7, 16, 8], "out of order"),
            (vec![10, 1, b'v', 10, 1, b'w', 16, 7], "out of order"),
            (vec![10, 1, b'w', 16, 0x87, 0], "longer than it need be"),
            (vec![10, 0x81, 0, b'w', 16, 7], "longer than it need be"),
            (vec![0x8a, 0, 1, b'w', 16, 7], "longer than it need be"),
            (vec![10, 1, b'w', 16, 0], "default"),
            (vec![10, 0, 16, 7], "default"),
            (vec![10, 1, b'w', 18, 1, 7], "another kind"),
            (vec![10, 1, b'w', 16, 7, 0xf8, 0x3f, 1], "not known"),
            (vec![10, 9, b'w'], "cut short"),
            (vec![10, 1, 255], "utf-8"),
        ] {
            let error = text(&any(wrong.clone())).unwrap_err().to_string();
            assert!(error.contains(words), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn what_is_no_message_of_ours_has_no_form_here() {
        for url in [
            "/trainyard.job.v1.JobSpec",
            "/trainyard.pouw.v1.PouwHeader",
            "/cosmos.base.v1beta1.Coin",
            "/",
            "",
        ] {
            let any = Any {
                type_url: url.into(),
                value: Vec::new(),
            };
            assert!(message(&any).is_none(), "{url}");
        }
        assert!(
            MESSAGES.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "the table is sorted"
        );
    }
}
