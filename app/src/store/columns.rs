//! The database: its columns, its tuning, and who has it open.

use std::fs;
use std::path::Path;

use rocksdb::{BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, SliceTransform};

use super::{Options, StoreError, keys};

pub(super) const NODES: &str = "nodes";
pub(super) const VALUES: &str = "values";
pub(super) const PREIMAGES: &str = "preimages";
pub(super) const INDEX: &str = "index";
pub(super) const META: &str = "meta";
pub(super) const ALL: [&str; 5] = [NODES, VALUES, PREIMAGES, INDEX, META];

/// Names the process that has the database open, for whoever finds it locked.
const PID_FILE: &str = "PID";
const BLOOM_BITS_PER_KEY: f64 = 10.0;
/// Size of a column's memtable and of all of them together, bytes. A full one is flushed by itself: the log of writes keeps the
/// columns together. Flushed with the others, the values, which are few and lie anywhere, would be merged into large files again
/// and again.
const MEMTABLE: usize = 32 << 20;
const MEMTABLES: usize = 96 << 20;
const OPEN_FILES: i32 = 512;
const LOG_FILE: usize = 4 << 20;

/// Opens the database in `dir`, which is created if need be. RocksDB locks the directory; unlike `flock`, its lock is
/// not inherited by processes that are just being started.
pub(super) fn open(dir: &Path, options: &Options) -> Result<DB, StoreError> {
    let cannot = |source| StoreError::Open {
        path: dir.to_owned(),
        source,
    };
    fs::create_dir_all(dir).map_err(cannot)?;
    let cache = Cache::new_lru_cache(options.cache_bytes);
    let mut tuning = rocksdb::Options::default();
    tuning.create_if_missing(true);
    tuning.create_missing_column_families(true);
    tuning.set_db_write_buffer_size(MEMTABLES);
    tuning.set_max_total_wal_size(2 * MEMTABLES as u64);
    tuning.set_max_open_files(OPEN_FILES);
    tuning.set_max_background_jobs(2);
    tuning.set_keep_log_file_num(3);
    tuning.set_max_log_file_size(LOG_FILE);
    let columns = ALL.map(|name| ColumnFamilyDescriptor::new(name, column(name, &cache)));
    let pid_file = dir.join(PID_FILE);
    let db = DB::open_cf_descriptors(&tuning, dir, columns).map_err(|error| {
        let text: &str = error.as_ref();
        if text.contains("While lock file") || text.contains("lock hold by current process") {
            let pid = fs::read_to_string(&pid_file)
                .ok()
                .and_then(|text| text.trim().parse().ok());
            StoreError::InUse {
                path: dir.to_owned(),
                pid,
            }
        } else {
            error.into()
        }
    })?;
    fs::write(pid_file, format!("{}\n", std::process::id())).map_err(cannot)?;
    Ok(db)
}

fn column(name: &str, cache: &Cache) -> rocksdb::Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    let mut options = rocksdb::Options::default();
    options.set_write_buffer_size(MEMTABLE);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_level_compaction_dynamic_level_bytes(true);
    if name == VALUES {
        // A read seeks the newest version at or below a height, so the filters answer for the key without its version.
        blocks.set_whole_key_filtering(false);
        options.set_prefix_extractor(SliceTransform::create("key without version", keys::value_prefix, None));
        options.set_memtable_prefix_bloom_ratio(0.1);
    }
    options.set_block_based_table_factory(&blocks);
    options
}

/// The handle of a column.
pub(super) fn handle<'a>(db: &'a DB, name: &str) -> Result<&'a ColumnFamily, StoreError> {
    db.cf_handle(name)
        .ok_or_else(|| StoreError::Damaged(format!("the column `{name}` is missing")))
}
