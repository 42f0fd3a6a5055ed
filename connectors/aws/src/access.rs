//! How a connector reaches its service: region, endpoint, role, and the standard chain of credentials.

use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use millstream_core::{Error, Result};
use tokio::sync::OnceCell;

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one attempt of a call may take; calls that answer with a stream of their own raise it.
const ATTEMPT: Duration = Duration::from_secs(30);

/// Where a connector's service is and who calls it. The options `region`, `endpoint` and `role_arn` of every connector.
#[derive(Debug, Default)]
pub(crate) struct Access {
    region: Option<String>,
    endpoint: Option<String>,
    role_arn: Option<String>,
    /// Made at the first call, so that `check` needs no credentials; kept, so that connections and credentials are
    /// shared by all that one connector opens.
    config: OnceCell<SdkConfig>,
}

impl Access {
    pub(crate) fn new(region: Option<&str>, endpoint: Option<&str>, role_arn: Option<&str>) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Self { region: owned(region), endpoint: owned(endpoint), role_arn: owned(role_arn), config: OnceCell::new() }
    }

    /// The configuration for a service's client. Its own retries are off: the engine retries, counts and reports
    /// itself, and a write that may have happened must be told from one that has not.
    ///
    /// # Errors
    /// `Environment` where no region is known.
    pub(crate) async fn config(&self) -> Result<&SdkConfig> {
        self.config.get_or_try_init(|| self.load()).await
    }

    async fn load(&self) -> Result<SdkConfig> {
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts);
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let base = loader.load().await;
        if base.region().is_none() {
            return Err(Error::environment(
                "no AWS region is known: set `region` on the connector, AWS_REGION, or a region in ~/.aws/config",
            ));
        }
        let Some(role) = &self.role_arn else { return Ok(base) };
        // The role is assumed at STS itself, not at an endpoint that stands for another service.
        let mut sts = base.to_builder();
        sts.set_endpoint_url(None);
        let provider =
            AssumeRoleProvider::builder(role).session_name("millstream").configure(&sts.build()).build().await;
        let provider = aws_credential_types::provider::SharedCredentialsProvider::new(provider);
        Ok(base.into_builder().credentials_provider(provider).build())
    }
}
