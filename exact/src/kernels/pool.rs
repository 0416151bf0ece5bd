//! The threads that kernels run on.

use super::KernelError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A fixed number of threads, kept between calls. How many there are is never visible in a kernel's output.
#[derive(Debug)]
pub struct Pool(Option<rayon::ThreadPool>);

impl Pool {
    /// A pool of `threads` threads. With one, or none, kernels run on the thread that calls them.
    ///
    /// # Errors
    /// When the system refuses the threads.
    pub fn new(threads: usize) -> Result<Self, KernelError> {
        if threads <= 1 {
            return Ok(Self(None));
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.map(|pool| Self(Some(pool))).map_err(|error| KernelError::Threads {
            found: threads,
            reason: error.to_string(),
        })
    }

    /// How many threads there are, at least 1.
    pub fn threads(&self) -> usize {
        self.0.as_ref().map_or(1, rayon::ThreadPool::current_num_threads)
    }

    /// Runs `work` on one of the pool's threads. Kernels called in it need not wake one of them first, so a whole
    /// program should be run within one call.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.0 {
            None => work(),
            Some(pool) => pool.install(work),
        }
    }

    /// Calls `work` with each number below `tasks` once, in any order and on any of the threads.
    pub(super) fn run(&self, tasks: usize, work: impl Fn(usize) + Sync) {
        let Some(pool) = self.0.as_ref().filter(|_| tasks > 1) else {
            return (0..tasks).for_each(work);
        };
        // Every thread takes the next task that is left, so that a slow one does not hold up the others.
        let next = AtomicUsize::new(0);
        let take = || {
            loop {
                let task = next.fetch_add(1, Ordering::Relaxed);
                if task >= tasks {
                    return;
                }
                work(task);
            }
        };
        pool.in_place_scope(|scope| {
            for _ in 1..pool.current_num_threads().min(tasks) {
                scope.spawn(|_| take());
            }
            take();
        });
    }
}
