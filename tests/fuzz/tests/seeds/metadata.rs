//! Seeds of the metadata service's target: what clients ask for, and what they should not.

use super::Seed;

fn seed(how: u8, requests: &[&str]) -> Vec<u8> {
    let text: String =
        requests.iter().map(|request| format!("{}\r\n\r\n", request.replace('\n', "\r\n"))).collect();
    [&[how], text.as_bytes()].concat()
}

pub(super) fn all() -> Vec<Seed> {
    const TOKEN: &str =
        "PUT /latest/api/token HTTP/1.1\nHost: 169.254.169.254\nX-aws-ec2-metadata-token-ttl-seconds: 21600";
    // The first token of a service whose secret the target knows.
    const GIVEN: &str = "X-aws-ec2-metadata-token: AQAAAAAAVGAAAFRgAAAAAXmkbY-VKUcnHk20ZjYlGPXuVaTTfjwqvw==";
    let get = |path: &str, headers: &str| format!("GET {path} HTTP/1.1\nHost: 169.254.169.254{headers}");
    let crawl = get("/2021-03-23/meta-data/", "\nUser-Agent: Cloud-Init/25.1\nConnection: keep-alive");
    vec![
        ("token", seed(1, &[TOKEN])),
        (
            "with_token",
            seed(1, &[&get("/latest/meta-data/iam/security-credentials/my-role", &format!("\n{GIVEN}"))]),
        ),
        ("crawl", seed(0, &[&crawl])),
        ("document", seed(4 | 2 << 3, &[&get("//latest/dynamic/instance-identity/document/", "")])),
        ("tags", seed(2, &[&get("/latest/meta-data/tags/instance/a%2Bb%3Dc%40d?x#y", "")])),
        ("forbidden", seed(3, &[TOKEN, &get("/", ""), TOKEN, "PUT /x HTTP/1.1\nContent-Length: 3"])),
        ("forwarded", seed(0, &["PUT /latest/api/token HTTP/1.1\nX-Forwarded-For: 10.0.0.1", TOKEN])),
        ("absolute", seed(0, &["HEAD http://169.254.169.254/latest/user-data HTTP/1.0"])),
        (
            "expects",
            seed(4 | 9 << 3, &["POST /latest/ HTTP/1.1\nExpect: 100-continue\nTransfer-Encoding: chunked"]),
        ),
    ]
}
