//! The REST paths as an OpenAPI 3 document, made from the same descriptions as the routes, and a page to read it.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::Html;
use axum::routing::get;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};
use serde_json::{Map, Value as Json, json};

use super::Api;
use super::rest::Route;

/// A page without scripts from elsewhere: it reads `/openapi.json` of the same node.
const PAGE: &str = include_str!("page.html");

/// The document at `/openapi.json`, the page at `/` and, where the SDK has it, at `/swagger/`.
pub(super) fn router(document: String) -> Router {
    let json = move || async move { ([(CONTENT_TYPE, "application/json")], document) };
    Router::new()
        .route("/openapi.json", get(json))
        .route("/", get(|| async { Html(PAGE) }))
        .route("/swagger/", get(|| async { Html(PAGE) }))
}

/// All paths with their parameters, bodies and answers.
pub(super) fn document(api: &Api) -> Json {
    let mut paths: BTreeMap<String, Map<String, Json>> = BTreeMap::new();
    let mut wanted = BTreeSet::new();
    for (name, method) in &api.methods {
        let route = Route::of(method);
        let verb = if route.post { "post" } else { "get" };
        let operation = operation(name, method, &route, &mut wanted);
        paths
            .entry(route.path.clone())
            .or_default()
            .insert(verb.into(), operation);
    }
    let mut schemas = BTreeMap::new();
    while let Some(name) = wanted.pop_first() {
        let Some(message) = api.pool.get_message_by_name(&name) else {
            continue;
        };
        let schema = message_schema(&message, &mut wanted);
        schemas.insert(name, schema);
        wanted.retain(|name| !schemas.contains_key(name));
    }
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Trainyard",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Queries of a node. Header x-cosmos-block-height chooses the height. Errors are {code, message, details}.",
        },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn operation(name: &str, method: &MethodDescriptor, route: &Route, wanted: &mut BTreeSet<String>) -> Json {
    let tag = method.parent_service().package_name().to_owned();
    let output = reference(&method.output(), wanted);
    let mut operation = json!({
        "operationId": name.trim_start_matches('/').replace(['.', '/'], "_"),
        "summary": name,
        "tags": [tag],
        "responses": { "200": { "description": "the answer", "content": { "application/json": { "schema": output } } } },
    });
    if let Some(text) = comment(method) {
        operation["description"] = text.into();
    }
    if route.post {
        let input = reference(&method.input(), wanted);
        operation["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": input } } });
    } else {
        let in_path: Vec<&str> = route.parameters().collect();
        let mut parameters = Vec::new();
        parameters_of(&method.input(), "", &in_path, wanted, &mut parameters);
        operation["parameters"] = parameters.into();
    }
    operation
}

/// The fields of a request as parameters; those of a message inside it as `pagination.limit`.
fn parameters_of(
    message: &MessageDescriptor,
    prefix: &str,
    in_path: &[&str],
    wanted: &mut BTreeSet<String>,
    out: &mut Vec<Json>,
) {
    for field in message.fields() {
        let name = format!("{prefix}{}", field.name());
        match field.kind() {
            Kind::Message(inner) if prefix.is_empty() && !field.is_list() => {
                parameters_of(&inner, &format!("{name}."), in_path, wanted, out);
            }
            Kind::Message(_) => {}
            _ => {
                let path = in_path.contains(&name.as_str());
                let place = if path { "path" } else { "query" };
                out.push(json!({
                    "name": name, "in": place, "required": path, "schema": field_schema(&field, wanted),
                }));
            }
        }
    }
}

fn reference(message: &MessageDescriptor, wanted: &mut BTreeSet<String>) -> Json {
    match message.full_name() {
        "google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
        "google.protobuf.Duration" => json!({ "type": "string", "example": "10s" }),
        "google.protobuf.Any" => json!({
            "type": "object", "properties": { "@type": { "type": "string" } }, "additionalProperties": true,
        }),
        name => {
            wanted.insert(name.to_owned());
            json!({ "$ref": format!("#/components/schemas/{name}") })
        }
    }
}

fn message_schema(message: &MessageDescriptor, wanted: &mut BTreeSet<String>) -> Json {
    let mut properties = Map::new();
    for field in message.fields() {
        properties.insert(field.name().into(), field_schema(&field, wanted));
    }
    json!({ "type": "object", "properties": properties })
}

fn field_schema(field: &FieldDescriptor, wanted: &mut BTreeSet<String>) -> Json {
    let one = match field.kind() {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Double | Kind::Float => json!({ "type": "number" }),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 | Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer" }),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({ "type": "string", "format": "int64" }),
        Kind::Uint64 | Kind::Fixed64 => json!({ "type": "string", "format": "uint64" }),
        Kind::String => json!({ "type": "string" }),
        Kind::Bytes => json!({ "type": "string", "format": "byte" }),
        Kind::Enum(kind) => {
            let names: Vec<String> = kind.values().map(|value| value.name().to_owned()).collect();
            json!({ "type": "string", "enum": names })
        }
        Kind::Message(entry) if entry.is_map_entry() => {
            let value = field_schema(&entry.map_entry_value_field(), wanted);
            return json!({ "type": "object", "additionalProperties": value });
        }
        Kind::Message(message) => reference(&message, wanted),
    };
    if field.is_list() {
        json!({ "type": "array", "items": one })
    } else {
        one
    }
}

/// What the `.proto` file says before a method.
fn comment(method: &MethodDescriptor) -> Option<String> {
    let file = method.parent_file();
    let info = file.file_descriptor_proto().source_code_info.as_ref()?;
    let place = info.location.iter().find(|place| place.path == method.path())?;
    let text = place.leading_comments().trim();
    (!text.is_empty()).then(|| text.to_owned())
}
