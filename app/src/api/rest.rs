//! REST: a route per method, where its `google.api.http` option says, with the fields of the request in the path, the query
//! or a JSON body. Errors are `{code, message, details}` with gRPC's codes, as the SDK's gateway writes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, on};
use prost::Message as _;
use prost_reflect::{DynamicMessage, MethodDescriptor, ReflectMessage as _, Value};
use serde_json::{Value as Json, json};
use tonic::{Code, Status};

use super::json::{from_json, read_text, to_json};
use super::{Answer, Api, HEIGHT, MAX_REQUEST, asked_height, openapi};

/// Name of the response's header with the height, as the SDK's gateway writes it.
const HEIGHT_OUT: HeaderName = HeaderName::from_static("grpc-metadata-x-cosmos-block-height");

/// Where a method is served.
pub(super) struct Route {
    /// As in the `.proto` file: `/cosmos/bank/v1beta1/balances/{address}`.
    pub(super) path: String,
    /// Whether the request comes as a JSON body, by POST.
    pub(super) post: bool,
}

impl Route {
    /// What a method's option says; without one, the package and the method's name, and no fields in the path.
    pub(super) fn of(method: &MethodDescriptor) -> Self {
        let http = method.parent_pool().get_extension_by_name("google.api.http");
        let options = method.options();
        let rule = http.as_ref().map(|http| options.get_extension(http));
        let field = |name| {
            let value = rule.as_ref()?.as_message()?.get_field_by_name(name)?;
            value.as_str().filter(|path| !path.is_empty()).map(str::to_owned)
        };
        let post = field("post");
        let plain = || {
            let package = method.parent_service().package_name().replace('.', "/");
            format!("/{package}/{}", snake_case(method.name()))
        };
        Self {
            post: post.is_some(),
            path: post.or_else(|| field("get")).unwrap_or_else(plain),
        }
    }

    /// Names of the parameters in the path, in order.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }

    /// The path for the router, which wants parameters at the same place to have the same name.
    fn pattern(&self) -> String {
        let part = |(index, part): (usize, &str)| {
            if part.starts_with('{') {
                format!("{{p{index}}}")
            } else {
                part.to_owned()
            }
        };
        self.path.split('/').enumerate().map(part).collect::<Vec<_>>().join("/")
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// All routes, the documents about them, and headers that let pages of other sites ask.
pub(super) fn router(api: &Arc<Api>) -> Router {
    let document = openapi::document(api).to_string();
    let mut router = Router::new()
        .merge(openapi::router(document))
        .fallback(|| async { refuse(&Status::new(Code::Unimplemented, "Not Implemented")) });
    // The SDK gives some methods the same route: an address as text and as bytes.
    let mut routes: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (path, method) in &api.methods {
        let route = Route::of(method);
        let place = (route.pattern(), route.post);
        routes.entry(place).or_default().push((*path, method.clone(), route));
    }
    for ((pattern, post), mut served) in routes {
        served.reverse(); // Where both fit, the SDK's gateway takes the later one.
        let filter = if post { MethodFilter::POST } else { MethodFilter::GET };
        let (api, served) = (Arc::clone(api), Arc::new(served));
        let handler = async move |values: Option<Path<Vec<(String, String)>>>,
                                  Query(pairs): Query<Vec<(String, String)>>,
                                  headers: HeaderMap,
                                  body: Bytes| {
            let values = values.map_or_else(Vec::new, |Path(values)| values);
            let mut first_refusal = None;
            for (path, method, route) in served.iter() {
                let request = request(method, route, &values, &pairs, &body);
                match ask(&api, path, method, request, &headers).await {
                    Ok(response) => return response,
                    Err(status) if first_refusal.is_none() => first_refusal = Some(status),
                    Err(_) => {}
                }
            }
            let nothing = || Status::new(Code::Unimplemented, "Not Implemented");
            refuse(&first_refusal.unwrap_or_else(nothing))
        };
        router = router.route(&pattern, on(filter, handler));
    }
    router
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .layer(middleware::from_fn(open_to_all))
}

/// The request of a method, from what came over HTTP.
fn request(
    method: &MethodDescriptor,
    route: &Route,
    values: &[(String, String)],
    pairs: &[(String, String)],
    body: &[u8],
) -> Result<Vec<u8>, String> {
    let mut message = if route.post {
        let json: Json = serde_json::from_slice(body).map_err(|e| format!("the body is no JSON: {e}"))?;
        from_json(method.input(), &json)?
    } else {
        DynamicMessage::new(method.input())
    };
    for (name, value) in pairs {
        // What is not known is ignored, as the SDK's gateway does: caches are avoided with such parameters.
        put(&mut message, name, value)?;
    }
    for (name, (_, value)) in route.parameters().zip(values) {
        put(&mut message, name, value)?;
    }
    Ok(message.encode_to_vec())
}

/// Sets a field named as `pagination.limit`.
fn put(message: &mut DynamicMessage, name: &str, text: &str) -> Result<(), String> {
    let (first, rest) = name
        .split_once('.')
        .map_or((name, None), |(first, rest)| (first, Some(rest)));
    let descriptor = message.descriptor();
    let Some(field) = descriptor
        .get_field_by_name(first)
        .or_else(|| descriptor.get_field_by_json_name(first))
    else {
        return Ok(());
    };
    if let Some(rest) = rest {
        if field.is_list() || field.kind().as_message().is_none() {
            return Ok(());
        }
        return match message.get_field_mut(&field) {
            Value::Message(inner) => put(inner, rest, text),
            _ => Ok(()),
        };
    }
    let value = read_text(&field, text)?;
    match message.get_field_mut(&field) {
        Value::List(items) => items.push(value),
        one => *one = value,
    }
    Ok(())
}

async fn ask(
    api: &Arc<Api>,
    path: &str,
    method: &MethodDescriptor,
    request: Result<Vec<u8>, String>,
    headers: &HeaderMap,
) -> Result<Response, Status> {
    let height = headers.get(HEIGHT).map(|value| value.to_str().unwrap_or_default());
    let height = asked_height(height)?;
    let request = request.map_err(Status::invalid_argument)?;
    let Answer { value, height } = api.call(path, request, height).await?;
    let answer =
        DynamicMessage::decode(method.output(), value.as_slice()).map_err(|e| Status::internal(e.to_string()))?;
    Ok(write(StatusCode::OK, &to_json(&answer), Some(height)))
}

fn write(status: StatusCode, json: &Json, height: Option<u64>) -> Response {
    let content = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut response = (status, [content], json.to_string()).into_response();
    if let Some(height) = height {
        response.headers_mut().insert(HEIGHT_OUT, height.into());
    }
    response
}

fn refuse(status: &Status) -> Response {
    let http = match status.code() {
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let body = json!({ "code": status.code() as i32, "message": status.message(), "details": [] });
    write(http, &body, None)
}

/// Web pages of any site may ask: answers are public and nothing is kept in cookies.
async fn open_to_all(request: Request, next: Next) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "content-type, x-cosmos-block-height",
        ),
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "grpc-metadata-x-cosmos-block-height",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
