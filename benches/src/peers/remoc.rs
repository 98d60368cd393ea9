//! remoc's remote trait calling, as in its example.

use std::sync::Arc;

use ::remoc::prelude::*;
use ::remoc::rtc::{CallError, Client as _};
use ::remoc::{Cfg, Connect, codec, rtc};
use anyhow::{Result, anyhow};
use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};

use super::repeat;

/// Of a request and of an answer: the default would refuse the large echo.
const LARGEST: usize = 1 << 30;

#[rtc::remote]
trait Calculator {
    async fn add(&self, a: i64, b: i64) -> Result<i64, CallError>;
    async fn echo(&self, data: Bytes) -> Result<Bytes, CallError>;
}

struct Target;

impl Calculator for Target {
    async fn add(&self, a: i64, b: i64) -> Result<i64, CallError> {
        Ok(a + b)
    }

    async fn echo(&self, data: Bytes) -> Result<Bytes, CallError> {
        Ok(data)
    }
}

pub(super) async fn serve() -> Result<(String, impl Future<Output = Result<()>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let serve = async move {
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(answer(stream));
        }
    };
    Ok((address, serve))
}

async fn answer(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let (input, output) = stream.into_split();
    let (server, mut client) = CalculatorServerShared::<_, codec::Default>::new(Arc::new(Target));
    client.set_max_request_size(LARGEST);
    client.set_max_response_size(LARGEST);
    let connection = Connect::io(Cfg::default(), input, output);
    connection.provide(client).await?;
    let served = server.serve().await;
    served.map_err(|error| anyhow!("{error}"))
}

#[derive(Clone)]
pub(super) struct Client(CalculatorClient);

impl repeat::Client for Client {
    async fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (input, output) = stream.into_split();
        let connection = Connect::io(Cfg::default(), input, output);
        Ok(Self(connection.consume().await?))
    }

    async fn add(&self, a: i64, b: i64) -> Result<i64> {
        Ok(self.0.add(a, b).await?)
    }

    async fn echo(&self, data: Bytes) -> Result<usize> {
        Ok(self.0.echo(data).await?.len())
    }
}
