//! One connection: requests in, replies out.

use std::any::Any;
use std::io::{BufWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use tendermint_proto::v0_38::abci::{ResponseException, request, response};

use super::application::{Application, FatalError, dispatch, name};
use super::codec::{self, CodecError};
use super::queue::Queue;

/// Bytes of replies that are sent together.
const REPLIES: usize = 16 << 10;

/// Why a connection ended before its input did.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The other side's fault, or the network's: only this connection is over.
    #[error(transparent)]
    Peer(#[from] CodecError),
    /// The application's fault: the server is over.
    #[error("{call} failed: {reason}")]
    Application { call: &'static str, reason: FatalError },
}

/// Answers requests until the input ends. Replies are sent when none is left to answer, or when many have come together: who
/// sends a Flush waits for the replies before it as well.
pub(super) fn serve<A: Application>(
    app: &A,
    input: impl Read + Send + 'static,
    output: impl Write,
) -> Result<(), Broken> {
    let requests = Queue::read(input);
    let mut replies = BufWriter::with_capacity(REPLIES, output);
    let result = answer_all(app, &requests, &mut replies);
    if let Err(broken) = &result {
        // Whoever is still there should read why. A failure to tell them does not matter any more.
        let exception = response::Value::Exception(ResponseException {
            error: broken.to_string(),
        });
        let _ = codec::write(&mut replies, exception).and_then(|()| replies.flush());
    }
    result
}

fn answer_all<A: Application>(app: &A, requests: &Queue, replies: &mut impl Write) -> Result<(), Broken> {
    loop {
        let next = if let Some(next) = requests.try_next() {
            next
        } else {
            replies.flush().map_err(CodecError::from)?;
            requests.next()
        };
        let Some(request) = next? else {
            replies.flush().map_err(CodecError::from)?;
            return Ok(());
        };
        codec::write(replies, answer(app, request)?).map_err(CodecError::from)?;
    }
}

fn answer<A: Application>(app: &A, request: request::Value) -> Result<response::Value, Broken> {
    let call = name(&request);
    let start = Instant::now();
    // After a panic the application is never called again, so nobody sees what the panic left half done.
    let result = catch_unwind(AssertUnwindSafe(|| dispatch(app, request)));
    tracing::trace!(target: "abci", call, micros = start.elapsed().as_micros(), "answered");
    let result = result.unwrap_or_else(|panic| Err(FatalError::new(format!("panic: {}", text(panic.as_ref())))));
    result.map_err(|reason| Broken::Application { call, reason })
}

/// The text of a panic.
fn text(panic: &(dyn Any + Send)) -> &str {
    let string = panic.downcast_ref::<String>().map(String::as_str);
    string
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("(no text)")
}
