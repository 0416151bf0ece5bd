//! Requests between the thread that reads them and the one that answers.
//!
//! A socket that is not read holds CometBFT up: while its client cannot write, a timer of 20 ns (`flushThrottleMS` in
//! `abci/client/socket_client.go`) keeps one of its cores busy. So all that comes is taken in, up to a bound.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tendermint_proto::v0_38::abci::request;

use super::codec::{CodecError, Requests};

/// Bytes of requests that wait, from which on no more are read. A longer one is taken alone.
const MAX_WAITING: usize = 64 << 20;

/// A request; nothing at the end of the input; or why no more can be read.
pub(super) type Next = Result<Option<request::Value>, CodecError>;

#[derive(Default)]
struct Waiting {
    /// With their lengths, bytes.
    requests: VecDeque<(usize, Next)>,
    bytes: usize,
    /// Nobody answers any more.
    closed: bool,
    /// One side waits for the other, never both: to wake somebody is a call of the system, even where nobody sleeps.
    asleep: bool,
}

/// The answering end; when it is dropped the reader stops at its next request.
pub(super) struct Queue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Something came, or something was taken.
    moved: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, mut waiting: MutexGuard<'a, Waiting>) -> MutexGuard<'a, Waiting> {
        waiting.asleep = true;
        self.moved.wait(waiting).unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the other side that something moved.
    fn wake(&self, mut waiting: MutexGuard<'_, Waiting>) {
        if std::mem::take(&mut waiting.asleep) {
            drop(waiting);
            self.moved.notify_one();
        }
    }

    /// Whether there is somebody to take what is put there.
    fn put(&self, bytes: usize, next: Next) -> bool {
        let mut waiting = self.lock();
        while !waiting.closed && waiting.bytes > 0 && waiting.bytes + bytes > MAX_WAITING {
            waiting = self.wait(waiting);
        }
        if waiting.closed {
            return false;
        }
        waiting.bytes += bytes;
        waiting.requests.push_back((bytes, next));
        self.wake(waiting);
        true
    }
}

impl Queue {
    /// Reads `input` in a thread of its own, to the end or the first error.
    pub(super) fn read(input: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let put = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut requests = Requests::new(input);
            let end: Next = loop {
                match requests.buffered() {
                    Ok(Some((bytes, request))) => {
                        if !put.put(bytes, Ok(Some(request))) {
                            return;
                        }
                    }
                    Ok(None) => match requests.fill() {
                        Ok(true) => {}
                        Ok(false) => break Ok(None),
                        Err(error) => break Err(error),
                    },
                    Err(error) => break Err(error),
                }
            };
            put.put(0, end);
        });
        Self(shared)
    }

    /// The next one, if it is there.
    pub(super) fn try_next(&self) -> Option<Next> {
        self.take(self.0.lock())
    }

    /// Waits for the next one.
    pub(super) fn next(&self) -> Next {
        let mut waiting = self.0.lock();
        while waiting.requests.is_empty() {
            waiting = self.0.wait(waiting);
        }
        self.take(waiting).unwrap_or(Ok(None))
    }

    fn take(&self, mut waiting: MutexGuard<'_, Waiting>) -> Option<Next> {
        let (bytes, next) = waiting.requests.pop_front()?;
        waiting.bytes -= bytes;
        self.0.wake(waiting);
        Some(next)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.closed = true;
        waiting.requests.clear();
        self.0.wake(waiting);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    use prost::Message as _;
    use tendermint_proto::v0_38::abci::{Request, RequestEcho, RequestFlush};

    use super::*;

    fn echo(length: usize) -> Vec<u8> {
        let message = "e".repeat(length);
        let value = Some(request::Value::Echo(RequestEcho { message }));
        Request { value }.encode_length_delimited_to_vec()
    }

    #[test]
    fn the_writer_never_waits_for_answers_below_the_bound() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let queue = Queue::read(reader);
        // Far more than a socket holds; nobody takes any meanwhile.
        writer.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        for _ in 0..64 {
            writer.write_all(&echo(1 << 19)).unwrap();
        }
        for _ in 0..64 {
            assert!(matches!(queue.next(), Ok(Some(request::Value::Echo(_)))));
        }
        assert!(queue.try_next().is_none());
        drop(writer);
        assert!(matches!(queue.next(), Ok(None)));
    }

    #[test]
    fn above_the_bound_it_waits_and_nothing_is_lost() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let queue = Queue::read(reader);
        let count = 3 * MAX_WAITING / (16 << 20);
        let sender = std::thread::spawn(move || {
            for _ in 0..count {
                writer.write_all(&echo(16 << 20)).unwrap();
            }
            let value = Some(request::Value::Flush(RequestFlush {}));
            writer
                .write_all(&Request { value }.encode_length_delimited_to_vec())
                .unwrap();
        });
        let full = || queue.0.lock().bytes + (16 << 20) > MAX_WAITING;
        let start = Instant::now();
        while !full() {
            assert!(start.elapsed() < Duration::from_secs(60), "it does not fill");
            std::thread::yield_now();
        }
        assert!(queue.0.lock().bytes <= MAX_WAITING);
        for _ in 0..count {
            assert!(matches!(queue.next(), Ok(Some(request::Value::Echo(_)))));
        }
        assert!(matches!(queue.next(), Ok(Some(request::Value::Flush(_)))));
        sender.join().unwrap();
        assert!(matches!(queue.next(), Ok(None)));
    }

    #[test]
    fn what_is_wrong_comes_after_what_was_right() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let queue = Queue::read(reader);
        writer.write_all(&[echo(3), vec![0xff; 10]].concat()).unwrap();
        assert!(matches!(queue.next(), Ok(Some(_))));
        assert!(matches!(queue.next(), Err(CodecError::LongPrefix)));
    }
}
