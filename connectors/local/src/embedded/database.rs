//! One SQLite file, written by one thread through one connection.
//!
//! ```text
//! put, put, put -> queue -> [ BEGIN; savepoint per job; COMMIT ] -> replies
//! ```
//! Invariants: whatever is queued while a transaction runs shares the next one, so that the cost of a commit is
//! spread; a job is answered only after the transaction that holds it is committed; a failed job undoes itself
//! alone; a failed commit fails all its jobs. All connectors of a process that name the same file share it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use millstream_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use tokio::sync::oneshot;

use super::config::Synchronous;
use crate::io_error::io_error;

/// Jobs of one transaction at most.
const BATCH: usize = 64;
/// How long another program may hold the file.
const PATIENCE: Duration = Duration::from_secs(5);

/// A piece of work inside a transaction.
trait Job: Send {
    fn run(&mut self, connection: &Connection);
    fn failed(&self) -> bool;
    /// Answers; `fate` is what became of the transaction.
    fn answer(self: Box<Self>, fate: Option<Error>);
}

struct Work<T, F> {
    work: F,
    output: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnMut(&Connection) -> Result<T> + Send> Job for Work<T, F> {
    fn run(&mut self, connection: &Connection) {
        self.output = Some((self.work)(connection));
    }
    fn failed(&self) -> bool {
        matches!(self.output, Some(Err(_)))
    }
    fn answer(self: Box<Self>, fate: Option<Error>) {
        let output = match (self.output, fate) {
            (Some(Err(error)), _) | (_, Some(error)) => Err(error),
            (Some(output), None) => output,
            (None, None) => Err(Error::bug("a job of the database was not run")),
        };
        // Nobody waits any more where the caller was cancelled; the work is done all the same.
        let _ = self.reply.send(output);
    }
}

/// A database file.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    jobs: Option<Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

/// An error of SQLite at `path` as an error of the engine.
pub(crate) fn sqlite_error(path: &Path, error: rusqlite::Error) -> Error {
    let code = error.sqlite_error_code();
    let kind = match code {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed,
        ) => ErrorKind::Unavailable,
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::NotADatabase
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::AuthorizationForStatementDenied,
        ) => ErrorKind::Environment,
        _ => ErrorKind::Bug,
    };
    Error::new(kind, format!("the database `{}` failed", path.display())).caused_by(error)
}

impl Database {
    /// Opens the file at `path`, or joins those of this process that have it open.
    pub(crate) fn open(path: &Path, synchronous: Synchronous) -> Result<Arc<Self>> {
        static OPEN: LazyLock<Mutex<HashMap<PathBuf, Weak<Database>>>> = LazyLock::new(Mutex::default);
        let path = std::path::absolute(path).map_err(|e| io_error("open", path, e))?;
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = open.get(&path).and_then(Weak::upgrade) {
            return Ok(database);
        }
        open.retain(|_, database| database.strong_count() > 0);
        let database = Arc::new(Self::start(path.clone(), synchronous)?);
        open.insert(path, Arc::downgrade(&database));
        Ok(database)
    }

    fn start(path: PathBuf, synchronous: Synchronous) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| io_error("create", folder, e))?;
        }
        let connection = connect(&path, synchronous).map_err(|e| sqlite_error(&path, e))?;
        let (jobs, queue) = channel();
        let shown = path.clone();
        let thread = std::thread::Builder::new()
            .name("millstream-sqlite".into())
            .spawn(move || write_all(&connection, &queue, &shown))
            .map_err(|e| Error::environment("cannot start the thread of a database").caused_by(e))?;
        Ok(Self { path, jobs: Some(jobs), thread: Some(thread) })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` inside a transaction and answers when that is committed. `work` may run more than once.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T> + Send + 'static,
    {
        let gone = || Error::bug("the thread of a database has ended");
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Work { work, output: None, reply });
        self.jobs.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// A connection of its own that only reads, for long scans.
    pub(crate) fn reader(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(|e| sqlite_error(&self.path, e))?;
        connection.busy_timeout(PATIENCE).map_err(|e| sqlite_error(&self.path, e))?;
        Ok(connection)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The thread ends with its queue; waiting for it folds the write-ahead log into the file.
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

fn connect(path: &Path, synchronous: Synchronous) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    let synchronous = match synchronous {
        Synchronous::Normal => "normal",
        Synchronous::Full => "full",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // 64 MiB of cache, and as much log before it is folded into the file: random keys touch many pages.
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "wal_autocheckpoint", 16_384)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn write_all(connection: &Connection, queue: &Receiver<Box<dyn Job>>, path: &Path) {
    while let Ok(first) = queue.recv() {
        let mut jobs = vec![first];
        while jobs.len() < BATCH
            && let Ok(job) = queue.try_recv()
        {
            jobs.push(job);
        }
        let fate = transaction(connection, &mut jobs).err();
        if fate.is_some() && !connection.is_autocommit() {
            let _ = connection.execute_batch("ROLLBACK");
        }
        let fate = fate.map(|e| sqlite_error(path, e));
        for job in jobs {
            let fate = fate.as_ref().map(|e| Error::new(e.kind(), e.to_string()));
            job.answer(fate);
        }
    }
}

fn transaction(connection: &Connection, jobs: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let run = |sql: &str| connection.prepare_cached(sql)?.execute([]).map(drop);
    run("BEGIN IMMEDIATE")?;
    for job in jobs {
        run("SAVEPOINT job")?;
        job.run(connection);
        if job.failed() {
            // A full disk may end the whole transaction by itself: then no job of it is done.
            if connection.is_autocommit() {
                return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None));
            }
            run("ROLLBACK TO job")?;
        }
        run("RELEASE job")?;
    }
    run("COMMIT")
}
