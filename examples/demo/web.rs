//! The demonstration's web servers and their client.
//! Owns both ends of the HTTP that is spoken.
//! Must never outlive the demonstration.

use super::{BOUND, Outcome};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

/// A web server: `--server NAME ADDRESS`. Ends when its standard input does, so none is left behind.
pub(super) fn serve(arguments: &[String]) -> Outcome<()> {
    let (Some(name), Some(address)) = (arguments.get(2), arguments.get(3)) else {
        return Err("--server NAME ADDRESS".into());
    };
    let listener = TcpListener::bind(address).map_err(|e| {
        format!("{address}: {e} (on the BSDs: ifconfig lo0 alias {address} first, as root)")
    })?;
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    for stream in listener.incoming() {
        let name = name.clone();
        std::thread::spawn(move || stream.and_then(|stream| talk(&name, stream)));
    }
    Ok(())
}

fn talk(name: &str, stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 || head.len() > 65_536 {
                return Ok(());
            }
        }
        let body = format!("hello from server {name}\n");
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if !head.starts_with("HEAD ") {
            answer += &body;
        }
        reader.get_mut().write_all(answer.as_bytes())?;
    }
}

/// The body of one HTTP request.
pub(super) fn fetch(port: u16, path: &str) -> std::io::Result<String> {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&to, BOUND)?;
    stream.set_read_timeout(Some(BOUND))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: demo\r\n\r\n")?;
    let mut reader = BufReader::new(stream);
    let mut length = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse::<usize>().ok();
        }
    }
    let mut body = vec![0; length.unwrap_or(0).min(65_536)];
    reader.read_exact(&mut body)?;
    Ok(String::from_utf8_lossy(&body)
        .trim()
        .rsplit(' ')
        .next()
        .unwrap_or_default()
        .to_owned())
}
