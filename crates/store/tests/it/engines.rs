//! Fresh stores on each engine.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use jb_model::Timestamp;
use jb_store::{Options, Store};
use jb_test_postgres::{Cluster, cluster};

/// Runs a future to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap().block_on(future)
}

pub(crate) async fn open(url: &str) -> Store {
    Store::open(url, Options::default(), Timestamp(0)).await.unwrap()
}

/// Server tasks are spawned, so whatever uses the store has to be `Send`.
fn run<F: Future<Output = ()> + Send + 'static>(url: &str, test: impl FnOnce(Store) -> F) {
    block_on(async {
        let store = open(url).await;
        let task = tokio::spawn(test(store.clone()));
        let outcome = task.await;
        store.close().await;
        if let Err(error) = outcome {
            std::panic::resume_unwind(error.into_panic());
        }
    });
}

pub(crate) fn on_memory<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Store) -> F) {
    run("sqlite::memory:", test);
}

pub(crate) fn on_file<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Store) -> F) {
    let dir = tempfile::tempdir().unwrap();
    run(&format!("sqlite:{}", dir.path().join("store.db").display()), test);
}

pub(crate) fn on_postgres<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Store) -> F) {
    if let Some(url) = postgres_url() {
        run(&url, test);
    }
}

/// The address of a new database that has the schema already.
pub(crate) fn postgres_url() -> Option<String> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let cluster = with_schema()?;
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    cluster.psql(&format!("CREATE DATABASE {name} TEMPLATE schema_made"));
    Some(cluster.url(&name))
}

/// The address of a new database without any schema.
pub(crate) fn empty_postgres_url() -> Option<String> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let cluster = cluster()?;
    let name = format!("empty_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    cluster.psql(&format!("CREATE DATABASE {name} TEMPLATE template0"));
    Some(cluster.url(&name))
}

/// The server, with a database that has the schema, to make copies of.
fn with_schema() -> Option<&'static Cluster> {
    static MADE: OnceLock<()> = OnceLock::new();
    let cluster = cluster()?;
    MADE.get_or_init(|| {
        cluster.psql("CREATE DATABASE schema_made TEMPLATE template0");
        let url = cluster.url("schema_made");
        // In a thread of its own, as the caller may be inside a runtime.
        let made = std::thread::spawn(move || block_on(async { open(&url).await.close().await }));
        made.join().unwrap();
    });
    Some(cluster)
}
