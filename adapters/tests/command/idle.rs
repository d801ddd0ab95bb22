//! A site without work sleeps.

use std::path::Path;
use std::time::{Duration, Instant};

use coco::client::Commit;

use crate::system::{LOOK, PATIENCE, Site, client, coordinator, server};

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(2);
/// How often its threads may wake in that time: ten times a second for the site itself, and the network besides.
const WAKES: u64 = 150;

/// How often the threads of a process have waited for something.
fn waits(process: u32) -> u64 {
    let threads = std::fs::read_dir(Path::new("/proc").join(process.to_string()).join("task"));
    let count = |thread: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    threads.unwrap().map(count).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_without_work_sleeps() {
    let Some(server) = server() else { return };
    let folder = tempfile::tempdir().unwrap();
    let coordinator = coordinator(folder.path()).await;
    let mut site = Site::new("idle", &server.url(), &coordinator, folder.path(), false);
    site.start();
    let client = client(&coordinator, &["idle"]).await;
    let mut txn = client.begin().await.unwrap();
    txn.put("idle", "x", "1").await.unwrap();
    let ended = txn.commit().await;
    assert!(matches!(ended, Ok(Commit::Committed(_))), "{ended:?}");
    let end = Instant::now() + PATIENCE;
    loop {
        let before = waits(site.process());
        // The span that is measured: that nothing happens is no event.
        tokio::time::sleep(WATCHED).await;
        let woken = waits(site.process()) - before;
        if woken <= WAKES {
            break;
        }
        // It may have had something to finish.
        assert!(
            Instant::now() < end,
            "an idle site wakes {woken} times in {WATCHED:?}"
        );
        tokio::time::sleep(LOOK).await;
    }
    site.end();
    coordinator.shutdown().await.unwrap();
}
