//! `SIGN_MODE_LEGACY_AMINO_JSON`: transactions as JSON texts, for devices and wallets that show what they sign.
//!
//! The SDK's messages have this form under the SDK's names ([`messages`]), ours under names of ours ([`own`]). The text is the SDK's canonical
//! one: keys in order, no space, numbers as texts, empty fields left out where the SDK leaves them out.

mod messages;
mod own;

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    any::Any,
    cosmos::tx::v1beta1::{Fee, TxBody},
};

/// Why a transaction has no JSON form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AminoError {
    /// A kind of message that has none.
    #[error("{0} has no amino JSON form; sign it in SIGN_MODE_DIRECT")]
    Message(String),
    /// A message that does not decode.
    #[error("{0}")]
    Decode(String),
    /// Something of the transaction that the form has no place for.
    #[error("amino JSON has no place for {0}")]
    Place(&'static str),
}

/// JSON as Amino writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Json {
    Text(String),
    Number(i64),
    True,
    List(Vec<Json>),
    Object(BTreeMap<&'static str, Json>),
}

impl Json {
    fn text(value: impl ToString) -> Self {
        Self::Text(value.to_string())
    }

    /// An object of fields; those without a value are left out.
    fn object<const N: usize>(fields: [(&'static str, Option<Json>); N]) -> Self {
        Self::Object(
            fields
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
        )
    }

    /// A message or authorization under Amino's name for its type.
    fn typed(name: &str, value: Json) -> Self {
        Self::object([("type", Some(Self::text(name))), ("value", Some(value))])
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => write_text(text, out),
            Self::Number(number) => {
                let _ = write!(out, "{number}"); // Writing into a String does not fail.
            }
            Self::True => out.push_str("true"),
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(fields) => {
                out.push('{');
                for (index, (name, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_text(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// Escapes as Go does, which also hides what HTML would take for its own.
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// The bytes that are signed: the body's messages, memo and timeout, the fee, and for whom and where it counts.
///
/// # Errors
/// A message has no such form, or the body carries what the form has no place for.
pub fn sign_bytes(
    body: &TxBody,
    fee: &Fee,
    chain_id: &str,
    account_number: u64,
    sequence: u64,
) -> Result<Vec<u8>, AminoError> {
    if !body.extension_options.is_empty() || !body.non_critical_extension_options.is_empty() {
        return Err(AminoError::Place("extension options"));
    }
    let some = |text: &str| (!text.is_empty()).then(|| Json::text(text));
    let fee = Json::object([
        ("amount", Some(messages::coins(&fee.amount))),
        ("gas", Some(Json::text(fee.gas_limit))),
        ("granter", some(&fee.granter)),
        ("payer", some(&fee.payer)),
    ]);
    let document = Json::object([
        ("account_number", Some(Json::text(account_number))),
        ("chain_id", Some(Json::text(chain_id))),
        ("fee", Some(fee)),
        ("memo", Some(Json::text(&body.memo))),
        ("msgs", Some(list(&body.messages)?)),
        ("sequence", Some(Json::text(sequence))),
        (
            "timeout_height",
            (body.timeout_height > 0).then(|| Json::text(body.timeout_height)),
        ),
    ]);
    let mut out = String::new();
    document.write(&mut out);
    Ok(out.into_bytes())
}

fn list(messages: &[Any]) -> Result<Json, AminoError> {
    messages
        .iter()
        .map(messages::message)
        .collect::<Result<_, _>>()
        .map(Json::List)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_as_go_escapes_them() {
        let mut out = String::new();
        write_text("a\"\\\n\r\t\u{1}<b>&\u{2028}é", &mut out);
        assert_eq!(out, r#""a\"\\\n\r\t\u0001\u003cb\u003e\u0026\u2028é""#);
    }
}
