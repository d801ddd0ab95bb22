//! HTTP/2 by hand, for what no client would send.

use std::net::SocketAddr;
use std::time::Duration;

use h2::client::SendRequest;
use tokio::net::TcpStream;
use tonic::codegen::Bytes;
use tonic::codegen::http::{HeaderValue, Request};

/// A connection in the clear.
pub(crate) async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move {
        // The tests look at what they get; how the connection ends is one of those things.
        let _ended = connection.await;
    });
    sender
}

pub(crate) fn request(path: &str, token: Option<&str>) -> Request<()> {
    let mut request = Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(()).unwrap()
}

/// The status of a call with an empty message; `None` while it goes on, as streams do.
pub(crate) async fn status(
    sender: &mut SendRequest<Bytes>,
    request: Request<()>,
) -> Result<Option<i32>, h2::Error> {
    let code =
        |value: Option<&HeaderValue>| value.map(|value| value.to_str().unwrap().parse().unwrap());
    let mut ready = sender.clone().ready().await?;
    let (response, mut body) = ready.send_request(request, false)?;
    body.send_data(Bytes::from_static(&[0, 0, 0, 0, 0]), true)?;
    let whole = async {
        let response = response.await?;
        if let Some(code) = code(response.headers().get("grpc-status")) {
            return Ok(Some(code));
        }
        let mut body = response.into_body();
        while body.data().await.transpose()?.is_some() {}
        let trailers = body.trailers().await?;
        Ok(trailers.and_then(|it| code(it.get("grpc-status"))))
    };
    match tokio::time::timeout(Duration::from_secs(20), whole).await {
        Ok(status) => status,
        Err(_) => Ok(None),
    }
}
