//! What runs on the hosts: the very servers that the programs run, over the simulated network.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coco::protocol::{CoordinatorConfig, CoordinatorId, VoterConfig};
use coco::service::coordinator::{CoordinatorOptions, CoordinatorServer, StartError};
use coco::service::net::Connector;
use participant::service::{ParticipantOptions, ParticipantServer, Storage};
use simulator::faults::lives::{SiteLife, site_log, site_name};

use crate::machine::Machine;
use crate::net::{SimListener, SimNet};
use crate::plan::{COORDINATOR_PORT, Plan, Planted, SITE_PORT};

/// Coordinators have numbers from 1.
pub(crate) fn id_of(index: usize) -> CoordinatorId {
    CoordinatorId(u8::try_from(index + 1).unwrap_or(u8::MAX))
}

fn connector(machine: &Machine) -> Connector {
    Connector::of(SimNet {
        from: machine.host.clone(),
        trace: Arc::clone(&machine.trace),
    })
}

/// A coordinator, until it crashes.
pub(crate) async fn coordinator(
    plan: Arc<Plan>,
    machine: Arc<Machine>,
    index: usize,
) -> turmoil::Result {
    let (log, records) = machine.open().await;
    let listener = SimListener::bind(COORDINATOR_PORT).await?;
    let others = (0..plan.coordinators).filter(|other| *other != index);
    let told = Arc::clone(&machine);
    let options = CoordinatorOptions {
        id: id_of(index),
        config: CoordinatorConfig {
            vote_timeout: Duration::from_millis(1_500),
            idle_timeout: Duration::from_secs(5),
            resend_after: Duration::from_millis(200),
            resend_limit: Duration::from_secs(2),
            ..CoordinatorConfig::default()
        },
        peers: others
            .map(|other| (id_of(other), Plan::coordinator_uri(other)))
            .collect(),
        connector: connector(&machine),
        checkpoint_bytes: 4 * 1024,
        on_event: Box::new(move |event| told.tell(event)),
        ..CoordinatorOptions::default()
    };
    let under = Arc::clone(&log);
    let pumped = machine.pump(&log, under, false);
    match CoordinatorServer::start(options, listener, pumped, &records).await {
        Ok(server) => {
            machine.tell("serves");
            std::future::pending::<()>().await;
            server.kill();
        }
        // The operator sees to it.
        Err(StartError::LogFailed) if log.has_failed() => std::future::pending().await,
        Err(error) => machine.refuse(&error.to_string()).await,
    }
    Ok(())
}

/// A site, until it crashes.
pub(crate) async fn site(plan: Arc<Plan>, machine: Arc<Machine>, index: usize) -> turmoil::Result {
    let (manual, records) = machine.open().await;
    let listener = SimListener::bind(SITE_PORT).await?;
    let (log, records) = site_log(Arc::clone(&manual), records, plan.inside());
    let drops = plan.bug == Some(Planted::AcknowledgementDropped);
    let log = machine.pump(&manual, log, drops);
    let life = SiteLife::new(index, plan.engines[index], &records, plan.inside());
    machine.state().lives.push(life.clone());
    let coordinators: BTreeMap<CoordinatorId, String> = (0..plan.coordinators)
        .map(|index| (id_of(index), Plan::coordinator_uri(index)))
        .collect();
    let told = Arc::clone(&machine);
    let name = site_name(index);
    let options = ParticipantOptions {
        coordinators,
        advertise: Some(format!("http://{}:{SITE_PORT}", Plan::site_host(index))),
        idle_timeout: Duration::from_secs(2),
        operation_timeout: Duration::from_secs(2),
        tick: Duration::from_millis(10),
        connector: connector(&machine),
        voter: VoterConfig {
            inquire_after: Duration::from_millis(300),
            inquire_limit: Duration::from_secs(2),
            ..VoterConfig::default()
        },
        on_event: Box::new(move |event| told.tell(event)),
        ..ParticipantOptions::new(name.as_str(), "")
    };
    let storage = Storage::Durable { log, records };
    match ParticipantServer::start(options, life.participant(), storage, listener) {
        Ok(server) => {
            machine.state().site = Some(Arc::clone(server.site()));
            machine.tell("serves");
            std::future::pending::<()>().await;
            server.kill();
        }
        Err(error) => machine.refuse(&error.to_string()).await,
    }
    Ok(())
}
