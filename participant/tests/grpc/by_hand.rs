//! An operator at the sites of a coordinator that is gone.

use std::time::Duration;

use checker::{Level, Verdict};
use co_core::Gtid;
use coco::client::{Client, ClientError, Commit, SiteOperator};
use coco::protocol::{ByHand, Decision};
use coco::service::audit::Audit;
use coco::service::security::{CredentialFiles, Credentials, SecurityFiles, ServerSecurity};
use coco::service::{Front, Limits, RefusedCode};
use participant::engine::EngineKind;
use serde_json::Value;

use crate::certificates::secret;
use crate::cluster::{COORDINATOR, Cluster, GatedLog, PATIENCE, until};
use crate::processes::{Process, run};

const SITES: [&str; 2] = ["A", "B"];

/// Two durable sites, whose operators can write down what they do, with one transaction in doubt at both, and the
/// coordinator gone before it had decided.
async fn in_doubt(folder: &std::path::Path) -> (Cluster, Gtid) {
    let mut cluster = Cluster::start(&[]).await;
    for name in SITES {
        let own = folder.join(name);
        std::fs::create_dir(&own).unwrap();
        let log = GatedLog::default();
        cluster
            .start_site(name, EngineKind::Ss2pl, log.storage(), |options| {
                options.audit = Some(Audit::in_folder(&own));
            })
            .await;
    }
    let client = cluster.client().await;
    cluster.log.hold();
    let mut txn = client.begin().await.unwrap();
    let gtid = txn.gtid();
    txn.put("A", b"x", b"1").await.unwrap();
    txn.put("B", b"y", b"1").await.unwrap();
    let commit = tokio::spawn(txn.commit());
    until("the decision is on its way to the disk", || {
        cluster.log.held() > 0
    })
    .await;
    cluster.kill_coordinator();
    let unknown = commit.await.unwrap();
    assert!(
        matches!(unknown, Err(ClientError::OutcomeUnknown { .. })),
        "{unknown:?}"
    );
    for name in SITES {
        assert_eq!(cluster.site(name).site().in_doubt(), [gtid]);
    }
    (cluster, gtid)
}

async fn operator(cluster: &Cluster, site: &str) -> SiteOperator {
    let uri = cluster.site(site).address().to_string();
    let none = Credentials::none();
    SiteOperator::connect(&uri, &none).await.unwrap()
}

fn value(text: &str, name: &str) -> f64 {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is missing:\n{text}"))
        .parse()
        .unwrap()
}

/// The same at both sites is as good as the coordinator's word; what it says later is shown as damage all the same.
#[tokio::test]
async fn what_a_lost_coordinator_has_left_in_doubt_is_decided_by_hand_alike_at_both_sites() {
    let folder = tempfile::tempdir().unwrap();
    let (mut cluster, gtid) = in_doubt(folder.path()).await;
    let (a, b) = (operator(&cluster, "A").await, operator(&cluster, "B").await);
    assert_eq!(a.pending().await.unwrap().in_doubt[0].gtid, gtid);
    let how = ByHand::Commit { stamp: None };
    let done = a.resolve(gtid, how, "the coordinator has burnt").await;
    let Some(Decision::Commit { stamp }) = done.unwrap().decision else {
        panic!()
    };
    let how = ByHand::Commit { stamp: Some(stamp) };
    b.resolve(gtid, how, "as at A").await.unwrap();
    for operator in [&a, &b] {
        let pending = operator.pending().await.unwrap();
        assert!(pending.in_doubt.is_empty());
        assert_eq!(pending.heuristics[0].decision, Decision::Commit { stamp });
        assert_eq!(pending.heuristics[0].heard, None);
    }
    let audit = std::fs::read_to_string(folder.path().join("A/audit.jsonl")).unwrap();
    let lines: Vec<Value> = audit
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "what was asked for, and what came of it");
    assert_eq!(lines[0]["reason"], "the coordinator has burnt");
    assert_eq!(
        (&lines[0]["outcome"], &lines[1]["outcome"]),
        (&Value::Null, &"done".into())
    );

    // It comes back after all, without the decision, and presumes an abort.
    cluster.start_coordinator().await;
    let client = cluster.client().await;
    for name in SITES {
        let site = cluster.site(name);
        until("the coordinator is heard", || {
            site.site().heuristics().iter().all(|it| it.is_damage())
        })
        .await;
        let text = site.metrics().render();
        assert_eq!(
            value(&text, "coco_site_heuristics_total{decision=\"commit\"}"),
            1.0
        );
        assert_eq!(value(&text, "coco_site_heuristic_damage_total"), 1.0);
        assert_eq!(
            value(&text, "coco_site_heuristic_damage_unacknowledged"),
            1.0
        );
        assert_eq!(value(&text, "coco_site_heuristics_unheard"), 0.0);
        let acknowledged = client.resolve_at(name, gtid, ByHand::Acknowledge, "seen");
        assert_eq!(acknowledged.await.unwrap().decision, None);
        assert!(client.pending(name).await.unwrap().heuristics.is_empty());
    }
    let mut after = client.begin().await.unwrap();
    assert_eq!(after.get("A", b"x").await.unwrap(), Some(b"1".to_vec()));
    after.put("B", b"y", b"2").await.unwrap();
    assert!(matches!(after.commit().await, Ok(Commit::Committed(_))));
    cluster.finish().await;
}

#[tokio::test]
async fn what_is_decided_by_hand_otherwise_at_another_site_is_found_by_the_checker() {
    let folder = tempfile::tempdir().unwrap();
    let (mut cluster, gtid) = in_doubt(folder.path()).await;
    for (name, how) in [("A", ByHand::Abort), ("B", ByHand::Commit { stamp: None })] {
        let operator = operator(&cluster, name).await;
        operator.resolve(gtid, how, "a guess").await.unwrap();
    }
    cluster.start_coordinator().await;
    let site = cluster.site("B").site();
    until("the coordinator is heard", || {
        site.heuristics().iter().all(|it| it.is_damage())
    })
    .await;
    until("A agrees", || {
        cluster.site("A").site().heuristics().is_empty()
    })
    .await;
    let histories = cluster.histories().await;
    let report = checker::judge(&histories, Level::Serializability);
    assert!(
        matches!(report.verdict, Verdict::Invalid { .. }),
        "{}",
        report.to_json()
    );
}

#[tokio::test]
async fn only_operators_decide_by_hand_and_not_without_a_reason_or_a_file_to_write_it_to() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    let lines = "client shop client-token-0123456789\noperator root operator-token-01234567\n";
    secret(&tokens, lines);
    let tls = None;
    let tokens = Some(tokens);
    let security = ServerSecurity::load(SecurityFiles { tls, tokens }).unwrap();
    let mut cluster = Cluster::start(&[]).await;
    for (name, audited) in [("A", true), ("B", false)] {
        let front = Front::new(security.clone(), Limits::default());
        let storage = GatedLog::default().storage();
        cluster
            .start_site(name, EngineKind::Ss2pl, storage, |options| {
                options.front = front;
                options.audit = audited.then(|| Audit::in_folder(folder.path()));
            })
            .await;
    }
    let show = |token: &str| {
        let file = folder.path().join(token);
        secret(&file, token);
        let token = Some(file);
        let files = CredentialFiles {
            token,
            ..CredentialFiles::default()
        };
        Credentials::load(files).unwrap()
    };
    let (client, root) = (
        show("client-token-0123456789"),
        show("operator-token-01234567"),
    );
    let at = |site: &str| cluster.site(site).address().to_string();
    let nothing = Gtid(7);

    let shop = SiteOperator::connect(&at("A"), &client).await.unwrap();
    let refused = shop.resolve(nothing, ByHand::Abort, "greed").await;
    let Err(ClientError::SiteFailed { status, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(status.message().contains("role client"), "{status}");
    assert!(!folder.path().join("audit.jsonl").exists());

    let root_at_a = SiteOperator::connect(&at("A"), &root).await.unwrap();
    let root_at_b = SiteOperator::connect(&at("B"), &root).await.unwrap();
    for (operator, reason, says) in [
        (&root_at_a, "  ", "say why"),
        (&root_at_b, "a try", "no data folder"),
        (&root_at_a, "a try", "not in doubt at this site"),
    ] {
        let refused = operator.resolve(nothing, ByHand::Abort, reason).await;
        let Err(ClientError::Refused(refused)) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(refused.code, RefusedCode::NotResolvable);
        assert!(refused.message.contains(says), "{refused}");
    }
    let audit = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    let last: Value = serde_json::from_str(audit.lines().last().unwrap()).unwrap();
    assert_eq!(audit.lines().count(), 2);
    assert_eq!(last["operator"], "root");
    assert!(last["outcome"].as_str().unwrap().starts_with("left alone"));
}

/// The same as its user does it: a site process that is killed in between, and the command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::too_many_lines, reason = "one story, step by step")]
async fn the_command_decides_at_a_site_process_that_is_killed_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (data, history) = (folder.path().join("data"), folder.path().join("P.hist"));
    std::fs::create_dir(&data).unwrap();
    let mut cluster = Cluster::start(&[("A", EngineKind::Ss2pl)]).await;
    let uri = format!("{}={}", COORDINATOR.0, cluster.uri());
    let serve = |history: &std::path::Path| {
        Process::start(&[
            "serve",
            "--name",
            "P",
            "--engine",
            "ss2pl",
            "--coordinator",
            &uri,
            "--data",
            data.to_str().unwrap(),
            "--history",
            history.to_str().unwrap(),
        ])
    };
    let at = |site: &Process| {
        let address = site.line.trim_end().rsplit(' ').next().unwrap();
        address.to_owned()
    };
    let mut site = serve(&folder.path().join("first.hist"));
    let client = Client::connect(&cluster.uri()).await.unwrap();
    client.wait_for_sites(&["A", "P"], PATIENCE).await.unwrap();
    cluster.log.hold();
    let mut txn = client.begin().await.unwrap();
    let gtid = txn.gtid().0.to_string();
    txn.put("A", b"x", b"1").await.unwrap();
    txn.put("P", b"y", b"1").await.unwrap();
    let commit = tokio::spawn(txn.commit());
    until("the decision is on its way to the disk", || {
        cluster.log.held() > 0
    })
    .await;
    cluster.kill_coordinator();
    assert!(commit.await.unwrap().is_err());

    let ask = |address: &str, more: &[&str]| {
        let mut arguments = more.to_vec();
        arguments.extend(["--site", address]);
        let output = run(&arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    };
    let (_, said) = ask(&at(&site), &["in-doubt", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["in_doubt"][0]["gtid"].to_string(), gtid);
    let commit = ["resolve", &gtid, "--commit", "--reason", "P has shipped it"];
    let (status, said) = ask(&at(&site), &commit);
    assert_eq!(status, Some(1), "without being understood");
    assert!(
        said.contains("--i-understand") && said.contains("order"),
        "{said}"
    );
    let understood: Vec<&str> = commit.iter().copied().chain(["--i-understand"]).collect();
    let (status, said) = ask(&at(&site), &understood);
    assert_eq!(
        (status, said.contains("committed at this site")),
        (Some(0), true)
    );

    site.signal("-KILL");
    site.wait().await;
    let site = serve(&history);
    let (_, said) = ask(&at(&site), &["in-doubt"]);
    assert!(
        said.starts_with("nothing is in doubt\ndecided by hand:\n"),
        "{said}"
    );
    assert!(said.contains("not heard"), "{said}");
    cluster.start_coordinator().await;
    let client = Client::connect(&cluster.uri()).await.unwrap();
    client.wait_for_sites(&["A", "P"], PATIENCE).await.unwrap();
    let heard = async {
        loop {
            let (_, said) = ask(&at(&site), &["in-doubt", "--json"]);
            let said: Value = serde_json::from_str(&said).unwrap();
            if said["by_hand"][0]["damage"] == true {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.unwrap();
    let acknowledge = [
        "resolve",
        &gtid,
        "--acknowledge",
        "--reason",
        "booked by hand",
    ];
    assert_eq!(ask(&at(&site), &acknowledge).0, Some(0));
    assert_eq!(
        ask(&at(&site), &acknowledge).0,
        Some(1),
        "there is none any more"
    );
    let audit = std::fs::read_to_string(data.join("audit.jsonl")).unwrap();
    assert_eq!(audit.lines().count(), 6);

    // At P it is committed, at A it is not: that is what was broken.
    let mut check = client.begin().await.unwrap();
    assert_eq!(check.get("P", b"y").await.unwrap(), Some(b"1".to_vec()));
    assert_eq!(check.get("A", b"x").await.unwrap(), None);
    check.rollback().await.unwrap();
    let mut site = site;
    site.signal("-TERM");
    assert!(site.wait().await.success());
    let text = std::fs::read(&history).unwrap();
    let mut histories = cluster.histories().await;
    histories.push(checker::parse::read_history(text.as_slice(), "P").unwrap());
    let report = checker::judge(&histories, Level::Serializability);
    assert!(
        matches!(report.verdict, Verdict::Invalid { .. }),
        "{}",
        report.to_json()
    );
}
