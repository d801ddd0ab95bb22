//! The table of who may call what.

/// What a token is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Runs transactions.
    Client,
    /// Is a site: votes and acknowledges.
    Participant,
    /// Is another coordinator: says who waits for whom.
    Coordinator,
    /// Looks at everything, and resolves by hand.
    Operator,
}

impl Role {
    /// Its name in the tokens file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Participant => "participant",
            Self::Coordinator => "coordinator",
            Self::Operator => "operator",
        }
    }
}

use Role::{Client, Coordinator, Operator, Participant};

/// Which roles may call which rpc. The one place that says so; a test holds it against the services.
pub(crate) const TABLE: &[(&str, &[Role])] = &[
    ("/coco.v1.Coordinator/Begin", &[Client]),
    ("/coco.v1.Coordinator/Commit", &[Client]),
    ("/coco.v1.Coordinator/Rollback", &[Client]),
    (
        "/coco.v1.Coordinator/Sites",
        &[Client, Participant, Operator],
    ),
    ("/coco.v1.Coordinator/Statistics", &[Client, Operator]),
    ("/coco.v1.Coordinator/Link", &[Participant]),
    ("/coco.v1.Coordinator/Peer", &[Coordinator]),
    ("/coco.v1.Coordinator/Transactions", &[Operator]),
    ("/coco.v1.Coordinator/History", &[Operator]),
    ("/coco.v1.Coordinator/Resolve", &[Operator]),
    ("/coco.v1.SiteService/Execute", &[Client]),
    ("/coco.v1.SiteService/CommitLocal", &[Client]),
    ("/coco.v1.SiteService/RollbackLocal", &[Client]),
    ("/coco.v1.SiteService/Query", &[Client]),
    ("/coco.v1.SiteService/SiteStatistics", &[Client, Operator]),
    ("/coco.v1.SiteService/Pending", &[Operator]),
    ("/coco.v1.SiteService/Resolve", &[Operator]),
    (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        &[Operator],
    ),
];

/// What anybody may ask who can connect: probes carry no token.
const OPEN: &[&str] = &[
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
];

/// Whether an rpc needs no token.
pub(crate) fn is_open(path: &str) -> bool {
    OPEN.contains(&path)
}

/// Whether a role may call an rpc.
pub(crate) fn permits(path: &str, role: Role) -> bool {
    is_open(path)
        || TABLE
            .iter()
            .any(|(rpc, roles)| *rpc == path && roles.contains(&role))
}
