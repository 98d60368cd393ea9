//! tarpc over TCP with bincode, as in the example service of its repository.

use std::future;

use anyhow::Result;
use bytes::Bytes;
use futures::StreamExt;
use tarpc::context::{self, Context};
use tarpc::serde_transport;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::repeat;

#[tarpc::service]
trait Calculator {
    async fn add(a: i64, b: i64) -> i64;
    async fn echo(data: Bytes) -> Bytes;
}

#[derive(Clone)]
struct Server;

impl Calculator for Server {
    async fn add(self, _: Context, a: i64, b: i64) -> i64 {
        a + b
    }

    async fn echo(self, _: Context, data: Bytes) -> Bytes {
        data
    }
}

/// The default length would refuse the large echo.
fn framed(stream: TcpStream) -> Result<Framed<TcpStream, LengthDelimitedCodec>> {
    stream.set_nodelay(true)?;
    Ok(LengthDelimitedCodec::builder()
        .max_frame_length(usize::MAX)
        .new_framed(stream))
}

pub(super) async fn serve() -> Result<(String, impl Future<Output = Result<()>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let serve = async move {
        loop {
            let (stream, _) = listener.accept().await?;
            let transport = serde_transport::new(framed(stream)?, Bincode::default());
            let requests = BaseChannel::with_defaults(transport).execute(Server.serve());
            tokio::spawn(requests.for_each(|response| {
                tokio::spawn(response);
                future::ready(())
            }));
        }
    };
    Ok((address, serve))
}

#[derive(Clone)]
pub(super) struct Client(CalculatorClient);

impl repeat::Client for Client {
    async fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let transport = serde_transport::new(framed(stream)?, Bincode::default());
        let client = CalculatorClient::new(tarpc::client::Config::default(), transport);
        Ok(Self(client.spawn()))
    }

    async fn add(&self, a: i64, b: i64) -> Result<i64> {
        Ok(self.0.add(context::current(), a, b).await?)
    }

    async fn echo(&self, data: Bytes) -> Result<usize> {
        Ok(self.0.echo(context::current(), data).await?.len())
    }
}
