//! Databases as others manage them: a role that owns its database and nothing else, another schema,
//! time zone and collation, and TLS whose certificate is verified.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use embedded_postgres::{Durability, EmbeddedPostgres, Options};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use url::Url;

use crate::support::command::{rejoin, settings};
use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::temp::temp_dir;

async fn execute(connection: &mut PgConnection, sql: &str) {
    let done = sqlx::query(AssertSqlSafe(sql)).execute(connection).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// A database that belongs to a role of its own. Both go with [`Managed::drop_all`].
struct Managed {
    server: PgConnection,
    name: String,
    url: Url,
}

impl Managed {
    /// Its text is sorted and its times are shown as nobody expects. With `schema`, tables go to a
    /// schema of that name.
    async fn new(schema: Option<&str>) -> Self {
        let test = postgres::empty_database().await;
        let mut url = Url::parse(test.url()).unwrap();
        url.set_path("postgres");
        let mut server = PgConnection::connect(url.as_str()).await.unwrap();
        let name = format!("managed_{}", uuid::Uuid::new_v4().simple());
        let collation = collation(&mut server).await;
        for sql in [
            format!(
                "CREATE ROLE {name} LOGIN PASSWORD 'managed' NOSUPERUSER NOCREATEDB NOCREATEROLE"
            ),
            format!(
                "CREATE DATABASE {name} OWNER {name} TEMPLATE template0 ENCODING 'UTF8' {collation}"
            ),
            format!("ALTER DATABASE {name} SET timezone = 'Asia/Kathmandu'"),
            format!("ALTER DATABASE {name} SET datestyle = 'SQL, DMY'"),
            format!("ALTER DATABASE {name} SET bytea_output = 'escape'"),
        ] {
            execute(&mut server, &sql).await;
        }
        url.set_path(&name);
        if let Some(schema) = schema {
            let mut inside = PgConnection::connect(url.as_str()).await.unwrap();
            execute(&mut inside, "REVOKE ALL ON SCHEMA public FROM PUBLIC").await;
            execute(
                &mut inside,
                &format!("CREATE SCHEMA {schema} AUTHORIZATION {name}"),
            )
            .await;
            execute(
                &mut inside,
                &format!("ALTER ROLE {name} SET search_path = {schema}"),
            )
            .await;
            inside.close().await.unwrap();
        }
        url.set_username(&name).unwrap();
        url.set_password(Some("managed")).unwrap();
        Self { server, name, url }
    }

    async fn drop_all(mut self) {
        let name = &self.name;
        let drop_database = format!("DROP DATABASE {name} WITH (FORCE)");
        for sql in [drop_database, format!("DROP ROLE {name}")] {
            execute(&mut self.server, &sql).await;
        }
    }
}

/// Turkish letters, and digits by their number. Postgres 14 can give a database no such collation.
async fn collation(server: &mut PgConnection) -> &'static str {
    let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
        .fetch_one(server)
        .await
        .unwrap();
    if version < 150_000 {
        "LC_COLLATE 'C' LC_CTYPE 'C'"
    } else {
        "LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR-u-kn-true' LOCALE 'C'"
    }
}

#[tokio::test]
async fn a_role_that_owns_its_database_alone_is_enough_in_any_schema_time_zone_and_collation() {
    for schema in [None, Some("game")] {
        let (managed, upstream) = (Managed::new(schema).await, Upstream::start().await);
        let program = Program::serve(managed.url.as_str(), &upstream).await;
        let app = program.app();
        app.get("/health/ready").await.expect(200);
        for (user, peer) in [("I", "p9"), ("i", "p10"), ("ı", "p1")] {
            upstream.join(user, peer, user);
            app.snapshot(peer).await.expect(201);
        }
        for user in ["I", "i", "%C4%B1"] {
            let history = app.history(user).await.expect(200);
            assert_eq!(history.column("metadata_raw").len(), 1, "{user}");
        }
        assert_eq!(app.resumed_metadata("I").await, "I");
        let (status, log) = program.stop().await;
        assert!(status.success(), "{log}");
        let in_schema = format!(", schema {}, ", schema.unwrap_or("public"));
        assert!(log.contains(&in_schema), "{log}");
        assert!(!log.contains("ERROR"), "{log}");
        managed.drop_all().await;
    }
}

/// Runs `openssl` in a directory.
fn openssl(dir: &Path, arguments: &str) {
    let run = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(dir)
        .output();
    let output = run.expect("this test needs the command openssl: install the package");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "openssl {arguments}: {said}");
}

/// Makes `NAME.pem` and `NAME.key` of an authority of its own.
fn authority(dir: &Path, name: &str) {
    openssl(
        dir,
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name} \
             -keyout {name}.key -out {name}.pem"
        ),
    );
}

/// Makes the server's certificate for `localhost` alone, and has Postgres use it.
async fn use_tls(postgres: &EmbeddedPostgres, dir: &Path) {
    openssl(
        dir,
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout server.key \
         -out server.csr",
    );
    fs::write(dir.join("names"), "subjectAltName=DNS:localhost").unwrap();
    openssl(
        dir,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
    );
    let owner = fs::metadata(postgres.dir().join("data")).unwrap();
    for name in ["server.key", "server.pem"] {
        let file = dir.join(name);
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let mut connection = PgConnection::connect(postgres.url()).await.unwrap();
    let path = |name: &str| dir.join(name).display().to_string();
    for sql in [
        format!("ALTER SYSTEM SET ssl_cert_file = '{}'", path("server.pem")),
        format!("ALTER SYSTEM SET ssl_key_file = '{}'", path("server.key")),
        "ALTER SYSTEM SET ssl = on".to_owned(),
        "SELECT pg_reload_conf()".to_owned(),
    ] {
        execute(&mut connection, &sql).await;
    }
    connection.close().await.unwrap();
}

/// The URL with another host, whose certificate is verified against this authority.
fn verified(postgres: &EmbeddedPostgres, host: &str, authority: &Path) -> String {
    let mut url = Url::parse(postgres.url()).unwrap();
    url.set_host(Some(host)).unwrap();
    let authority = authority.display();
    url.set_query(Some(&format!(
        "sslmode=verify-full&sslrootcert={authority}"
    )));
    url.into()
}

#[tokio::test]
async fn a_certificate_is_verified_with_the_name_of_its_host() {
    let (dir, upstream) = (temp_dir(), Upstream::start().await);
    let dir = dir.path();
    let options = Options::default().durability(Durability::None);
    let postgres = options.start().await.unwrap();
    authority(dir, "ca");
    authority(dir, "other");
    use_tls(&postgres, dir).await;
    let good = verified(&postgres, "localhost", &dir.join("ca.pem"));
    let program = Program::serve(&good, &upstream).await;
    program.app().get("/health/ready").await.expect(200);
    let mut connection = PgConnection::connect(postgres.url()).await.unwrap();
    let plain = "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
                 WHERE application_name = 'rejoin' AND NOT ssl";
    let plain: i64 = sqlx::query_scalar(plain)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(plain, 0);
    for (host, authority) in [("127.0.0.1", "ca.pem"), ("localhost", "other.pem")] {
        let url = verified(&postgres, host, &dir.join(authority));
        let ended = rejoin(&["serve"], &settings(&url, &upstream))
            .await
            .expect(5);
        assert!(
            ended.err.contains("invalid peer certificate"),
            "{}",
            ended.err
        );
    }
}
