//! capnp-rpc over TCP, as in its examples: all of an end in one thread.

use std::rc::Rc;

use anyhow::Result;
use bytes::Bytes;
use capnp::message::ReaderOptions;
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use futures::io::{AsyncRead, AsyncReadExt, BufReader, BufWriter};
use send_wrapper::SendWrapper;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio_util::compat::TokioAsyncReadCompatExt;

use self::calculator_capnp::calculator;
use super::contestants::Serve;
use super::repeat;

/// Made of `calculator.capnp` by capnpc 0.27, in the module `peers::capnp`.
#[allow(clippy::all, clippy::use_self, missing_docs, unused_qualifications, unreachable_pub, reason = "generated")]
#[rustfmt::skip]
mod calculator_capnp;

struct Calculator;

impl calculator::Server for Calculator {
    async fn add(
        self: Rc<Self>,
        params: calculator::AddParams,
        mut results: calculator::AddResults,
    ) -> Result<(), capnp::Error> {
        let params = params.get()?;
        results.get().set_sum(params.get_a() + params.get_b());
        Ok(())
    }

    async fn echo(
        self: Rc<Self>,
        params: calculator::EchoParams,
        mut results: calculator::EchoResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_data(params.get()?.get_data()?);
        Ok(())
    }
}

fn network(
    stream: TcpStream,
    side: Side,
) -> Result<VatNetwork<BufReader<impl AsyncRead + Unpin + use<>>>> {
    stream.set_nodelay(true)?;
    let (input, output) = stream.compat().split();
    // The default limit would refuse the large echo.
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(None);
    let (input, output) = (BufReader::new(input), BufWriter::new(output));
    Ok(VatNetwork::new(input, output, side, options))
}

pub(super) fn serve() -> Result<(String, Serve)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?.to_string();
    let serve = move || {
        in_this_thread(async {
            let listener = TcpListener::from_std(listener)?;
            let calculator: calculator::Client = capnp_rpc::new_client(Calculator);
            loop {
                let (stream, _) = listener.accept().await?;
                let network = network(stream, Side::Server)?;
                let bootstrap = calculator.clone().client;
                spawn_local(RpcSystem::new(Box::new(network), Some(bootstrap)));
            }
        })
    };
    Ok((address, Box::new(serve)))
}

/// Runs what cannot be sent to other threads.
pub(super) fn in_this_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, work)
}

/// Not to be sent elsewhere, which is checked when it is used.
#[derive(Clone)]
pub(super) struct Client(SendWrapper<calculator::Client>);

impl repeat::Client for Client {
    fn connect(address: &str) -> impl Future<Output = Result<Self>> + Send {
        SendWrapper::new(async move {
            let stream = TcpStream::connect(address).await?;
            let network = network(stream, Side::Client)?;
            let mut system = RpcSystem::new(Box::new(network), None);
            let client = system.bootstrap(Side::Server);
            spawn_local(system);
            Ok(Self(SendWrapper::new(client)))
        })
    }

    fn add(&self, a: i64, b: i64) -> impl Future<Output = Result<i64>> + Send {
        SendWrapper::new(async move {
            let mut request = self.0.add_request();
            request.get().set_a(a);
            request.get().set_b(b);
            Ok(request.send().promise.await?.get()?.get_sum())
        })
    }

    fn echo(&self, data: Bytes) -> impl Future<Output = Result<usize>> + Send {
        SendWrapper::new(async move {
            let mut request = self.0.echo_request();
            request.get().set_data(&data);
            Ok(request.send().promise.await?.get()?.get_data()?.len())
        })
    }
}
