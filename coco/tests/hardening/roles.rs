//! Tokens: every rpc with every role.

use std::path::Path;

use coco::client::ClientError;
use coco::service::net::Connector;
use coco::service::security::{CredentialFiles, SecurityError, SecurityFiles, ServerSecurity};
use coco::service::{Front, Limits};
use tonic::Code;

use crate::certificates::secret;
use crate::raw::{connect, request, status};
use crate::{client, coordinator};

const TOKENS: &str = "\
# role name token
client shop      client-token-0123456789
participant b    berlin-token-0123456789 site=berlin
coordinator c2   second-token-0123456789
operator root    operator-token-01234567
";

const CLIENT: &str = "client-token-0123456789";
const PARTICIPANT: &str = "berlin-token-0123456789";
const COORDINATOR: &str = "second-token-0123456789";
const OPERATOR: &str = "operator-token-01234567";

fn with_tokens(folder: &Path, text: &str) -> Result<ServerSecurity, SecurityError> {
    let path = folder.join("tokens");
    secret(&path, text);
    ServerSecurity::load(SecurityFiles {
        tls: None,
        tokens: Some(path),
    })
}

/// Which roles may call which rpc of a coordinator; written down a second time, on purpose.
const EXPECTED: [(&str, [bool; 4]); 13] = [
    ("/coco.v1.Coordinator/Begin", [true, false, false, false]),
    ("/coco.v1.Coordinator/Commit", [true, false, false, false]),
    ("/coco.v1.Coordinator/Rollback", [true, false, false, false]),
    ("/coco.v1.Coordinator/Sites", [true, true, false, true]),
    (
        "/coco.v1.Coordinator/Statistics",
        [true, false, false, true],
    ),
    ("/coco.v1.Coordinator/Link", [false, true, false, false]),
    ("/coco.v1.Coordinator/Peer", [false, false, true, false]),
    (
        "/coco.v1.Coordinator/Transactions",
        [false, false, false, true],
    ),
    ("/coco.v1.Coordinator/History", [false, false, false, true]),
    ("/coco.v1.Coordinator/Resolve", [false, false, false, true]),
    (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        [false, false, false, true],
    ),
    ("/grpc.health.v1.Health/Check", [true, true, true, true]),
    (
        "/coco.v1.Coordinator/NoSuchThing",
        [false, false, false, false],
    ),
];

#[tokio::test]
async fn every_rpc_lets_in_its_roles_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let security = with_tokens(folder.path(), TOKENS).unwrap();
    let server = coordinator(Front::new(security, Limits::default())).await;
    let mut raw = connect(server.address()).await;
    for (path, roles) in EXPECTED {
        for (token, allowed) in [CLIENT, PARTICIPANT, COORDINATOR, OPERATOR]
            .into_iter()
            .zip(roles)
        {
            let said = status(&mut raw, request(path, Some(token))).await.unwrap();
            let refused = said == Some(Code::PermissionDenied.into());
            assert_eq!(refused, !allowed, "{path} with {token}: {said:?}");
            assert_ne!(said, Some(Code::Unauthenticated.into()), "{path}");
        }
        let open = path.starts_with("/grpc.health.");
        for token in [None, Some("client-token-012345678"), Some("")] {
            let said = status(&mut raw, request(path, token)).await.unwrap();
            let refused = said == Some(Code::Unauthenticated.into());
            assert_eq!(refused, !open, "{path} with {token:?}: {said:?}");
        }
    }
    server.shutdown().await.unwrap();
}

fn token_file(folder: &Path, token: &str) -> CredentialFiles {
    let path = folder.join(token);
    secret(&path, &format!("{token}\n"));
    CredentialFiles {
        token: Some(path),
        ..CredentialFiles::default()
    }
}

#[tokio::test]
async fn a_client_shows_its_token_and_hears_what_it_may_not() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let security = with_tokens(folder, TOKENS).unwrap();
    let server = coordinator(Front::new(security.clone(), Limits::default())).await;
    let shop = client(&server, token_file(folder, CLIENT)).await.unwrap();
    let txn = shop.begin().await.unwrap();
    let refused = shop.history(1).await.unwrap_err();
    assert!(
        matches!(&refused, ClientError::Coordinator(status)
            if status.code() == Code::PermissionDenied && !status.message().contains(CLIENT)),
        "{refused:?}"
    );
    // Its token is taken out of the file: it is refused from the next call on.
    with_tokens(folder, "operator root operator-token-01234567").unwrap();
    security.reload().unwrap();
    let refused = txn.commit().await.unwrap_err();
    assert!(
        matches!(&refused, ClientError::Coordinator(status)
            if status.code() == Code::Unauthenticated),
        "{refused:?}"
    );
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_token_of_one_site_does_not_speak_for_another() {
    use coco::protocol::{CoordinatorId, Incarnation, SiteName, ToCoordinator};
    use coco::service::link::{Link, LinkEvent};
    use coco::service::security::Credentials;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let security = with_tokens(folder, TOKENS).unwrap();
    let server = coordinator(Front::new(security, Limits::default())).await;
    let operator = client(&server, token_file(folder, OPERATOR)).await.unwrap();
    let credentials = Credentials::load(token_file(folder, PARTICIPANT)).unwrap();
    for (name, allowed) in [("madrid", false), ("berlin", true)] {
        let uri = server.address().to_string();
        let (told, mut events) = tokio::sync::mpsc::channel(8);
        let (id, site) = (CoordinatorId(0), SiteName::new(name));
        let link =
            Link::open_with(id, &uri, site, credentials.clone(), Connector::tcp(), told).unwrap();
        let Some((_, LinkEvent::Up(sender))) = events.recv().await else {
            panic!()
        };
        sender.send(ToCoordinator::Hello {
            incarnation: Incarnation(1),
            address: "http://127.0.0.1:9".to_owned(),
            in_doubt: Vec::new(),
        });
        if allowed {
            operator
                .wait_for_sites(&[name], crate::PATIENCE)
                .await
                .unwrap();
        } else {
            let event = tokio::time::timeout(crate::PATIENCE, events.recv()).await;
            let event = event.expect("it is let in");
            let Some((_, LinkEvent::Down { reason })) = event else {
                panic!("{event:?}")
            };
            assert!(reason.contains("speaks for site berlin"), "{reason}");
            assert!(operator.sites().await.unwrap().is_empty());
        }
        drop(link);
    }
    server.shutdown().await.unwrap();
}

#[test]
fn a_tokens_file_that_is_wrong_is_refused_with_its_line_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = [
        ("client shop", 1, "ROLE NAME TOKEN"),
        ("\n\nking shop 0123456789abcdef", 3, "the role is none of"),
        ("client shop 0123456789abcde", 1, "shorter than 16"),
        (
            "client shop 0123456789abcdef site=x",
            1,
            "only a participant",
        ),
        (
            "client a 0123456789abcdef\nclient b 0123456789abcdef",
            2,
            "another line's",
        ),
        ("# nothing\n", 1, "there is no token"),
        (
            "client shop 0123456789abcd\u{e9}f",
            1,
            "no header can carry",
        ),
    ];
    for (text, line, says) in wrong {
        let error = with_tokens(folder.path(), text).unwrap_err();
        assert!(
            matches!(&error, SecurityError::Tokens { line: at, .. } if *at == line),
            "{text}: {error}"
        );
        let words = error.to_string();
        assert!(
            words.contains(says) && !words.contains("0123456789"),
            "{words}"
        );
    }
    let good = with_tokens(folder.path(), TOKENS).unwrap();
    assert!(!format!("{good:?}").contains("0123456789"));
}
