//! What aws-config finds in the metadata service, in one line, with nothing set but that it speaks plain HTTP.

use aws_config::imds;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::ProvideCredentials as _;
use std::error::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    match found().await {
        Ok(line) => println!("{line}"),
        Err(cause) => {
            println!("no credentials");
            eprintln!("{cause:?}");
        }
    }
}

async fn found() -> Result<String, Box<dyn Error>> {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = ProviderConfig::without_region().with_http_client(http);
    let client = imds::Client::builder().configure(&config).build();
    let credentials =
        ImdsCredentialsProvider::builder().configure(&config).imds_client(client.clone()).build();
    let credentials = credentials.provide_credentials().await?;
    let region = ImdsRegionProvider::builder().configure(&config).imds_client(client.clone()).build();
    let region = region.region().await.ok_or("there is no Region")?;
    let id: String = client.get("/latest/meta-data/instance-id").await?.into();
    let tag: String = client.get("/latest/meta-data/tags/instance/Name").await?.into();
    let key = credentials.access_key_id();
    Ok(format!("key={key} region={region} id={id} tag={tag}"))
}
