//! Writing: one at a time, and the latest height behind the back of whoever commits it.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread;

use rocksdb::{DB, WriteBatch, WriteOptions};

use super::columns::{INDEX, META, NODES, PREIMAGES, VALUES, handle};
use super::keys::{self, Stale};
use super::{Committed, Inner, LATEST, OLDEST, Rows, StoreError, encode_committed, note_key};

/// What the thread does.
type Job = Box<dyn FnOnce() + Send>;
/// Where the sweep after a write got to.
type Swept = (Vec<u8>, Result<(), StoreError>);

/// What whoever writes holds.
pub(super) struct Writer {
    /// The key in `index` up to which nothing is left to sweep.
    pub(super) swept: Vec<u8>,
    /// Ends of the write of the latest height, and of the sweep after it, while they are under way.
    writing: Option<Receiver<Result<(), StoreError>>>,
    sweeping: Option<Receiver<Swept>>,
    /// What a write met: nothing can be written after it.
    failed: Option<Arc<StoreError>>,
    thread: Sender<Job>,
}

impl Writer {
    /// Starts the thread that writes; it ends with the writer.
    pub(super) fn start() -> io::Result<Self> {
        let (thread, jobs) = mpsc::channel::<Job>();
        thread::Builder::new().name("store".into()).spawn(move || {
            for job in jobs {
                job();
            }
        })?;
        Ok(Self {
            swept: Vec::new(),
            writing: None,
            sweeping: None,
            failed: None,
            thread,
        })
    }

    /// Has a height written, and then rows deleted. What the two hold is let go of before anybody learns that both are done.
    pub(super) fn run(
        &mut self,
        write: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
        sweep: impl FnOnce(&mut Vec<u8>) -> Result<(), StoreError> + Send + 'static,
    ) {
        let (written, writing) = mpsc::channel();
        let (done, sweeping) = mpsc::channel();
        let mut swept = std::mem::take(&mut self.swept);
        let job: Job = Box::new(move || {
            // Whoever would wait for it may be gone.
            let _ = written.send(write());
            let result = sweep(&mut swept);
            let _ = done.send((swept, result));
        });
        // Where the thread is gone, so are the other ends, and whoever waits learns of it.
        let _ = self.thread.send(job);
        self.writing = Some(writing);
        self.sweeping = Some(sweeping);
    }

    /// Waits for the write.
    fn settle(&mut self) -> Result<(), StoreError> {
        let gone = |_| Err(StoreError::Damaged("the thread that writes has ended".into()));
        if let Some(writing) = self.writing.take() {
            self.failed = writing.recv().unwrap_or_else(gone).err().map(Arc::new);
        }
        match &self.failed {
            Some(error) => Err(StoreError::Unwritten(Arc::clone(error))),
            None => Ok(()),
        }
    }
}

impl Inner {
    /// The right to write, when nothing is being written.
    ///
    /// # Errors
    /// What a write met.
    pub(super) fn writer(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        let mut writer = self.lock_writer();
        let settled = writer.settle();
        if let Some(sweeping) = writer.sweeping.take()
            && let Ok((swept, result)) = sweeping.recv()
        {
            writer.swept = swept;
            if settled.is_ok() {
                writer.failed = result.err().map(Arc::new);
            }
        }
        writer.settle()?;
        Ok(writer)
    }

    /// Waits until everything up to a height is on disk.
    pub(super) fn wait_for(&self, height: u64) -> Result<(), StoreError> {
        if self.written.load(Ordering::SeqCst) < height {
            self.lock_writer().settle()?;
        }
        Ok(())
    }

    fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on at another height, which is on disk.
    pub(super) fn jump(&self, committed: Committed) {
        self.recent.reset(committed.height);
        self.written.store(committed.height, Ordering::SeqCst);
        self.set_latest(committed);
    }

    /// Writes a height with its notes.
    pub(super) fn write_height(
        &self,
        committed: Committed,
        first: bool,
        rows: Rows,
        notes: BTreeMap<String, Vec<u8>>,
    ) -> Result<(), StoreError> {
        let mut writes = rows.into_writes(&self.db, committed.height)?;
        let meta = handle(&self.db, META)?;
        writes.put_cf(meta, LATEST, encode_committed(committed));
        if first {
            writes.put_cf(meta, OLDEST, committed.height.to_be_bytes());
        }
        for (name, value) in notes {
            writes.put_cf(meta, note_key(&name), value);
        }
        self.write_synced(writes)?;
        self.written.store(committed.height, Ordering::SeqCst);
        Ok(())
    }

    pub(super) fn write_synced(&self, writes: WriteBatch) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        Ok(self.db.write_opt(writes, &options)?)
    }
}

impl Rows {
    /// The rows as the database takes them.
    pub(super) fn into_writes(self, db: &DB, height: u64) -> Result<WriteBatch, StoreError> {
        let Self { changes, mut tree } = self;
        let (nodes, values) = (handle(db, NODES)?, handle(db, VALUES)?);
        let (preimages, index) = (handle(db, PREIMAGES)?, handle(db, INDEX)?);
        let mut writes = WriteBatch::default();
        let mut encoded = Vec::new();
        for row in &changes {
            keys::encode_value(row.value.as_deref(), &mut encoded);
            writes.put_cf(values, &row.row, &encoded);
            match &row.replaced {
                Some(replaced) => tree.stale.push(Stale::Value, replaced),
                None => writes.put_cf(preimages, row.change.key, &row.key),
            }
            if row.value.is_none() {
                tree.stale.push(Stale::Tombstone, &row.row);
            }
        }
        for (key, row) in tree.rows {
            writes.put_cf(nodes, key, row);
        }
        for (key, row) in tree.stale.rows(height) {
            writes.put_cf(index, key, row);
        }
        Ok(writes)
    }
}
