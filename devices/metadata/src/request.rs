//! The head of a request, by httparse: only what the service looks at.

use httparse::{EMPTY_HEADER, Error, Status};

/// More than any client sends.
const MAX_HEADERS: usize = 64;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path's names, without those that are empty.
    pub(crate) path: Vec<String>,
    /// The path is spelt exactly as the token's.
    pub(crate) for_token: bool,
    pub(crate) token: Option<String>,
    /// What `X-aws-ec2-metadata-token-ttl-seconds` says.
    pub(crate) lifetime: Option<String>,
    pub(crate) forwarded: bool,
    pub(crate) expects: bool,
    /// Another request may follow on the connection.
    pub(crate) keeps: bool,
}

/// The request at the beginning of the bytes and how many of them it has; None if they are not all there yet.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Error> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let Status::Complete(length) = head.parse(bytes)? else { return Ok(None) };
    let value = |name: &str| {
        let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(header.value).into_owned())
    };
    let says = |name: &str, what: &str| value(name).is_some_and(|value| value.eq_ignore_ascii_case(what));
    let has_body =
        value("transfer-encoding").is_some() || value("content-length").is_some_and(|length| length != "0");
    let target = head.path.unwrap_or_default();
    let path = path_of(target);
    let request = Request {
        method: head.method.unwrap_or_default().to_owned(),
        for_token: path == "/latest/api/token",
        path: path.split('/').filter(|name| !name.is_empty()).map(decoded).collect(),
        token: value("x-aws-ec2-metadata-token"),
        lifetime: value("x-aws-ec2-metadata-token-ttl-seconds"),
        forwarded: value("x-forwarded-for").is_some(),
        expects: says("expect", "100-continue"),
        keeps: head.version == Some(1) && !says("connection", "close") && !has_body,
    };
    Ok(Some((request, length)))
}

/// A target without what asks, and without the scheme and the host that proxies are given.
fn path_of(target: &str) -> &str {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    match path.strip_prefix("http://") {
        Some(rest) => rest.split_once('/').map_or("", |(host, _)| rest.strip_prefix(host).unwrap_or("")),
        None => path,
    }
}

/// A name with `%2B` and the like as what they stand for.
fn decoded(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let digit = |at: usize| behind.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        let number = digit(0).zip(digit(1)).and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        let (byte, after) = match number {
            Some(number) if first == b'%' => (number, behind.get(2..).unwrap_or_default()),
            _ => (first, behind),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        parse(text.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn a_path_is_its_names() {
        let path = |target: &str| request(&format!("GET {target} HTTP/1.1\r\n\r\n")).path.join("|");
        assert_eq!(path("//latest//meta-data/x/"), "latest|meta-data|x");
        assert_eq!(path("http://169.254.169.254/latest/x?a=/b"), "latest|x");
        assert_eq!(path("/a%2Bb%2fc%zz%"), "a+b/c%zz%");
        assert_eq!(path("/"), "");
        assert_eq!(path("http://host"), "");
    }

    #[test]
    fn headers_are_found_in_any_case() {
        let text = "PUT /latest/api/token HTTP/1.1\r\nx-AWS-ec2-metadata-token-TTL-seconds: 60\r\n\
                    X-Forwarded-For:\r\nExpect: 100-Continue\r\n\r\nGET";
        let (request, length) = parse(text.as_bytes()).unwrap().unwrap();
        assert!(request.for_token && request.forwarded && request.expects && request.keeps);
        assert_eq!((request.lifetime.as_deref(), length), (Some("60"), text.len() - 3));
    }

    #[test]
    fn what_may_follow_is_known_from_the_head() {
        let keeps = |text: &str| request(text).keeps;
        assert!(keeps("GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"));
        for last in ["HTTP/1.0\r\n", "HTTP/1.1\r\nConnection: Close\r\n", "HTTP/1.1\r\nContent-Length: 5\r\n"]
        {
            assert!(!keeps(&format!("GET / {last}\r\n")), "{last}");
        }
    }
}
