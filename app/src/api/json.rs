//! Protobuf as the JSON of the Cosmos SDK's REST gateway: proto3 JSON with the field names of the `.proto` files, every
//! field present (a missing message is `null`), 64-bit integers as strings, bytes in base64, enums by name, `Any` with its
//! type under `@type`, and decimals, which travel as integers of 10⁻¹⁸, with their point.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value,
};
use serde_json::{Map, Value as Json};
use tendermint::Time;
use trainyard_proto::dec::Dec;

/// Deepest nesting of messages in an `Any` that is opened; what lies deeper is shown as bytes.
const MAX_DEPTH: usize = 32;
/// Name of the field in an `Any`'s JSON that holds the type.
const TYPE: &str = "@type";

/// A message as JSON.
pub(super) fn to_json(message: &DynamicMessage) -> Json {
    show(message, 0)
}

fn show(message: &DynamicMessage, depth: usize) -> Json {
    let descriptor = message.descriptor();
    match descriptor.full_name() {
        "google.protobuf.Any" => return show_any(message, depth),
        "google.protobuf.Timestamp" => return show_timestamp(message),
        "google.protobuf.Duration" => return show_duration(message),
        _ => {}
    }
    let mut object = Map::new();
    for field in descriptor.fields() {
        let absent = field.supports_presence() && !message.has_field(&field);
        let value = match (absent, field.kind()) {
            (true, Kind::Message(_)) if field.containing_oneof().is_none() => Json::Null,
            (true, _) => continue,
            (false, _) => show_field(&field, &message.get_field(&field), depth),
        };
        object.insert(field.name().into(), value);
    }
    Json::Object(object)
}

fn show_field(field: &FieldDescriptor, value: &Value, depth: usize) -> Json {
    match value {
        Value::List(items) => items.iter().map(|item| show_one(field, item, depth)).collect(),
        Value::Map(entries) => {
            let Kind::Message(entry) = field.kind() else {
                return Json::Null;
            };
            let inner = entry.map_entry_value_field();
            let shown = entries
                .iter()
                .map(|(key, value)| (show_key(key), show_one(&inner, value, depth)));
            Json::Object(shown.collect())
        }
        one => show_one(field, one, depth),
    }
}

fn show_key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

fn show_one(field: &FieldDescriptor, value: &Value, depth: usize) -> Json {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::I32(value) => (*value).into(),
        Value::U32(value) => (*value).into(),
        Value::I64(value) => value.to_string().into(),
        Value::U64(value) => value.to_string().into(),
        Value::F32(value) => (*value).into(),
        Value::F64(value) => (*value).into(),
        Value::String(text) if is_dec(field) => show_dec(text).into(),
        Value::String(text) => text.clone().into(),
        Value::Bytes(bytes) if is_dec(field) => show_dec(&String::from_utf8_lossy(bytes)).into(),
        Value::Bytes(bytes) => STANDARD.encode(bytes).into(),
        Value::EnumNumber(number) => match field.kind() {
            Kind::Enum(kind) => kind
                .get_value(*number)
                .map_or_else(|| (*number).into(), |v| v.name().into()),
            _ => (*number).into(),
        },
        Value::Message(message) => show(message, depth + 1),
        Value::List(_) | Value::Map(_) => Json::Null, // Neither nests in protobuf.
    }
}

/// Whether a field's option says that it is a decimal.
fn is_dec(field: &FieldDescriptor) -> bool {
    let pool = field.parent_pool();
    let Some(scalar) = pool.get_extension_by_name("cosmos_proto.scalar") else {
        return false;
    };
    field.options().get_extension(&scalar).as_str() == Some("cosmos.Dec")
}

/// What is no decimal, because it was never set, is shown as it is.
fn show_dec(atomics: &str) -> String {
    Dec::from_atomics(atomics).map_or_else(|_| atomics.into(), |dec| dec.to_string())
}

fn show_any(any: &DynamicMessage, depth: usize) -> Json {
    let field = |name| any.get_field_by_name(name).map(std::borrow::Cow::into_owned);
    let (Some(Value::String(url)), Some(Value::Bytes(value))) = (field("type_url"), field("value")) else {
        return Json::Null;
    };
    let kind = message_of(any.descriptor().parent_pool(), &url).filter(|_| depth < MAX_DEPTH);
    let opened = kind.and_then(|kind| DynamicMessage::decode(kind, value.clone()).ok());
    let mut object = match opened.map(|message| show(&message, depth + 1)) {
        Some(Json::Object(object)) => object,
        Some(special) => Map::from_iter([("value".into(), special)]),
        None => Map::from_iter([("value".into(), STANDARD.encode(value).into())]),
    };
    object.insert(TYPE.into(), url.into());
    Json::Object(object)
}

fn message_of(pool: &DescriptorPool, url: &str) -> Option<MessageDescriptor> {
    pool.get_message_by_name(url.rsplit('/').next()?)
}

/// Seconds and nanoseconds of a timestamp or duration.
fn seconds(message: &DynamicMessage) -> (i64, i32) {
    let field = |name| message.get_field_by_name(name);
    let seconds = field("seconds").and_then(|v| v.as_i64()).unwrap_or_default();
    (seconds, field("nanos").and_then(|v| v.as_i32()).unwrap_or_default())
}

fn show_timestamp(message: &DynamicMessage) -> Json {
    let (seconds, nanos) = seconds(message);
    let time = Time::from_unix_timestamp(seconds, nanos.unsigned_abs());
    time.map_or(Json::Null, |time| time.to_rfc3339().into())
}

fn show_duration(message: &DynamicMessage) -> Json {
    let (seconds, nanos) = seconds(message);
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let mut text = format!("{sign}{}", seconds.unsigned_abs());
    if nanos != 0 {
        text.push_str(format!(".{:09}", nanos.unsigned_abs()).trim_end_matches('0'));
    }
    (text + "s").into()
}

/// Reads a message from its JSON. Names of fields may be those of the `.proto` file or in camel case.
///
/// # Errors
/// Which field is unknown or has a value that does not fit.
pub(super) fn from_json(descriptor: MessageDescriptor, json: &Json) -> Result<DynamicMessage, String> {
    let kind = descriptor.full_name().to_owned();
    let mut message = DynamicMessage::new(descriptor);
    match (kind.as_str(), json) {
        ("google.protobuf.Timestamp" | "google.protobuf.Duration", Json::String(text)) => {
            let (seconds, nanos) = read_time(&kind, text).ok_or_else(|| format!("{text:?} is no {kind}"))?;
            message.set_field_by_name("seconds", Value::I64(seconds));
            message.set_field_by_name("nanos", Value::I32(nanos));
        }
        ("google.protobuf.Any", Json::Object(object)) => read_any(&mut message, object)?,
        (_, Json::Object(object)) => {
            for (name, value) in object {
                read_field(&mut message, name, value)?;
            }
        }
        _ => return Err(format!("{kind} is not written as {}", brief(json))),
    }
    Ok(message)
}

fn read_field(message: &mut DynamicMessage, name: &str, json: &Json) -> Result<(), String> {
    let descriptor = message.descriptor();
    let field = descriptor
        .get_field_by_name(name)
        .or_else(|| descriptor.get_field_by_json_name(name));
    let field = field.ok_or_else(|| format!("{} has no field {:?}", descriptor.full_name(), cut(name)))?;
    let value = match json {
        Json::Null => return Ok(()),
        Json::Array(items) if field.is_list() => Value::List(
            items
                .iter()
                .map(|item| read_one(&field, item))
                .collect::<Result<_, _>>()?,
        ),
        one if !field.is_list() && !field.is_map() => read_one(&field, one)?,
        other => return Err(format!("field {name:?} is not written as {}", brief(other))),
    };
    message.set_field(&field, value);
    Ok(())
}

fn read_any(message: &mut DynamicMessage, object: &Map<String, Json>) -> Result<(), String> {
    let url = object.get(TYPE).and_then(Json::as_str);
    let url = url.ok_or_else(|| format!("an Any is without {TYPE:?}"))?;
    let kind = message_of(message.descriptor().parent_pool(), url);
    let kind = kind.ok_or_else(|| format!("the type {:?} is unknown", cut(url)))?;
    let mut inner = DynamicMessage::new(kind);
    for (name, value) in object.iter().filter(|(name, _)| *name != TYPE) {
        read_field(&mut inner, name, value)?;
    }
    message.set_field_by_name("type_url", Value::String(url.into()));
    message.set_field_by_name("value", Value::Bytes(inner.encode_to_vec().into()));
    Ok(())
}

fn read_one(field: &FieldDescriptor, json: &Json) -> Result<Value, String> {
    let wrong = || format!("field {:?} is not written as {}", field.name(), brief(json));
    match (field.kind(), json) {
        (Kind::Message(kind), json) => from_json(kind, json).map(Value::Message),
        (Kind::Bool, Json::Bool(value)) => Ok(Value::Bool(*value)),
        (_, Json::String(text)) => read_text(field, text),
        (_, Json::Number(number)) => read_text(field, &number.to_string()),
        _ => Err(wrong()),
    }
}

/// Reads one value of a field from text, as it stands in a URL or in a JSON string.
///
/// # Errors
/// It does not fit the field.
pub(super) fn read_text(field: &FieldDescriptor, text: &str) -> Result<Value, String> {
    let read = match field.kind() {
        Kind::Bool => text.parse().ok().map(Value::Bool),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => text.parse().ok().map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => text.parse().ok().map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => text.parse().ok().map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => text.parse().ok().map(Value::U64),
        Kind::Float => text.parse().ok().map(Value::F32),
        Kind::Double => text.parse().ok().map(Value::F64),
        Kind::String if is_dec(field) => text.parse::<Dec>().ok().map(|dec| Value::String(dec.atomics())),
        Kind::Bytes if is_dec(field) => text
            .parse::<Dec>()
            .ok()
            .map(|dec| Value::Bytes(dec.atomics().into_bytes().into())),
        Kind::String => Some(Value::String(text.into())),
        Kind::Bytes => base64(text).map(|bytes| Value::Bytes(bytes.into())),
        Kind::Enum(kind) => {
            let named = kind.get_value_by_name(text).map(|value| value.number());
            named.or_else(|| text.parse().ok()).map(Value::EnumNumber)
        }
        Kind::Message(kind) => {
            let mut message = DynamicMessage::new(kind.clone());
            read_time(kind.full_name(), text).map(|(seconds, nanos)| {
                message.set_field_by_name("seconds", Value::I64(seconds));
                message.set_field_by_name("nanos", Value::I32(nanos));
                Value::Message(message)
            })
        }
    };
    read.ok_or_else(|| format!("{:?} does not fit field {:?}", cut(text), field.name()))
}

/// Any of the four usual forms: URLs prefer the one without `+` and `/`.
fn base64(text: &str) -> Option<Vec<u8>> {
    [STANDARD, URL_SAFE, STANDARD_NO_PAD, URL_SAFE_NO_PAD]
        .iter()
        .find_map(|form| form.decode(text).ok())
}

fn read_time(kind: &str, text: &str) -> Option<(i64, i32)> {
    if kind == "google.protobuf.Timestamp" {
        let time = Time::parse_from_rfc3339(text).ok()?;
        let time: tendermint_proto::google::protobuf::Timestamp = time.into();
        return Some((time.seconds, time.nanos));
    }
    let number = text.strip_suffix('s').filter(|_| kind == "google.protobuf.Duration")?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: i32 = format!("{fraction:0<9}").parse().ok()?;
    let negative = whole.starts_with('-');
    Some((whole.parse().ok()?, if negative { -nanos } else { nanos }))
}

/// The beginning of a text that somebody else wrote.
fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

fn brief(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}
