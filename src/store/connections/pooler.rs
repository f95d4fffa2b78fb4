//! Whether the pooler in between can be used, if there is one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::postgres::PgConnection;
use sqlx::{Connection, query_scalar};

use super::parameters::{self, Parameters};
use super::pool::{Pool, PooledConnection};
use crate::store::StoreError;

/// How often two connections take turns. Once is enough unless others use the pooler meanwhile.
const ROUNDS: usize = 10;

/// Whether it was found that the pooler can be used. It stays so.
#[derive(Clone, Default)]
pub(super) struct PoolerCheck(Arc<AtomicBool>);

impl PoolerCheck {
    /// Checks that a statement that one connection has prepared is there in its next transaction,
    /// and in no other connection's, whichever backend of the server each of them gets.
    ///
    /// # Errors
    /// [`UnavailableReason::Pooler`](crate::store::UnavailableReason::Pooler) where it is not.
    pub(super) async fn run(&self, pool: &Pool) -> Result<(), StoreError> {
        if self.0.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut one = pool.take().await?;
        if one.parameters() == Parameters::OfTransaction {
            let mut other = pool.open_another().await?;
            take_turns(&mut one, &mut other).await?;
            pool.release(other);
        }
        pool.release(one);
        self.0.store(true, Ordering::Relaxed);
        Ok(())
    }
}

async fn take_turns(
    one: &mut PooledConnection,
    other: &mut PooledConnection,
) -> Result<(), sqlx::Error> {
    let layout = other.layout();
    let (one, other) = (one.get_mut(), other.get_mut());
    for _ in 0..ROUNDS {
        // Both prepare their statement under the same name.
        answers(one, "SELECT 1").await?;
        let mut transaction = other.begin_with(parameters::begin(layout)).await?;
        answers(&mut transaction, "SELECT 2").await?;
        // On another backend than before, where the transaction has that one.
        answers(one, "SELECT 1").await?;
        transaction.commit().await?;
    }
    Ok(())
}

async fn answers(connection: &mut PgConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    query_scalar::<_, i32>(sql).fetch_one(connection).await?;
    Ok(())
}
