//! The one place where the two engines are told apart.

/// Runs one statement on whichever engine is open:
/// `rows!(read|write|quick, one|all, db, Row, SQL, binds…)`.
///
/// `one` gives `Option<Row>`, `all` gives `Vec<Row>`. On SQLite `write` and `quick` go to a writing
/// connection; a statement that changes anything must say so. What `quick` changes survives the end
/// of the process at once, and a power cut a second later: see [`crate::Backend`].
macro_rules! rows {
    ($access:ident, $fetch:ident, $db:expr, $row:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        match &$db.backend {
            $crate::Backend::Sqlite(pools) => {
                let mut pool = pools.$access().await?;
                let query = sqlx::query_as::<_, $row>($sql)$(.bind($bind))*;
                $crate::query::rows!(@fetch $fetch, query, &mut *pool)
            }
            $crate::Backend::Postgres(pools) => {
                let pool = pools.$access();
                let query = sqlx::query_as::<_, $row>($sql)$(.bind($bind))*;
                $crate::query::rows!(@fetch $fetch, query, pool)
            }
        }
        .map_err($crate::StorageError::from)
    };
    (@fetch one, $query:ident, $pool:expr) => { $query.fetch_optional($pool).await };
    (@fetch all, $query:ident, $pool:expr) => { $query.fetch_all($pool).await };
}

/// Runs one statement that gives no rows; the result is how many rows it changed. With `quick,` in
/// front as for [`rows`].
macro_rules! execute {
    (quick, $db:expr, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::query::execute!(@on quick, $db, $sql $(, $bind)*)
    };
    (@on $access:ident, $db:expr, $sql:expr $(, $bind:expr)*) => {
        match &$db.backend {
            $crate::Backend::Sqlite(pools) => {
                let mut pool = pools.$access().await?;
                sqlx::query($sql)$(.bind($bind))*
                    .execute(&mut *pool).await.map(|done| done.rows_affected())
            }
            $crate::Backend::Postgres(pools) => sqlx::query($sql)$(.bind($bind))*
                .execute(pools.$access()).await.map(|done| done.rows_affected()),
        }
        .map_err($crate::StorageError::from)
    };
    ($db:expr, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::query::execute!(@on write, $db, $sql $(, $bind)*)
    };
}

pub(crate) use {execute, rows};
