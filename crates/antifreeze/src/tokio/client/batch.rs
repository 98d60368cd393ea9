//! Sending batches from tasks.

use antifreeze_proto::Response;
use serde::de::DeserializeOwned;

use super::proxy::Proxy;
use crate::client::batch::{Batch, BatchResults, METHOD, results};
use crate::client::crank::Shape;
use crate::error::Error;

impl Batch<Proxy> {
    /// Sends the calls, waits for the results, and is empty again.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`]. An exception that one of the calls raises is the last of the results; a
    /// method that does not exist fails the whole batch.
    pub async fn send(&mut self) -> Result<BatchResults, Error> {
        let response = self.exchange().await?;
        BatchResults::new(self.proxy().remote(), &response)
    }

    /// Sends the calls and gives the results as one type.
    ///
    /// # Errors
    ///
    /// As [`Batch::send`]; also if one of the calls raises.
    pub async fn send_as<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, Error> {
        let response = self.exchange().await?;
        results(self.proxy().remote(), &response)
    }

    /// Sends the calls without waiting, and is empty again.
    ///
    /// # Errors
    ///
    /// As [`Proxy::oneway`].
    pub async fn oneway(&mut self) -> Result<(), Error> {
        let calls = self.take();
        let sent = self
            .proxy()
            .send(Shape::OnewayBatch, METHOD, calls.encode());
        sent.await.map(|_| ())
    }

    async fn exchange(&mut self) -> Result<Response, Error> {
        let calls = self.take();
        let answered = self.proxy().exchange(Shape::Batch, METHOD, calls.encode());
        answered.await
    }
}
