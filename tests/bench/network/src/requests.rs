//! Requests of a metadata service by HTTP, one after the other: with a token that was asked for once, each on a connection
//! of its own, since EC2's service closes it after every success. It trusts who it speaks with.

use crate::SAMPLES;
use crate::guest::PATIENCE;
use serde_json::{Value, json};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const SLICE: Duration = Duration::from_millis(300);

pub(crate) fn measure(server: &str) -> io::Result<Value> {
    let ask = format!("PUT /latest/api/token HTTP/1.1\r\nHost: {server}\r\nContent-Length: 0\r\n");
    let ask = format!("{ask}X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n");
    let token = Client::new(server)?.ask(&ask)?;
    let get = format!("GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: {server}\r\n");
    let with_token = format!("{get}X-aws-ec2-metadata-token: {}\r\nConnection: close\r\n\r\n", token.trim());
    Ok(json!({ "requests_per_second": rates(|| Client::new(server)?.ask(&with_token))? }))
}

/// How often a second it is done, slice by slice.
fn rates(mut ask: impl FnMut() -> io::Result<String>) -> io::Result<Vec<f64>> {
    let mut rates = Vec::new();
    for sample in 0..=SAMPLES {
        let (begun, mut count) = (Instant::now(), 0.0);
        while begun.elapsed() < SLICE {
            ask()?;
            count += 1.0;
        }
        // The first warms up.
        if sample > 0 {
            rates.push(count / begun.elapsed().as_secs_f64());
        }
    }
    Ok(rates)
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn new(server: &str) -> io::Result<Client> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client(BufReader::new(stream)))
    }

    /// The answer's body; an error if it is no success.
    fn ask(&mut self, request: &str) -> io::Result<String> {
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut status = String::new();
        self.0.read_line(&mut status)?;
        if !status.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(format!("the answer is {status:?}")));
        }
        let mut len = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            match line.trim().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    len = value.trim().parse().map_err(io::Error::other)?;
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; len];
        self.0.read_exact(&mut body)?;
        String::from_utf8(body).map_err(io::Error::other)
    }
}
