//! `--embedded-postgres`: a Postgres that runs as long as the command.

use std::path::PathBuf;

use embedded_postgres::EmbeddedPostgres;

use super::{Failure, print_out};
use crate::config::{ConfigError, DatabaseArgs};

#[derive(clap::Args, Debug)]
pub(super) struct EmbeddedArgs {
    /// Run a Postgres of its own, with its data in DIR, or without DIR in a temporary directory
    /// that is removed at the end
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    #[expect(
        clippy::option_option,
        reason = "absent, given alone, and given with a directory are three things"
    )]
    embedded_postgres: Option<Option<PathBuf>>,
}

impl EmbeddedArgs {
    /// Starts it if it is asked for, and points `database` to it.
    pub(super) async fn start(
        &self,
        database: &mut DatabaseArgs,
    ) -> Result<Option<EmbeddedPostgres>, Failure> {
        let Some(dir) = &self.embedded_postgres else {
            return Ok(None);
        };
        if database.is_set() {
            return Err(ConfigError::should_be(
                "DATABASE_URL",
                "left unset where --embedded-postgres is given",
            )
            .into());
        }
        let postgres = EmbeddedPostgres::start(dir.as_deref())
            .await
            .map_err(Failure::database)?;
        *database = DatabaseArgs::at(postgres.url().into());
        // For psql and the other commands, on this machine alone; the log never has it.
        print_out(&format!("DATABASE_URL={}", postgres.url()))?;
        Ok(Some(postgres))
    }
}
