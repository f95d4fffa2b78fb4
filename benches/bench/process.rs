//! Memory under load, and the time until the service is ready.

use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::MEASUREMENT;
use super::database::{Server, USERS};
use super::load;
use super::report::at_most;
use super::variant::Service;

pub(crate) async fn memory_and_start(server: &Server) {
    println!("\n# the process");
    let database = server.database().await;
    database.fill(USERS).await;
    let service = Service::batched(&database.url);
    let key = service.key.clone();
    let request =
        move |n: u32| load::get(&format!("/v1/users/user-{}/resume", 1 + n % USERS), &key);
    load::run(service.address, 256, MEASUREMENT, request).await;
    at_most(
        "peak RSS under 256 connections",
        service.peak_memory(),
        "MiB",
        64.0,
    );
    drop(service);
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..5 {
        times.push(time_to_ready(&database.url));
    }
    times.sort_unstable();
    at_most(
        "serve ready on a migrated database, median of 5",
        times[2].as_secs_f64() * 1e3,
        "ms",
        150.0,
    );
    database.remove().await;
}

fn time_to_ready(database: &str) -> Duration {
    let address = free_address();
    let started = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_rejoin"))
        .args([
            "serve",
            "--listen",
            &address.to_string(),
            "--database-url",
            database,
        ])
        .args(["--hms-access-key", "key", "--hms-secret", "secret"])
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    while !is_ready(address) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let elapsed = started.elapsed();
    let _ = child.kill();
    let _ = child.wait();
    elapsed
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
}

fn is_ready(address: SocketAddr) -> bool {
    use std::io::{Read, Write};
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream
            .write_all(b"GET /health/ready HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
