//! Who the guest speaks with: servers on this host's loopback, each in a thread that lives as long as the process.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

const PIECE: usize = 256 << 10;

/// Serves every connection by `serve`, one after the other in a thread of its own; the port is given.
fn server(serve: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let accept = move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            // Whoever hangs up in the middle has what it wanted.
            let serves =
                std::thread::Builder::new().stack_size(64 << 10).spawn(move || serve(stream).unwrap_or(()));
            drop(serves);
        }
    };
    std::thread::Builder::new().name("server".to_owned()).spawn(accept)?;
    Ok(port)
}

/// Hears all and says nothing.
pub(crate) fn sink() -> io::Result<u16> {
    server(|mut stream| {
        let mut buffer = vec![0; PIECE];
        while stream.read(&mut buffer)? > 0 {}
        Ok(())
    })
}

/// Speaks for as long as it is heard.
pub(crate) fn source() -> io::Result<u16> {
    server(|mut stream| {
        let buffer = vec![b'y'; PIECE];
        loop {
            stream.write_all(&buffer)?;
        }
    })
}

/// Says back at once what it hears.
pub(crate) fn echo() -> io::Result<u16> {
    server(|mut stream| {
        stream.set_nodelay(true)?;
        let mut buffer = [0; 4096];
        loop {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            stream.write_all(buffer.get(..count).unwrap_or_default())?;
        }
    })
}

/// Keeps connections open, in this one thread.
pub(crate) fn keeper() -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let keep = move || drop(listener.incoming().map_while(Result::ok).collect::<Vec<_>>());
    std::thread::Builder::new().name("keeper".to_owned()).spawn(keep)?;
    Ok(port)
}
