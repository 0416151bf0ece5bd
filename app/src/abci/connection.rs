//! One connection: requests in, replies out.

use std::any::Any;
use std::io::{BufWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use tendermint_proto::v0_38::abci::{ResponseException, request, response};

use super::application::{Application, FatalError, dispatch, name};
use super::codec::{self, CodecError, Requests};

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

/// Answers requests until the input ends. Replies are sent when no whole request is left to answer, and at a Flush.
pub(super) fn serve<A: Application>(app: &A, input: impl Read, output: impl Write) -> Result<(), Broken> {
    let mut requests = Requests::new(input);
    let mut replies = BufWriter::new(output);
    let result = answer_all(app, &mut requests, &mut replies);
    if let Err(broken) = &result {
        // Whoever is still there should read why. A failure to tell them does not matter any more.
        let exception = response::Value::Exception(ResponseException {
            error: broken.to_string(),
        });
        let _ = codec::write(&mut replies, exception).and_then(|()| replies.flush());
    }
    result
}

fn answer_all<A: Application>(
    app: &A,
    requests: &mut Requests<impl Read>,
    replies: &mut impl Write,
) -> Result<(), Broken> {
    loop {
        while let Some(request) = requests.buffered()? {
            let flush = matches!(request, request::Value::Flush(_));
            codec::write(replies, answer(app, request)?).map_err(CodecError::from)?;
            if flush {
                replies.flush().map_err(CodecError::from)?;
            }
        }
        replies.flush().map_err(CodecError::from)?;
        if !requests.fill()? {
            return Ok(());
        }
    }
}

fn answer<A: Application>(app: &A, request: request::Value) -> Result<response::Value, Broken> {
    let call = name(&request);
    let start = Instant::now();
    // After a panic the application is never called again, so nobody sees what the panic left half done.
    let result = catch_unwind(AssertUnwindSafe(|| dispatch(app, request)));
    tracing::trace!(call, micros = start.elapsed().as_micros(), "answered");
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
