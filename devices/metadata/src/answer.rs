//! An answer's bytes: status line, headers, body.

use crate::service::Now;
use crate::time::rfc1123;
use std::time::SystemTime;

/// What goes back to a client.
#[derive(Debug)]
pub struct Answer {
    pub bytes: Vec<u8>,
    /// The IP TTL or hop limit of its packets; None: the usual one.
    pub hop_limit: Option<u8>,
    /// Nothing more will be answered on this connection.
    pub close: bool,
}

/// An answer before it is bytes.
#[derive(Debug)]
pub(crate) struct Reply {
    status: Status,
    body: Vec<u8>,
    content_type: &'static str,
    /// `Accept-Ranges`, which what is found has.
    ranges: Option<&'static str>,
    /// When what is found last changed.
    modified: Option<SystemTime>,
    /// Which methods would be answered.
    allow: Option<&'static str>,
    /// The token's lifetime.
    lifetime: Option<u32>,
    hop_limit: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    NotAllowed,
    ExpectationFailed,
    InternalError,
    Unavailable,
}

impl Status {
    fn line(self) -> (u16, &'static str) {
        match self {
            Status::Ok => (200, "OK"),
            Status::BadRequest => (400, "Bad Request"),
            Status::Unauthorized => (401, "Unauthorized"),
            Status::Forbidden => (403, "Forbidden"),
            Status::NotFound => (404, "Not Found"),
            Status::NotAllowed => (405, "Not Allowed"),
            Status::ExpectationFailed => (417, "Expectation Failed"),
            Status::InternalError => (500, "Internal Server Error"),
            Status::Unavailable => (503, "Service Unavailable"),
        }
    }

    /// The page that EC2 shows; it has none for what is forbidden or not allowed.
    fn page(self) -> String {
        let (number, words) = self.line();
        format!(
            "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n\
             <!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n\
             \t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n\
             <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n \
             <head>\n  <title>{number} - {words}</title>\n </head>\n \
             <body>\n  <h1>{number} - {words}</h1>\n </body>\n</html>"
        )
    }
}

impl Reply {
    /// Texts, and JSON too: to EC2 all is plain text.
    pub(crate) fn text(body: impl Into<Vec<u8>>) -> Reply {
        Reply {
            status: Status::Ok,
            body: body.into(),
            content_type: "text/plain",
            ranges: None,
            modified: None,
            allow: None,
            lifetime: None,
            hop_limit: None,
        }
    }

    pub(crate) fn found(body: impl Into<Vec<u8>>, modified: SystemTime) -> Reply {
        Reply { ranges: Some("none"), modified: Some(modified), ..Reply::text(body) }
    }

    pub(crate) fn user_data(body: &[u8], modified: SystemTime) -> Reply {
        let content_type = "application/octet-stream";
        Reply { content_type, ranges: Some("bytes"), ..Reply::found(body, modified) }
    }

    /// `hop_limit`: how far it may travel.
    pub(crate) fn token(token: String, hop_limit: u8) -> Reply {
        Reply { hop_limit: Some(hop_limit), ..Reply::text(token) }
    }

    /// With the lifetime of the token that the request brought or was given.
    pub(crate) fn with(self, lifetime: Option<u32>) -> Reply {
        Reply { lifetime, ..self }
    }

    pub(crate) fn error(status: Status) -> Reply {
        match status {
            Status::Forbidden | Status::NotAllowed | Status::ExpectationFailed => {
                Reply { status, ..Reply::text("") }
            }
            _ => Reply { status, content_type: "text/html", ..Reply::text(status.page()) },
        }
    }

    pub(crate) fn not_allowed(allow: &'static str) -> Reply {
        Reply { allow: Some(allow), ..Reply::error(Status::NotAllowed) }
    }

    /// `keeps`: the client wants the connection to go on, which EC2 grants where it forbids.
    pub(crate) fn write(self, now: Now, without_body: bool, keeps: bool) -> Answer {
        let close = !(keeps && self.status == Status::Forbidden);
        let (number, words) = self.status.line();
        let mut head = format!("HTTP/1.1 {number} {words}\r\n");
        let mut header = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                head.extend([name, ": ", &value, "\r\n"]);
            }
        };
        header("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", self.lifetime.map(|seconds| seconds.to_string()));
        header("Allow", self.allow.map(str::to_owned));
        header("Content-Type", Some(self.content_type.to_owned()));
        header("Accept-Ranges", self.ranges.map(str::to_owned));
        header("Last-Modified", self.modified.map(rfc1123));
        header("Content-Length", Some(self.body.len().to_string()));
        header("Date", Some(rfc1123(now.wall)));
        header("Server", Some("EC2ws".to_owned()));
        header("Connection", close.then(|| "close".to_owned()));
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if !without_body {
            bytes.extend(self.body);
        }
        Answer { bytes, hop_limit: self.hop_limit, close }
    }
}
