//! zbus from peer to peer over TCP, on tokio.

use ::zbus::connection::{AuthMechanism, Builder};
use ::zbus::{Connection, Guid, interface, proxy};
use anyhow::Result;
use bytes::Bytes;
use serde_bytes::{ByteBuf, Bytes as Slice};
use tokio::net::{TcpListener, TcpStream};

use super::repeat;

const PATH: &str = "/calculator";

struct Calculator;

#[interface(name = "org.antifreeze.Calculator")]
impl Calculator {
    fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }

    fn echo(&self, data: ByteBuf) -> ByteBuf {
        data
    }
}

#[proxy(
    interface = "org.antifreeze.Calculator",
    default_service = "org.antifreeze.Calculator",
    default_path = "/calculator"
)]
trait Calculator {
    fn add(&self, a: i64, b: i64) -> ::zbus::Result<i64>;
    fn echo(&self, data: &Slice) -> ::zbus::Result<ByteBuf>;
}

fn builder(stream: TcpStream) -> Result<Builder<'static>> {
    stream.set_nodelay(true)?;
    let builder = Builder::tcp_stream(stream.into_std()?).p2p();
    // Who is at the other end of TCP cannot be asked of the system.
    Ok(builder.auth_mechanism(AuthMechanism::Anonymous))
}

pub(super) async fn serve() -> Result<(String, impl Future<Output = Result<()>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let serve = async move {
        let mut connections = Vec::new();
        loop {
            let (stream, _) = listener.accept().await?;
            let server = builder(stream)?
                .server(Guid::generate())
                .serve_at(PATH, Calculator);
            connections.push(server.build().await?);
        }
    };
    Ok((address, serve))
}

#[derive(Clone)]
pub(super) struct Client(CalculatorProxy<'static>);

impl repeat::Client for Client {
    async fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let connection: Connection = builder(stream)?.build().await?;
        Ok(Self(CalculatorProxy::new(&connection).await?))
    }

    async fn add(&self, a: i64, b: i64) -> Result<i64> {
        Ok(self.0.add(a, b).await?)
    }

    async fn echo(&self, data: Bytes) -> Result<usize> {
        Ok(self.0.echo(Slice::new(&data)).await?.len())
    }
}
