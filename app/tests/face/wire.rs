//! gRPC and HTTP, byte by byte: what is tested must not be tested by itself.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use axum::http::Request;
use bytes::Bytes;
use h2::client::SendRequest;
use serde_json::Value as Json;

/// Longest an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Name of the header that chooses the height.
const HEIGHT: &str = "x-cosmos-block-height";

/// A connection to a gRPC server.
pub(super) struct Wire {
    send: SendRequest<Bytes>,
    address: SocketAddr,
}

impl Wire {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self { send, address }
    }

    /// Calls a method; gives the encoded answer, or the status' code and message.
    pub(super) async fn call(&mut self, path: &str, message: &[u8], height: u64) -> Result<Vec<u8>, (i32, String)> {
        tokio::time::timeout(PATIENCE, self.call_at(path, message, height))
            .await
            .unwrap_or_else(|_| panic!("{path} took longer than {PATIENCE:?}"))
    }

    async fn call_at(&mut self, path: &str, message: &[u8], height: u64) -> Result<Vec<u8>, (i32, String)> {
        let request = Request::post(format!("http://{}{path}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header(HEIGHT, height)
            .body(())
            .unwrap();
        let (response, mut stream) = self.send.send_request(request, false).unwrap();
        // A byte that says it is not compressed, its length, the message.
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        stream
            .send_data([&[0], length.as_slice(), message].concat().into(), true)
            .unwrap();
        let mut response = response.await.unwrap();
        let status = |headers: &axum::http::HeaderMap| {
            let text = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            let code: i32 = text("grpc-status")?.parse().unwrap();
            Some((code, unescape(&text("grpc-message").unwrap_or_default())))
        };
        // An error may come without a body, in the headers.
        if let Some(failed) = status(response.headers()) {
            return Err(failed);
        }
        let body = response.body_mut();
        let mut bytes = Vec::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.unwrap();
            body.flow_control().release_capacity(chunk.len()).unwrap();
            bytes.extend_from_slice(&chunk);
        }
        let trailers = body.trailers().await.unwrap().unwrap();
        match status(&trailers).unwrap() {
            (0, _) => Ok(bytes.split_off(5)),
            failed => Err(failed),
        }
    }
}

/// gRPC writes messages with percent signs.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if let ([high, low, tail @ ..], b'%') = (tail, first) {
            let hex = [*high, *low];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// The status and JSON of a REST path at a height, 0 being the last one.
pub(super) fn get(address: SocketAddr, path: &str, height: u64) -> (u16, Json) {
    exchange(address, &format!("GET {path}"), "", height)
}

/// The same for a body that is posted.
pub(super) fn post(address: SocketAddr, path: &str, body: &str, height: u64) -> (u16, Json) {
    exchange(address, &format!("POST {path}"), body, height)
}

fn exchange(address: SocketAddr, line: &str, body: &str, height: u64) -> (u16, Json) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{HEIGHT}: {height}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .unwrap_or_else(|e| panic!("{line}: {e}"));
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{line}: {answer}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let json = serde_json::from_str(body).unwrap_or_else(|e| panic!("{line}: {e}: {answer}"));
    (status, json)
}
