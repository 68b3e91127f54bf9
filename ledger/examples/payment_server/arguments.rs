//! What can be written on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// What can be asked of the server, for `--help`.
const ROUTES: &str = r#"Routes (amounts in cents; the bearer token is the principal):
  POST  /api/charges        {"customer","amount","currency"}, Idempotency-Key demanded
  GET   /api/charges        the principal's charges
  POST  /api/transfers      {"from","to","amount"}, Idempotency-Key optional
  GET   /api/transfers      the principal's transfers
  GET   /api/accounts       [{"id","balance","version"}]
  PATCH /api/accounts/{id}  {"delta"}, Idempotency-Key and If-Match: "VERSION" demanded
  POST  /webhooks/{source}  any body, Event-Id demanded; {"sighting":"first"|"repeat"}
  GET   /api/effects        what the card network was told: [{"principal","key","count"}]
  GET   /api/health, GET /metrics (Prometheus)

With --faults, the header Demo-Fault: fail-before, slow=MS, error-500, crash-after-effect or
lose-response."#;

/// A payment server on an idempotency ledger
#[derive(Debug, Parser)]
#[command(name = "payment_server", after_help = ROUTES)]
pub(crate) struct Arguments {
    /// Where to listen; port 0 takes any, and says which
    #[arg(long, default_value = "127.0.0.1:8787")]
    pub(crate) addr: SocketAddr,

    /// The ledger's file, with the accounts in it
    #[arg(long, value_name = "PATH")]
    pub(crate) ledger: PathBuf,

    /// The card network's file [default: the ledger's with `.network` behind it]
    #[arg(long, value_name = "PATH")]
    pub(crate) network: Option<PathBuf>,

    /// A folder of static files to serve
    #[arg(long, value_name = "DIR")]
    pub(crate) www: Option<PathBuf>,

    /// Obey the request header Demo-Fault
    #[arg(long)]
    pub(crate) faults: bool,

    /// Demand signatures of webhooks: `Webhook-Signature: t=SECONDS,v1=HEX`, made within the last
    /// five minutes, with HEX the HMAC-SHA256 of "SECONDS\nSOURCE/ID\nBODY"
    #[arg(long, value_name = "SECRET")]
    pub(crate) webhook_secret: Option<String>,

    /// A further name of this server, beside `localhost` and addresses (may be repeated)
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_host: Vec<String>,

    /// Another origin whose pages may use it, as `https://shop.example` (may be repeated)
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) allow_origin: Vec<String>,
}

impl Arguments {
    pub(crate) fn network_path(&self) -> PathBuf {
        self.network.clone().unwrap_or_else(|| {
            let mut path = self.ledger.clone().into_os_string();
            path.push(".network");
            path.into()
        })
    }
}
