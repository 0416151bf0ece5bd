//! gRPC: every call is bytes in and bytes out, so one handler serves all services of the table. Reflection tells clients
//! what they can call.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use futures::future::BoxFuture;
use prost::bytes::{Buf as _, BufMut as _, Bytes};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tonic_reflection::server::Builder;

use super::{Api, HEIGHT, MAX_REQUEST, asked_height, paths};

/// All services, with both versions of reflection that tools know.
pub(super) fn router(api: Arc<Api>) -> Result<Router, tonic_reflection::server::Error> {
    let services: BTreeSet<&str> = paths().filter_map(|path| path[1..].split('/').next()).collect();
    let reflection = || {
        let builder = Builder::configure().register_encoded_file_descriptor_set(trainyard_proto::DESCRIPTORS);
        services
            .iter()
            .fold(builder, |builder, name| builder.with_service_name(*name))
    };
    let path = |version| format!("/grpc.reflection.{version}.ServerReflection/{{method}}");
    Ok(Router::new()
        .route_service(&path("v1"), reflection().build_v1()?)
        .route_service(&path("v1alpha"), reflection().build_v1alpha()?)
        .fallback(unary)
        .with_state(api))
}

async fn unary(State(api): State<Arc<Api>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let mut grpc = Grpc::new(Raw).max_decoding_message_size(MAX_REQUEST);
    grpc.unary(Call { api, path }, request).await.map(axum::body::Body::new)
}

/// One call of a path of the table.
struct Call {
    api: Arc<Api>,
    path: String,
}

impl UnaryService<Bytes> for Call {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (api, path) = (Arc::clone(&self.api), self.path.clone());
        Box::pin(async move {
            let height = request
                .metadata()
                .get(HEIGHT)
                .map(|value| value.to_str().unwrap_or_default());
            let height = asked_height(height)?;
            if !api.methods.contains_key(path.as_str()) {
                let shown: String = path.chars().take(100).collect();
                return Err(Status::new(Code::Unimplemented, format!("unknown method {shown}")));
            }
            let answer = api.call(&path, request.into_inner().to_vec(), height).await?;
            let mut response = tonic::Response::new(Bytes::from(answer.value));
            response.metadata_mut().insert(HEIGHT, answer.height.into());
            Ok(response)
        })
    }
}

/// Messages as they travel.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length)))
    }
}
