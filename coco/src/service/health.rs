//! Health and reflection, the standard services that every server here has beside its own.

use tokio::sync::watch;
use tonic::service::Routes;
use tonic_health::ServingStatus;

/// What the services and their messages look like.
pub(crate) const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("coco");

/// Adds health and reflection to `routes`. The server as a whole (the empty name) and the service `name` are
/// healthy as long as `serving` says so; the task that tells ends with the other end of `serving`.
pub(crate) fn with_health(
    routes: Routes,
    name: &'static str,
    mut serving: watch::Receiver<bool>,
) -> Routes {
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(async move {
        loop {
            let status = if *serving.borrow_and_update() {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            };
            reporter.set_service_status("", status).await;
            reporter.set_service_status(name, status).await;
            if serving.changed().await.is_err() {
                let ended = ServingStatus::NotServing;
                reporter.set_service_status("", ended).await;
                reporter.set_service_status(name, ended).await;
                return;
            }
        }
    });
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1();
    let routes = routes.add_service(health);
    match reflection {
        Ok(reflection) => routes.add_service(reflection),
        Err(error) => unreachable!("the compiler of the services has written it: {error}"),
    }
}
