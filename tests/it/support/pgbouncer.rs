//! `PgBouncer` in front of the database of a test.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::geteuid;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use url::Url;

use super::temp::temp_dir;
use super::wait::until;

/// A running `PgBouncer`. It ends with this value.
pub(crate) struct PgBouncer {
    child: Child,
    url: Url,
    _dir: TempDir,
}

impl PgBouncer {
    /// Starts it in front of the database at this URL, with the settings that these lines add to
    /// those without which there is none.
    pub(crate) async fn start(database_url: &str, settings: &str) -> Self {
        let (dir, port) = (temp_dir(), free_port());
        let server = Url::parse(database_url).expect("a database URL");
        let file = dir.path().join("pgbouncer.ini");
        fs::write(&file, ini(&server, port, settings)).expect("a file can be written");
        fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("it is ours");
        let mut command = Command::new(program());
        if geteuid().is_root() {
            command.args(["-u", "nobody"]);
        }
        command
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("PgBouncer starts");
        let mut url = server;
        url.set_query(Some("sslmode=disable"));
        url.set_host(Some("127.0.0.1")).expect("it has a host");
        url.set_port(Some(port)).expect("it has a port");
        let bouncer = Self {
            child,
            url,
            _dir: dir,
        };
        let listens = async || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        until("PgBouncer listens", listens).await;
        bouncer
    }

    /// The URL of the database through it.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
    }

    /// A connection through it, of another client than rejoin.
    pub(crate) async fn connect(&self) -> PgConnection {
        let options: PgConnectOptions = self.url.as_str().parse().expect("a database URL");
        PgConnection::connect_with(&options.extra_float_digits(None))
            .await
            .expect("PgBouncer accepts connections")
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The major and minor version, such as (1, 18).
pub(crate) fn version() -> (u32, u32) {
    let output = Command::new(program()).arg("--version").output();
    let output = output.expect("PgBouncer prints its version");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("PgBouncer "));
    let mut numbers = version
        .expect("its version")
        .split('.')
        .map_while(|part| part.parse().ok());
    (
        numbers.next().expect("the major version"),
        numbers.next().expect("the minor version"),
    )
}

/// The program that `PGBOUNCER` names, else an installed one.
fn program() -> PathBuf {
    if let Some(named) = env::var_os("PGBOUNCER").filter(|path| !path.is_empty()) {
        return named.into();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program.exists())
        .expect("this test needs PgBouncer: install the package pgbouncer, or set PGBOUNCER to its path")
}

fn ini(server: &Url, port: u16, settings: &str) -> String {
    let name = server.path().trim_start_matches('/');
    let host = server.host_str().expect("it has a host");
    let server_port = server.port().unwrap_or(5432);
    let user = server.username();
    let password = server.password().unwrap_or_default();
    format!(
        "[databases]
{name} = host={host} port={server_port} user={user} password={password}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
{settings}
"
    )
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
